#![no_main]

use std::io::Read as _;

use certgate::{
    adapters::keys::archive::{ArchiveReader, MAGIC},
    types::Secret,
};

/// 8 KiB of memory, one pass, one lane: the least that Argon2id takes. What a header may cost is a limit of its own, with a test.
const CHEAP: [u8; 12] = [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if let Some(cost) = bytes.get_mut(MAGIC.len() + 1..MAGIC.len() + 13) {
        cost.copy_from_slice(&CHEAP);
    }
    let passphrase = Secret::from("correct horse battery staple");
    if let Ok(mut archive) = ArchiveReader::open(bytes.as_slice(), &passphrase) {
        let _ = archive.read_to_end(&mut Vec::new());
    }
});
