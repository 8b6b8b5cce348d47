//! The issuers with their open keys, held in memory and replaced as a whole when one changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

use super::{Gateway, Ports, ServiceError, scep::stand_in, status};
use crate::{
    domain::{
        certificate::{Purpose, SystemCertificate},
        issuer::{ExternalIssuer, GenerationState, Issuer, OcspAuthority},
        key::SealedKey,
        profile::CheckedProfile,
    },
    ports::{Decrypter, KeyError, Keyring, LegacySigner, Signer, View},
    types::{CertificateId, DigestAlgorithm, IssuerId, KeyId, ProfileName, SignatureAlgorithm, Timestamp},
    wire::x509::Certificate,
};

/// Everything that is needed to act for the issuers.
#[derive(Debug, Default)]
pub struct Authorities {
    issuers: BTreeMap<IssuerId, Arc<Authority>>,
    externals: BTreeMap<IssuerId, Arc<External>>,
    by_cert_id: HashMap<CertIdIssuer, IssuerId>,
    profiles: BTreeMap<ProfileName, Arc<CheckedProfile>>,
}

/// The issuer as an OCSP CertID names it (RFC 6960 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CertIdIssuer {
    algorithm: DigestAlgorithm,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
}

/// One issuer with its open keys.
pub struct Authority {
    /// The record.
    pub issuer: Issuer,
    /// Its certificate.
    pub certificate: Certificate,
    /// The certificates above it, nearest first, the root last.
    pub chain: Vec<Certificate>,
    /// The certificates on which its standing rests, nearest first: its own, those above it, the root's own.
    pub lineage: Vec<CertificateId>,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// Its delegated OCSP responder: the newest.
    pub ocsp: Option<Responder>,
    /// The responders under it that relying parties are configured to trust, for certificates of external issuers; newest first.
    pub trusted: Vec<Responder>,
    /// Its SCEP message keys, newest first: the first signs, all open.
    pub message_keys: Vec<MessageKey>,
    /// What is read in place of a request that cannot be; empty without a message key.
    pub(super) stand_in: Vec<u8>,
    /// The answer to GetNextCACert that announces it, once it was signed: what it says does not change while this is loaded.
    pub(super) announcement: OnceLock<Arc<[u8]>>,
}

/// A CA whose key is not here. What was imported of it is in the store under its name, and in the status snapshot, as of any issuer.
#[derive(Debug)]
pub struct External {
    /// The record.
    pub issuer: ExternalIssuer,
    /// Its certificate.
    pub certificate: Certificate,
    /// Who answers for it, newest first: by its authority or that of relying parties, see [`ExternalIssuer::ocsp`].
    pub responders: Vec<Responder>,
}

impl External {
    /// The responders whose certificates are valid at `now`, the one that should sign first: the newest whose time has come, those before it,
    /// and then those whose time is still to come.
    pub fn responders_at(&self, now: Timestamp) -> impl Iterator<Item = &Responder> {
        let is_valid = move |it: &&Responder| it.certificate.validity().contains(now);
        let present = self.responders.iter().filter(move |it| it.since <= now);
        let coming = self.responders.iter().rev().filter(move |it| it.since > now);
        present.chain(coming).filter(is_valid)
    }
}

/// An issuer for whose certificates OCSP answers.
#[derive(Clone, Copy, Debug)]
pub enum Answered<'a> {
    /// One of our own.
    Own(&'a Authority),
    /// An external one, for which somebody here may sign.
    External(&'a External),
}

impl<'a> Answered<'a> {
    /// Its name.
    pub const fn id(self) -> &'a IssuerId {
        match self {
            Self::Own(authority) => &authority.issuer.id,
            Self::External(external) => &external.issuer.id,
        }
    }

    /// The name of its line, by which the configuration knows it.
    pub const fn line(self) -> &'a IssuerId {
        match self {
            Self::Own(authority) => &authority.issuer.generation.line,
            Self::External(external) => &external.issuer.id,
        }
    }

    /// Its certificate.
    pub const fn certificate(self) -> &'a Certificate {
        match self {
            Self::Own(authority) => &authority.certificate,
            Self::External(external) => &external.certificate,
        }
    }
}

/// An OCSP responder that is not the CA itself.
#[derive(Clone)]
pub struct Responder {
    /// Whose certificate it is, in the records.
    pub id: CertificateId,
    /// Its certificate.
    pub certificate: Certificate,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// When it begins to sign.
    pub since: Timestamp,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("id", &self.id).field("since", &self.since).finish_non_exhaustive()
    }
}

impl Responder {
    /// The responders for `purpose` under `issuer`, newest first.
    fn load(
        ports: &Ports,
        view: &dyn View,
        purpose: Purpose,
        issuer: &IssuerId,
    ) -> Result<Vec<Self>, ServiceError> {
        let all = view.system_certificates(purpose, issuer)?;
        all.into_iter().map(|system| Self::open(ports, view, system)).collect()
    }

    fn open(ports: &Ports, view: &dyn View, system: SystemCertificate) -> Result<Self, ServiceError> {
        Ok(Self {
            certificate: certificate_of(view, &system)?,
            signer: ports.keyring.signer(&key_of(view, &system.key)?)?,
            id: system.certificate,
            since: system.since,
        })
    }
}

/// A SCEP message key.
#[derive(Clone)]
pub struct MessageKey {
    /// Its certificate.
    pub certificate: Certificate,
    /// Signs CertReps.
    pub signer: Arc<dyn Signer>,
    /// Opens envelopes.
    pub decrypter: Arc<dyn Decrypter>,
    legacy: Arc<LegacyKey>,
}

/// The same key once more, for CertReps with MD5 and SHA-1: sealed until the first of them is signed.
struct LegacyKey {
    sealed: SealedKey,
    opened: OnceLock<Arc<dyn LegacySigner>>,
}

impl MessageKey {
    fn open(keyring: &dyn Keyring, key: SealedKey, certificate: Certificate) -> Result<Self, KeyError> {
        let (signer, decrypter) = (keyring.signer(&key)?, keyring.decrypter(&key)?);
        let legacy = Arc::new(LegacyKey { sealed: key, opened: OnceLock::new() });
        Ok(Self { certificate, signer, decrypter, legacy })
    }

    /// Signs CertReps with MD5 and SHA-1. `keyring` opens the key at the first call.
    pub fn legacy_signer(&self, keyring: &dyn Keyring) -> Result<&dyn LegacySigner, KeyError> {
        let LegacyKey { sealed, opened } = &*self.legacy;
        if let Some(signer) = opened.get() {
            return Ok(signer.as_ref());
        }
        // Two threads may open it: one of the two is kept.
        let signer = keyring.legacy_signer(sealed)?;
        Ok(opened.get_or_init(|| signer).as_ref())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("issuer", &self.issuer.id).finish_non_exhaustive()
    }
}

impl Authority {
    /// The algorithm of this issuer's signatures.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        let key = self.signer.algorithm();
        key.signature(key.digest(self.issuer.digest))
    }

    /// What clients are given of it: the message certificate first, then the CA, then what is above it, the root last.
    pub(super) fn bundle(&self) -> Vec<&[u8]> {
        let message = self.message_keys.first().map(|key| key.certificate.as_der());
        let chain = std::iter::once(&self.certificate).chain(&self.chain);
        message.into_iter().chain(chain.map(Certificate::as_der)).collect()
    }

    fn is(&self, state: GenerationState) -> bool {
        self.issuer.generation.state == state
    }
}

impl Authorities {
    /// Loads every issuer, opens its keys, and compiles the profiles of these names. Whatever other profiles the store has were taken out
    /// of the configuration: nothing is issued under them.
    pub(crate) fn load(ports: &Ports, in_force: &BTreeSet<ProfileName>) -> Result<Self, ServiceError> {
        ports.store.read(|view| {
            let mut loaded = Self::default();
            let issuers = view.issuers()?;
            if issuers.is_empty() {
                return Err(ServiceError::NotInitialised);
            }
            let by_id: BTreeMap<_, _> = issuers.iter().map(|issuer| (issuer.id.clone(), issuer)).collect();
            for issuer in &issuers {
                let authority = Authority::load(ports, view, issuer, &by_id)?;
                loaded.index(&issuer.id, &authority.certificate);
                loaded.issuers.insert(issuer.id.clone(), Arc::new(authority));
            }
            for issuer in view.external_issuers()? {
                let certificate = Certificate::from_der(&issuer.certificate)?;
                loaded.index(&issuer.id, &certificate);
                let responders = match &issuer.ocsp {
                    OcspAuthority::None => Vec::new(),
                    OcspAuthority::Delegate => Responder::load(ports, view, Purpose::OcspSigner, &issuer.id)?,
                    OcspAuthority::Trusted { by } => {
                        loaded.issuers.get(by).map(|by| by.trusted.clone()).unwrap_or_default()
                    }
                };
                let external = External { issuer, certificate, responders };
                loaded.externals.insert(external.issuer.id.clone(), Arc::new(external));
            }
            for profile in view.profiles()?.into_iter().filter(|profile| in_force.contains(&profile.name)) {
                let checked = profile.checked().map_err(|mistakes| {
                    let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                    ServiceError::Internal(format!(
                        "the stored profile {} does not check: {}",
                        profile.name,
                        mistakes.join("; ")
                    ))
                })?;
                loaded.profiles.insert(profile.name.clone(), Arc::new(checked));
            }
            Ok(loaded)
        })
    }

    fn index(&mut self, issuer: &IssuerId, certificate: &Certificate) {
        // The hashes are over the issuer's subject name and key bits; every hash that a client may use is indexed.
        for algorithm in
            [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512]
        {
            let key = CertIdIssuer {
                algorithm,
                name_hash: algorithm.digest(certificate.subject().as_der()),
                key_hash: algorithm.digest(certificate.public_key().key_bits()),
            };
            // Our own come first: what we can sign for ourselves nobody else has to give us the right to.
            self.by_cert_id.entry(key).or_insert_with(|| issuer.clone());
        }
    }

    /// The issuer of this name.
    pub fn issuer(&self, id: &IssuerId) -> Option<&Arc<Authority>> {
        self.issuers.get(id)
    }

    /// All issuers, by name.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.issuers.values()
    }

    /// The generations of a line, in the order in which they were made.
    pub fn generations(&self, line: &IssuerId) -> Vec<&Arc<Authority>> {
        let mut members: Vec<_> =
            self.issuers.values().filter(|it| it.issuer.generation.line == *line).collect();
        members.sort_by_key(|it| it.issuer.generation.number);
        members
    }

    /// The one of a line that issues to everybody.
    pub fn current(&self, line: &IssuerId) -> Option<&Arc<Authority>> {
        self.generations(line).into_iter().find(|it| it.is(GenerationState::Current))
    }

    /// The one of a line that is announced.
    pub fn announced(&self, line: &IssuerId) -> Option<&Arc<Authority>> {
        self.generations(line).into_iter().find(|it| it.is(GenerationState::Announced))
    }

    /// The external issuer of this name.
    pub fn external(&self, id: &IssuerId) -> Option<&Arc<External>> {
        self.externals.get(id)
    }

    /// All external issuers, by name.
    pub fn externals(&self) -> impl Iterator<Item = &Arc<External>> {
        self.externals.values()
    }

    /// The issuer of this name, if OCSP answers for it.
    pub fn answered(&self, id: &IssuerId) -> Option<Answered<'_>> {
        let external = || self.externals.get(id).filter(|it| it.issuer.ocsp != OcspAuthority::None);
        match self.issuers.get(id) {
            Some(authority) => Some(Answered::Own(authority)),
            None => external().map(|external| Answered::External(external)),
        }
    }

    /// All issuers for which OCSP answers: our own, then the external ones.
    pub fn all_answered(&self) -> impl Iterator<Item = Answered<'_>> {
        self.issuers.keys().chain(self.externals.keys()).filter_map(|id| self.answered(id))
    }

    /// The issuer that a CertID names, if OCSP answers for it.
    pub fn answered_by_cert_id(
        &self,
        algorithm: DigestAlgorithm,
        name_hash: &[u8],
        key_hash: &[u8],
    ) -> Option<Answered<'_>> {
        let key = CertIdIssuer { algorithm, name_hash: name_hash.to_vec(), key_hash: key_hash.to_vec() };
        self.answered(self.by_cert_id.get(&key)?)
    }

    /// The external issuers that are answered for by a trusted responder under `issuer`.
    pub(super) fn trusting(&self, issuer: &IssuerId) -> impl Iterator<Item = &IssuerId> {
        let by_it = move |it: &&Arc<External>| matches!(&it.issuer.ocsp, OcspAuthority::Trusted { by } if by == issuer);
        self.externals.values().filter(by_it).map(|it| &it.issuer.id)
    }

    /// The profile of this name, newest version; none for one that is not in force.
    pub fn profile(&self, name: &ProfileName) -> Option<&Arc<CheckedProfile>> {
        self.profiles.get(name)
    }

    /// The profiles in force, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<CheckedProfile>> {
        self.profiles.values()
    }
}

impl Authority {
    fn load(
        ports: &Ports,
        view: &dyn View,
        issuer: &Issuer,
        all: &BTreeMap<IssuerId, &Issuer>,
    ) -> Result<Self, ServiceError> {
        let newest = view.system_certificates(Purpose::OcspSigner, &issuer.id)?.into_iter().next();
        let responder = newest.map(|system| Responder::open(ports, view, system)).transpose()?;
        let mut message_keys = Vec::new();
        for system in view.system_certificates(Purpose::ScepMessage, &issuer.id)? {
            let (key, certificate) = (key_of(view, &system.key)?, certificate_of(view, &system)?);
            message_keys.push(MessageKey::open(&*ports.keyring, key, certificate)?);
        }
        let stand_in = message_keys.first().map(|key| stand_in(&key.certificate)).transpose()?;
        Ok(Self {
            issuer: issuer.clone(),
            certificate: Certificate::from_der(&issuer.certificate)?,
            chain: chain_of(issuer, all)?,
            lineage: status::lineage(view, &issuer.id)?,
            signer: ports.keyring.signer(&key_of(view, &issuer.key)?)?,
            ocsp: responder,
            trusted: Responder::load(ports, view, Purpose::TrustedResponder, &issuer.id)?,
            message_keys,
            stand_in: stand_in.unwrap_or_default(),
            announcement: OnceLock::new(),
        })
    }
}

fn chain_of(issuer: &Issuer, all: &BTreeMap<IssuerId, &Issuer>) -> Result<Vec<Certificate>, ServiceError> {
    let mut chain = Vec::new();
    let mut parent = issuer.parent.as_ref();
    // A damaged store must not make this loop for ever: a chain has at most as many members as there are issuers.
    while let Some(above) = parent.and_then(|id| all.get(id)).filter(|_| chain.len() < all.len()) {
        chain.push(Certificate::from_der(&above.certificate)?);
        parent = above.parent.as_ref();
    }
    Ok(chain)
}

fn key_of(view: &dyn View, id: &KeyId) -> Result<SealedKey, ServiceError> {
    view.key(id)?.ok_or_else(|| ServiceError::Internal(format!("the key {id} is not in the store")))
}

fn certificate_of(view: &dyn View, system: &SystemCertificate) -> Result<Certificate, ServiceError> {
    let record = view.certificate(&system.certificate)?.ok_or_else(|| {
        ServiceError::Internal(format!("the system certificate {} is not in the store", system.certificate))
    })?;
    Ok(Certificate::from_der(&record.der)?)
}

impl Gateway {
    /// The issuers and profiles as of now.
    pub fn authorities(&self) -> Arc<Authorities> {
        self.authorities.load_full()
    }
}
