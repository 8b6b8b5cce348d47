//! One-time challenges (tickets) and static challenges (RFC 8894 §2.4, §7.3).

use aws_lc_rs::constant_time;
use serde::{Deserialize, Serialize};

use super::{
    access::{Authed, Operate},
    alternate::{AlternateCertificate, AlternateRefused},
    binding::{Assurance, Binding, BoundObject, Evidence},
    certificate::{CertificateRecord, Purpose},
    device::{Device, Lifecycle},
    enrol::{Enrolment, EnrolmentState},
    profile::CheckedProfile,
    status::Status,
    vouch::{Denial, Verdict, Voucher},
};
use crate::{
    types::{CertificateId, DeviceId, EnrolmentId, ProfileName, TicketId, Timestamp, UserId},
    wire::scep::FailInfo,
};

/// A challenge minted for one device or user. The secret itself is shown once and stored only as a keyed MAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its handle.
    pub id: TicketId,
    /// Keyed MAC of the secret.
    pub secret_mac: [u8; 32],
    /// The profile that takes it.
    pub profile: ProfileName,
    /// The device that it was minted for. A ticket that names neither a device nor a user vouches for somebody, and not
    /// for whom.
    pub device: Option<DeviceId>,
    /// The user that it was minted for.
    pub user: Option<UserId>,
    /// How often it may still be used.
    pub uses_left: u32,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom, as text.
    pub created_by: String,
    /// When it was withdrawn before use.
    pub cancelled_at: Option<Timestamp>,
    /// Other profiles that take it too: those among which the key usage of a request at the NDES-compatible URL chooses.
    pub also_for: Vec<ProfileName>,
    /// Where it was asked for.
    pub origin: TicketOrigin,
    /// The enrolments that used it, in their order.
    pub used_by: Vec<EnrolmentId>,
}

/// Where a ticket was asked for. Stored by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketOrigin {
    /// The command line or the API.
    #[default]
    Api,
    /// The NDES-compatible page.
    NdesPage,
    /// The challenge webhook of an MDM server.
    Webhook,
}

/// Proof that somebody with the right to do so allowed the enrolment. Only the checks of this module make
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    profile: ProfileName,
    means: Means,
}

/// How an enrolment was authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// By a one-time challenge.
    Ticket {
        /// Which.
        id: TicketId,
        /// The device that it was minted for.
        device: Option<DeviceId>,
        /// The user that it was minted for.
        user: Option<UserId>,
    },
    /// By the profile's static challenge.
    Static,
    /// By somebody else's word.
    Vouched {
        /// Whose.
        by: Voucher,
    },
    /// By a certificate of ours that is being renewed.
    Renewal {
        /// Which.
        certificate: CertificateId,
        /// What it is bound to, and how sure that is.
        bound: Option<(BoundObject, Assurance)>,
    },
    /// By a certificate of another CA that the profile trusts for that.
    Alternate(AlternateCertificate),
    /// By an operator.
    Approval {
        /// What was approved.
        enrolment: EnrolmentId,
        /// What the request had brought itself.
        first: Evidence,
        /// What the certificate was to be bound to when it was approved, and how sure that was.
        bound: Option<(BoundObject, Assurance)>,
    },
}

impl Authorisation {
    /// The only profile that it is for.
    pub fn profile(&self) -> &ProfileName {
        &self.profile
    }

    /// How.
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// What is recorded beside the certificate's binding. An approval of a request with a ticket counts as
    /// the ticket.
    pub fn evidence(&self) -> Evidence {
        match &self.means {
            Means::Ticket { id, .. } => Evidence::Ticket { id: id.clone() },
            Means::Static => Evidence::Claim,
            Means::Vouched { by } => Evidence::Vouched { by: *by },
            Means::Renewal { certificate, .. } => Evidence::Renewal { certificate: certificate.clone() },
            Means::Alternate(certificate) => Evidence::Alternate {
                issuer: certificate.issuer(),
                serial: certificate.serial().clone(),
                fingerprint: certificate.fingerprint(),
            },
            Means::Approval { first: ticket @ Evidence::Ticket { .. }, .. } => ticket.clone(),
            Means::Approval { .. } => Evidence::Approval,
        }
    }
}

/// Why a challenge or renewal does not authorise, for logs and the trace. The client hears one text for all
/// challenges ([`CHALLENGE_REFUSED`]): it must not learn which secrets once existed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefused {
    /// No challengePassword in the request.
    #[error("the request has no challenge")]
    Missing,
    /// Neither a ticket nor the static challenge.
    #[error("the challenge is unknown")]
    Unknown,
    /// Somebody else was asked, and does not stand up for it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Past its end.
    #[error("the ticket {ticket} expired at {at}")]
    Expired {
        /// Which.
        ticket: TicketId,
        /// Its end.
        at: Timestamp,
    },
    /// Used as often as it may be.
    #[error("the ticket {ticket} is used up")]
    UsedUp {
        /// Which.
        ticket: TicketId,
    },
    /// Withdrawn.
    #[error("the ticket {ticket} was cancelled")]
    Cancelled {
        /// Which.
        ticket: TicketId,
    },
    /// Minted for another profile.
    #[error("the ticket {ticket} is for the profile {minted_for}")]
    OtherProfile {
        /// Which.
        ticket: TicketId,
        /// Its profile.
        minted_for: ProfileName,
    },
    /// The signer's certificate is not good.
    #[error("the certificate {certificate} that signed the renewal is {status}")]
    NotGood {
        /// Which.
        certificate: CertificateId,
        /// Its status.
        status: Status,
    },
    /// The signer's certificate is not one of this profile's.
    #[error("the certificate {certificate} that signed the renewal was not issued under this profile")]
    OtherProfilesCertificate {
        /// Which.
        certificate: CertificateId,
    },
    /// Too early.
    #[error("the certificate {certificate} can be renewed from {opens} on")]
    TooEarly {
        /// Which.
        certificate: CertificateId,
        /// Start of its renewal window.
        opens: Timestamp,
    },
    /// A certificate of another CA that does not renew.
    #[error(transparent)]
    Alternate(#[from] AlternateRefused),
    /// A certificate of another CA that another key has renewed with.
    #[error("the certificate that signed the renewal has led to {certificate} already, for another key")]
    AlternateUsed {
        /// What it led to.
        certificate: CertificateId,
    },
}

/// failInfoText for a challenge that is missing, wrong, expired or used.
pub const CHALLENGE_REFUSED: &str = "The challenge is missing or not valid.";
/// failInfoText for a renewal that is refused.
pub const RENEWAL_REFUSED: &str = "The certificate cannot be renewed with this request.";

impl ChallengeRefused {
    /// What the client is told.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Missing
            | Self::Unknown
            | Self::Denied(_)
            | Self::Expired { .. }
            | Self::UsedUp { .. }
            | Self::Cancelled { .. }
            | Self::OtherProfile { .. } => CHALLENGE_REFUSED,
            Self::NotGood { .. }
            | Self::OtherProfilesCertificate { .. }
            | Self::TooEarly { .. }
            | Self::Alternate(_)
            | Self::AlternateUsed { .. } => RENEWAL_REFUSED,
        }
    }

    /// failInfo (RFC 8894 §3.2.1.4): badRequest, unless somebody else had a better reason.
    pub fn info(&self) -> FailInfo {
        match self {
            Self::Denied(denial) => denial.info,
            _ => FailInfo::BadRequest,
        }
    }
}

impl Ticket {
    /// The ticket with one use less, which this enrolment has.
    #[must_use]
    pub fn consume(&self, by: &EnrolmentId) -> Self {
        let mut used = Self { uses_left: self.uses_left.saturating_sub(1), ..self.clone() };
        used.used_by.push(by.clone());
        used
    }

    /// The ticket, withdrawn. One that was withdrawn before keeps its time.
    #[must_use]
    pub fn cancel(&self, now: Timestamp) -> Self {
        Self { cancelled_at: self.cancelled_at.or(Some(now)), ..self.clone() }
    }

    /// Why it cannot be used now, if it cannot.
    pub fn usable(&self, now: Timestamp) -> Result<(), ChallengeRefused> {
        let ticket = || self.id.clone();
        if self.cancelled_at.is_some() {
            return Err(ChallengeRefused::Cancelled { ticket: ticket() });
        }
        if self.uses_left == 0 {
            return Err(ChallengeRefused::UsedUp { ticket: ticket() });
        }
        if now >= self.expires_at {
            return Err(ChallengeRefused::Expired { ticket: ticket(), at: self.expires_at });
        }
        Ok(())
    }
}

/// Whether a registration was in vain: the device has never enrolled in this life, a ticket of this life ran out unused, and none
/// can be used any more. `tickets` are all of the device.
///
/// A device without tickets waits for ever; so does one whose tickets were only withdrawn, for whoever did that is at it. A
/// ticket of the life before says nothing about this one.
pub fn has_run_out(device: &Device, tickets: &[Ticket], now: Timestamp) -> bool {
    let waits = matches!(device.lifecycle, Lifecycle::Pending | Lifecycle::Verified);
    let ran_out = |ticket: &Ticket| {
        ticket.created_at >= device.lifecycle_since
            && matches!(ticket.usable(now), Err(ChallengeRefused::Expired { .. }))
    };
    waits
        && device.enrolled_at.is_none()
        && tickets.iter().any(ran_out)
        && tickets.iter().all(|ticket| ticket.usable(now).is_err())
}

/// Checks a ticket that was found by the MAC of the presented challenge. It authorises this profile only
/// (VU#971035: a challenge must not be good for something else than it was made for).
pub fn check_ticket(
    ticket: &Ticket,
    profile: &ProfileName,
    now: Timestamp,
) -> Result<Authorisation, ChallengeRefused> {
    if ticket.profile != *profile && !ticket.also_for.contains(profile) {
        let (ticket, minted_for) = (ticket.id.clone(), ticket.profile.clone());
        return Err(ChallengeRefused::OtherProfile { ticket, minted_for });
    }
    ticket.usable(now)?;
    let Ticket { id, device, user, .. } = ticket.clone();
    Ok(Authorisation { profile: profile.clone(), means: Means::Ticket { id, device, user } })
}

/// Compares the keyed MAC of the presented challenge with those of the profile's static challenges (two
/// during a rotation), in constant time and always all of them.
pub fn check_static(
    presented_mac: &[u8; 32],
    valid_macs: &[[u8; 32]],
    profile: &ProfileName,
) -> Result<Authorisation, ChallengeRefused> {
    let equal = |valid: &[u8; 32]| constant_time::verify_slices_are_equal(presented_mac, valid).is_ok();
    let found = valid_macs.iter().fold(false, |found, valid| equal(valid) | found);
    if found {
        Ok(Authorisation { profile: profile.clone(), means: Means::Static })
    } else {
        Err(ChallengeRefused::Unknown)
    }
}

/// Takes somebody else's word.
pub fn check_verdict(
    by: Voucher,
    verdict: &Verdict,
    profile: &ProfileName,
) -> Result<Authorisation, ChallengeRefused> {
    match verdict {
        Verdict::Allowed { .. } => {
            Ok(Authorisation { profile: profile.clone(), means: Means::Vouched { by } })
        }
        Verdict::Denied(denial) => Err(denial.clone().into()),
    }
}

/// What is known of the certificate that signed a renewal. The caller has found its record by fingerprint,
/// which proves that it is one of ours (RFC 8894 §2.3; micromdm/scep issue 235 is what happens without).
#[derive(Clone, Copy, Debug)]
pub struct RenewalFacts<'a> {
    /// Its record.
    pub record: &'a CertificateRecord,
    /// Its status by its own causes: whether the issuer is in standing to issue is asked apart.
    pub status: Status,
    /// What it is bound to.
    pub bindings: &'a [Binding],
    /// The profile under which it is to be renewed.
    pub profile: &'a CheckedProfile,
    /// The new one comes from another generation of the CA: then it is time, whatever the renewal window says.
    pub rolls_over: bool,
    /// Now.
    pub now: Timestamp,
}

/// A renewal with a certificate of another CA, which was checked.
pub fn renewal_from_elsewhere(certificate: AlternateCertificate, profile: &ProfileName) -> Authorisation {
    Authorisation { profile: profile.clone(), means: Means::Alternate(certificate) }
}

/// Checks that the certificate is a good leaf of the same profile in its renewal window, or expired within the profile's grace.
pub fn check_renewal(facts: &RenewalFacts<'_>) -> Result<Authorisation, ChallengeRefused> {
    let RenewalFacts { record, status, bindings, profile, rolls_over, now } = *facts;
    let certificate = record.id.clone();
    let same_profile = record.profile.as_ref().is_some_and(|(name, _)| name == profile.name());
    if record.purpose != Purpose::Leaf || !same_profile {
        return Err(ChallengeRefused::OtherProfilesCertificate { certificate });
    }
    let in_grace = status == Status::Expired && now <= profile.renewal_closes(&record.validity);
    if status != Status::Good && !in_grace {
        return Err(ChallengeRefused::NotGood { certificate, status });
    }
    let opens = profile.renewal_opens(&record.validity);
    if now < opens && !rolls_over {
        return Err(ChallengeRefused::TooEarly { certificate, opens });
    }
    let bound = bindings
        .iter()
        .find(|binding| binding.certificate == record.id)
        .map(|binding| (binding.object.clone(), binding.assurance));
    Ok(Authorisation { profile: profile.name().clone(), means: Means::Renewal { certificate, bound } })
}

/// A request that waits for an operator. It leads to PENDING and to nothing else: only [`approved`] turns the
/// recorded enrolment into an [`Authorisation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitingApproval {
    profile: ProfileName,
    first: Option<Authorisation>,
}

impl AwaitingApproval {
    /// The only profile that it is for.
    pub fn profile(&self) -> &ProfileName {
        &self.profile
    }

    /// What the request brought itself.
    pub fn first(&self) -> Option<&Authorisation> {
        self.first.as_ref()
    }

    /// What is recorded in the enrolment.
    pub fn evidence(&self) -> Evidence {
        self.first.as_ref().map_or(Evidence::Approval, Authorisation::evidence)
    }
}

/// Puts a request before an operator. `first` is the challenge that it brought; a profile that names
/// challenge modes demands one of them before an operator is bothered.
pub fn awaiting_approval(
    profile: &CheckedProfile,
    first: Option<Authorisation>,
) -> Result<AwaitingApproval, ChallengeRefused> {
    if first.is_none() && !profile.spec().challenge.is_empty() {
        return Err(ChallengeRefused::Missing);
    }
    Ok(AwaitingApproval { profile: profile.name().clone(), first })
}

/// An enrolment that is not waiting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the enrolment {enrolment} is not waiting for approval: it was decided already")]
pub struct NotPending {
    /// Which.
    pub enrolment: EnrolmentId,
}

/// An operator's approval of a waiting enrolment.
pub fn approved(enrolment: &Enrolment, _by: &Authed<Operate>) -> Result<Authorisation, NotPending> {
    if enrolment.state != EnrolmentState::Pending {
        return Err(NotPending { enrolment: enrolment.id.clone() });
    }
    let means = Means::Approval {
        enrolment: enrolment.id.clone(),
        first: enrolment.evidence.clone(),
        bound: enrolment.binding.clone(),
    };
    Ok(Authorisation { profile: enrolment.profile.clone(), means })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::device::Registration;

    const T0: u64 = 1_800_000_000;

    fn ticket() -> Ticket {
        Ticket {
            id: TicketId::from_random([1; 16]),
            secret_mac: [7; 32],
            profile: name("device"),
            device: Some("SN1".parse().unwrap()),
            user: None,
            uses_left: 1,
            expires_at: Timestamp::from_unix(T0 + 60),
            created_at: Timestamp::from_unix(T0),
            created_by: "operator".to_owned(),
            cancelled_at: None,
            also_for: Vec::new(),
            origin: TicketOrigin::Api,
            used_by: Vec::new(),
        }
    }

    fn enrolment() -> EnrolmentId {
        EnrolmentId::from_random([3; 16])
    }

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    fn check(ticket: &Ticket, now: u64) -> Result<Authorisation, ChallengeRefused> {
        check_ticket(ticket, &name("device"), Timestamp::from_unix(now))
    }

    fn device() -> Device {
        let registered = Timestamp::from_unix(T0);
        Device::new("SN1".parse().unwrap(), Registration::default(), registered).unwrap()
    }

    #[test]
    fn a_registration_runs_out_with_its_last_ticket() {
        let run_out = |tickets: &[Ticket], now| has_run_out(&device(), tickets, Timestamp::from_unix(now));
        let later = Ticket { expires_at: Timestamp::from_unix(T0 + 90), ..ticket() };
        assert!(!run_out(&[ticket()], T0 + 59));
        assert!(run_out(&[ticket()], T0 + 60));
        assert!(!run_out(&[ticket(), later.clone()], T0 + 60));
        assert!(run_out(&[ticket(), later.clone()], T0 + 90));
        assert!(run_out(&[ticket(), later.cancel(Timestamp::from_unix(T0))], T0 + 60));
    }

    #[test]
    fn without_a_ticket_that_ran_out_unused_a_device_waits() {
        let run_out = |tickets: &[Ticket]| has_run_out(&device(), tickets, Timestamp::from_unix(T0 + 99));
        assert!(!run_out(&[]));
        assert!(!run_out(&[ticket().cancel(Timestamp::from_unix(T0 + 1))]));
        assert!(!run_out(&[ticket().consume(&enrolment())]));
        let of_the_life_before = Ticket { created_at: Timestamp::from_unix(T0 - 1), ..ticket() };
        assert!(!run_out(&[of_the_life_before]));
    }

    #[test]
    fn only_a_device_that_never_enrolled_runs_out() {
        let enrolled = Device { enrolled_at: Some(Timestamp::from_unix(T0)), ..device() };
        let active = Device { lifecycle: Lifecycle::Active, ..device() };
        for device in [enrolled, active] {
            assert!(!has_run_out(&device, &[ticket()], Timestamp::from_unix(T0 + 60)), "{device:?}");
        }
    }

    #[test]
    fn a_ticket_works_once_until_it_ends() {
        let authorisation = check(&ticket(), T0 + 59).unwrap();
        assert_eq!(authorisation.evidence(), Evidence::Ticket { id: ticket().id });
        assert_eq!(authorisation.profile(), &name("device"));
        assert!(matches!(check(&ticket().consume(&enrolment()), T0), Err(ChallengeRefused::UsedUp { .. })));
        assert!(matches!(check(&ticket(), T0 + 60), Err(ChallengeRefused::Expired { .. })));
        let cancelled = ticket().cancel(Timestamp::from_unix(T0 + 1));
        assert!(matches!(check(&cancelled, T0 + 2), Err(ChallengeRefused::Cancelled { .. })));
        assert_eq!(cancelled.cancel(Timestamp::from_unix(T0 + 9)), cancelled);
        let used = ticket().consume(&enrolment()).consume(&enrolment());
        assert_eq!((used.uses_left, used.used_by.len()), (0, 2));
    }

    #[test]
    fn a_ticket_is_good_for_its_profile_only() {
        let elsewhere = check_ticket(&ticket(), &name("vpn"), Timestamp::from_unix(T0));
        assert!(matches!(elsewhere, Err(ChallengeRefused::OtherProfile { .. })));
    }

    #[test]
    fn the_client_cannot_tell_why_a_challenge_is_refused() {
        let ticket = ticket().id;
        for refused in [
            ChallengeRefused::Missing,
            ChallengeRefused::Unknown,
            ChallengeRefused::Expired { ticket: ticket.clone(), at: Timestamp::EPOCH },
            ChallengeRefused::UsedUp { ticket: ticket.clone() },
            ChallengeRefused::Cancelled { ticket: ticket.clone() },
            ChallengeRefused::OtherProfile { ticket, minted_for: name("vpn") },
        ] {
            assert_eq!(refused.text(), CHALLENGE_REFUSED);
        }
    }

    #[test]
    fn both_static_challenges_of_a_rotation_are_taken() {
        let macs = [[1; 32], [2; 32]];
        for good in macs {
            assert_eq!(check_static(&good, &macs, &name("device")).unwrap().means(), &Means::Static);
        }
        assert_eq!(check_static(&[3; 32], &macs, &name("device")), Err(ChallengeRefused::Unknown));
        assert_eq!(check_static(&[3; 32], &[], &name("device")), Err(ChallengeRefused::Unknown));
    }

    #[test]
    fn a_ticket_is_for_its_profiles_and_no_other() {
        let ticket = Ticket { also_for: vec![name("signing")], ..ticket() };
        let check = |profile| check_ticket(&ticket, &name(profile), Timestamp::from_unix(T0));
        assert!(check("device").is_ok());
        assert_eq!(check("signing").unwrap().profile(), &name("signing"));
        assert!(matches!(check("vpn"), Err(ChallengeRefused::OtherProfile { .. })));
    }
}
