#![no_main]

use certgate::wire::{crl::Crl, x509::Certificate};

const ISSUER: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(crl) = Crl::from_der(bytes) else { return };
    let _ = crl.issuer().to_string();
    let _ = crl.verify(&Certificate::from_der(ISSUER).expect("the fixture is a certificate"));
});
