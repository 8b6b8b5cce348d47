#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = certgate::wire::crl::Crl::from_der(bytes);
});
