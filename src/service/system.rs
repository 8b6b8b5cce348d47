//! certgate's own certificates: made at init, renewed by themselves.
//!
//! | purpose | key | issued by | in use |
//! |---|---|---|---|
//! | SCEP message | RSA-2048 always: no client can encrypt to another kind | each subordinate that is current or announced | newest signs and is handed out, all open envelopes |
//! | OCSP signer | like its issuer: RSA-2048 under RSA, P-256 under EC; or as `ocsp-signer-key` says | every issuer that does not sign its answers itself | newest |
//! | trusted responder ([`super::responder`]) | as the OCSP signer | an issuer that an operator chose, for certificates of external issuers | the newest whose time has come |
//! | server TLS | P-256 | each subordinate that is current | newest |
//!
//! Each is renewed with a new key when a third of its life is left, and at once where somebody revoked it or put it on hold, and where the clock was
//! ahead when it was made (an OCSP signer also when its key is to be of another kind); it is removed with its key when it has expired and a
//! newer one is there. Until then both are usable: an envelope to the old message key still opens, and is answered by it. A trusted
//! responder's successor does not sign at once: somebody has to hand it out first ([`crate::domain::responder`]). The message
//! keys of a CA that is retired ([`super::rollover`]) are renewed no more, and go when they expire.

use std::{net::IpAddr, sync::Arc, time::Duration};

use const_oid::{
    ObjectIdentifier,
    db::rfc5280::{ID_KP_OCSP_SIGNING, ID_KP_SERVER_AUTH},
};

use super::{
    Gateway, OcspSigner, Ports, ServiceError, SystemSettings,
    audit::Act,
    authority::Authority,
    issue::{self, common_name},
};
use crate::{
    domain::{
        access::Actor,
        certificate::{CertificateRecord, Purpose, SystemCertificate},
        issuer::{GenerationState, Issuer, IssuerKind},
        key::{KeyPurpose, SealedKey},
        responder::successor_signs_at,
    },
    ports::{Signer, Tx, View},
    types::{CertificateId, KeyAlgorithm, SerialNumber, Timestamp, Validity},
    wire::x509::{Certificate, CertificateSpec, GeneralName, KeyUsage, PublicKey},
};

/// Certificate Request Agent (szOID_ENROLLMENT_AGENT): without this or serverAuth the Windows SCEP client refuses the
/// message certificate with 0x8010002c.
const CERTIFICATE_REQUEST_AGENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.1");

/// How far back notBefore lies, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// The chain that a TLS listener shows, in DER, leaf first and without the root; and the key of the leaf.
pub type ServerTls = (Vec<Vec<u8>>, Arc<dyn Signer>);

/// Every purpose that a certificate of our own may have.
const ALL: [Purpose; 4] =
    [Purpose::OcspSigner, Purpose::ScepMessage, Purpose::ServerTls, Purpose::TrustedResponder];

/// The certificates that an issuer must have: devices talk to the generation that is current and to the one that is announced, and
/// TLS is the current one's. A trusted responder is nothing that it must have: see [`Gateway::purposes`].
pub(super) fn purposes(issuer: &Issuer, settings: &SystemSettings) -> Vec<Purpose> {
    let all: &[Purpose] = match (issuer.kind, issuer.generation.state) {
        (IssuerKind::Subordinate, GenerationState::Current) => {
            &[Purpose::OcspSigner, Purpose::ScepMessage, Purpose::ServerTls]
        }
        (IssuerKind::Subordinate, GenerationState::Announced) => &[Purpose::OcspSigner, Purpose::ScepMessage],
        (IssuerKind::Root, _)
        | (IssuerKind::Subordinate, GenerationState::Retired | GenerationState::Withdrawn) => {
            &[Purpose::OcspSigner]
        }
    };
    let by_ca = settings.ocsp_signer_of(&issuer.generation.line) == OcspSigner::Ca;
    all.iter().copied().filter(|purpose| *purpose != Purpose::OcspSigner || !by_ca).collect()
}

/// The kind of an OCSP signer's key. Who can check an EC issuer's certificates can check a P-256 answer, at a fourteenth of the cost of an
/// RSA one; who has only RSA (old switches, printers) is given an RSA issuer, and then RSA answers.
fn ocsp_key(settings: &SystemSettings, issuer: &Issuer, issuer_key: KeyAlgorithm) -> KeyAlgorithm {
    match settings.ocsp_signer_of(&issuer.generation.line) {
        OcspSigner::DelegateWith(key) => key,
        OcspSigner::Delegate | OcspSigner::Ca if issuer_key.is_rsa() => KeyAlgorithm::Rsa2048,
        OcspSigner::Delegate | OcspSigner::Ca => KeyAlgorithm::P256,
    }
}

/// The issuer that signs, with its key.
#[derive(Clone, Copy)]
pub(super) struct Above<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) certificate: &'a Certificate,
    pub(super) signer: &'a dyn Signer,
}

impl<'a> From<&'a Authority> for Above<'a> {
    fn from(authority: &'a Authority) -> Self {
        Self {
            issuer: &authority.issuer,
            certificate: &authority.certificate,
            signer: authority.signer.as_ref(),
        }
    }
}

/// A certificate of our own with its key: made and signed, not yet recorded.
pub(super) struct OwnCertificate {
    pub(super) certificate: Certificate,
    key: SealedKey,
    record: CertificateRecord,
    since: Timestamp,
}

impl OwnCertificate {
    /// Makes a key and has its certificate signed. Writes nothing.
    pub(super) fn make(
        ports: &Ports,
        above: Above<'_>,
        purpose: Purpose,
        settings: &SystemSettings,
        server_names: &[String],
    ) -> Result<Self, ServiceError> {
        let now = ports.clock.now();
        let recipe = Recipe::of(purpose, above, settings, server_names)?;
        let validity = recipe.validity(above, now)?;
        let key = ports.keyring.generate(recipe.key, recipe.key_purpose, now)?;
        let serial = SerialNumber::from_random(ports.random.bytes());
        let spec = recipe.specification(above, serial, PublicKey::from_spki(&key.public_key)?, validity)?;
        let certificate = issue::sign(&spec, above.signer, above.issuer.digest)?;
        let id = CertificateId { issuer: above.issuer.id.clone(), serial: certificate.serial().clone() };
        let record = issue::own_record(id, &certificate, purpose, now);
        Ok(Self { certificate, key, record, since: now })
    }

    /// The same, in use from after `before` on: the newest of a purpose must be one, also when the clock was set back or two
    /// were made within a second.
    fn succeeding(self, before: Option<&SystemCertificate>) -> Self {
        let since = self.since;
        self.in_use_at(since, before)
    }

    /// [`OwnCertificate::succeeding`], and not before `at`.
    fn in_use_at(self, at: Timestamp, before: Option<&SystemCertificate>) -> Self {
        let after = before.map_or(at, |before| before.since.plus(Duration::from_secs(1)));
        Self { since: at.max(after), ..self }
    }

    /// Records key, certificate and use.
    pub(super) fn write(&self, tx: &mut dyn Tx, act: &Act) -> Result<(), ServiceError> {
        tx.insert_key(&self.key)?;
        tx.insert_certificate(&self.record)?;
        tx.insert_system_certificate(&SystemCertificate {
            certificate: self.record.id.clone(),
            purpose: self.record.purpose,
            key: self.key.id.clone(),
            since: self.since,
        })?;
        Ok(tx.append_audit(&issue::issued_fact(act, &self.record))?)
    }
}

/// What a certificate of a purpose looks like.
struct Recipe {
    key: KeyAlgorithm,
    key_purpose: KeyPurpose,
    /// Put behind the issuer's common name.
    label: &'static str,
    key_usage: KeyUsage,
    extended_key_usage: ObjectIdentifier,
    subject_alt_names: Vec<GeneralName>,
    lifetime: Duration,
    /// An OCSP signer has no CDP, no AIA and id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1): its status could only be asked of
    /// itself; its short life stands in for it.
    no_check: bool,
}

impl Recipe {
    fn of(
        purpose: Purpose,
        above: Above<'_>,
        settings: &SystemSettings,
        server_names: &[String],
    ) -> Result<Self, ServiceError> {
        let sign = KeyUsage::DIGITAL_SIGNATURE;
        Ok(match purpose {
            // RFC 8894 §2.1.2: both uses in one certificate; Apple looks for exactly that in the bundle.
            Purpose::ScepMessage => Self {
                key: KeyAlgorithm::Rsa2048,
                key_purpose: KeyPurpose::ScepMessage,
                label: "SCEP",
                key_usage: sign.union(KeyUsage::KEY_ENCIPHERMENT),
                extended_key_usage: CERTIFICATE_REQUEST_AGENT,
                subject_alt_names: Vec::new(),
                lifetime: settings.message,
                no_check: false,
            },
            Purpose::OcspSigner => Self {
                key: ocsp_key(settings, above.issuer, above.signer.algorithm()),
                key_purpose: KeyPurpose::OcspSigner,
                label: "OCSP",
                key_usage: sign,
                extended_key_usage: ID_KP_OCSP_SIGNING,
                subject_alt_names: Vec::new(),
                lifetime: settings.ocsp_signer,
                no_check: true,
            },
            // It lives long, because people carry it to the gear, and has no CDP and no AIA either: gear that is told to trust it asks
            // nobody about it.
            Purpose::TrustedResponder => Self {
                key: ocsp_key(settings, above.issuer, above.signer.algorithm()),
                key_purpose: KeyPurpose::OcspSigner,
                label: "Trusted OCSP",
                key_usage: sign,
                extended_key_usage: ID_KP_OCSP_SIGNING,
                subject_alt_names: Vec::new(),
                lifetime: settings.trusted_responder,
                no_check: true,
            },
            Purpose::ServerTls => Self {
                key: KeyAlgorithm::P256,
                key_purpose: KeyPurpose::ServerTls,
                label: "TLS",
                key_usage: sign,
                extended_key_usage: ID_KP_SERVER_AUTH,
                subject_alt_names: server_alt_names(server_names),
                lifetime: settings.server_tls,
                no_check: false,
            },
            Purpose::Leaf | Purpose::Issuer | Purpose::Imported => {
                let told =
                    "neither a leaf's nor an issuer's nor an imported certificate is a system certificate";
                return Err(ServiceError::Internal(told.to_owned()));
            }
        })
    }

    fn validity(&self, above: Above<'_>, now: Timestamp) -> Result<Validity, ServiceError> {
        let wanted = Validity { not_before: now.minus(BACKDATE), not_after: now.plus(self.lifetime) };
        let issuers = above.certificate.validity();
        wanted.within(&issuers).filter(|_| issuers.contains(now)).ok_or_else(|| {
            ServiceError::Refused(format!(
                "the issuer {} is not valid now: it can sign nothing",
                above.issuer.id
            ))
        })
    }

    fn specification(
        &self,
        above: Above<'_>,
        serial: SerialNumber,
        public_key: PublicKey,
        validity: Validity,
    ) -> Result<CertificateSpec, ServiceError> {
        let urls = |urls: &[String]| if self.no_check { Vec::new() } else { urls.to_vec() };
        let issuer = above.certificate.subject().clone();
        let subject = common_name(above.certificate, self.label)?;
        let crls = above.issuer.full_locations();
        Ok(CertificateSpec {
            authority_key_identifier: issue::key_identifier(above.certificate),
            key_usage: self.key_usage,
            extended_key_usage: vec![self.extended_key_usage],
            subject_alt_names: self.subject_alt_names.clone(),
            crl_urls: urls(&crls.crl_urls),
            freshest_crl_urls: urls(&crls.freshest_crl_urls),
            ocsp_urls: urls(&above.issuer.ocsp_urls),
            ca_issuers_urls: urls(&above.issuer.ca_issuers_urls),
            ocsp_no_check: self.no_check,
            ..CertificateSpec::new(serial, issuer, subject, validity, public_key)
        })
    }
}

fn server_alt_names(names: &[String]) -> Vec<GeneralName> {
    let general_name = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => GeneralName::Ip(address),
        Err(_) => GeneralName::Dns(name.clone()),
    };
    names.iter().map(general_name).collect()
}

impl Gateway {
    /// Renews whatever has a third or less of its life left, and a TLS certificate whose names are not the configured ones;
    /// removes what has expired. Gives whether anything changed. The old message key still opens envelopes.
    ///
    /// One issuer that cannot sign does not keep the others from being renewed; its error is given at the end.
    pub(crate) fn renew_system_certificates(&self) -> Result<bool, ServiceError> {
        let mut changed = false;
        let mut failed = None;
        let mut barred = Vec::new();
        let authorities = self.authorities();
        for authority in authorities.issuers() {
            let id = &authority.issuer.id;
            let signer = authority.ocsp.as_ref().map(|it| it.certificate.serial());
            for purpose in self.purposes(authority) {
                match self.renew_system_certificate(authority, purpose) {
                    Ok(renewed) => {
                        changed |= renewed;
                        let is_signer = renewed && purpose == Purpose::OcspSigner;
                        if is_signer && signer.is_some_and(|serial| self.is_listed(id, serial)) {
                            barred.push(id);
                        }
                    }
                    Err(error) => {
                        tracing::error!(issuer = %id, ?purpose, %error, "cannot renew a certificate of our own");
                        failed = failed.or(Some(error));
                    }
                }
            }
        }
        let removed = self.remove_expired_system_certificates();
        changed |= *removed.as_ref().unwrap_or(&false);
        // Whatever else failed: what was renewed is in use from now on.
        let reloaded = if changed { self.reload_authorities() } else { Ok(()) };
        // What a signer signed that is revoked since must not be given out any more.
        for issuer in barred {
            self.responders_moved(issuer);
        }
        removed.and(reloaded)?;
        failed.map_or(Ok(changed), Err)
    }

    /// When the next renewal is due; at once where a certificate is missing, never for an issuer that expired.
    pub(crate) fn next_system_renewal(&self) -> Result<Timestamp, ServiceError> {
        let mut due = Timestamp::MAX;
        for authority in self.authorities().issuers() {
            for purpose in self.purposes(authority) {
                let newest = self.newest(authority, purpose)?;
                due = due.min(self.due(authority, purpose, newest.as_ref().map(|(_, it)| it)));
            }
        }
        Ok(due)
    }

    /// The TLS certificate chain and key for the listeners.
    pub fn server_tls(&self) -> Result<ServerTls, ServiceError> {
        let authorities = self.authorities();
        // After a cut-over the old one's is shown until the worker has made the new one's.
        let is_current = |it: &&Arc<Authority>| it.issuer.generation.state == GenerationState::Current;
        let (current, others): (Vec<_>, Vec<_>) = authorities.issuers().partition(is_current);
        for authority in current.into_iter().chain(others) {
            if let Some((system, certificate)) = self.newest(authority, Purpose::ServerTls)? {
                let key = self.ports.store.read(|view| Ok::<_, ServiceError>(view.key(&system.key)?))?;
                let key = key.ok_or_else(|| ServiceError::not_found("key", &system.key))?;
                let chain = vec![certificate.as_der().to_vec(), authority.certificate.as_der().to_vec()];
                return Ok((chain, self.ports.keyring.signer(&key)?));
            }
        }
        Err(ServiceError::Internal("no issuer has a TLS certificate".to_owned()))
    }

    /// What an issuer must have, and the trusted responder if external issuers are answered for by it.
    fn purposes(&self, authority: &Authority) -> Vec<Purpose> {
        let mut purposes = purposes(&authority.issuer, &self.settings.system);
        if self.authorities().trusting(&authority.issuer.id).next().is_some() {
            purposes.push(Purpose::TrustedResponder);
        }
        purposes
    }

    fn renew_system_certificate(
        &self,
        authority: &Authority,
        purpose: Purpose,
    ) -> Result<bool, ServiceError> {
        let now = self.now();
        let before = self.newest(authority, purpose)?;
        if now < self.due(authority, purpose, before.as_ref().map(|(_, certificate)| certificate)) {
            return Ok(false);
        }
        let made = self.make_successor(authority, purpose, before.as_ref())?;
        let before = before.map(|(system, _)| system);
        let act = Act { actor: Actor::System, request: self.new_request(), at: now };
        let accepted = self.accepted();
        let renewed = self.ports.store.write(|tx| {
            // Whoever else renewed it meanwhile has done the work.
            let newest = tx.system_certificates(purpose, &authority.issuer.id)?.into_iter().next();
            if newest != before {
                return Ok(false);
            }
            made.write(tx, &act).map(|()| true)
        })?;
        // Under a CA that is revoked or on hold it is so from its first day, and belongs on the CRL.
        if renewed && self.status.is_inherited(&authority.issuer.id) {
            self.status_moved(std::slice::from_ref(&made.record.id), accepted)?;
        }
        Ok(renewed)
    }

    /// The next certificate of a purpose, made and signed. The trusted responder's signs when people had the time to hand it out, unless
    /// there is none that could sign until then.
    pub(super) fn make_successor(
        &self,
        authority: &Authority,
        purpose: Purpose,
        before: Option<&(SystemCertificate, Certificate)>,
    ) -> Result<OwnCertificate, ServiceError> {
        let (settings, names) = (&self.settings.system, &self.settings.server_names);
        let made = OwnCertificate::make(&self.ports, authority.into(), purpose, settings, names)?;
        let system = before.map(|(system, _)| system);
        let present = before.filter(|(_, certificate)| {
            purpose == Purpose::TrustedResponder && self.can_respond(authority, certificate)
        });
        Ok(match present {
            Some((_, certificate)) => made.in_use_at(successor_signs_at(&certificate.validity()), system),
            None => made.succeeding(system),
        })
    }

    /// Whether a responder with this certificate of `authority` may sign now.
    pub(super) fn can_respond(&self, authority: &Authority, certificate: &Certificate) -> bool {
        certificate.validity().contains(self.now())
            && !self.is_barred(&authority.issuer.id, certificate.serial())
    }

    /// Removes expired certificates with their keys, but never the newest of a purpose that its issuer still has. A key does not come
    /// back: what has expired is told by the time that is believed.
    fn remove_expired_system_certificates(&self) -> Result<bool, ServiceError> {
        let now = self.believed_now();
        let expired = self.ports.store.read(|view| {
            let mut expired = Vec::new();
            let authorities = self.authorities();
            let own = authorities.issuers().flat_map(|authority| {
                let needed = self.purposes(authority);
                ALL.map(|purpose| (purpose, &authority.issuer.id, usize::from(needed.contains(&purpose))))
            });
            // The last one that another CA signed for us stays: people see by it what ended.
            let delegates =
                authorities.externals().map(|external| (Purpose::OcspSigner, &external.issuer.id, 1));
            for (purpose, issuer, kept) in own.chain(delegates) {
                for old in view.system_certificates(purpose, issuer)?.into_iter().skip(kept) {
                    if certificate_of(view, &old)?.validity().not_after < now {
                        expired.push(old);
                    }
                }
            }
            Ok::<_, ServiceError>(expired)
        })?;
        if expired.is_empty() {
            return Ok(false);
        }
        let act = Act { actor: Actor::System, request: self.new_request(), at: now };
        self.ports.store.write(|tx| {
            for old in &expired {
                tx.remove_system_certificate(old)?;
                tx.append_audit(&act.fact(
                    "key.removed",
                    &old.key,
                    &[("certificate", old.certificate.to_string())],
                ))?;
            }
            Ok(true)
        })
    }

    /// The newest certificate of a purpose.
    pub(super) fn newest(
        &self,
        authority: &Authority,
        purpose: Purpose,
    ) -> Result<Option<(SystemCertificate, Certificate)>, ServiceError> {
        self.ports.store.read(|view| {
            let newest = view.system_certificates(purpose, &authority.issuer.id)?.into_iter().next();
            newest
                .map(|system| certificate_of(view, &system).map(|certificate| (system, certificate)))
                .transpose()
        })
    }

    /// When the newest certificate of a purpose is to be renewed: when a third of its life is left, but never one that lives
    /// as long as its issuer, which nothing can outlive.
    fn due(&self, authority: &Authority, purpose: Purpose, newest: Option<&Certificate>) -> Timestamp {
        let end = authority.certificate.validity().not_after;
        if end < self.now() {
            return Timestamp::MAX;
        }
        let Some(certificate) = newest else { return Timestamp::EPOCH };
        let names = server_alt_names(&self.settings.server_names);
        if purpose == Purpose::ServerTls && certificate.subject_alt_names() != names {
            return Timestamp::EPOCH;
        }
        let key = certificate.public_key().kind().algorithm();
        let wanted = ocsp_key(&self.settings.system, &authority.issuer, authority.signer.algorithm());
        if purpose == Purpose::OcspSigner && key != Some(wanted) {
            return Timestamp::EPOCH;
        }
        // Somebody revoked it: no gear should rely on it any more.
        if self.is_listed(&authority.issuer.id, certificate.serial()) {
            return Timestamp::EPOCH;
        }
        let Validity { not_before, not_after } = certificate.validity();
        // It was made while the clock was ahead: nobody takes it before its time.
        if not_before > self.now() {
            return Timestamp::EPOCH;
        }
        if not_after >= end { Timestamp::MAX } else { not_after.minus(not_after.since(not_before) / 3) }
    }
}

fn certificate_of(view: &dyn View, system: &SystemCertificate) -> Result<Certificate, ServiceError> {
    let record = view
        .certificate(&system.certificate)?
        .ok_or_else(|| ServiceError::not_found("certificate", &system.certificate))?;
    Ok(Certificate::from_der(&record.der)?)
}
