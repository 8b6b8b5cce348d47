#![no_main]

use certgate::wire::x509::Certificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(certificate) = Certificate::from_der(bytes) else { return };
    let _ = (certificate.subject().to_string(), certificate.issuer().to_string());
    let _ = (certificate.is_self_issued(), certificate.is_signed_by(&certificate));
    let again = Certificate::from_pem(&certificate.to_pem()).expect("what was read can be read as PEM");
    assert_eq!(again, certificate);
});
