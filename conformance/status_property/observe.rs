//! What the gateway says: real OCSP responses, the published CRL and the API, each read and verified.

use std::collections::BTreeMap;

use certgate::{
    domain::{
        crl::{CrlScope, Partition},
        status::Status,
    },
    ports::{View, store::Page},
    service::Gateway,
    types::{CertificateId, DigestAlgorithm, IssuerId, RevocationReason, SerialNumber, Timestamp},
    wire::{
        crl::{Crl, CrlEntry, DeltaCrl},
        ocsp::{BasicResponse, CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};

use crate::{common::World, oracle::Shown};

/// What OCSP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OcspSays {
    Good,
    Unknown,
    Revoked { reason: RevocationReason, at: Timestamp },
}

/// How OCSP is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) digest: DigestAlgorithm,
    pub(crate) nonce: Option<[u8; 16]>,
}

/// The ways in which a certificate is asked about: the request bytes of the ones without a nonce are the same at every step, so that a
/// stale answer in the cache would be found.
pub(crate) const QUESTIONS: [Question; 4] = [
    Question { digest: DigestAlgorithm::Sha1, nonce: None },
    Question { digest: DigestAlgorithm::Sha256, nonce: None },
    Question { digest: DigestAlgorithm::Sha1, nonce: Some([0x5a; 16]) },
    Question { digest: DigestAlgorithm::Sha256, nonce: Some([0xa5; 16]) },
];

/// Asks OCSP, verifies the answer, and asks again: what comes from the cache must be the same bytes.
pub(crate) fn ocsp(
    world: &World,
    issuer: &Certificate,
    serial: &SerialNumber,
    question: Question,
) -> OcspSays {
    let cert_id = CertId::new(question.digest, issuer, serial).unwrap();
    let nonce = question.nonce.as_ref().map(<[u8; 16]>::as_slice);
    let request = OcspRequest::new(vec![cert_id.clone()], nonce).to_der().unwrap();
    let cached_before = world.ocsp_cached(&request);
    let answer = world.gateway.ocsp(&request);
    if let Some(before) = cached_before {
        assert_eq!(before.body, answer.body, "the cache at the edge gave another answer");
    }
    if answer.caching.is_some() {
        assert!(nonce.is_none(), "an answer with a nonce may be cached");
        assert_eq!(world.ocsp_cached(&request).expect("it was just asked").body, answer.body);
        assert_eq!(world.gateway.ocsp(&request).body, answer.body);
    }
    let OcspResponse::Successful(response) = OcspResponse::from_der(&answer.body).unwrap() else {
        panic!("no status for {serial}: {}", answer.result);
    };
    response.verify(issuer).expect("signed by the issuer or its delegate");
    says(&response, &cert_id, nonce, world.now())
}

fn says(response: &BasicResponse, cert_id: &CertId, nonce: Option<&[u8]>, now: Timestamp) -> OcspSays {
    if let Some(nonce) = nonce {
        assert!(response.nonce.as_deref().is_some_and(|echo| echo.ends_with(nonce)), "the nonce comes back");
    } else {
        assert_eq!(response.nonce, None);
    }
    let [single] = response.responses.as_slice() else { panic!("one question, one answer") };
    assert_eq!(single.cert_id, *cert_id);
    assert!(
        single.this_update <= now && single.next_update.is_some_and(|next| now < next),
        "a window around now"
    );
    match single.status {
        CertStatus::Good => OcspSays::Good,
        CertStatus::Unknown => OcspSays::Unknown,
        CertStatus::Revoked { at, reason } => OcspSays::Revoked { reason, at },
    }
}

impl From<Option<Shown>> for OcspSays {
    fn from(shown: Option<Shown>) -> Self {
        shown.map_or(Self::Good, |Shown { reason, at, .. }| Self::Revoked { reason, at })
    }
}

/// What the API says: the status, and what is shown as the revocation.
pub(crate) fn api(world: &World, id: &CertificateId) -> (Status, Option<Shown>) {
    let view = world.gateway.certificate(&world.authed(), id).unwrap();
    let shown = |it: certgate::service::certificate::RevocationView| Shown {
        reason: it.reason,
        at: it.at,
        invalidity_date: it.invalidity_date,
    };
    (view.status, view.revocation.map(shown))
}

/// The published CRL with its delta, if there is one, verified.
pub(crate) struct ReadCrl {
    /// Of the full one.
    pub(crate) number: u64,
    /// Of the newer one.
    pub(crate) this_update: Timestamp,
    /// The full one.
    pub(crate) der: Vec<u8>,
    /// What both say together.
    pub(crate) entries: BTreeMap<SerialNumber, Shown>,
}

fn shown(entry: &CrlEntry) -> Shown {
    Shown { reason: entry.reason, at: entry.revoked_at, invalidity_date: entry.invalidity_date }
}

pub(crate) fn crl(gateway: &Gateway, issuer: &IssuerId, certificate: &Certificate) -> ReadCrl {
    let published = gateway.crl(issuer).expect("every issuer has a CRL");
    let crl = Crl::from_der(&published.der).unwrap();
    crl.verify(certificate).expect("signed by the issuer");
    let own = |entry: &CrlEntry| (entry.serial.clone(), shown(entry));
    let entries: BTreeMap<_, _> = crl.entries().iter().map(own).collect();
    assert_eq!(entries.len(), crl.entries().len(), "no serial is listed twice");
    let number = crl.number().expect("a CRL has a number");
    let read = ReadCrl { number, this_update: crl.this_update(), der: published.der.to_vec(), entries };
    let Some(delta) = gateway.crl_of(issuer, CrlScope::Delta) else { return read };
    let delta = DeltaCrl::from_der(&delta.der).unwrap();
    delta.verify(certificate).expect("signed by the issuer");
    let together = delta.applied_to(&crl).expect("the delta is to this CRL, or made with it");
    ReadCrl { this_update: delta.head().this_update(), entries: together.values().map(own).collect(), ..read }
}

/// The delta that was made with a full CRL leads those who have the one `before` to it.
pub(crate) fn delta_leads_on(world: &World, issuer: &IssuerId, before: &[u8]) {
    let read = |scope| world.gateway.crl_of(issuer, scope).expect("it was just published").der.clone();
    let full = Crl::from_der(&read(CrlScope::Full)).unwrap();
    let delta = DeltaCrl::from_der(&read(CrlScope::Delta)).unwrap();
    assert_eq!(delta.head().number(), full.number(), "made together");
    let listed: BTreeMap<_, _> =
        full.entries().iter().map(|entry| (entry.serial.clone(), entry.clone())).collect();
    let led = delta.applied_to(&Crl::from_der(before).unwrap()).unwrap();
    assert_eq!(led, listed, "delta CRL {:?} of {issuer}", delta.head().number());
}

/// The partitions list what the full CRL and its delta list, each in its place.
pub(crate) fn partitions_hold(
    gateway: &Gateway,
    issuer: &IssuerId,
    certificate: &Certificate,
    all: &ReadCrl,
) {
    let mut entries = BTreeMap::new();
    for partition in Partition::all(3) {
        let published = gateway.crl_of(issuer, CrlScope::Partition(partition)).expect("it is published");
        let url = format!("http://pki.test.example/crl/{issuer}/3/{}.crl", partition.index);
        let crl = Crl::of_partition(&published.der, &url).unwrap();
        crl.verify(certificate).expect("signed by the issuer");
        for entry in crl.entries() {
            assert_eq!(Partition::holding(&entry.serial, 3), partition);
            entries.insert(entry.serial.clone(), shown(entry));
        }
    }
    assert_eq!(entries, all.entries, "the partitions of {issuer} beside its CRL {}", all.number);
}

/// Every certificate that the store has, certgate's own among them.
pub(crate) fn all_certificates(world: &World) -> Vec<CertificateId> {
    let page = Page::first(10_000);
    let records = world.read(|view: &dyn View| view.certificates(&page));
    records.into_iter().map(|record| record.id).collect()
}
