#![no_main]

use certgate::wire::{ocsp::OcspResponse, x509::Certificate};

const ISSUER: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(OcspResponse::Successful(response)) = OcspResponse::from_der(bytes) {
        let _ = response.verify(&Certificate::from_der(ISSUER).expect("the fixture is a certificate"));
    }
});
