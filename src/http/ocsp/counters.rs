//! What is counted of OCSP, with handles that were looked up once and not with each request.

use metrics::Counter;

use crate::{
    service::metric::{self, label},
    types::DigestAlgorithm,
};

/// The form of a question: what its CertID is hashed with, how it came, whether it has a nonce. It says who still needs SHA-1 (RFC 9919
/// §3.1.1), and what a cache in front could take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Of the first CertID; none for one that certgate does not know.
    pub(super) hash: Option<DigestAlgorithm>,
    pub(super) post: bool,
    pub(super) nonce: bool,
}

impl Form {
    pub(super) fn hash(self) -> &'static str {
        HASHES[self.hash_place()]
    }

    pub(super) const fn method(self) -> &'static str {
        METHODS[self.post as usize]
    }

    const fn hash_place(self) -> usize {
        match self.hash {
            Some(DigestAlgorithm::Sha1) => 0,
            Some(DigestAlgorithm::Sha256) => 1,
            Some(DigestAlgorithm::Sha384) => 2,
            Some(DigestAlgorithm::Sha512) => 3,
            // MD5 is read as that of nothing but old SCEP requests.
            Some(DigestAlgorithm::Md5) | None => 4,
        }
    }
}

const HASHES: [&str; 5] = ["sha1", "sha256", "sha384", "sha512", "other"];
const METHODS: [&str; 2] = ["get", "post"];
const NONCES: [&str; 2] = ["no", "yes"];

/// Handles of the counters that a cached answer moves.
#[derive(Debug)]
pub struct OcspCounters {
    hit: Counter,
    miss: Counter,
    good: Counter,
    revoked: Counter,
    /// By hash, method, nonce.
    forms: [[[Counter; NONCES.len()]; METHODS.len()]; HASHES.len()],
}

impl Default for OcspCounters {
    /// Take it after the recorder of the metrics was installed.
    fn default() -> Self {
        let form = |hash: &'static str, method: &'static str, nonce: &'static str| metrics::counter!(metric::OCSP_FORMS, label::HASH => hash, label::METHOD => method, label::NONCE => nonce);
        Self {
            hit: metrics::counter!(metric::OCSP_CACHE, label::OUTCOME => "hit"),
            miss: metrics::counter!(metric::OCSP_CACHE, label::OUTCOME => "miss"),
            good: metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => "good"),
            revoked: metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => "revoked"),
            forms: HASHES.map(|hash| METHODS.map(|method| NONCES.map(|nonce| form(hash, method, nonce)))),
        }
    }
}

impl OcspCounters {
    pub(super) fn asked(&self, form: Form) {
        self.forms[form.hash_place()][usize::from(form.post)][usize::from(form.nonce)].increment(1);
    }

    pub(super) fn looked_up(&self, hit: bool) {
        if hit { &self.hit } else { &self.miss }.increment(1);
    }

    pub(super) fn answered(&self, result: &'static str) {
        match result {
            "good" => self.good.increment(1),
            "revoked" => self.revoked.increment(1),
            other => metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => other).increment(1),
        }
    }
}
