#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = certgate::wire::scep::Envelope::from_ber(bytes) {
        let _ = envelope.open(&certgate::types::Secret::new(vec![1; envelope.cipher.key_len()]));
    }
});
