#![no_main]

use certgate::wire::ocsp::OcspRequest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = OcspRequest::from_der(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = OcspRequest::decode_get(text);
    }
});
