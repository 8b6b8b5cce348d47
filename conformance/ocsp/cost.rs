//! What an answer from the cache costs: nothing of the heap, however the question travels.

use allocation_counter::measure;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certgate::{
    types::DigestAlgorithm,
    wire::ocsp::{GetBuffer, OcspRequest, PlainRequest},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    common::{World, WorldOptions},
    world,
};

/// A request about the issuing CA's newest message certificate.
fn question(world: &World, digest: DigestAlgorithm) -> Vec<u8> {
    super::question(world, digest, world.message_certificate("device").serial(), None)
}

#[test]
fn a_cached_answer_is_found_without_allocating() {
    let world = world(WorldOptions::default());
    for digest in [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512] {
        let request = question(&world, digest);
        let signed = world.gateway.ocsp(&request);
        assert_eq!(signed.result, "good");
        let base64 = STANDARD.encode(&request);
        let encoded = utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string();
        let spellings = [base64.clone(), encoded, base64.replace('=', ""), base64.replace('+', "%20")];
        for path in spellings {
            let mut found = None;
            let cost = measure(|| {
                let mut buffer = GetBuffer::default();
                let der = PlainRequest::decode_get(&path, &mut buffer).unwrap();
                let plain = PlainRequest::read(der).unwrap();
                found = world.gateway.ocsp_cached(&plain.cert_id);
            });
            assert_eq!(cost.count_total, 0, "GET {path}");
            assert_eq!(found.unwrap().body, signed.body);
        }
        let mut found = None;
        let cost = measure(|| {
            let plain = PlainRequest::read(&request).unwrap();
            found = world.gateway.ocsp_cached(&plain.cert_id);
        });
        assert_eq!(cost.count_total, 0, "POST");
        assert_eq!(found.unwrap().body, signed.body);
    }
}

#[test]
fn the_measure_sees_what_is_allocated() {
    let request = question(&world(WorldOptions::default()), DigestAlgorithm::Sha1);
    assert!(measure(|| drop(OcspRequest::from_der(&request))).count_total > 0);
}
