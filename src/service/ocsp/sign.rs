//! Who signs an answer, and the signature.

use std::time::Duration;

use super::Refusal;
use crate::{
    domain::{crl::CrlPolicy, issuer::Issuer},
    ports::Signer,
    service::{
        OcspSettings, ServiceError,
        authority::{Authority, External, Responder},
        metric::{self, label},
    },
    types::{DigestAlgorithm, IssuerId, RevocationReason, SignatureAlgorithm, Timestamp},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, ResponseSpec, SingleResponse},
        x509::Certificate,
    },
};

/// Why an answer is signed; for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody asked, and there was none.
    Miss,
    /// For one client alone: with a nonce, about several certificates, or with the signature algorithm that it prefers.
    SingleUse,
    /// The one that is given out gets old.
    Refresh,
    /// Before anybody asked.
    Presign,
}

impl Why {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::SingleUse => "single-use",
            Self::Refresh => "refresh",
            Self::Presign => "presign",
        }
    }
}

/// What answers for an issuer.
#[derive(Clone, Copy)]
pub(super) struct Responding<'a> {
    pub(super) issuer: &'a IssuerId,
    certificate: &'a Certificate,
    signer: &'a dyn Signer,
    digest: DigestAlgorithm,
    /// Of an external issuer nothing is promised: what is known of it is what was imported.
    policy: Option<CrlPolicy>,
    /// Of the issuer.
    not_before: Timestamp,
}

impl<'a> Responding<'a> {
    /// The issuer's delegate, or where `by_ca` the issuer itself (RFC 6960 §4.2.2.2), if its certificate is valid now.
    pub(super) fn of(authority: &'a Authority, by_ca: bool, now: Timestamp) -> Result<Self, Refusal> {
        let issuer = &authority.issuer.id;
        let pair = if by_ca {
            Some((&authority.certificate, authority.signer.as_ref()))
        } else {
            authority.ocsp.as_ref().map(|it| (&it.certificate, it.signer.as_ref()))
        };
        let (certificate, signer) = pair
            .filter(|(certificate, _)| certificate.validity().contains(now))
            .ok_or_else(|| Refusal::TryLater(format!("issuer {issuer} has no valid OCSP signer")))?;
        let Issuer { digest, crl_policy, .. } = authority.issuer;
        let not_before = authority.certificate.validity().not_before;
        Ok(Self { issuer, certificate, signer, digest, policy: Some(crl_policy), not_before })
    }

    /// The responder whose turn it is, by the right that somebody gave. One that is revoked has none, although nobody may ask: relying
    /// parties do not that were told to trust it, or that find id-pkix-ocsp-nocheck in it.
    pub(super) fn for_external(
        external: &'a External,
        responder: Option<&'a Responder>,
    ) -> Result<Self, Refusal> {
        let issuer = &external.issuer.id;
        let responder = responder.ok_or_else(|| {
            Refusal::TryLater(format!(
                "no responder for {issuer} has a certificate that is valid and not revoked"
            ))
        })?;
        Ok(Self {
            issuer,
            certificate: &responder.certificate,
            signer: responder.signer.as_ref(),
            digest: DigestAlgorithm::Sha256,
            policy: None,
            not_before: external.certificate.validity().not_before,
        })
    }

    /// What is kept of expired certificates is as with the CRL (RFC 6960 §4.4.4).
    pub(super) fn archive_cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        self.policy?.expired_since(now, self.not_before)
    }

    /// What is said of one certificate, until its window or the responder's certificate ends.
    pub(super) fn response(
        &self,
        cert_id: &CertId,
        status: CertStatus,
        settings: &OcspSettings,
        now: Timestamp,
    ) -> SingleResponse {
        let end = self.certificate.validity().not_after;
        let next_update = now.plus(window(&status, settings)).min(end);
        SingleResponse {
            cert_id: cert_id.clone(),
            status,
            this_update: now,
            next_update: Some(next_update),
            archive_cutoff: None,
            invalidity_date: None,
        }
    }

    /// What signs the answers that all can use. The responder's key may be of another kind than its issuer's: a P-384 issuer has a
    /// P-256 responder.
    fn usual_algorithm(&self) -> SignatureAlgorithm {
        let key = self.signer.algorithm();
        key.signature(key.digest(self.digest))
    }

    /// The first of the algorithms that the client prefers and the key can do (RFC 6960 §4.4.7.2); the usual one where there is none.
    fn algorithm(&self, preferred: &[SignatureAlgorithm]) -> SignatureAlgorithm {
        let key = self.signer.algorithm();
        let can = |wanted: &SignatureAlgorithm| {
            let digest = wanted.digest();
            !digest.is_broken() && *wanted == key.signature(key.digest(digest))
        };
        preferred.iter().copied().find(can).unwrap_or_else(|| self.usual_algorithm())
    }

    /// Whether the answer that all can use is signed as the client prefers, or as near to that as can be.
    pub(super) fn suits(&self, preferred: &[SignatureAlgorithm]) -> bool {
        self.algorithm(preferred) == self.usual_algorithm()
    }

    /// The whole OCSPResponse, to `request` alone if there is one.
    pub(super) fn sign(
        &self,
        responses: &[SingleResponse],
        request: Option<&OcspRequest>,
        now: Timestamp,
        why: Why,
    ) -> Result<Vec<u8>, Refusal> {
        let nonce = request.and_then(|request| request.nonce.as_deref());
        // producedAt == thisUpdate: then RFC 9919 §6 and §7.2 agree on Last-Modified.
        let spec = ResponseSpec { responder: self.certificate, produced_at: now, responses, nonce };
        let algorithm = self.algorithm(request.map_or(&[], |request| &request.preferred_signatures));
        let unsigned = spec.unsigned(algorithm).map_err(ServiceError::from)?;
        let signature = self.signer.sign(algorithm, unsigned.to_be_signed()).map_err(ServiceError::from)?;
        metrics::counter!(metric::OCSP_SIGNATURES, label::REASON => why.as_str()).increment(1);
        Ok(unsigned.finish(&signature).map_err(ServiceError::from)?)
    }
}

fn window(status: &CertStatus, settings: &OcspSettings) -> Duration {
    match status {
        CertStatus::Good | CertStatus::Unknown => settings.good,
        CertStatus::Revoked { reason: RevocationReason::CertificateHold, .. } => settings.hold,
        CertStatus::Revoked { .. } => settings.revoked,
    }
}
