//! Why an enrolment is refused: a code and a text for the client, the reason for the operator.

use crate::{
    domain::challenge::{ChallengeRefused, RENEWAL_REFUSED},
    types::{CertificateId, ContentCipher, DeviceId, DigestAlgorithm, ProfileName, UserId},
    wire::{
        scep::FailInfo,
        x509::{KeyKind, NameError},
    },
};

/// An enrolment that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// failInfo (RFC 8894 §3.2.1.4).
    pub info: FailInfo,
    /// Why, for logs, the trace and the operator.
    pub reason: RefusalReason,
    /// failInfoText: what the client is told, without internals.
    pub text: &'static str,
}

/// The rule that refused. The text is for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The challenge or the renewed certificate does not authorise.
    #[error(transparent)]
    Challenge(#[from] ChallengeRefused),
    /// The authorisation is for another profile.
    #[error("the authorisation is for the profile {0}")]
    AuthorisedElsewhere(ProfileName),
    /// The profile does not take this way to authorise.
    #[error("the profile does not take {0}: see `challenge` and `approval` in the profile")]
    MeansNotTaken(&'static str),
    /// A digest that the profile does not take.
    #[error("the {signed} is signed with {digest}: `legacy.{digest}` in the profile would allow it")]
    Digest {
        /// request or message.
        signed: &'static str,
        /// Its digest.
        digest: DigestAlgorithm,
    },
    /// A cipher that the profile does not take.
    #[error(
        "the envelope is encrypted with {0}: `legacy.triple-des` or `legacy.des` in the profile would allow it"
    )]
    Cipher(ContentCipher),
    /// A kind or size of key that the profile does not take.
    #[error("the key is {found}: the profile takes {wanted}")]
    Key {
        /// What it is.
        found: KeyKind,
        /// What would do.
        wanted: String,
    },
    /// No record of the device or user, and the profile wants one.
    #[error("the {what} is not registered: register it, or set `allow-unregistered` in the profile")]
    NotRegistered {
        /// device or user.
        what: &'static str,
    },
    /// The record does not fit the authorisation.
    #[error("the authorisation is for {expected}, the request for {found}")]
    OtherObject {
        /// From the ticket, the renewed certificate or the approval.
        expected: String,
        /// From the records.
        found: String,
    },
    /// The request names several who are registered.
    #[error("the request names {0}, and is for one: see `identify` in the profile")]
    SeveralNamed(String),
    /// The device must not be given a certificate.
    #[error("the device {device} may not enrol: {because}")]
    DeviceStanding {
        /// Which.
        device: DeviceId,
        /// Why.
        because: &'static str,
    },
    /// The user must not be given a certificate.
    #[error("the user {user} may not enrol: {because}")]
    UserStanding {
        /// Which.
        user: UserId,
        /// Why.
        because: &'static str,
    },
    /// A template cannot be filled.
    #[error("the names cannot be built: {0}")]
    Template(String),
    /// Strict: the request's names are not those of the record.
    #[error("the names in the request differ from those of the record: {0}")]
    NamesDiffer(String),
    /// The subjectAltName is where the one who judged the request may not look.
    #[error(
        "the subjectAltName is not in the one extensionRequest of the request (RFC 2985 section 5.4.2), and Intune may not have seen it: \
         it is in the attribute 1.3.6.1.4.1.311.2.1.14 alone, or there are two lists of extensions"
    )]
    HiddenAlternatives,
    /// Claim: a value that no certificate may have.
    #[error("the request asks for a name that no certificate may have (RFC 5280 appendix A.1): {0}")]
    NameValue(NameError),
    /// Neither a subject nor a SAN.
    #[error("the certificate would have neither a subject nor a subjectAltName")]
    NoName,
    /// A SID that is not the record's.
    #[error("a SAN carries the SID {requested}, the record has {recorded}")]
    Sid {
        /// In the request.
        requested: String,
        /// In the record, or `none`.
        recorded: String,
    },
    /// The renewal's names or certificate are not those of the certificate that signed it.
    #[error("the renewal does not fit the certificate that signed it: {0}")]
    Renewal(String),
    /// The same request led to a certificate that was revoked because its key is in other hands.
    #[error("the same request led to the certificate {certificate}, whose key is compromised")]
    CompromisedKey {
        /// Which.
        certificate: CertificateId,
    },
    /// The approval webhook says no, for this reason; empty where it gives none.
    #[error("the approval webhook says no{}{}", if .0.is_empty() { "" } else { ": " }, .0)]
    Denied(String),
    /// The issuer is not valid now.
    #[error("the issuer's certificate is not valid now: renew the issuer")]
    IssuerNotValid,
}

impl Refusal {
    /// The Windows error code (HRESULT, winerror.h) that says most nearly the same.
    pub const fn hresult(&self) -> i32 {
        const E_ACCESSDENIED: u32 = 0x8007_0005;
        const NTE_BAD_ALGID: u32 = 0x8009_0008;
        const CERTSRV_E_BAD_REQUESTSUBJECT: u32 = 0x8009_4001;
        const CERTSRV_E_KEY_LENGTH: u32 = 0x8009_4811;
        let code = match &self.reason {
            RefusalReason::Digest { .. } | RefusalReason::Cipher(_) => NTE_BAD_ALGID,
            RefusalReason::Key { .. } => CERTSRV_E_KEY_LENGTH,
            RefusalReason::NamesDiffer(_)
            | RefusalReason::HiddenAlternatives
            | RefusalReason::NameValue(_)
            | RefusalReason::NoName
            | RefusalReason::Sid { .. }
            | RefusalReason::Template(_) => CERTSRV_E_BAD_REQUESTSUBJECT,
            _ => E_ACCESSDENIED,
        };
        code.cast_signed()
    }

    pub(super) fn new(reason: RefusalReason) -> Self {
        let (info, text) = answer(&reason);
        Self { info, reason, text }
    }
}

impl<R: Into<RefusalReason>> From<R> for Refusal {
    fn from(reason: R) -> Self {
        Self::new(reason.into())
    }
}

/// The one map from reasons to answers.
fn answer(reason: &RefusalReason) -> (FailInfo, &'static str) {
    match reason {
        RefusalReason::Challenge(refused) => (refused.info(), refused.text()),
        RefusalReason::Digest { .. } | RefusalReason::Cipher(_) => {
            (FailInfo::BadAlg, "The algorithm is not accepted.")
        }
        RefusalReason::Key { .. } => (FailInfo::BadRequest, "The kind or size of the key is not accepted."),
        RefusalReason::NamesDiffer(_)
        | RefusalReason::HiddenAlternatives
        | RefusalReason::NameValue(_)
        | RefusalReason::NoName
        | RefusalReason::Sid { .. } => (FailInfo::BadRequest, "The names in the request are not accepted."),
        RefusalReason::Renewal(_) => (FailInfo::BadRequest, RENEWAL_REFUSED),
        RefusalReason::AuthorisedElsewhere(_)
        | RefusalReason::MeansNotTaken(_)
        | RefusalReason::NotRegistered { .. }
        | RefusalReason::SeveralNamed(_)
        | RefusalReason::CompromisedKey { .. }
        | RefusalReason::OtherObject { .. }
        | RefusalReason::DeviceStanding { .. }
        | RefusalReason::UserStanding { .. }
        | RefusalReason::Template(_)
        | RefusalReason::Denied(_)
        | RefusalReason::IssuerNotValid => (FailInfo::BadRequest, "The request is refused."),
    }
}
