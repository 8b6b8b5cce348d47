//! The codes with which Intune refuses a request, and what they mean.

use crate::{
    domain::vouch::{Denial, Voucher},
    wire::scep::FailInfo,
};

/// Longest part of Microsoft's own words that is kept.
const MAX_DETAIL: usize = 300;

/// What a code means.
struct Meaning {
    hint: &'static str,
    info: FailInfo,
    /// The challenge was opened: it is one that Intune made.
    once_trusted: bool,
    /// The challenge has not even the form of those that Intune makes.
    guessed: bool,
}

const fn never_trusted(hint: &'static str) -> Meaning {
    Meaning { hint, info: FailInfo::BadRequest, once_trusted: false, guessed: false }
}

const fn once_trusted(hint: &'static str) -> Meaning {
    Meaning { once_trusted: true, ..never_trusted(hint) }
}

/// Every code of Microsoft's library (`IntuneScepServiceException.ErrorCode`); those it may learn are like `Unknown`.
fn meaning(code: &str) -> Meaning {
    const OTHER_PROFILE: &str = "check that the SCEP profile in Intune and its assignment are those that the device has; the device asks again with its next sync";
    match code {
        "CertificateRequestDecodingFailed" => never_trusted("Intune cannot read the request (PKCS#10)"),
        "ChallengePasswordMissing" => never_trusted("the request has no challenge"),
        "ChallengeDeserializationError" | "ChallengeDecodingError" => Meaning {
            guessed: true,
            ..never_trusted(
                "the challenge is not one of Intune's: is another MDM or a person using this URL?",
            )
        },
        "ChallengeDecryptionError" => never_trusted(
            "Intune cannot open the challenge: it is damaged, or another tenant's (see intune.tenant)",
        ),
        "ChallengeInvalidTimestamp" => {
            once_trusted("the challenge has no valid time: let the device sync again")
        }
        "ChallengeExpired" => once_trusted(
            "the challenge has expired: let the device sync, and check that it reaches certgate at once",
        ),
        "SubjectNameMissing" | "SubjectNameMismatch" => {
            once_trusted("the subject in the request is not that of the SCEP profile in Intune")
        }
        "SubjectAltNameMissing" | "SubjectAltNameMismatch" => {
            once_trusted("the subjectAltName in the request is not that of the SCEP profile in Intune")
        }
        "KeyUsageMismatch" => {
            once_trusted("the keyUsage in the request is not that of the SCEP profile in Intune")
        }
        "KeyLengthMismatch" => Meaning {
            info: FailInfo::BadAlg,
            ..once_trusted("the key is shorter or longer than the SCEP profile in Intune says")
        },
        "EnhancedKeyUsageMissing" | "EnhancedKeyUsageMismatch" => {
            once_trusted("the extended key usages in the request are not those of the SCEP profile in Intune")
        }
        "AadKeyIdentifierListMissing" => {
            once_trusted("Intune knows no registered key of the device: is it joined to Entra ID?")
        }
        "RegisteredKeyMismatch" => {
            once_trusted("the request was not signed by the key with which the device is registered")
        }
        "SigningCertThumbprintMismatch" => {
            once_trusted("the renewal was not signed by the certificate that Intune knows of the device")
        }
        "ScepProfileNoLongerTargetedToTheClient" => {
            once_trusted("the SCEP profile is no longer assigned to this device or user")
        }
        "SignatureValidationFailed" => Meaning {
            info: FailInfo::BadMessageCheck,
            ..never_trusted("the signature of the challenge does not verify: it was changed on its way")
        },
        "BadCertificateRequestIdInChallenge" | "BadDeviceIdInChallenge" | "BadUserIdInChallenge" => {
            once_trusted(OTHER_PROFILE)
        }
        _ => never_trusted(
            "Intune gives no reason that is known; its own words and the reference help Microsoft's support",
        ),
    }
}

/// The refusal that a code other than `Success` is.
pub(super) fn denial(code: &str, detail: &str, reference: String) -> Denial {
    let Meaning { hint, info, once_trusted, guessed } = meaning(code);
    let text = |text: &str, length| text.chars().filter(|c| !c.is_control()).take(length).collect();
    Denial {
        by: Voucher::Intune,
        code: text(code, 64),
        detail: text(detail, MAX_DETAIL),
        hint,
        info,
        once_trusted,
        guessed,
        reference,
    }
}
