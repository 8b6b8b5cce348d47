//! Requests of ours over TLS, to certgate's own HTTPS listener.

use std::time::Duration;

use certgate::{
    adapters::outbound::{Destination, HttpOutbound, HttpSettings, RequestLimits},
    ports::{Outbound, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest},
};

use crate::process::{Server, http_get};

fn ask(url: &str, authorities: Vec<Vec<u8>>) -> Result<OutboundAnswer, OutboundError> {
    let limit = Duration::from_secs(10);
    let destination = Destination {
        name: "party".to_owned(),
        hosts: vec![Destination::host_of(url).unwrap()],
        limits: RequestLimits { connect: limit, total: limit, places: 1 },
        max_answer: 100_000,
        enrols: false,
    };
    let http = HttpSettings { authorities, system_roots: false, proxy: None, enrolment_places: 1 };
    let client = HttpOutbound::new(&http, vec![destination], Box::new(|_, _, _| {})).unwrap();
    let (destination, method) = ("party", OutboundMethod::Get);
    client.send(&OutboundRequest { destination, method, url, headers: &[], body: &[] })
}

#[test]
fn only_a_party_whose_authority_is_trusted_is_talked_to() {
    let server = Server::started(&["--key", "p-256"], "");
    let root = http_get(server.device_address(), "/ca/root.cer").unwrap();
    let port = server.admin_address().port();
    let answer = ask(&format!("https://localhost:{port}/api/v1/status"), vec![root.body.clone()]).unwrap();
    assert_eq!(answer.status, 401, "{answer:?}");
    let untrusted = ask(&format!("https://localhost:{port}/"), Vec::new());
    assert!(matches!(untrusted, Err(OutboundError::Tls { .. })), "{untrusted:?}");
    let misnamed = ask(&format!("https://127.0.0.2:{port}/"), vec![root.body]);
    assert!(
        matches!(misnamed, Err(OutboundError::Tls { .. } | OutboundError::Connect { .. })),
        "{misnamed:?}"
    );
    let plain = ask(&format!("https://localhost:{}/", server.device_address().port()), Vec::new());
    assert!(matches!(plain, Err(OutboundError::Tls { .. })), "{plain:?}");
}
