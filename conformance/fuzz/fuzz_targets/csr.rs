#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = certgate::wire::csr::Csr::from_der(bytes).map(certgate::wire::csr::Csr::prove);
});
