//! Renewal with a certificate of another CA that the profile trusts for that: a fleet moves here from there (RFC 8894 §2.3).
//!
//! One such certificate leads to one of ours: the same key gets the same certificate again for as long as that is good and the profile
//! stays; another key gets one only when the repeat window is over, or when the first was revoked. Otherwise whoever copied an old key
//! could have any number of certificates made with it.

use std::time::Duration;

use super::{Candidate, standing::Standing};
use crate::{
    domain::{
        alternate::{AlternateCertificate, AlternateFacts, AlternateRefused, Issued, check_alternate},
        binding::Evidence,
        challenge::{ChallengeRefused, renewal_from_elsewhere},
        enrol::{EnrolmentState, alternate_request_key},
        status::{self, Status},
    },
    ports::{NoAnswer, View},
    service::{Gateway, ServiceError, issue::is_good, scep::Request},
    types::{CertificateId, Fingerprint, Timestamp},
    wire::{scep::MessageType, x509::Certificate},
};

/// When a client is told to come back that renews with a certificate whose revocation cannot be asked.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What is found of a certificate that one of the other CAs issued.
pub(super) enum Alternate {
    /// It renews.
    Good(AlternateCertificate),
    /// It does not.
    Refused(AlternateRefused),
    /// Its revocation cannot be asked for this reason: nothing may be decided on it.
    Unknown(String),
}

impl Gateway {
    /// Looks at the certificate that signed the message; none where the profile names no other CAs, or none of them issued it.
    pub(super) fn alternate(&self, request: &Request<'_>, now: Timestamp) -> Option<Alternate> {
        let profile = &request.endpoint.profile;
        let issuers = self.settings.renewal_issuers.get(profile.name())?;
        let certificate = request.message.signer();
        let found = match check_alternate(&AlternateFacts { certificate, issuers, profile, now })? {
            Err(refused) => Alternate::Refused(refused),
            Ok(issued) if issuers.crls.is_empty() => Alternate::Good(issued.unasked()),
            Ok(issued) => self.not_revoked(issued, &issuers.crls, now),
        };
        if let Alternate::Good(certificate) = &found {
            let revocation =
                if issuers.crls.is_empty() { "its revocation is not asked" } else { "not revoked" };
            let (issuer, serial) = (certificate.issuer(), certificate.serial());
            let found = format_args!("{serial} of \"{issuer}\", {revocation}");
            request.trail.passed("certificate of another CA", found);
        }
        Some(found)
    }

    fn not_revoked(&self, issued: Issued<'_>, crls: &[String], now: Timestamp) -> Alternate {
        let crls: Result<Vec<_>, _> = crls.iter().map(|name| self.ports.crls.crl(name)).collect();
        match crls.map(|crls| issued.not_revoked(&crls, now)) {
            Ok(Ok(Ok(certificate))) => Alternate::Good(certificate),
            Ok(Ok(Err(refused))) => Alternate::Refused(refused),
            Ok(Err(no_crl)) => Alternate::Unknown(no_crl.to_string()),
            Err(unreadable) => Alternate::Unknown(unreadable.to_string()),
        }
    }

    /// What the same certificate led to before, if that still stands.
    pub(super) fn led_to(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
        certificate: &AlternateCertificate,
    ) -> Result<Option<Result<EnrolmentState, ChallengeRefused>>, ServiceError> {
        let profile = &candidate.request.endpoint.profile;
        let key = candidate.alternate_key(certificate.fingerprint());
        let Some(earlier) = view.enrolment_by_request(&key)? else { return Ok(None) };
        let recent = earlier.received_at >= self.repeats_since(candidate.now);
        let state = earlier.state;
        let EnrolmentState::Issued { certificate } = &state else { return Ok(None) };
        let Some(record) = view.certificate(certificate)? else { return Ok(None) };
        if !is_good(view, &record, candidate.now)? {
            return Ok(None);
        }
        let same_key = record.public_key == candidate.csr.public_key().fingerprint();
        let same_profile = earlier.profile_version == profile.version();
        Ok(match (same_key, recent) {
            (true, recent) if recent || same_profile => Some(Ok(state)),
            (false, true) => Some(Err(ChallengeRefused::AlternateUsed { certificate: record.id })),
            _ => None,
        })
    }
}

/// Whether that certificate authorises. Errors: it is not known whether it was revoked; the client is told to come back.
pub(super) fn standing_by_alternate(
    view: &dyn View,
    candidate: &Candidate<'_>,
) -> Result<Result<Standing, ChallengeRefused>, ServiceError> {
    let profile = candidate.request.endpoint.profile.name();
    Ok(match &candidate.alternate {
        None => Err(ChallengeRefused::Missing),
        Some(Alternate::Good(certificate)) => match barred_here(view, certificate, candidate.now)? {
            Some(barred) => Err(barred),
            None => Ok(Standing::Authorised(renewal_from_elsewhere(certificate.clone(), profile))),
        },
        Some(Alternate::Refused(refused)) => Err(refused.clone().into()),
        Some(Alternate::Unknown(why)) => {
            return Err(NoAnswer { reason: why.clone(), retry_after: RETRY_AFTER }.into());
        }
    })
}

/// Where the records of the other CA were imported, what they (or an operator here since) say of the certificate counts too.
pub(in crate::service) fn barred_here(
    view: &dyn View,
    alternate: &AlternateCertificate,
    now: Timestamp,
) -> Result<Option<ChallengeRefused>, ServiceError> {
    for issuer in view.external_issuers()? {
        let known = Certificate::from_der(&issuer.certificate)?;
        let ca = alternate.issued_by();
        if known.public_key() != ca.public_key() || !known.subject().matches(ca.subject()) {
            continue;
        }
        let certificate = CertificateId { issuer: issuer.id, serial: alternate.serial().clone() };
        let causes = view.causes(&certificate)?;
        let status = status::effective(&causes, &alternate.certificate().validity(), now);
        if matches!(status, Status::Revoked | Status::Hold) {
            return Ok(Some(ChallengeRefused::NotGood { certificate, status }));
        }
    }
    Ok(None)
}

impl Candidate<'_> {
    /// The key under which what comes of this evidence is found again.
    pub(super) fn key_under(&self, evidence: &Evidence) -> Fingerprint {
        match evidence {
            Evidence::Alternate { fingerprint, .. } => self.alternate_key(*fingerprint),
            _ => self.key,
        }
    }

    /// The certificate of another CA that what comes of this evidence rests on.
    pub(super) fn alternate_behind(&self, evidence: &Evidence) -> Option<&AlternateCertificate> {
        match (evidence, &self.alternate) {
            (Evidence::Alternate { .. }, Some(Alternate::Good(certificate))) => Some(certificate),
            _ => None,
        }
    }

    pub(super) fn alternate_key(&self, certificate: Fingerprint) -> Fingerprint {
        let profile = self.request.endpoint.profile.name();
        alternate_request_key(profile, certificate, self.request.addressed.later_generation())
    }

    /// Whether the certificate of another CA is looked at in place of a challenge that was `refused`. Where its revocation is not known,
    /// only if there was none: a guess has to be told from a fault, and counted.
    pub(super) fn stands_in_for(&self, refused: &ChallengeRefused) -> bool {
        match &self.alternate {
            None => false,
            Some(Alternate::Unknown(_)) => *refused == ChallengeRefused::Missing,
            Some(Alternate::Good(_) | Alternate::Refused(_)) => true,
        }
    }

    /// A RenewalReq that neither a certificate of ours nor one of another CA that renews here signed.
    pub(super) fn is_strangers_renewal(&self, ours: bool) -> bool {
        self.request.kind == MessageType::RenewalReq && !ours && self.alternate.is_none()
    }
}
