#![no_main]

use certgate::wire::scep::{Degenerate, IssuerAndSerialNumber, IssuerAndSubject};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Degenerate::from_ber(bytes);
    if let Ok(poll) = IssuerAndSubject::from_ber(bytes) {
        let der = poll.to_der().expect("what was read can be written");
        assert_eq!(IssuerAndSubject::from_ber(&der), Ok(poll));
    }
    if let Ok(get) = IssuerAndSerialNumber::from_ber(bytes) {
        let der = get.to_der().expect("what was read can be written");
        assert_eq!(IssuerAndSerialNumber::from_ber(&der), Ok(get));
    }
});
