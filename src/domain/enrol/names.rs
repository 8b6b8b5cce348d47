//! Which names the certificate gets.

use std::collections::HashSet;

use super::{EnrolRequest, RefusalReason, Renewed, decide::recorded_sid, order::Names};
use crate::{
    domain::{
        binding::Assurance,
        challenge::Means,
        profile::{MatchRule, is_well_formed},
    },
    wire::x509::{Certificate, GeneralName, Name},
};

/// The SAN URI with which Active Directory maps a certificate to an account.
const SID_URI: &str = "tag:microsoft.com,2022-09-14:sid:";

/// By the profile's match rule, with a SID only if it is the record's.
pub(super) fn decide_names(
    request: &EnrolRequest<'_>,
    means: Option<&Means>,
) -> Result<Names, RefusalReason> {
    check_alternatives_were_seen(request, means)?;
    let alternate = match means {
        Some(Means::Alternate(certificate)) => Some(certificate.certificate()),
        _ => None,
    };
    if let Some(other) = alternate {
        check_same_names(request, other)?;
    }
    let names = match alternate.filter(|_| !is_known(request)) {
        Some(other) => well_formed(other.subject(), other.subject_alt_names()),
        None => by_rule(request, means)?,
    };
    if names.subject.is_empty() && names.alternatives.is_empty() {
        return Err(RefusalReason::NoName);
    }
    check_sids(&names.alternatives, &allowed_sids(request))?;
    Ok(names)
}

fn by_rule(request: &EnrolRequest<'_>, means: Option<&Means>) -> Result<Names, RefusalReason> {
    Ok(match (request.profile.spec().match_rule, request.renews) {
        (MatchRule::Fill, None) => filled(request)?,
        (MatchRule::Fill, Some(_)) if is_known(request) => filled(request)?,
        (MatchRule::Strict, None) => strict(request)?,
        (MatchRule::Strict, Some(renewed)) if is_known(request) => strict(request).or_else(|refused| {
            if asks_for_old_names(request, renewed) { filled(request) } else { Err(refused) }
        })?,
        // Who enrolled without a record, or under names of their own, keeps exactly those names.
        (_, Some(renewed)) => kept(request, renewed)?,
        (MatchRule::Claim, None) if is_minted_for_somebody(means) => filled(request)?,
        (MatchRule::Claim, None) => claimed(request)?,
    })
}

/// Somebody else judged the request: what it did not see must neither be certified nor say whose device this is. Fail closed, for how
/// Intune reads requests is not known; its own clients write extensionRequest.
fn check_alternatives_were_seen(
    request: &EnrolRequest<'_>,
    means: Option<&Means>,
) -> Result<(), RefusalReason> {
    let vouched = matches!(means, Some(Means::Vouched { .. }));
    let hidden = !request.csr.subject_alt_names().is_empty() && !request.csr.has_plain_alternatives();
    if vouched && hidden { Err(RefusalReason::HiddenAlternatives) } else { Ok(()) }
}

fn is_known(request: &EnrolRequest<'_>) -> bool {
    request.device.is_some() || request.user.is_some()
}

/// A ticket for a device or user is good for that one's names only, whatever the match rule (VU#971035), and
/// an approval does not change that.
fn is_minted_for_somebody(means: Option<&Means>) -> bool {
    match means {
        Some(Means::Ticket { device, user, .. }) => device.is_some() || user.is_some(),
        Some(Means::Approval { bound, .. }) => matches!(bound, Some((_, Assurance::High))),
        Some(Means::Static | Means::Vouched { .. } | Means::Renewal { .. } | Means::Alternate(_)) | None => {
            false
        }
    }
}

/// The names that the templates give.
fn filled(request: &EnrolRequest<'_>) -> Result<Names, RefusalReason> {
    Ok(Names {
        subject: request.profile.subject(request.variables).map_err(RefusalReason::Template)?,
        alternatives: request
            .profile
            .subject_alt_names(request.variables)
            .map_err(RefusalReason::Template)?,
    })
}

/// The request's names, if they are those of the record: equal as sets, with nothing more and nothing less.
fn strict(request: &EnrolRequest<'_>) -> Result<Names, RefusalReason> {
    let names = filled(request)?;
    let requested = request.csr.subject();
    if !requested.matches(&names.subject) {
        return Err(RefusalReason::NamesDiffer(format!("subject {requested} instead of {}", names.subject)));
    }
    match first_difference(request.csr.subject_alt_names(), &names.alternatives) {
        None => Ok(names),
        Some(difference) => Err(RefusalReason::NamesDiffer(difference)),
    }
}

fn asks_for_old_names(request: &EnrolRequest<'_>, renewed: Renewed<'_>) -> bool {
    let old = renewed.certificate;
    request.csr.subject().matches(old.subject())
        && first_difference(request.csr.subject_alt_names(), old.subject_alt_names()).is_none()
}

/// The renewed certificate's names.
fn kept(request: &EnrolRequest<'_>, renewed: Renewed<'_>) -> Result<Names, RefusalReason> {
    let old = renewed.certificate;
    check_same_names(request, old)?;
    Ok(Names { subject: old.subject().clone(), alternatives: old.subject_alt_names().to_vec() })
}

/// RFC 8894 §2.3: a renewal is for the same subject. A request that asks for no subjectAltName keeps them.
fn check_same_names(request: &EnrolRequest<'_>, old: &Certificate) -> Result<(), RefusalReason> {
    let (requested, subject) = (request.csr.subject_alt_names(), request.csr.subject());
    if !subject.matches(old.subject()) {
        let old = old.subject();
        return Err(RefusalReason::Renewal(format!("it is for {old}, the request for {subject}")));
    }
    let difference = first_difference(requested, old.subject_alt_names());
    difference.filter(|_| !requested.is_empty()).map_or(Ok(()), |it| Err(RefusalReason::Renewal(it)))
}

/// The request's subject, and its subjectAltNames of the kinds that profiles can have. Values are held to the limits of those that templates
/// give.
fn claimed(request: &EnrolRequest<'_>) -> Result<Names, RefusalReason> {
    let names = well_formed(request.csr.subject(), request.csr.subject_alt_names());
    let directory_names = names.alternatives.iter().filter_map(|name| match name {
        GeneralName::DirName(name) => Some(name),
        _ => None,
    });
    let mut all = std::iter::once(&names.subject).chain(directory_names);
    all.try_for_each(Name::check_values).map_err(RefusalReason::NameValue)?;
    Ok(names)
}

fn well_formed(subject: &Name, names: &[GeneralName]) -> Names {
    let mut seen = HashSet::new();
    let taken = names.iter().filter(|name| is_well_formed(name) && seen.insert(Meaning::of(name)));
    Names { subject: subject.clone(), alternatives: taken.cloned().collect() }
}

/// The first name that only one of the two has.
fn first_difference(requested: &[GeneralName], expected: &[GeneralName]) -> Option<String> {
    let extra = first_beyond(requested, expected);
    let missing = || first_beyond(expected, requested);
    extra
        .map(|name| format!("{name} is asked for and not expected"))
        .or_else(|| missing().map(|name| format!("{name} is expected and not asked for")))
}

/// The first of `names` that is not among `others`.
fn first_beyond<'a>(names: &'a [GeneralName], others: &[GeneralName]) -> Option<&'a GeneralName> {
    let others: HashSet<_> = others.iter().map(Meaning::of).collect();
    names.iter().find(|name| !others.contains(&Meaning::of(name)))
}

/// What a name means (RFC 5280 §7.2 to §7.5): host names without regard to case, distinguished names as they are compared. A thousand names
/// are not compared each with each.
#[derive(PartialEq, Eq, Hash)]
enum Meaning<'a> {
    Dns(String),
    Email(&'a str, String),
    DirName(Vec<u8>),
    Same(&'a GeneralName),
}

impl<'a> Meaning<'a> {
    fn of(name: &'a GeneralName) -> Self {
        match name {
            GeneralName::Dns(host) => Self::Dns(host.to_ascii_lowercase()),
            GeneralName::Email(address) => match address.rsplit_once('@') {
                Some((local, host)) => Self::Email(local, host.to_ascii_lowercase()),
                None => Self::Same(name),
            },
            GeneralName::DirName(name) => Self::DirName(name.meaning()),
            name => Self::Same(name),
        }
    }
}

/// The SIDs that a name may carry: those of the records, of which a claim reaches only the one that the
/// profile is about.
fn allowed_sids<'a>(request: &EnrolRequest<'a>) -> Vec<&'a str> {
    if request.profile.spec().match_rule == MatchRule::Claim {
        return recorded_sid(request).into_iter().collect();
    }
    let device = request.device.and_then(|device| device.sid.as_deref());
    let user = request.user.and_then(|user| user.details.sid.as_deref());
    device.into_iter().chain(user).collect()
}

/// A SID in a name makes its holder that account in Active Directory: only the record's is let through.
fn check_sids(names: &[GeneralName], recorded: &[&str]) -> Result<(), RefusalReason> {
    for name in names {
        let GeneralName::Uri(uri) = name else { continue };
        let is_sid = uri.get(..SID_URI.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(SID_URI));
        let requested = uri.get(SID_URI.len()..).filter(|_| is_sid);
        if let Some(sid) = requested.filter(|sid| !recorded.contains(sid)) {
            let known = if recorded.is_empty() { "none".to_owned() } else { recorded.join(", ") };
            return Err(RefusalReason::Sid { requested: sid.to_owned(), recorded: known });
        }
    }
    Ok(())
}
