//! RSA keys of clients. Making one takes a debug build most of a second, so the tests of a target share them: each thread, which
//! is to say each test, takes them in order from the first.

use std::{
    cell::Cell,
    sync::{Arc, Mutex, OnceLock},
};

use certgate::{
    adapters::keys::{legacy::SoftwareLegacySigner, software},
    ports::{Decrypter, Signer},
    types::KeyAlgorithm,
};

/// A key that signs, signs with MD5 and SHA-1, and unwraps.
type Pair = (Arc<dyn Signer>, Arc<SoftwareLegacySigner>, Arc<dyn Decrypter>);

static MADE: Mutex<Vec<Arc<OnceLock<Pair>>>> = Mutex::new(Vec::new());

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The next RSA-2048 key that this thread has not taken yet. Threads of one test would take the same: make their clients before they
/// start.
pub(super) fn next() -> Pair {
    let index = TAKEN.replace(TAKEN.get() + 1);
    let place = {
        let mut made = MADE.lock().unwrap();
        if made.len() <= index {
            made.resize_with(index + 1, Arc::default);
        }
        made[index].clone()
    };
    place.get_or_init(make).clone()
}

fn make() -> Pair {
    let pkcs8 = software::generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
    (
        Arc::new(software::SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap()),
        Arc::new(SoftwareLegacySigner::from_pkcs8(pkcs8.expose()).unwrap()),
        Arc::new(software::SoftwareDecrypter::from_pkcs8(pkcs8.expose()).unwrap()),
    )
}
