//! Certificates: shown with everything that explains their status; revoked, held and released by hand.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    audit::Act,
    status::{Accepted, causes_of, change_causes},
};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        binding::{Assurance, Binding, BoundObject, Evidence},
        certificate::{CertificateRecord, Purpose},
        import::taken_over,
        status::{
            Cause, CauseChange, CauseKey, CauseKind, Effect, Revocation, Status, check_change, dated,
            effective, revocation,
        },
    },
    ports::{View, store::Page},
    types::{
        CertificateId, DeviceId, EnrolmentId, Fingerprint, IssuerId, ProfileName, RevocationReason,
        SerialNumber, Timestamp, UserId,
    },
    wire::x509::Certificate,
};

/// A certificate as operators see it: what it is, what it is bound to, and why its status is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Its name in commands and URLs: `ISSUER/SERIAL`.
    pub id: String,
    /// Who issued it.
    pub issuer: IssuerId,
    /// Its serial number.
    pub serial: SerialNumber,
    /// SHA-256 of the DER; none of an imported one that is not here itself.
    pub fingerprint: Option<Fingerprint>,
    /// Its subject.
    pub subject: String,
    /// notBefore; none where an import did not tell.
    pub not_before: Option<Timestamp>,
    /// notAfter; none where an import did not tell.
    pub not_after: Option<Timestamp>,
    /// What it is for.
    pub purpose: Purpose,
    /// The profile under which it was issued.
    pub profile: Option<ProfileName>,
    /// The version of that profile.
    pub profile_version: Option<u32>,
    /// The enrolment that led to it.
    pub enrolment: Option<EnrolmentId>,
    /// The certificate whose place it takes, as `ISSUER/SERIAL`.
    pub supersedes: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The effective status.
    pub status: Status,
    /// What OCSP and CRL say, if it is revoked or held.
    pub revocation: Option<RevocationView>,
    /// Of one that an external issuer issued: who signs OCSP answers about it, `none`, `delegate` or `trusted by NAME`. With `none` gear does
    /// not hear of what happens to it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
    /// Every cause, in force together: the answer to "why is this revoked?".
    pub causes: Vec<CauseView>,
    /// What it is bound to.
    pub bindings: Vec<BindingView>,
    /// The certificate as PEM text; absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

/// What OCSP and CRL say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationView {
    /// Why.
    pub reason: RevocationReason,
    /// Since when.
    pub at: Timestamp,
    /// When the key was probably lost.
    pub invalidity_date: Option<Timestamp>,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseView {
    /// Where it comes from.
    pub kind: CauseKind,
    /// Which one of that kind.
    pub reference: String,
    /// Whether it may be released.
    pub permanent: bool,
    /// certificateHold, or why it is revoked for good.
    pub reason: RevocationReason,
    /// Since when.
    pub since: Timestamp,
    /// When the key was probably lost.
    pub invalidity_date: Option<Timestamp>,
    /// Who caused it.
    pub actor: String,
    /// Why, as they put it.
    pub note: String,
}

/// What a certificate is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingView {
    /// The device.
    pub device: Option<DeviceId>,
    /// Which life of it.
    pub generation: Option<u32>,
    /// The user.
    pub user: Option<UserId>,
    /// `ticket ID`, `claim`, `renewal of ISSUER/SERIAL`, `approval`, `import`, `validated by intune`.
    pub evidence: String,
    /// How sure it is.
    pub assurance: Assurance,
    /// Since when.
    pub bound_at: Timestamp,
}

/// A revocation by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why; not certificateHold.
    pub reason: RevocationReason,
    /// For the record.
    #[serde(default)]
    pub note: String,
    /// When the key was probably lost (RFC 5280 §5.3.2); not in the future.
    #[serde(default)]
    pub invalidity_date: Option<Timestamp>,
}

/// What a change did to one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedCertificate {
    /// Its name in commands and URLs: `ISSUER/SERIAL`.
    pub id: String,
    /// Who issued it.
    pub issuer: IssuerId,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Its subject.
    pub subject: String,
    /// The status before.
    pub before: Status,
    /// The status now.
    pub after: Status,
    /// What OCSP and CRL say now.
    pub revocation: Option<RevocationView>,
}

/// Which certificates to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CertificateFilter {
    /// All, by issuer and serial.
    #[default]
    All,
    /// Those of a device, in its present life.
    Device(DeviceId),
    /// Those of a user.
    User(UserId),
}

impl From<Revocation> for RevocationView {
    fn from(revocation: Revocation) -> Self {
        Self { reason: revocation.reason, at: revocation.at, invalidity_date: revocation.invalidity_date }
    }
}

impl From<Cause> for CauseView {
    fn from(cause: Cause) -> Self {
        let (permanent, reason) = match cause.effect {
            Effect::Hold => (false, RevocationReason::CertificateHold),
            Effect::Revoke { reason } => (true, reason),
        };
        Self {
            kind: cause.key.kind,
            reference: cause.key.reference,
            permanent,
            reason,
            since: cause.since,
            invalidity_date: cause.invalidity_date,
            actor: cause.actor,
            note: cause.note,
        }
    }
}

impl From<Binding> for BindingView {
    fn from(binding: Binding) -> Self {
        let (device, generation, user) = match binding.object {
            BoundObject::Device { id, generation } => (Some(id), Some(generation), None),
            BoundObject::User { id } => (None, None, Some(id)),
        };
        let evidence = match binding.evidence {
            Evidence::Ticket { id } => format!("ticket {id}"),
            Evidence::Claim => "claim".to_owned(),
            Evidence::Vouched { by } => format!("validated by {by}"),
            Evidence::Renewal { certificate } => format!("renewal of {certificate}"),
            Evidence::Alternate { issuer, serial, .. } => format!("certificate {serial} of {issuer}"),
            Evidence::Approval => "approval".to_owned(),
            Evidence::Import => "import".to_owned(),
        };
        let (assurance, bound_at) = (binding.assurance, binding.bound_at);
        Self { device, generation, user, evidence, assurance, bound_at }
    }
}

impl CertificateView {
    /// Without the PEM text.
    fn read(
        view: &dyn View,
        record: CertificateRecord,
        causes: Vec<Cause>,
        now: Timestamp,
    ) -> Result<Self, ServiceError> {
        let bindings = view.bindings(&record.id)?;
        let fingerprint = record.is_whole().then_some(record.fingerprint);
        let issuer = &record.id.issuer;
        let external = if record.profile.is_none() { view.external_issuer(issuer)? } else { None };
        let (profile, profile_version) = record.profile.unzip();
        Ok(Self {
            ocsp: external.map(|issuer| issuer.ocsp.to_string()),
            id: record.id.to_string(),
            fingerprint,
            not_before: told(record.validity.not_before, Timestamp::EPOCH),
            not_after: told(record.validity.not_after, Timestamp::MAX),
            subject: record.subject,
            purpose: record.purpose,
            profile,
            profile_version,
            enrolment: record.enrolment,
            supersedes: record.supersedes.map(|id| id.to_string()),
            issued_at: record.issued_at,
            status: effective(&causes, &record.validity, now),
            revocation: revocation(&causes).map(RevocationView::from),
            causes: causes.into_iter().map(CauseView::from).collect(),
            bindings: bindings.into_iter().map(BindingView::from).collect(),
            pem: None,
            issuer: record.id.issuer,
            serial: record.id.serial,
        })
    }
}

/// The time, unless it stands for one that nobody told of an imported certificate.
fn told(time: Timestamp, untold: Timestamp) -> Option<Timestamp> {
    (time != untold).then_some(time)
}

/// Changes the causes of one certificate; gives what that did, if it did anything to its revocation.
pub(crate) fn change_certificate(
    tx: &mut dyn crate::ports::Tx,
    id: &CertificateId,
    changes: &[CauseChange],
    act: &Act,
) -> Result<Option<ChangedCertificate>, ServiceError> {
    let record = tx.certificate(id)?.ok_or_else(|| ServiceError::not_found("certificate", id))?;
    let before = effective(&causes_of(tx.as_view(), id)?, &record.validity, act.at);
    if !change_causes(tx, id, changes, act)? {
        return Ok(None);
    }
    let causes = causes_of(tx.as_view(), id)?;
    Ok(Some(ChangedCertificate {
        id: record.id.to_string(),
        issuer: record.id.issuer,
        serial: record.id.serial,
        subject: record.subject,
        before,
        after: effective(&causes, &record.validity, act.at),
        revocation: revocation(&causes).map(RevocationView::from),
    }))
}

impl ChangedCertificate {
    fn certificate_id(&self) -> CertificateId {
        CertificateId { issuer: self.issuer.clone(), serial: self.serial.clone() }
    }
}

impl Gateway {
    /// Certificates, paged by (issuer, serial). The certificates of one device or user come in one page.
    pub fn certificates(
        &self,
        _authed: &Authed<Read>,
        filter: &CertificateFilter,
        page: &Page<CertificateId>,
    ) -> Result<Listing<CertificateView>, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let records = match filter {
                CertificateFilter::All => view.certificates(page)?,
                CertificateFilter::Device(id) => {
                    let device = view.device(id)?.ok_or_else(|| ServiceError::not_found("device", id))?;
                    let generation = device.generation;
                    records_of(view, &BoundObject::Device { id: id.clone(), generation })?
                }
                CertificateFilter::User(id) => records_of(view, &BoundObject::User { id: id.clone() })?,
            };
            let views = self.views_of(view, records, now)?;
            Ok(match filter {
                CertificateFilter::All => {
                    Listing::page(views, page.limit, |certificate| certificate.id.clone())
                }
                CertificateFilter::Device(_) | CertificateFilter::User(_) => Listing::whole(views),
            })
        })
    }

    /// One certificate, with its PEM text.
    pub fn certificate(
        &self,
        _authed: &Authed<Read>,
        id: &CertificateId,
    ) -> Result<CertificateView, ServiceError> {
        self.read_certificate(id)
    }

    /// The certificates that `name` means: a serial number (over all issuers) or a SHA-256 fingerprint. At least one.
    pub fn find_certificates(
        &self,
        _authed: &Authed<Read>,
        name: &str,
    ) -> Result<Vec<CertificateView>, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let mut found = Vec::new();
            if let Ok(fingerprint) = name.parse::<Fingerprint>() {
                found.extend(view.certificate_by_fingerprint(&fingerprint)?);
            }
            if let Ok(serial) = name.parse::<SerialNumber>() {
                found.extend(view.certificates_by_serial(&serial)?);
            } else if found.is_empty() && name.parse::<Fingerprint>().is_err() {
                let problem = "is neither a serial number in hexadecimal nor a SHA-256 fingerprint";
                return Err(ServiceError::invalid("certificate", problem));
            }
            if found.is_empty() {
                return Err(ServiceError::not_found("certificate", name));
            }
            found.into_iter().map(|record| self.view_with_pem(view, record, now)).collect()
        })
    }

    /// Revokes for good. Refused where [`check_change`] refuses.
    pub fn revoke_certificate(
        &self,
        authed: &Authed<Operate>,
        id: &CertificateId,
        request: &RevokeRequest,
    ) -> Result<CertificateView, ServiceError> {
        let act = Act::of(authed, self.now());
        if request.invalidity_date.is_some_and(|date| date > act.at) {
            return Err(ServiceError::invalid("invalidity_date", "must not be in the future"));
        }
        let cause = Cause {
            key: CauseKey { kind: CauseKind::Manual, reference: "revoke".to_owned() },
            effect: Effect::Revoke { reason: request.reason },
            since: act.at,
            invalidity_date: request.invalidity_date,
            actor: act.actor.to_string(),
            note: request.note.clone(),
        };
        self.put_manual_cause(id, &cause, &act)
    }

    /// Puts on hold until [`Gateway::release_certificate`].
    pub fn hold_certificate(
        &self,
        authed: &Authed<Operate>,
        id: &CertificateId,
        note: &str,
    ) -> Result<CertificateView, ServiceError> {
        let act = Act::of(authed, self.now());
        let cause = Cause {
            key: manual_hold(),
            effect: Effect::Hold,
            since: act.at,
            invalidity_date: None,
            actor: act.actor.to_string(),
            note: note.to_owned(),
        };
        self.put_manual_cause(id, &cause, &act)
    }

    /// Releases the hold that was set by hand. Holds from devices and users stay: they go when their own cause goes.
    pub fn release_certificate(
        &self,
        authed: &Authed<Operate>,
        id: &CertificateId,
        note: &str,
    ) -> Result<CertificateView, ServiceError> {
        let (act, accepted) = (Act::of(authed, self.now()), self.accepted());
        self.ports.store.write(|tx| {
            let causes = self.known_causes(tx.as_view(), id)?;
            if !causes.iter().any(|cause| cause.key == manual_hold()) {
                return Err(ServiceError::Refused(no_manual_hold(&causes)));
            }
            let remark = [("note", note.to_owned())];
            tx.append_audit(&act.fact("certificate.hold-released", id, &remark))?;
            change_causes(tx, id, &[CauseChange::Release(manual_hold())], &act)?;
            Ok(())
        })?;
        self.status_moved(std::slice::from_ref(id), accepted)?;
        self.read_certificate(id)
    }

    /// After the commit of what happened to a device or user: see [`Gateway::status_moved`].
    pub(super) fn certificates_moved(
        &self,
        changed: &[ChangedCertificate],
        accepted: Accepted,
    ) -> Result<(), ServiceError> {
        let moved: Vec<CertificateId> = changed.iter().map(ChangedCertificate::certificate_id).collect();
        self.status_moved(&moved, accepted)
    }

    fn put_manual_cause(
        &self,
        id: &CertificateId,
        cause: &Cause,
        act: &Act,
    ) -> Result<CertificateView, ServiceError> {
        let accepted = self.accepted();
        self.ports.store.write(|tx| {
            let causes = self.known_causes(tx.as_view(), id)?;
            let taken_over = taken_over(&causes, cause);
            if taken_over.is_none()
                && dated(&causes, cause).is_none()
                && causes.iter().any(|old| old.key == cause.key && old.effect == cause.effect)
            {
                return Err(ServiceError::Refused(
                    "that is what was done before: nothing would change".to_owned(),
                ));
            }
            check_change(&causes, cause).map_err(|refused| ServiceError::Refused(refused.to_string()))?;
            if let Some(hold) = taken_over {
                tx.put_cause(id, &hold)?;
                let remark = [("note", hold.note)];
                tx.append_audit(&act.fact("certificate.hold-taken-over", id, &remark))?;
                return Ok(());
            }
            change_causes(tx, id, &[CauseChange::Put(cause.clone())], act)?;
            Ok(())
        })?;
        self.status_moved(std::slice::from_ref(id), accepted)?;
        self.read_certificate(id)
    }

    fn read_certificate(&self, id: &CertificateId) -> Result<CertificateView, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let record = view.certificate(id)?.ok_or_else(|| ServiceError::not_found("certificate", id))?;
            self.view_with_pem(view, record, now)
        })
    }

    /// The certificates bound to `object`, as operators see them.
    pub(super) fn views_bound_to(
        &self,
        view: &dyn View,
        object: &BoundObject,
        now: Timestamp,
    ) -> Result<Vec<CertificateView>, ServiceError> {
        self.views_of(view, records_of(view, object)?, now)
    }

    fn views_of(
        &self,
        view: &dyn View,
        records: Vec<CertificateRecord>,
        now: Timestamp,
    ) -> Result<Vec<CertificateView>, ServiceError> {
        records.into_iter().map(|record| self.view_of_certificate(view, record, now)).collect()
    }

    fn view_of_certificate(
        &self,
        view: &dyn View,
        record: CertificateRecord,
        now: Timestamp,
    ) -> Result<CertificateView, ServiceError> {
        let causes = self.causes_of(view, &record.id)?;
        CertificateView::read(view, record, causes, now)
    }

    fn view_with_pem(
        &self,
        view: &dyn View,
        record: CertificateRecord,
        now: Timestamp,
    ) -> Result<CertificateView, ServiceError> {
        let whole = record.is_whole().then(|| Certificate::from_der(&record.der)).transpose()?;
        let pem = whole.map(|certificate| certificate.to_pem());
        Ok(CertificateView { pem, ..self.view_of_certificate(view, record, now)? })
    }

    fn known_causes(&self, view: &dyn View, id: &CertificateId) -> Result<Vec<Cause>, ServiceError> {
        if view.not_after(id)?.is_none() {
            return Err(ServiceError::not_found("certificate", id));
        }
        Ok(self.causes_of(view, id)?)
    }
}

/// The certificates bound to `object`, each once.
pub(crate) fn records_of(
    view: &dyn View,
    object: &BoundObject,
) -> Result<Vec<CertificateRecord>, ServiceError> {
    let ids: BTreeSet<_> = view.bound_to(object)?.into_iter().map(|binding| binding.certificate).collect();
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.extend(view.certificate(&id)?);
    }
    Ok(records)
}

pub(super) fn manual_hold() -> CauseKey {
    CauseKey { kind: CauseKind::Manual, reference: "hold".to_owned() }
}

fn no_manual_hold(causes: &[Cause]) -> String {
    match revocation(causes) {
        None => "the certificate is not on hold".to_owned(),
        Some(Revocation { reason: RevocationReason::CertificateHold, .. }) => {
            "the hold was not set by hand: it goes when the device, user or issuer is in good standing again"
                .to_owned()
        }
        Some(revocation) => format!("the certificate is revoked for good ({})", revocation.reason),
    }
}
