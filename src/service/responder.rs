//! Who signs OCSP answers about the certificates of external issuers (RFC 6960 §2.2, §4.2.2.2), as an operator decides it for each:
//!
//! | mode | whose key signs | why gear believes it |
//! |---|---|---|
//! | `none` (the default) | nobody's: `unauthorized` | |
//! | `delegate` | one of ours, whose certificate the external CA signed | it was signed by the CA of the certificate in question, with id-kp-OCSPSigning |
//! | `trusted` | one of ours, whose certificate an issuer of ours signed | it was configured to trust that certificate, or what that issuer signs |
//!
//! **Delegate.** [`Gateway::request_responder`] makes a key and a PKCS#10 request; its CA signs; [`Gateway::install_responder`] looks at
//! what came back as a relying party will ([`check_delegate`]) and puts it to work. To renew it, do both again: the one before signs until
//! the new one is there, and stays usable. Each certificate has a key of its own.
//!
//! **Trusted.** The responder belongs to the issuer of ours, which makes and renews it by itself ([`super::system`]); every external issuer
//! that is answered for by that issuer has the same one, so that the gear needs one certificate.
//!
//! When who signs has changed, no answer by the one before leaves: `Gateway::responders_moved`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Gateway, ServiceError,
    audit::Act,
    authority::{Authority, External, Responder},
    issue::common_name,
};
use crate::{
    domain::{
        access::{Administer, Authed, Read},
        certificate::{CertificateRecord, Purpose, SystemCertificate},
        import::{RecordChange, Told, ToldStanding},
        issuer::{ExternalIssuer, GenerationState, OcspAuthority},
        key::{KeyPurpose, SealedKey},
        responder::{check_delegate, warnings},
        status,
    },
    ports::{Tx, View},
    types::{
        CertificateId, DigestAlgorithm, Fingerprint, IssuerId, KeyAlgorithm, KeyId, SerialNumber, Timestamp,
    },
    wire::{
        csr::{Csr, ResponderCsrSpec},
        x509::{Certificate, PublicKey},
    },
};

/// Who signs, as the API says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponderMode {
    /// Nobody.
    None,
    /// A responder whose certificate the external CA signed.
    Delegate,
    /// A responder whose certificate an issuer of ours signed.
    Trusted,
}

/// Who is to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewResponderMode {
    /// Who.
    pub mode: ResponderMode,
    /// With `trusted`, and only then: the issuer of ours.
    #[serde(default)]
    pub by: Option<IssuerId>,
}

/// What to ask the external CA for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewResponderRequest {
    /// The kind of key; P-256, or RSA-2048 where the CA's own key is RSA.
    #[serde(default)]
    pub key: Option<KeyAlgorithm>,
    /// Whether a new key is made where an unanswered request has one already.
    #[serde(default)]
    pub new_key: bool,
}

/// What the external CA is to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponderRequest {
    /// Whose certificates it will answer for.
    pub issuer: IssuerId,
    /// The name that it asks for; the CA may choose another.
    pub subject: String,
    /// The kind of key.
    pub key: KeyAlgorithm,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub public_key: Fingerprint,
    /// When the key was made.
    pub requested_at: Timestamp,
    /// The PKCS#10 request as PEM text.
    pub pem: String,
}

/// What the external CA signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewResponder {
    /// The certificate, as PEM text.
    pub certificate: String,
}

/// Who answers for an external issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponderView {
    /// The external issuer.
    pub issuer: IssuerId,
    /// Who signs.
    pub mode: ResponderMode,
    /// With `trusted`: the issuer of ours.
    pub by: Option<IssuerId>,
    /// notAfter of the certificate that signs; none while there is none that may.
    pub not_after: Option<Timestamp>,
    /// The responders' certificates, newest first.
    pub certificates: Vec<ResponderCertificate>,
    /// When the key of the request was made that has no certificate yet.
    pub requested_at: Option<Timestamp>,
}

/// A responder's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponderCertificate {
    /// Its name in the records, as `ISSUER/SERIAL`.
    pub id: String,
    /// Where it stands.
    pub state: ResponderState,
    /// When it begins to sign, or began.
    pub since: Timestamp,
    /// Its subject.
    pub subject: String,
    /// Its serial number.
    pub serial: SerialNumber,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter.
    pub not_after: Timestamp,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// Whether it has id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1): else clients may ask for its own status, each time.
    pub no_check: bool,
    /// What some gear will not like about it, in plain words.
    pub warnings: Vec<String>,
    /// The certificate as PEM text.
    pub pem: String,
}

/// Where a responder's certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponderState {
    /// It signs.
    Signing,
    /// It will: there is time to hand it out.
    Next,
    /// Another one took its place; what it signed is still about.
    Former,
    /// It has expired, or is revoked or on hold.
    Over,
}

impl From<&OcspAuthority> for ResponderMode {
    fn from(authority: &OcspAuthority) -> Self {
        match authority {
            OcspAuthority::None => Self::None,
            OcspAuthority::Delegate => Self::Delegate,
            OcspAuthority::Trusted { .. } => Self::Trusted,
        }
    }
}

impl Gateway {
    /// Who answers for an external issuer.
    pub fn responder(&self, _authed: &Authed<Read>, id: &IssuerId) -> Result<ResponderView, ServiceError> {
        self.shown_responder(id)
    }

    /// Makes a key for a responder and gives the request that the external CA is to sign. Asked again before the answer is here, it gives
    /// the request for the same key, unless another kind of key is wanted, or `new_key`: then the one before counts no more.
    pub fn request_responder(
        &self,
        authed: &Authed<Administer>,
        id: &IssuerId,
        wanted: &NewResponderRequest,
    ) -> Result<ResponderRequest, ServiceError> {
        let authorities = self.authorities();
        let external = found(authorities.external(id), id)?;
        let open = self.ports.store.read(|view| open_request(view, id))?;
        let kind = wanted.key.or_else(|| open.as_ref().map(|key| key.algorithm));
        let kind = kind.unwrap_or_else(|| usual_key(&external.certificate));
        let key = match open {
            Some(key) if key.algorithm == kind && !wanted.new_key => key,
            open => self.new_request_key(authed, id, kind, open.as_ref().map(|key| &key.id))?,
        };
        self.written_request(external, &key)
    }

    /// Takes an unanswered request back: its key is gone, and with it the use of whatever the CA makes of it. Who signs stays as it is.
    ///
    /// Errors: no request is open (Refused).
    pub fn cancel_responder_request(
        &self,
        authed: &Authed<Administer>,
        id: &IssuerId,
    ) -> Result<ResponderView, ServiceError> {
        let act = Act::of(authed, self.now());
        self.ports.store.write(|tx| {
            let issuer = stored(tx.as_view(), id)?;
            let Some(key) = open_request(tx.as_view(), id)? else { return Err(none_open(id)) };
            tx.remove_key(&key.id)?;
            tx.put_external_issuer(&ExternalIssuer { requested: None, ..issuer })?;
            let fingerprint = Fingerprint::of(&key.public_key).to_string();
            let fact = act.fact("responder.request-cancelled", id, &[("public-key", fingerprint)]);
            Ok(tx.append_audit(&fact).map(drop)?)
        })?;
        self.shown_responder(id)
    }

    /// Takes the certificate that the external CA signed, and lets it answer from now on.
    pub fn install_responder(
        &self,
        authed: &Authed<Administer>,
        id: &IssuerId,
        new: &NewResponder,
    ) -> Result<ResponderView, ServiceError> {
        let wrong = |problem: &dyn std::fmt::Display| ServiceError::invalid("certificate", problem);
        let authorities = self.authorities();
        let external = found(authorities.external(id), id)?;
        let certificate = Certificate::from_pem(&new.certificate).map_err(|error| wrong(&error))?;
        let act = Act::of(authed, self.now());
        let installed = external.responders.iter().any(|it| it.certificate == certificate);
        if external.issuer.ocsp == OcspAuthority::Delegate && installed {
            return self.shown_responder(id);
        }
        let refused = |problem: &dyn std::fmt::Display| ServiceError::Refused(problem.to_string());
        let Some(key) = self.ports.store.read(|view| open_request(view, id))? else {
            return Err(none_open(id));
        };
        let public_key = PublicKey::from_spki(&key.public_key)?;
        check_delegate(&certificate, &external.certificate, &public_key, act.at)
            .map_err(|why| refused(&why))?;
        self.ports.store.write(|tx| install(tx, &act, id, &key.id, &certificate))?;
        for warning in warnings(&certificate) {
            let serial = certificate.serial();
            tracing::warn!(request = %act.request, issuer = %id, %serial, "the responder's certificate: {warning}");
        }
        self.responders_changed(id)?;
        self.shown_responder(id)
    }

    /// Decides who signs. With `delegate`, a certificate of the external CA must be installed; with `trusted`, the issuer of ours makes a
    /// responder if it has none.
    pub fn set_responder_mode(
        &self,
        authed: &Authed<Administer>,
        id: &IssuerId,
        new: &NewResponderMode,
    ) -> Result<ResponderView, ServiceError> {
        let authorities = self.authorities();
        let external = found(authorities.external(id), id)?;
        let ocsp = match (new.mode, &new.by) {
            (ResponderMode::None, None) => OcspAuthority::None,
            (ResponderMode::Delegate, None) => OcspAuthority::Delegate,
            (ResponderMode::Trusted, Some(by)) => OcspAuthority::Trusted { by: by.clone() },
            (ResponderMode::Trusted, None) => {
                return Err(ServiceError::invalid(
                    "by",
                    "which issuer of ours signs the responder's certificate?",
                ));
            }
            (ResponderMode::None | ResponderMode::Delegate, Some(_)) => {
                return Err(ServiceError::invalid("by", "is for the mode trusted alone"));
            }
        };
        if external.issuer.ocsp == ocsp {
            return self.shown_responder(id);
        }
        let act = Act::of(authed, self.now());
        match &ocsp {
            OcspAuthority::Trusted { by } => {
                let by = authorities.issuer(by).ok_or_else(|| ServiceError::not_found("issuer", by))?;
                self.trust(&act, id, by)?;
            }
            OcspAuthority::None | OcspAuthority::Delegate => {
                self.ports.store.write(|tx| set_mode(tx, &act, id, &ocsp))?;
            }
        }
        self.responders_changed(id)?;
        self.shown_responder(id)
    }

    /// After a commit: whatever was signed before is forgotten, also where the issuers cannot be read again now.
    fn responders_changed(&self, issuer: &IssuerId) -> Result<(), ServiceError> {
        let reloaded = self.reload_authorities();
        self.responders_moved(issuer);
        reloaded
    }

    /// Who may sign about the certificates of an external issuer has changed. When this returns, no answer by the one before is given out
    /// any more: whoever is signing one finds the epochs moved. The worker looks at what is to be renewed and shown.
    pub(super) fn responders_moved(&self, issuer: &IssuerId) {
        self.status.move_all();
        self.ocsp.forget_issuer(issuer, self.now());
        self.wake();
    }

    /// The external issuers that are answered for by a responder with one of these certificates.
    pub(super) fn externals_answered_with(&self, certificates: &[CertificateId]) -> Vec<IssuerId> {
        let authorities = self.authorities();
        let with = |external: &External| external.responders.iter().any(|it| certificates.contains(&it.id));
        authorities.externals().filter(|it| with(it)).map(|it| it.issuer.id.clone()).collect()
    }

    /// Whose turn it is to sign for an external issuer: nobody's who is revoked or on hold, or may be since a moment ago.
    pub(super) fn signing_responder<'a>(&self, external: &'a External) -> Option<&'a Responder> {
        let barred = |CertificateId { issuer, serial }: &CertificateId| {
            self.is_barred(issuer, serial) || self.status.is_unsettled(issuer, serial)
        };
        external.responders_at(self.now()).find(|responder| !barred(&responder.id))
    }

    fn new_request_key(
        &self,
        authed: &Authed<Administer>,
        id: &IssuerId,
        kind: KeyAlgorithm,
        before: Option<&KeyId>,
    ) -> Result<SealedKey, ServiceError> {
        let act = Act::of(authed, self.now());
        let key = self.ports.keyring.generate(kind, KeyPurpose::OcspSigner, act.at)?;
        self.ports.store.write(|tx| {
            let issuer = stored(tx.as_view(), id)?;
            if issuer.requested.as_ref() != before {
                return Err(changed_meanwhile());
            }
            if let Some(before) = before {
                tx.remove_key(before)?;
            }
            tx.insert_key(&key)?;
            tx.put_external_issuer(&ExternalIssuer { requested: Some(key.id.clone()), ..issuer })?;
            let fingerprint = Fingerprint::of(&key.public_key).to_string();
            let detail = [("key", kind.to_string()), ("public-key", fingerprint)];
            Ok(tx.append_audit(&act.fact("responder.requested", id, &detail))?)
        })?;
        Ok(key)
    }

    fn written_request(
        &self,
        external: &External,
        key: &SealedKey,
    ) -> Result<ResponderRequest, ServiceError> {
        let subject = common_name(&external.certificate, "OCSP")?;
        let public_key = PublicKey::from_spki(&key.public_key)?;
        let algorithm = key.algorithm.signature(key.algorithm.digest(DigestAlgorithm::Sha256));
        let spec = ResponderCsrSpec { subject: subject.clone(), public_key };
        let unsigned = spec.unsigned(algorithm);
        let signature = self.ports.keyring.signer(key)?.sign(algorithm, unsigned.to_be_signed())?;
        let csr = Csr::from_der(&unsigned.finish(&signature)?)?;
        let proven = csr.prove().map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(ResponderRequest {
            issuer: external.issuer.id.clone(),
            subject: subject.to_string(),
            key: key.algorithm,
            public_key: Fingerprint::of(&key.public_key),
            requested_at: key.created_at,
            pem: proven.to_pem(),
        })
    }

    /// Has the issuer of ours answer for an external one.
    fn trust(&self, act: &Act, id: &IssuerId, by: &Authority) -> Result<(), ServiceError> {
        let name = &by.issuer.id;
        if by.issuer.generation.state == GenerationState::Withdrawn || self.status.is_inherited(name) {
            let told = format!("{name} is revoked or on hold: nobody should trust what it signs");
            return Err(ServiceError::Refused(told));
        }
        let newest = self.newest(by, Purpose::TrustedResponder)?;
        let usable = newest.as_ref().is_some_and(|(_, certificate)| self.can_respond(by, certificate));
        let made = if usable {
            None
        } else {
            Some(self.make_successor(by, Purpose::TrustedResponder, newest.as_ref())?)
        };
        let before = newest.map(|(system, _)| system);
        self.ports.store.write(|tx| {
            if tx.system_certificates(Purpose::TrustedResponder, name)?.into_iter().next() != before {
                return Err(changed_meanwhile());
            }
            if let Some(made) = &made {
                made.write(tx, act)?;
            }
            set_mode(tx, act, id, &OcspAuthority::Trusted { by: name.clone() })
        })
    }

    fn shown_responder(&self, id: &IssuerId) -> Result<ResponderView, ServiceError> {
        let authorities = self.authorities();
        self.responder_view(found(authorities.external(id), id)?)
    }

    fn responder_view(&self, external: &External) -> Result<ResponderView, ServiceError> {
        let issuer = &external.issuer;
        let signing = self.signing_responder(external);
        let open = self.ports.store.read(|view| open_request(view, &issuer.id))?;
        let by = match &issuer.ocsp {
            OcspAuthority::Trusted { by } => Some(by.clone()),
            OcspAuthority::None | OcspAuthority::Delegate => None,
        };
        Ok(ResponderView {
            issuer: issuer.id.clone(),
            mode: ResponderMode::from(&issuer.ocsp),
            by,
            not_after: signing.map(|it| it.certificate.validity().not_after),
            certificates: external.responders.iter().map(|it| self.certificate_view(it, signing)).collect(),
            requested_at: open.map(|key| key.created_at),
        })
    }

    fn certificate_view(&self, it: &Responder, signing: Option<&Responder>) -> ResponderCertificate {
        let (certificate, now) = (&it.certificate, self.now());
        let validity = certificate.validity();
        let state = if signing.is_some_and(|signing| signing.id == it.id) {
            ResponderState::Signing
        } else if validity.not_after < now || self.is_barred(&it.id.issuer, &it.id.serial) {
            ResponderState::Over
        } else if it.since > now {
            ResponderState::Next
        } else {
            ResponderState::Former
        };
        ResponderCertificate {
            id: it.id.to_string(),
            state,
            since: it.since,
            subject: certificate.subject().to_string(),
            serial: certificate.serial().clone(),
            not_before: validity.not_before,
            not_after: validity.not_after,
            key: it.signer.algorithm(),
            fingerprint: certificate.fingerprint(),
            no_check: certificate.has_ocsp_no_check(),
            warnings: warnings(certificate).iter().map(ToString::to_string).collect(),
            pem: certificate.to_pem(),
        }
    }
}

fn found<'a, T>(external: Option<&'a T>, id: &IssuerId) -> Result<&'a T, ServiceError> {
    external.ok_or_else(|| ServiceError::not_found("external issuer", id))
}

fn stored(view: &dyn View, id: &IssuerId) -> Result<ExternalIssuer, ServiceError> {
    view.external_issuer(id)?.ok_or_else(|| ServiceError::not_found("external issuer", id))
}

fn changed_meanwhile() -> ServiceError {
    ServiceError::Conflict("somebody else changed it meanwhile: look at it, and ask again".to_owned())
}

fn none_open(id: &IssuerId) -> ServiceError {
    ServiceError::Refused(format!("no request is open: certgate responder request {id}"))
}

/// The key that was requested a certificate for.
fn open_request(view: &dyn View, id: &IssuerId) -> Result<Option<SealedKey>, ServiceError> {
    let Some(requested) = stored(view, id)?.requested else { return Ok(None) };
    let key = view.key(&requested)?;
    key.map(Some).ok_or_else(|| ServiceError::Internal(format!("the key {requested} is not in the store")))
}

/// Gear that checks an RSA CA's certificates may know nothing else.
fn usual_key(ca: &Certificate) -> KeyAlgorithm {
    let is_rsa = ca.public_key().kind().algorithm().is_none_or(KeyAlgorithm::is_rsa);
    if is_rsa { KeyAlgorithm::Rsa2048 } else { KeyAlgorithm::P256 }
}

fn set_mode(tx: &mut dyn Tx, act: &Act, id: &IssuerId, ocsp: &OcspAuthority) -> Result<(), ServiceError> {
    let issuer = stored(tx.as_view(), id)?;
    if *ocsp == OcspAuthority::Delegate && tx.system_certificates(Purpose::OcspSigner, id)?.is_empty() {
        let told = format!("no certificate for a responder is installed: certgate responder request {id}");
        return Err(ServiceError::Refused(told));
    }
    let detail = [("before", issuer.ocsp.to_string()), ("after", ocsp.to_string())];
    tx.put_external_issuer(&ExternalIssuer { ocsp: ocsp.clone(), ..issuer })?;
    Ok(tx.append_audit(&act.fact("responder.mode-changed", id, &detail))?)
}

/// Records a delegate's certificate, which was checked, with its use.
fn install(
    tx: &mut dyn Tx,
    act: &Act,
    issuer: &IssuerId,
    key: &KeyId,
    certificate: &Certificate,
) -> Result<(), ServiceError> {
    let issuer = stored(tx.as_view(), issuer)?;
    if issuer.requested.as_ref() != Some(key) {
        return Err(changed_meanwhile());
    }
    let id = CertificateId { issuer: issuer.id.clone(), serial: certificate.serial().clone() };
    if status::revocation(&tx.causes(&id)?).is_some() {
        let told = "it is revoked or on hold, by the records of its CA or by somebody here";
        return Err(ServiceError::Refused(told.to_owned()));
    }
    record(tx, &id, certificate, act.at)?;
    let newest = tx.system_certificates(Purpose::OcspSigner, &issuer.id)?.into_iter().next();
    // The newest of a purpose must be one, whatever the clock says.
    let after = newest.map(|before| before.since.plus(Duration::from_secs(1)));
    let detail = [
        ("certificate", id.to_string()),
        ("subject", certificate.subject().to_string()),
        ("fingerprint", certificate.fingerprint().to_string()),
        ("not-after", certificate.validity().not_after.to_string()),
        ("mode-before", issuer.ocsp.to_string()),
    ];
    tx.append_audit(&act.fact("responder.installed", &issuer.id, &detail))?;
    tx.insert_system_certificate(&SystemCertificate {
        certificate: id,
        purpose: Purpose::OcspSigner,
        key: key.clone(),
        since: after.map_or(act.at, |after| after.max(act.at)),
    })?;
    Ok(tx.put_external_issuer(&ExternalIssuer {
        ocsp: OcspAuthority::Delegate,
        requested: None,
        ..issuer
    })?)
}

/// Records the certificate; an import may have told of it before.
fn record(
    tx: &mut dyn Tx,
    id: &CertificateId,
    certificate: &Certificate,
    now: Timestamp,
) -> Result<(), ServiceError> {
    let told = Told {
        serial: id.serial.clone(),
        certificate: Some(Box::new(certificate.clone())),
        not_after: None,
        subject: None,
        standing: ToldStanding::Untold,
    };
    let known = tx.certificate(id)?;
    match told
        .record(&id.issuer, known.as_ref(), now)
        .map_err(|why| ServiceError::Refused(why.to_string()))?
    {
        RecordChange::Keep => {}
        RecordChange::Complete(record) => tx.put_imported(&record)?,
        RecordChange::Add(record) => {
            tx.insert_certificate(&CertificateRecord { purpose: Purpose::OcspSigner, ..*record })?;
        }
    }
    Ok(())
}
