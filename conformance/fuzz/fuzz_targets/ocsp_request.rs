#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = certgate::wire::ocsp::OcspRequest::from_der(bytes);
});
