#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = certgate::wire::scep::PkiMessage::from_ber(bytes) {
        let _ =
            message.verify().map(|verified| (verified.reply(), verified.signing_time(), verified.envelope()));
    }
});
