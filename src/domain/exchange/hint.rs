//! What to do about a refusal, in plain words.
//!
//! A hint is for whoever looks at the enrolment, never for the client. It says what to do next, with the command where there is one.

use super::{NotFound, Refused, Unanswered, Unreadable};
use crate::{
    domain::{
        alternate::AlternateRefused,
        challenge::ChallengeRefused,
        enrol::RefusalReason,
        profile::{ChallengeMode, ProfileSpec, Scope},
        status::Status,
        throttle::Limit,
    },
    types::{ContentCipher, DeviceId, ProfileName},
    wire::x509::KeyKind,
};

/// What a hint may name.
#[derive(Clone, Copy, Debug)]
pub struct HintFacts<'a> {
    /// The profile that was asked.
    pub profile: &'a ProfileName,
    /// What stands under it.
    pub spec: &'a ProfileSpec,
    /// The device, where one is known.
    pub device: Option<&'a DeviceId>,
}

impl HintFacts<'_> {
    /// How a client of the profile gets a challenge that it takes; goes on a sentence.
    fn new_challenge(&self) -> String {
        let profile = self.profile;
        let takes = |mode| self.spec.challenge.contains(&mode);
        let mint = |whom| format!("mint a ticket with `certgate ticket create --profile {profile} {whom}`");
        if takes(ChallengeMode::Ticket) {
            mint(self.whom())
        } else if takes(ChallengeMode::UnboundTicket) {
            mint("--unbound".to_owned())
        } else if takes(ChallengeMode::Static) {
            format!(
                "give the client the static challenge (`static-challenge-files` under [profile.{profile}])"
            )
        } else if takes(ChallengeMode::Intune) {
            "let Intune send its SCEP profile to the device again".to_owned()
        } else {
            "have the client ask without a challenge: an operator decides (`certgate queue list`)".to_owned()
        }
    }

    /// For whom a ticket of the profile is, as an option of the command line.
    fn whom(&self) -> String {
        match self.spec.scope {
            Scope::Device => format!("--device {}", self.device.map_or("DEVICE", DeviceId::as_str)),
            Scope::User => "--user USER".to_owned(),
        }
    }

    /// The command that shows what the templates are filled from.
    fn record(&self) -> String {
        match self.spec.scope {
            Scope::Device => {
                format!("certgate device show {}", self.device.map_or("DEVICE", DeviceId::as_str))
            }
            Scope::User => "certgate user show USER".to_owned(),
        }
    }
}

impl Refused {
    /// What to do about it.
    pub fn hint(&self, facts: HintFacts<'_>) -> String {
        let profile = facts.profile;
        match self {
            Self::MessageType(_) => {
                "The client speaks of something that RFC 8894 does not know (UpdateReq of old drafts is one): have it enrol \
                 (PKCSReq) or renew (RenewalReq)."
                    .to_owned()
            }
            Self::Signature(_) => {
                "The message was changed on its way, or the client signs with another key than that of the certificate it \
                 sends: look for a proxy that rewrites bodies, then for a newer version of the client."
                    .to_owned()
            }
            Self::NotSpoken(_) => {
                "certgate speaks RSA (PKCS #1 v1.5, and PSS with one SHA-2 digest) and ECDSA, SHA-2 digests and old ones, and the ciphers AES, triple DES and DES. Update the client, or choose one \
                 of these in its settings."
                    .to_owned()
            }
            Self::Legacy { switch, .. } => format!(
                "The client uses an old algorithm. Better update it; if that cannot be, `{switch} = true` under \
                 [profile.{profile}.legacy] lets it in, with a warning at each use."
            ),
            Self::ReplyKey(kind) => reply_key(*kind),
            Self::ReplyPassword(_) => {
                "The answer to a key that cannot encrypt is sealed with the challenge, so there must be one of at least 16 characters \
                 in the request, at a renewal too (any will do there); GetCert and GetCRL have no place for one. Else have the client sign with an \
                 RSA key."
                    .to_owned()
            }
            Self::Unreadable(unreadable) => unreadable.hint().to_owned(),
            Self::Rule(refusal) => refusal.reason.hint(facts),
            Self::Stranger => format!(
                "certgate renews only what it issued itself, and what the CAs in `renewal-issuers` under [profile.{profile}] issued. Let the \
                 device enrol anew: {}.",
                facts.new_challenge()
            ),
            Self::LongCrl { .. } => {
                "Have the client fetch the CRL over HTTP: its URL is in each certificate (cRLDistributionPoints), and `certgate issuer show` \
                 says it. Better still, have it ask over OCSP."
                    .to_owned()
            }
            Self::NotFound(not_found) => not_found.hint().to_owned(),
            Self::Decided { by_operator: true, .. } => {
                "An operator or the approval webhook rejected this request. A new one has to differ: let the device make a new key, or wait until \
                 scep.repeat-window-hours are over. A webhook is asked about whoever it denied after its `denial-minutes`."
                    .to_owned()
            }
            Self::Decided { by_operator: false, .. } => {
                "The enrolment that is polled for was refused: `certgate enrolment list --transaction` with this \
                 transactionID shows when and why."
                    .to_owned()
            }
        }
    }
}

fn reply_key(kind: KeyKind) -> String {
    match kind {
        KeyKind::Rsa { bits } => format!(
            "An answer cannot be encrypted safely to {bits} bits: have the client make an RSA key of at least 2048 bits."
        ),
        KeyKind::P256 | KeyKind::P384 | KeyKind::Other => {
            "The answer is encrypted to the key that signs the request, which only RSA can: have the client sign its request with \
             an RSA key."
                .to_owned()
        }
    }
}

impl Unreadable {
    const fn hint(&self) -> &'static str {
        match self {
            Self::NoEnvelope | Self::Envelope(_) => {
                "The message has no envelope that can be read: the client is broken, or the message was cut on its way."
            }
            Self::NoRecipient => "The envelope is for nobody: the client is broken.",
            Self::DoesNotOpen { addressed: false } => {
                "The envelope is not for this gateway's SCEP certificate: the client has the CA certificates of another server or \
                 of a time before the last renewal. Have it fetch them again (GetCACert), and compare their fingerprints."
            }
            Self::DoesNotOpen { addressed: true } => {
                "The envelope names our certificate but does not open with its key: the message was damaged, or the client \
                 encrypts wrongly (try another cipher or key transport in its settings)."
            }
            Self::Request(_) => {
                "What is in the envelope is not what the message says (a PKCS#10 request for an enrolment): look for a newer \
                 version of the client."
            }
            Self::SelfSignature => {
                "The request is not signed by the key that is to be certified, or with an algorithm that certgate does not check \
                 (RSA and ECDSA on P-256 and P-384 it does): let the client make a new key and request."
            }
        }
    }
}

impl NotFound {
    const fn hint(self) -> &'static str {
        match self {
            Self::Transaction => {
                "A client may ask only for its own enrolment: same URL, same transactionID, same key. Had it enrolled before the \
                 store was restored or made anew, it has to enrol again."
            }
            Self::Issuer => "The client asks for something of another CA: look at its CA certificates.",
            Self::Serial => "This issuer never issued that serial number.",
            Self::Own => "Certificates of the gateway itself are not given out this way.",
        }
    }
}

const fn too_soon(limit: Limit) -> &'static str {
    match limit {
        Limit::Client => {
            "Nothing was read. Do many devices come from this address (a branch, a proxy that is not in listen.trusted-proxies)? Then raise \
             limits.address-requests-per-minute; else find what asks so often."
        }
        Limit::Profile => {
            "All addresses together share this limit. Raise `requests-per-minute` of the profile, or find who asks so often \
             (`certgate enrolment list --profile`)."
        }
        Limit::LockOut => {
            "`certgate audit tail` says when the address was locked out (address.locked-out), `certgate enrolment list --address` what it \
             sent. Renewals and polls go on; enrolments do after limits.lock-out-minutes. If many devices with different wrong \
             challenges share the address, raise limits.wrong-challenges."
        }
    }
}

impl RefusalReason {
    /// What to do about it.
    pub fn hint(&self, facts: HintFacts<'_>) -> String {
        let profile = facts.profile;
        match self {
            Self::Challenge(refused) => refused.hint(facts),
            Self::AuthorisedElsewhere(other) => {
                format!("Have the client use the URL of the profile {other}, or give it a challenge for {profile}.")
            }
            Self::MeansNotTaken(_) => format!(
                "The challenge is right, but the profile {profile} does not take this kind: change `challenge` or `approval` under \
                 [profile.{profile}], or give the client the kind that it takes."
            ),
            Self::Digest { digest, .. } => format!(
                "The client signs with {digest}. Better update it; if that cannot be, `{digest} = true` under \
                 [profile.{profile}.legacy] lets it in, with a warning at each use."
            ),
            Self::Cipher(cipher) => {
                let switch = if *cipher == ContentCipher::DesCbc { "des" } else { "triple-des" };
                format!(
                    "The client sends {cipher}. Better update it; if that cannot be, `{switch} = true` under \
                     [profile.{profile}.legacy] lets it in, with a warning at each use."
                )
            }
            Self::Key { wanted, .. } => format!(
                "Have the client make a key of the right kind ({wanted}), or change `key-types` or `min-rsa-bits` under \
                 [profile.{profile}]."
            ),
            Self::NotRegistered { what: "user" } => format!(
                "Record the user first (`certgate user add`), or look at `identify` under [profile.{profile}]: it says where the \
                 request names its user."
            ),
            Self::NotRegistered { .. } => format!(
                "Register the device first (`certgate device register`, or a source), or look at `identify` under \
                 [profile.{profile}]: it says where the request names its device."
            ),
            Self::SeveralNamed(_) => format!(
                "Have the request name one of them, or look at `identify` under [profile.{profile}]: it says where the request names \
                 its device or user."
            ),
            Self::CompromisedKey { certificate } => format!(
                "Have the device make a new key and ask anew: this one is in other hands, as `certgate cert show {certificate}` says."
            ),
            Self::OtherObject { .. } => {
                "The challenge or certificate is somebody else's, or the device began a new life since: mint a ticket for the \
                 right one."
                    .to_owned()
            }
            Self::DeviceStanding { device, .. } => format!(
                "`certgate device show {device}` says where it stands; `reprovision` begins a new life after a wipe or retirement, \
                 `found` and `cleared` release holds."
            ),
            Self::UserStanding { user, .. } => {
                format!("`certgate user show {user}` says where the user stands; `certgate user enable` lets them in again.")
            }
            Self::Template(_) => format!(
                "Fill in what the templates under [profile.{profile}] use (`{}`), or change the templates.",
                facts.record()
            ),
            Self::NamesDiffer(_) => format!(
                "The profile is strict: correct the names in the client's profile or in the record, or set `match = \"fill\"` \
                 under [profile.{profile}] to have certgate set them."
            ),
            Self::HiddenAlternatives => {
                "Have the client write its names into extensionRequest, or leave subjectAltName out of the SCEP profile in Intune: what \
                 Intune may not have seen is not certified on its word."
                    .to_owned()
            }
            Self::NameValue(_) => format!(
                "Correct the name in the client's settings: an attribute of it is too long, is empty, or has a control character. Or set \
                 `match = \"fill\"` under [profile.{profile}] to have certgate set the names."
            ),
            Self::NoName => format!(
                "Neither the templates under [profile.{profile}] nor the request give a name: set `subject` or \
                 `subject-alt-names`."
            ),
            Self::Sid { .. } => {
                "A request must not claim another account's SID: correct the record or the client's profile.".to_owned()
            }
            Self::Renewal(_) => format!(
                "A renewal has to ask for the names that its certificate has. For other names let the device enrol anew: {}.",
                facts.new_challenge()
            ),
            Self::Denied(_) => format!(
                "Whoever runs the webhook of [profile.{profile}] knows why. The same request is not put to it again within \
                 scep.repeat-window-hours, a new one not before `denial-minutes` of `approval-webhook` are over (10 if it says nothing)."
            ),
            Self::IssuerNotValid => "The CA has expired or is not valid yet: `certgate issuer list`, and look at the \
                                     gateway's clock."
                .to_owned(),
        }
    }
}

impl ChallengeRefused {
    fn hint(&self, facts: HintFacts<'_>) -> String {
        let (again, profile) = (facts.new_challenge(), facts.profile);
        match self {
            Self::Missing => format!(
                "The client sent no challenge password. For it to have one, {again}. A renewal needs none, but has to be signed with the \
                 certificate that it renews."
            ),
            Self::Denied(denial) => format!("The answer of {} means: {}.", denial.by, denial.hint),
            Self::Unknown => format!(
                "The challenge is mistyped, of another gateway, or the static one of before its last change. For another, {again}. One that begins with \"unusable-\" \
                 is what the challenge webhook gives where the MDM server names no device."
            ),
            Self::Expired { at, .. } => {
                format!("The ticket ran out at {at}: {again} (--valid makes one last longer).")
            }
            Self::UsedUp { .. } => format!(
                "The ticket was used before. If the device did not get its certificate then, {again}; if \
                 nobody should have tried again, somebody else may know it."
            ),
            Self::Cancelled { .. } => format!("The ticket was withdrawn: {again}."),
            Self::OtherProfile { minted_for, .. } => {
                format!("Have the client use the URL of the profile {minted_for}, or {again}.")
            }
            Self::NotGood { status, certificate } => match status {
                Status::Expired => format!(
                    "It came too late to renew: let the device enrol anew ({again}), or let expired certificates renew for longer with \
                     `renewal-grace-days` under [profile.{profile}]."
                ),
                _ => format!(
                    "`certgate cert show {certificate}` says why it is not good; the device has to enrol anew."
                ),
            },
            Self::OtherProfilesCertificate { .. } => format!(
                "A certificate is renewed under its own profile: have the client use that profile's URL, or enrol anew under {profile}."
            ),
            Self::TooEarly { opens, .. } => format!(
                "The client may come back from {opens} on, or earlier with a larger `renewal-window-days` under \
                 [profile.{profile}]."
            ),
            Self::Alternate(refused) => format!("{} If nothing else helps, {again}.", refused.hint()),
            Self::AlternateUsed { certificate } => format!(
                "A certificate of another CA leads to one certificate of ours within scep.repeat-window-hours. If the device lost its new \
                 key, revoke `{certificate}` (`certgate cert revoke`) or wait; if it is not the device that asks, somebody else has its \
                 old key."
            ),
        }
    }
}

impl AlternateRefused {
    const fn hint(&self) -> &'static str {
        match self {
            Self::Weak(_) => {
                "Signatures with SHA-1 are forged: the old CA should issue with SHA-256, or the devices get challenges."
            }
            Self::Ca | Self::MayNotSign => {
                "Such a certificate is not made for signing requests: the device has to enrol with a challenge."
            }
            Self::NotYetValid(_) => "Look at the clocks of the gateway and of the old CA.",
            Self::Expired(_) | Self::IssuerExpired(_) => {
                "It came too late: `grace-days` in `renewal-issuers` lets expired certificates in for longer."
            }
            Self::MoreRights(_) => {
                "A move gives no new purposes: let `extended-key-usage` of the profile say what the old certificates say, and enrol for more \
                 with a challenge."
            }
            Self::Revoked => "The old CA revoked it: find out why before the device is let in again.",
        }
    }
}

impl Unanswered {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Operation(_) => {
                "A SCEP URL ends in ?operation=PKIOperation, GetCACaps or GetCACert: a proxy may have dropped the query, or this was \
                 a browser or a health check."
            }
            Self::NoSuccessor => {
                "Nothing is wrong: clients ask for this to learn whether the CA will change."
            }
            Self::Profile(_) => {
                "`certgate profile list` names the profiles; the client's SCEP URL has to be /scep/PROFILE (or set \
                 scep.default-profile for the NDES-compatible URLs)."
            }
            Self::Method(_) => "SCEP is spoken with GET and POST: look for a proxy, or a tool that probes.",
            Self::NoMessage | Self::NotBase64 { .. } => {
                "A GET carries the message in its URL: something on the way cut it or changed it (a + that became a space). Have \
                 the client use POST, which certgate offers in GetCACaps."
            }
            Self::TooLong { .. } => {
                "Real messages have 2 to 6 kB: look for a tool that probes. If this is one, scep.max-message-bytes is the limit, 262144 at \
                 most."
            }
            Self::Encoded => "No SCEP client compresses: look for a proxy that does, or a tool that probes.",
            Self::NotArrived => {
                "The connection ended early or the body took longer than limits.body-timeout-seconds: look at the network between \
                 (MTU, proxies, time-outs)."
            }
            Self::Away { .. } => {
                "The client is told to come back, and nothing is lost. Of Intune `certgate doctor` says how the last exchange ended, and \
                 `certgate queue jobs` what waits for it. An approval webhook has its own log. A CRL of `renewal-issuers` has to be fetched anew."
            }
            Self::NotPkiMessage(_) => {
                "What came is no SCEP message: a proxy that answers or inspects, a health check, or a client that sends its \
                 request bare."
            }
            Self::TooSoon { limit, .. } => too_soon(*limit),
            Self::Overloaded => {
                "The client was told to come back. If this goes on: more limits.workers or processors, or fewer clients at once."
            }
            Self::ApprovalsFull => {
                "Decide on what waits: `certgate queue list`. The client was told to come back."
            }
            Self::Fault(_) => {
                "The fault is certgate's own and the client was told to come back: `certgate doctor`, and the log under this id."
            }
            Self::Panicked => "This is a defect of certgate: please report it with the log under this id.",
        }
    }
}
