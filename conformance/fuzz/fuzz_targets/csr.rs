#![no_main]

use certgate::wire::csr::Csr;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(csr) = Csr::from_der(bytes) else { return };
    if let Ok(proven) = csr.prove() {
        let _ = (proven.subject().to_string(), proven.subject_alt_names(), proven.requested_extension_oids());
    }
});
