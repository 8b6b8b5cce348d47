//! curl with `--cert-status`: the status of a site's own certificate, stapled by nginx and by HAProxy from our answers.

use std::process::Output;

use super::{
    Standing, curl,
    nginx::Nginx,
    process::expect_success,
    program::eventually,
    programs::{run, said},
    through_its_life,
};

/// curl's exit code for a status that is missing or not good.
const INVALID_STATUS: i32 = 91;

fn with_status(gear: &Nginx, port: u16) -> Output {
    let root = gear.place.file("root.pem");
    run(curl(&root, port).args(["--cert-status", "--verbose"]))
}

#[test]
fn nginx_staples_what_it_fetches_and_nothing_that_is_not_good() {
    let gear = Nginx::prepared("staple");
    through_its_life(&gear.host.device, |standing| {
        // nginx keeps what it has: each look is at one that was just started.
        let nginx = gear.start();
        let look = || with_status(&gear, gear.stapling.port());
        let look_at_none = || {
            let output = look();
            assert_eq!(output.status.code(), Some(INVALID_STATUS), "nginx fetches at the first handshake");
            assert!(said(&output).contains("No OCSP response received"));
        };
        if standing.is_good() {
            look_at_none();
            eventually("a good status is stapled", || look().status.success());
            assert!(said(&look()).contains("SSL certificate status: good"));
        } else {
            nginx.says("certificate status \"revoked\" in the OCSP response", look_at_none);
            look_at_none();
        }
    });
}

#[test]
fn curl_reads_the_reason_in_a_stapled_file() {
    let gear = Nginx::prepared("staple-file");
    through_its_life(&gear.host.device, |standing| {
        gear.fetch_staple();
        let _nginx = gear.start();
        let output = with_status(&gear, gear.stapling_file.port());
        let said = said(&output);
        match standing {
            Standing::Good | Standing::Released => {
                expect_success(&output, "curl --cert-status");
                assert!(said.contains("SSL certificate status: good"), "{said}");
            }
            Standing::Held | Standing::Revoked => {
                assert_eq!(output.status.code(), Some(INVALID_STATUS), "{said}");
                let reason =
                    if standing == Standing::Held { "certificateHold" } else { "cessationOfOperation" };
                assert!(said.contains("SSL certificate status: revoked") && said.contains(reason), "{said}");
            }
        }
    });
}
