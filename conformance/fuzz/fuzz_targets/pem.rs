#![no_main]

use certgate::wire::{csr::Csr, x509::Certificate};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = (Certificate::from_pem(text), Csr::from_pem(text));
});
