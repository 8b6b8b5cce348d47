//! The decision itself: the checks in their order.

use std::time::Duration;

use super::{
    IssueOrder, Refusal, RefusalReason,
    names::decide_names,
    order::{bound_device, bound_user, check_standing, other_object},
    trace::Trace,
};
use crate::{
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        certificate::CertificateRecord,
        challenge::{Authorisation, AwaitingApproval, Means},
        device::Device,
        enrol::TraceStep,
        profile::{Approval, ChallengeMode, CheckedProfile, KeyFamily, Scope, Variables, family},
        user::User,
        vouch::Voucher,
    },
    types::{ContentCipher, DigestAlgorithm, ProfileName, Timestamp, Validity},
    wire::{
        csr::ProvenCsr,
        x509::{Certificate, KeyKind},
    },
};

/// Largest RSA modulus that is certified: verifying with larger ones costs relying parties more than it
/// gives.
const MAX_RSA_BITS: u32 = 8192;

/// The algorithms of the pkiMessage that brought the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageAlgorithms {
    /// Digest of its signature.
    pub digest: DigestAlgorithm,
    /// Cipher of its envelope.
    pub cipher: ContentCipher,
}

/// A certificate that is being renewed.
#[derive(Clone, Copy, Debug)]
pub struct Renewed<'a> {
    /// Its record.
    pub record: &'a CertificateRecord,
    /// The certificate itself.
    pub certificate: &'a Certificate,
}

/// Everything that the decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct EnrolRequest<'a> {
    /// The profile asked for.
    pub profile: &'a CheckedProfile,
    /// The request.
    pub csr: &'a ProvenCsr,
    /// The message that brought it; none when the request was checked before and waited for approval.
    pub message: Option<MessageAlgorithms>,
    /// The device: the ticket's, the renewed certificate's, or the one that the request names (see
    /// [`CheckedProfile::claimed_identities`]).
    pub device: Option<&'a Device>,
    /// The user: the ticket's, the renewed certificate's, the device's, or the one that the request names.
    pub user: Option<&'a User>,
    /// Two who are registered and whom the request names, where it does.
    pub several: Option<&'a str>,
    /// The certificate that signed the renewal; none for a first enrolment.
    pub renews: Option<Renewed<'a>>,
    /// The validity of the issuer's certificate.
    pub issuer_validity: Validity,
    /// Values for the templates.
    pub variables: &'a Variables,
    /// Now.
    pub now: Timestamp,
}

/// An outcome with the checks that led to it.
#[derive(Clone, Debug)]
pub struct Decision<T> {
    /// What was decided.
    pub outcome: Result<T, Refusal>,
    /// The checks in their order; the last one of a refusal is the one that failed.
    pub trace: Vec<TraceStep>,
}

/// A request that may wait for an operator: every rule but the approval allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    evidence: Evidence,
    bound: Option<(BoundObject, Assurance)>,
}

impl Deferral {
    /// What the request brought itself.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the certificate would be bound to.
    pub fn bound(&self) -> Option<&(BoundObject, Assurance)> {
        self.bound.as_ref()
    }
}

/// Decides on a request that is authorised. This is the only function that makes an [`IssueOrder`].
pub fn authorise(request: &EnrolRequest<'_>, authorisation: &Authorisation) -> Decision<IssueOrder> {
    let mut trace = Trace::default();
    let grounds = Grounds {
        profile: authorisation.profile(),
        means: Some(authorisation.means()),
        evidence: authorisation.evidence(),
        approved: matches!(
            authorisation.means(),
            Means::Approval { .. } | Means::Renewal { .. } | Means::Alternate(_)
        ),
    };
    let outcome = decide(request, &grounds, &mut trace);
    trace.conclude(outcome)
}

/// Checks a request that is to wait for an operator's approval. All rules apply now, so that no operator is
/// asked about a request that would be refused anyway; they apply again when it is approved.
pub fn defer(request: &EnrolRequest<'_>, awaiting: &AwaitingApproval) -> Decision<Deferral> {
    let mut trace = Trace::default();
    let grounds = Grounds {
        profile: awaiting.profile(),
        means: awaiting.first().map(Authorisation::means),
        evidence: awaiting.evidence(),
        approved: true,
    };
    let outcome = decide(request, &grounds, &mut trace)
        .map(|order| Deferral { evidence: order.evidence, bound: order.bound });
    trace.conclude(outcome)
}

/// What the request is judged on.
struct Grounds<'a> {
    profile: &'a ProfileName,
    /// How it was authorised; none for one that only asks for approval.
    means: Option<&'a Means>,
    evidence: Evidence,
    /// Whether the profile's demand for an operator's approval is met. A renewal is covered by the approval
    /// of the first certificate, one with another CA's certificate by the trust in that CA.
    approved: bool,
}

fn decide(
    request: &EnrolRequest<'_>,
    grounds: &Grounds<'_>,
    trace: &mut Trace,
) -> Result<IssueOrder, Refusal> {
    trace.check("authorisation", check_means(request, grounds))?;
    trace.check("algorithms", check_algorithms(request))?;
    trace.check("key", check_key(request))?;
    let bound = trace.check("device or user", check_object(request, grounds))?;
    trace.check("standing", check_standing(request.device, request.user).map(|()| standing(request)))?;
    let names = trace.check("names", decide_names(request, grounds.means))?;
    let validity = trace.check("validity", decide_validity(request))?;
    note_ignored(request, trace);
    let kind = request.csr.public_key().kind();
    Ok(IssueOrder {
        profile: request.profile.name().clone(),
        profile_version: request.profile.version(),
        csr: request.csr.fingerprint(),
        public_key: request.csr.public_key().clone(),
        names,
        key_usage: request.profile.key_usage(kind),
        extended_key_usage: request.profile.extended_key_usage().to_vec(),
        validity,
        microsoft_sid: recorded_sid(request)
            .filter(|_| request.profile.spec().microsoft_sid)
            .map(str::to_owned),
        evidence: grounds.evidence.clone(),
        bound,
        renews: request.renews.map(|renewed| renewed.record.id.clone()),
    })
}

/// The authorisation is for this profile, of a kind that the profile takes, and for this act.
fn check_means(request: &EnrolRequest<'_>, grounds: &Grounds<'_>) -> Result<&'static str, RefusalReason> {
    let spec = request.profile.spec();
    if grounds.profile != request.profile.name() {
        return Err(RefusalReason::AuthorisedElsewhere(grounds.profile.clone()));
    }
    let takes = |mode| spec.challenge.contains(&mode);
    let how = match grounds.means {
        Some(Means::Ticket { device: None, user: None, .. }) if !takes(ChallengeMode::UnboundTicket) => {
            return Err(RefusalReason::MeansNotTaken("tickets that name nobody"));
        }
        Some(Means::Ticket { device, user, .. })
            if (device.is_some() || user.is_some()) && !takes(ChallengeMode::Ticket) =>
        {
            return Err(RefusalReason::MeansNotTaken("tickets"));
        }
        Some(Means::Static) if !takes(ChallengeMode::Static) => {
            return Err(RefusalReason::MeansNotTaken("the static challenge"));
        }
        Some(Means::Vouched { by: Voucher::Intune }) if !takes(ChallengeMode::Intune) => {
            return Err(RefusalReason::MeansNotTaken("challenges of Intune's"));
        }
        Some(Means::Approval { .. }) | None if spec.approval != Approval::Manual => {
            return Err(RefusalReason::MeansNotTaken("an operator's approval"));
        }
        Some(Means::Ticket { device: None, user: None, .. }) => "ticket that names nobody",
        Some(Means::Ticket { .. }) => "ticket",
        Some(Means::Static) => "static challenge",
        Some(Means::Vouched { by: Voucher::Intune }) => "Intune validated the request",
        Some(Means::Renewal { .. }) => "renewal",
        Some(Means::Alternate(_)) => "certificate of another CA",
        Some(Means::Approval { .. }) => "operator's approval",
        None => "asks for approval",
    };
    if spec.approval == Approval::Manual && !grounds.approved {
        return Err(RefusalReason::MeansNotTaken("requests without an operator's approval"));
    }
    check_renewed(request, grounds).map(|()| how)
}

/// The certificate at hand is the one whose renewal was authorised; without such an authorisation nothing is
/// renewed.
fn check_renewed(request: &EnrolRequest<'_>, grounds: &Grounds<'_>) -> Result<(), RefusalReason> {
    let authorised = match grounds.means {
        Some(Means::Renewal { certificate, .. }) => Some(certificate),
        _ => None,
    };
    let refused = |problem: &str| Err(RefusalReason::Renewal(problem.to_owned()));
    match (authorised, request.renews) {
        (None, None) => Ok(()),
        (Some(_), None) => refused("the certificate to be renewed is missing"),
        (None, Some(_)) => refused("renewing it was not authorised"),
        (Some(authorised), Some(renewed)) => {
            if *authorised != renewed.record.id
                || renewed.certificate.fingerprint() != renewed.record.fingerprint
            {
                refused("another certificate was authorised")
            } else {
                Ok(())
            }
        }
    }
}

/// No SHA-1, MD5, triple DES or DES unless the profile opted in.
fn check_algorithms(request: &EnrolRequest<'_>) -> Result<String, RefusalReason> {
    let legacy = request.profile.behaviour().old_algorithms;
    let digest_taken = |signed, digest| {
        let taken = match digest {
            DigestAlgorithm::Md5 => legacy.md5,
            DigestAlgorithm::Sha1 => legacy.sha1,
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => true,
        };
        if taken { Ok(()) } else { Err(RefusalReason::Digest { signed, digest }) }
    };
    let signature = request.csr.signature_algorithm();
    digest_taken("request", signature.digest())?;
    let Some(message) = request.message else {
        return Ok(format!("request signed with {}", signature.digest()));
    };
    digest_taken("message", message.digest)?;
    let cipher_taken = match message.cipher {
        ContentCipher::Aes128Cbc | ContentCipher::Aes192Cbc | ContentCipher::Aes256Cbc => true,
        ContentCipher::TripleDesCbc => legacy.triple_des,
        ContentCipher::DesCbc => legacy.des,
    };
    if !cipher_taken {
        return Err(RefusalReason::Cipher(message.cipher));
    }
    let MessageAlgorithms { digest, cipher } = message;
    Ok(format!("request signed with {}, message with {digest}, encrypted with {cipher}", signature.digest()))
}

fn check_key(request: &EnrolRequest<'_>) -> Result<String, RefusalReason> {
    let spec = request.profile.spec();
    let kind = request.csr.public_key().kind();
    let taken = family(kind).is_some_and(|family| spec.key_types.contains(&family))
        && match kind {
            KeyKind::Rsa { bits } => (spec.min_rsa_bits..=MAX_RSA_BITS).contains(&bits),
            KeyKind::P256 | KeyKind::P384 => true,
            KeyKind::Other => false,
        };
    if taken {
        return Ok(kind.to_string());
    }
    let wanted: Vec<String> = spec
        .key_types
        .iter()
        .map(|family| match family {
            KeyFamily::Rsa => format!("RSA from {} to {MAX_RSA_BITS} bits", spec.min_rsa_bits),
            KeyFamily::Ec => "P-256 and P-384".to_owned(),
        })
        .collect();
    Err(RefusalReason::Key { found: kind, wanted: wanted.join(", ") })
}

/// The device or user that the certificate will belong to, and how sure that is.
fn check_object(
    request: &EnrolRequest<'_>,
    grounds: &Grounds<'_>,
) -> Result<Option<(BoundObject, Assurance)>, RefusalReason> {
    let spec = request.profile.spec();
    if let Some(named) = request.several {
        return Err(RefusalReason::SeveralNamed(named.to_owned()));
    }
    let (what, found) = match spec.scope {
        Scope::Device => ("device", request.device.map(bound_device)),
        Scope::User => ("user", request.user.map(bound_user)),
    };
    let assurance = match grounds.means {
        Some(Means::Renewal { bound, .. }) => {
            // Nobody gains a binding by renewing, and nobody loses one (a second life of the device is
            // another object).
            if bound.as_ref().map(|(object, _)| object) != found.as_ref() {
                return Err(other_object(bound.as_ref().map(|(object, _)| object), found.as_ref()));
            }
            return Ok(bound.clone());
        }
        Some(Means::Approval { bound, .. }) => {
            if bound.as_ref().map(|(object, _)| object) != found.as_ref() {
                return Err(other_object(bound.as_ref().map(|(object, _)| object), found.as_ref()));
            }
            bound.as_ref().map_or(Assurance::Medium, |(_, before)| (*before).max(Assurance::Medium))
        }
        Some(Means::Ticket { device, user, .. }) => {
            ticket_assurance(request, device.as_ref(), user.as_ref())?
        }
        // Whoever vouches has compared the names in the request with those that it knows the device or user by.
        Some(Means::Vouched { .. }) => Assurance::High,
        // Another CA knew whom it named; the record was found by that name alone.
        Some(Means::Alternate(_)) => Assurance::Medium,
        Some(Means::Static) | None => Assurance::Low,
    };
    match found {
        Some(object) => Ok(Some((object, assurance))),
        None if spec.allow_unregistered => Ok(None),
        None => Err(RefusalReason::NotRegistered { what }),
    }
}

/// A ticket that was minted for somebody is for nobody else (VU#971035); one that names nobody vouches, but
/// not for whom.
fn ticket_assurance(
    request: &EnrolRequest<'_>,
    device: Option<&crate::types::DeviceId>,
    user: Option<&crate::types::UserId>,
) -> Result<Assurance, RefusalReason> {
    let other = |expected: String, found: Option<String>| RefusalReason::OtherObject {
        expected,
        found: found.unwrap_or_else(|| "nothing registered".to_owned()),
    };
    let found_device = request.device.map(|device| &device.id);
    if device.is_some() && device != found_device {
        let expected = device.map(|id| format!("device {id}")).unwrap_or_default();
        return Err(other(expected, found_device.map(|id| format!("device {id}"))));
    }
    let found_user = request.user.map(|user| &user.id);
    if user.is_some() && user != found_user {
        let expected = user.map(|id| format!("user {id}")).unwrap_or_default();
        return Err(other(expected, found_user.map(|id| format!("user {id}"))));
    }
    let named = match request.profile.spec().scope {
        Scope::Device => device.is_some(),
        // The user of a device that the ticket names is as sure as the device's record.
        Scope::User => {
            user.is_some() || (device.is_some() && request.device.and_then(|d| d.user.as_ref()) == found_user)
        }
    };
    Ok(if named { Assurance::High } else { Assurance::Medium })
}

fn standing(request: &EnrolRequest<'_>) -> String {
    let device = request.device.map(|device| format!("device {} is {}", device.id, device.badge()));
    let user = request.user.map(|user| format!("user {} is enabled", user.id));
    let known: Vec<String> = device.into_iter().chain(user).collect();
    if known.is_empty() { "nothing registered".to_owned() } else { known.join(", ") }
}

/// The account's SID in the record that the certificate is bound to.
pub(super) fn recorded_sid<'a>(request: &EnrolRequest<'a>) -> Option<&'a str> {
    match request.profile.spec().scope {
        Scope::Device => request.device.and_then(|device| device.sid.as_deref()),
        Scope::User => request.user.and_then(|user| user.details.sid.as_deref()),
    }
}

/// From a little before now, for as long as the profile says, always within the issuer's validity.
fn decide_validity(request: &EnrolRequest<'_>) -> Result<Validity, RefusalReason> {
    let spec = request.profile.spec();
    let wanted = Validity {
        not_before: request.now.minus(Duration::from_secs(u64::from(spec.backdate_minutes) * 60)),
        not_after: request.now.plus(Duration::from_secs(u64::from(spec.validity_days) * 86_400)),
    };
    if !request.issuer_validity.contains(request.now) {
        return Err(RefusalReason::IssuerNotValid);
    }
    wanted.within(&request.issuer_validity).ok_or(RefusalReason::IssuerNotValid)
}

/// What the request asked for and does not get: usages, and every extension but the names. Gateways that copied
/// basicConstraints or usages from requests handed out CA certificates.
fn note_ignored(request: &EnrolRequest<'_>, trace: &mut Trace) {
    let extensions: Vec<String> = request
        .csr
        .requested_extension_oids()
        .iter()
        .map(ToString::to_string)
        .filter(|oid| oid != "2.5.29.17")
        .collect();
    if !extensions.is_empty() {
        trace
            .pass("requested extensions", format!("ignored, the profile decides: {}", extensions.join(", ")));
    }
}
