//! Faults one by one: our server behind something that spoils one answer, and the check that is to see it.

use certgate::wire::scep::Degenerate;

use super::{challenge, conformance, report, server, verdicts};
use crate::{
    process::Answer,
    sim::{Between, is_operation},
};

/// A check, and what spoils the answers that it looks at: path, number of the request to it, answer.
pub(super) type Fault = (&'static str, fn(&str, usize, Answer) -> Answer);

/// A CertRep with SUCCESS of somebody else's server, whose signature verifies.
const SOMEBODYS_SUCCESS: &[u8] = include_bytes!("../../../fixtures/scep/micromdm-certrep.der");

pub(super) const FAULTS: [Fault; 23] = [
    ("8894-3.5.1-getcacaps", |path, _, answer| on(path.contains("GetCACaps"), answer, broken)),
    ("8894-4.2-getcacert", |path, _, answer| on(path.contains("GetCACert"), answer, broken)),
    ("8894-4.1-path", |path, _, answer| on(path.contains("pkiclient.exe"), answer, broken)),
    ("8894-3.4-degenerate", |path, _, answer| on(path.contains("GetCACert"), answer, signed)),
    ("8894-4.2-chain", |path, _, answer| on(path.contains("GetCACert"), answer, first_alone)),
    ("8894-3.2-signer", |path, _, answer| on(path.contains("GetCACert"), answer, another_ca)),
    ("8894-4.7.1-signed", |path, _, answer| on(path.contains("GetCACaps"), answer, with_next_ca)),
    ("8894-5.1-rollover", |path, _, answer| on(path.contains("GetCACaps"), answer, with_next_ca)),
    ("8894-3.3.1-pkcsreq", |path, _, answer| on(is_operation(path), answer, broken)),
    ("8894-4.1-get", |path, _, answer| on(path.contains("message="), answer, broken)),
    ("8894-4.1-get-raw", |path, _, answer| on(path.contains("message="), answer, broken)),
    ("8894-5.2-repeat", |path, number, answer| on(is_operation(path) && number > 1, answer, broken)),
    ("8894-2.3-other-subject", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8894-2.9-aes-192", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8894-2.9-aes-256", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8894-3.5.2-sha-512", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8017-7.1-oaep-sha-1", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8017-7.1-oaep-sha-256", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("5652-5.1-ber", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("5652-5.4-attribute-order", |path, number, answer| on(is_operation(path) && number > 2, answer, broken)),
    ("8894-2.3-no-certificate", |path, _, answer| on(is_operation(path), answer, somebodys_success)),
    ("8894-3.2.2-recipient-other", |path, _, answer| on(is_operation(path), answer, somebodys_success)),
    ("8894-4.1-alive", |path, number, answer| on(path.contains("GetCACaps") && number > 1, answer, broken)),
];

fn on(applies: bool, answer: Answer, spoil: fn(Answer) -> Answer) -> Answer {
    if applies { spoil(answer) } else { answer }
}

fn broken(answer: Answer) -> Answer {
    Answer { status: 500, body: b"out of order".to_vec(), ..answer }
}

/// SignedData with a signer and content where neither belongs.
fn signed(answer: Answer) -> Answer {
    Answer { body: SOMEBODYS_SUCCESS.to_vec(), ..answer }
}

fn somebodys_success(answer: Answer) -> Answer {
    Answer { body: SOMEBODYS_SUCCESS.to_vec(), ..answer }
}

fn first_alone(answer: Answer) -> Answer {
    let all = Degenerate::from_ber(&answer.body).unwrap().certificates;
    Answer { body: all[0].as_der().to_vec(), ..answer }
}

fn another_ca(answer: Answer) -> Answer {
    Answer { body: include_bytes!("../../../fixtures/scep/message-ca.cer").to_vec(), ..answer }
}

/// GetNextCACert is promised, and not kept: our server has no next CA.
fn with_next_ca(answer: Answer) -> Answer {
    Answer { body: [&answer.body[..], b"GetNextCACert\n"].concat(), ..answer }
}

#[test]
fn each_fault_is_seen_by_its_check() {
    let mut unseen = Vec::new();
    for (id, spoil) in FAULTS {
        let between = Between::start(server(), spoil);
        let url = between.scep_url_of("open");
        let output = conformance(&["scep", &url, "--challenge-file", &challenge(), "--only", id]);
        let (verdict, remark) = verdicts(&report(&output)).remove(id).unwrap();
        if verdict != "fail" || remark.is_empty() {
            unseen.push(format!("{id}: {verdict} {remark}"));
        }
    }
    assert!(unseen.is_empty(), "{unseen:#?}");
}
