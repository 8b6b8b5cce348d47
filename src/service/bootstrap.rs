//! Making a new gateway: root, issuing CA, SCEP message key, OCSP signers, TLS certificate, first profiles, owner token.
//!
//! Keys are made and certificates signed before the one transaction that records everything; it checks again that the store
//! is empty. The first CRLs are jobs of that transaction: the gateway builds them when it opens.

use std::time::Duration;

use super::{
    Ports, ServiceError, SystemSettings,
    audit::Act,
    crl::CrlSettings,
    issue,
    profile::{self, ConfiguredProfile},
    system::{Above, OwnCertificate, purposes},
    token::{self, NewToken},
};
use crate::{
    domain::{
        access::{Actor, Role},
        certificate::{CertificateRecord, Purpose},
        crl::CrlPolicy,
        issuer::{Generation, Issuer, IssuerKind},
        key::{KeyPurpose, SealedKey},
        profile::Profile,
        queue::JobKind,
    },
    ports::{Signer, Tx},
    types::{
        CertificateId, DigestAlgorithm, Fingerprint, IssuerId, KeyAlgorithm, RequestId, Secret, SerialNumber,
        Timestamp, Validity,
    },
    wire::x509::{CaConstraint, Certificate, CertificateSpec, KeyUsage, Name, PublicKey},
};

/// Name of the root.
pub const ROOT: &str = "root";
/// Name of the CA that issues.
pub const ISSUING: &str = "issuing";

const DAY: Duration = Duration::from_secs(86_400);
/// How far back the notBefore of a CA lies: devices come out of their boxes with clocks that are a day behind.
pub(super) const BACKDATE: Duration = DAY;

/// What to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Distinguished name of the root (RFC 4514).
    pub root_name: String,
    /// Distinguished name of the issuing CA.
    pub issuing_name: String,
    /// The root's kind of key.
    pub root_key: KeyAlgorithm,
    /// The issuing CA's kind of key.
    pub issuing_key: KeyAlgorithm,
    /// The digest of both CAs' signatures where their keys leave a choice (RSA); not SHA-1.
    pub digest: DigestAlgorithm,
    /// The root's life: 1 to 30.
    pub root_years: u32,
    /// The issuing CA's life, at most the root's.
    pub issuing_years: u32,
    /// What devices and gear reach, e.g. `http://pki.lab.example`: goes into CDP, AIA and OCSP URLs.
    pub public_url: String,
    /// How both CAs publish their CRLs.
    pub crl: CrlSettings,
    /// Lifetimes of certgate's own certificates.
    pub system: SystemSettings,
    /// Host names and addresses in the TLS certificate.
    pub server_names: Vec<String>,
    /// The first profiles.
    pub profiles: Vec<ConfiguredProfile>,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Of the root's certificate.
    pub root: Fingerprint,
    /// The same as hexadecimal SHA-1: what old clients ask for.
    pub root_sha1: String,
    /// Of the issuing CA's certificate.
    pub issuing: Fingerprint,
    /// Of the SCEP message certificate.
    pub message: Fingerprint,
    /// Shown once; only its MAC is stored.
    pub owner_token: Secret,
}

/// Makes everything in one transaction. Errors: the store has an issuer already (Conflict); the plan is wrong (Invalid).
pub fn initialise(ports: &Ports, plan: &Plan) -> Result<Made, ServiceError> {
    check_empty(ports)?;
    let checked = CheckedPlan::of(plan, ports.clock.now())?;
    let root = checked.make_root(ports)?;
    let issuing = checked.make_issuing(ports, &root)?;
    let mut own = Vec::new();
    for ca in [&root, &issuing] {
        for purpose in purposes(&ca.issuer, &plan.system) {
            let made = OwnCertificate::make(ports, ca.above(), purpose, &plan.system, &plan.server_names)?;
            own.push((purpose, made));
        }
    }
    let message = own.iter().find(|(purpose, _)| *purpose == Purpose::ScepMessage);
    let message = message.map(|(_, made)| made.certificate.fingerprint());
    let owner = NewToken {
        name: "owner".to_owned(),
        role: Role::Owner,
        lifetime_seconds: None,
        profiles: Vec::new(),
    };
    let (token, owner_token) = token::mint(ports, &owner, ports.clock.now())?;
    let act = Act {
        actor: Actor::System,
        request: RequestId::from_random(ports.random.bytes()),
        at: ports.clock.now(),
    };
    ports.store.write(|tx| {
        if !tx.issuers()?.is_empty() {
            return Err(already_initialised());
        }
        for ca in [&root, &issuing] {
            ca.write(tx, &act)?;
        }
        for (_, made) in &own {
            made.write(tx, &act)?;
        }
        for profile in &checked.profiles {
            profile::insert_version(tx, profile, &act)?;
        }
        tx.put_token(&token)?;
        Ok(tx.append_audit(&act.fact("token.created", &token.id, &[("name", token.name.clone())]))?)
    })?;
    Ok(Made {
        root: root.certificate.fingerprint(),
        root_sha1: hex::encode(DigestAlgorithm::Sha1.digest(root.certificate.as_der())),
        issuing: issuing.certificate.fingerprint(),
        message: message.ok_or_else(|| ServiceError::Internal("no SCEP message key was made".to_owned()))?,
        owner_token,
    })
}

fn check_empty(ports: &Ports) -> Result<(), ServiceError> {
    let issuers = ports.store.read(|view| Ok::<_, ServiceError>(view.issuers()?))?;
    if issuers.is_empty() { Ok(()) } else { Err(already_initialised()) }
}

fn already_initialised() -> ServiceError {
    ServiceError::Conflict("this store is initialised already".to_owned())
}

/// The plan as checked.
struct CheckedPlan<'a> {
    plan: &'a Plan,
    now: Timestamp,
    root_id: IssuerId,
    issuing_id: IssuerId,
    root_name: Name,
    issuing_name: Name,
    public_url: &'a str,
    profiles: Vec<Profile>,
}

impl<'a> CheckedPlan<'a> {
    fn of(plan: &'a Plan, now: Timestamp) -> Result<Self, ServiceError> {
        if !(1..=30).contains(&plan.root_years) {
            return Err(ServiceError::invalid("root-years", "a root lives 1 to 30 years"));
        }
        if !(1..=plan.root_years).contains(&plan.issuing_years) {
            return Err(ServiceError::invalid(
                "issuing-years",
                "the issuing CA lives 1 year to as long as the root",
            ));
        }
        if plan.digest.is_broken() {
            return Err(ServiceError::invalid("digest", "a CA signs with sha256, sha384 or sha512"));
        }
        plan.crl.check()?;
        let root_name = name("root-name", &plan.root_name)?;
        let issuing_name = name("issuing-name", &plan.issuing_name)?;
        if root_name.matches(&issuing_name) {
            // RFC 5280 §4.2.1.1: a certificate whose issuer equals its subject is taken for self-issued.
            return Err(ServiceError::invalid("issuing-name", "must differ from the root's name"));
        }
        Ok(Self {
            plan,
            now,
            root_id: id(ROOT)?,
            issuing_id: id(ISSUING)?,
            root_name,
            issuing_name,
            public_url: public_url(&plan.public_url)?,
            profiles: profile::first_versions(&plan.profiles, now)?,
        })
    }

    fn make_root(&self, ports: &Ports) -> Result<MadeCa, ServiceError> {
        let key = ports.keyring.generate(self.plan.root_key, KeyPurpose::Issuer, self.now)?;
        let signer = ports.keyring.signer(&key)?;
        let public_key = PublicKey::from_spki(&key.public_key)?;
        let validity = self.validity(self.plan.root_years);
        let spec = ca_specification(ports, &self.root_name, &self.root_name, validity, public_key, None);
        let certificate = issue::sign(&spec, signer.as_ref(), self.plan.digest)?;
        let issuer = self.issuer(&self.root_id, IssuerKind::Root, None, &certificate, &key);
        Ok(MadeCa::new(issuer, self.root_id.clone(), key, certificate, signer))
    }

    fn make_issuing(&self, ports: &Ports, root: &MadeCa) -> Result<MadeCa, ServiceError> {
        let key = ports.keyring.generate(self.plan.issuing_key, KeyPurpose::Issuer, self.now)?;
        let signer = ports.keyring.signer(&key)?;
        let public_key = PublicKey::from_spki(&key.public_key)?;
        let wanted = self.validity(self.plan.issuing_years);
        let validity = wanted.within(&root.certificate.validity()).unwrap_or(wanted);
        let spec = subordinate_specification(ports, root.above(), &self.issuing_name, validity, public_key);
        let certificate = issue::sign(&spec, root.signer.as_ref(), self.plan.digest)?;
        let parent = Some(self.root_id.clone());
        let issuer = self.issuer(&self.issuing_id, IssuerKind::Subordinate, parent, &certificate, &key);
        Ok(MadeCa::new(issuer, self.root_id.clone(), key, certificate, signer))
    }

    fn validity(&self, years: u32) -> Validity {
        Validity { not_before: self.now.minus(BACKDATE), not_after: self.now.plus(self::years(years)) }
    }

    fn issuer(
        &self,
        id: &IssuerId,
        kind: IssuerKind,
        parent: Option<IssuerId>,
        certificate: &Certificate,
        key: &SealedKey,
    ) -> Issuer {
        let url = self.public_url;
        let issuer = Issuer {
            id: id.clone(),
            kind,
            parent,
            certificate: certificate.as_der().to_vec(),
            key: key.id.clone(),
            digest: key.algorithm.digest(self.plan.digest),
            crl_urls: vec![format!("{url}/crl/{id}.crl")],
            ocsp_urls: vec![format!("{url}/ocsp")],
            ca_issuers_urls: vec![format!("{url}/ca/{id}.cer")],
            crl_policy: CrlPolicy::default(),
            created_at: self.now,
            generation: Generation::first(id, self.now),
            crl_mirror: None,
            partitionings: Vec::new(),
        };
        self.plan.crl.applied_to(issuer)
    }
}

/// Years of 365.25 days.
pub(super) const fn years(years: u32) -> Duration {
    Duration::from_secs(31_557_600 * years as u64)
}

/// A CA below `above` that issues to devices. It signs the announcement of its successor (RFC 8894 §4.7.1), which is neither a
/// certificate nor a CRL: so digitalSignature, too (RFC 5280 §4.2.1.3).
pub(super) fn subordinate_specification(
    ports: &Ports,
    above: Above<'_>,
    subject: &Name,
    validity: Validity,
    public_key: PublicKey,
) -> CertificateSpec {
    let issuer = above.certificate.subject();
    let common = ca_specification(ports, issuer, subject, validity, public_key, Some(0));
    let crls = above.issuer.full_locations();
    CertificateSpec {
        key_usage: common.key_usage.union(KeyUsage::DIGITAL_SIGNATURE),
        authority_key_identifier: issue::key_identifier(above.certificate),
        crl_urls: crls.crl_urls,
        freshest_crl_urls: crls.freshest_crl_urls,
        ocsp_urls: above.issuer.ocsp_urls.clone(),
        ca_issuers_urls: above.issuer.ca_issuers_urls.clone(),
        ..common
    }
}

/// What root and issuing CA have in common (RFC 5280 §4.2.1.3, §4.2.1.9). An issuing CA has no extendedKeyUsage: Windows
/// would limit what is below it to that.
fn ca_specification(
    ports: &Ports,
    issuer: &Name,
    subject: &Name,
    validity: Validity,
    public_key: PublicKey,
    path_len: Option<u8>,
) -> CertificateSpec {
    let serial = SerialNumber::from_random(ports.random.bytes());
    CertificateSpec {
        ca: Some(CaConstraint { path_len }),
        key_usage: KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN),
        ..CertificateSpec::new(serial, issuer.clone(), subject.clone(), validity, public_key)
    }
}

/// A CA, made and not yet recorded.
pub(super) struct MadeCa {
    pub(super) issuer: Issuer,
    key: SealedKey,
    certificate: Certificate,
    record: CertificateRecord,
    signer: std::sync::Arc<dyn Signer>,
}

impl MadeCa {
    pub(super) fn new(
        issuer: Issuer,
        signed_by: IssuerId,
        key: SealedKey,
        certificate: Certificate,
        signer: std::sync::Arc<dyn Signer>,
    ) -> Self {
        let id = CertificateId { issuer: signed_by, serial: certificate.serial().clone() };
        let record = issue::own_record(id, &certificate, Purpose::Issuer, issuer.created_at);
        Self { issuer, key, certificate, record, signer }
    }

    pub(super) fn above(&self) -> Above<'_> {
        Above { issuer: &self.issuer, certificate: &self.certificate, signer: self.signer.as_ref() }
    }

    pub(super) fn write(&self, tx: &mut dyn Tx, act: &Act) -> Result<(), ServiceError> {
        tx.insert_key(&self.key)?;
        tx.put_issuer(&self.issuer)?;
        tx.insert_certificate(&self.record)?;
        tx.enqueue(&JobKind::BuildCrl { issuer: self.issuer.id.clone() }, act.at)?;
        tx.append_audit(&issue::issued_fact(act, &self.record))?;
        let detail = [("subject", self.record.subject.clone()), ("key", self.key.algorithm.to_string())];
        Ok(tx.append_audit(&act.fact("issuer.created", &self.issuer.id, &detail))?)
    }
}

fn name(field: &'static str, text: &str) -> Result<Name, ServiceError> {
    let name: Name = text.parse().map_err(|error| ServiceError::invalid(field, error))?;
    // RFC 5280 §4.1.2.6: a CA has a subject; clients show its common name.
    if name.common_name().is_none() {
        return Err(ServiceError::invalid(field, "a CA's name needs a CN, as in CN=Lab Root,O=Lab"));
    }
    Ok(name)
}

fn id(text: &str) -> Result<IssuerId, ServiceError> {
    text.parse().map_err(|error| ServiceError::Internal(format!("{error}")))
}

/// Plain HTTP only: whoever would fetch a CRL to check the TLS certificate of the place that has it never ends (RFC 5280 §8).
fn public_url(text: &str) -> Result<&str, ServiceError> {
    let url = text.trim_end_matches('/');
    let problem = match url.strip_prefix("http://") {
        None => {
            "must begin with http://, because CRL and OCSP are fetched by those who check TLS certificates"
        }
        Some("") => "needs a host",
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#', '@']) => {
            "is a host with an optional port and path, in ASCII"
        }
        Some(_) => return Ok(url),
    };
    Err(ServiceError::invalid("public-url", problem))
}
