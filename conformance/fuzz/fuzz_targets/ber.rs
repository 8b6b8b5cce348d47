#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(once) = certgate::wire::der::normalise(bytes) {
        assert_eq!(certgate::wire::der::normalise(&once).as_ref(), Ok(&once));
    }
});
