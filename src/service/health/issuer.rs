//! The checks of issuers: their certificates, their CRLs, those who sign OCSP answers for them.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use super::{CREDENTIAL_WARNING, Check, CheckResult};
use crate::{
    domain::{
        crl::{CrlScope, Lateness, SIZE_WARNING},
        issuer::{Generation, GenerationState, Issuer, IssuerKind, OcspAuthority},
        responder::{ResponderWarning, renew_at, warnings},
    },
    service::{
        Gateway, OcspSigner,
        authority::{Answered, Authorities, Authority, External},
        crl::{PublishedCrl, lateness},
    },
    types::{IssuerId, Timestamp, Validity},
    wire::x509::Certificate,
};

/// Issuers are mentioned this long before they expire.
const ISSUER_WARNING: Duration = Duration::from_secs(90 * 86_400);

impl Gateway {
    /// Those of each issuer, ours first.
    pub(super) fn check_issuers(&self, authorities: &Authorities, now: Timestamp) -> Vec<Check> {
        let mut checks = Vec::new();
        for authority in authorities.issuers() {
            if is_over(authority, now) {
                let name = format!("issuer/{}", authority.issuer.id);
                checks.push(Check::pass(name, "retired and expired, with all that it issued"));
                continue;
            }
            checks.push(self.check_issuer(authorities, authority, now));
            checks.push(self.check_ocsp_signer(authority, now));
            checks.push(self.check_crl(authority, now));
            let Generation { line, state, .. } = &authority.issuer.generation;
            if state.issues() && authorities.profiles().any(|profile| profile.spec().issuer == *line) {
                checks.push(check_message_key(authorities, authority, now));
            }
        }
        for external in authorities.externals() {
            checks.extend(self.check_imported_crl(external, now));
            checks.extend(self.check_responder(external, now));
        }
        checks
    }

    fn check_issuer(&self, authorities: &Authorities, authority: &Authority, now: Timestamp) -> Check {
        let check = check_validity(authorities, authority, now);
        if authority.issuer.generation.state == GenerationState::Withdrawn {
            return check;
        }
        // A warning at most: OCSP and CRL of a barred CA have to go on, so nobody should take the gateway out of service for it.
        if check.result != CheckResult::Pass || !self.status.is_inherited(&authority.issuer.id) {
            return check;
        }
        let detail = format!(
            "{}; its certificate or one above it is revoked or on hold: so is all that it issued, and it issues nothing",
            check.detail
        );
        let hint = format!("certgate issuer show {}, and certgate cert show says why", authority.issuer.id);
        Check::not_passed(check.name, CheckResult::Warn, detail, hint)
    }

    fn check_ocsp_signer(&self, authority: &Authority, now: Timestamp) -> Check {
        let name = format!("ocsp-signer/{}", authority.issuer.id);
        if self.settings.system.ocsp_signer_of(&authority.issuer.generation.line) == OcspSigner::Ca {
            return Check::pass(name, "the CA signs its answers itself");
        }
        if self.ocsp_is_over(Answered::Own(authority)) {
            return Check::pass(name, "the CA has expired: OCSP says unauthorized of its certificates");
        }
        check_system_certificate(name, authority.ocsp.as_ref().map(|it| it.certificate.validity()), now)
    }

    /// Nothing for one that nobody answers for. A warning at most: everything else works, so that it makes nothing unready.
    fn check_responder(&self, external: &External, now: Timestamp) -> Option<Check> {
        let id = &external.issuer.id;
        let hint = match &external.issuer.ocsp {
            OcspAuthority::None => return None,
            OcspAuthority::Delegate => format!(
                "certgate responder request {id}; have its CA sign it; certgate responder install {id} FILE"
            ),
            OcspAuthority::Trusted { .. } => {
                format!(
                    "certgate responder show {id}; another issuer: certgate responder use {id} trusted --by ISSUER"
                )
            }
        };
        let name = format!("ocsp-responder/{id}");
        if self.ocsp_is_over(Answered::External(external)) {
            return Some(Check::pass(name, "the CA has expired: OCSP says unauthorized of its certificates"));
        }
        let warn = |detail: String, hint: String| Check::not_passed(&name, CheckResult::Warn, detail, hint);
        let Some(signing) = self.signing_responder(external) else {
            let detail = "no responder has a certificate that is valid and not revoked: OCSP says tryLater of its certificates";
            return Some(warn(detail.to_owned(), hint));
        };
        let validity = signing.certificate.validity();
        let detail = format!("{}, valid until {}", external.issuer.ocsp, validity.not_after);
        let next = external.responders.iter().find(|it| it.since > now && it.id != signing.id);
        Some(match next {
            Some(next) if now.plus(CREDENTIAL_WARNING) > next.since => warn(
                format!("{detail}; the next one signs from {} on", next.since),
                format!("give it to gear that trusts the certificate itself: certgate responder export {id}"),
            ),
            Some(next) => Check::pass(
                name,
                format!("{detail}; the next one, which signs from {} on, can be exported", next.since),
            ),
            None if now >= renew_at(&validity) => warn(detail, hint),
            None => match broken_digest(external, &signing.certificate) {
                Some(told) => warn(format!("{detail}; {told}"), hint),
                None => Check::pass(name, detail),
            },
        })
    }

    /// Nothing for one of which no CRL is published, or that is over. When its CA makes the next one is not known: what is late is that
    /// which has run out. A warning at most, as with its responder.
    fn check_imported_crl(&self, external: &External, now: Timestamp) -> Option<Check> {
        let id = &external.issuer.id;
        let crl = self.crl(id).filter(|_| external.certificate.validity().contains(now))?;
        let (name, detail) =
            (format!("crl/{id}"), format!("number {}, nextUpdate {}", crl.number, crl.next_update));
        if crl.window().lateness(now) < Lateness::Stale {
            return Some(Check::pass(name, detail));
        }
        let detail = format!("{detail}: it is stale, and no newer one of that CA was imported");
        let hint =
            "import its CRL as often as the CA makes one: certgate import --issuer-cert FILE --crl FILE";
        Some(Check::not_passed(name, CheckResult::Warn, detail, hint))
    }

    /// Sections of the configuration that nobody reads: a name that is misspelt leaves its issuer as it was.
    pub(super) fn check_issuer_names(&self, authorities: &Authorities) -> Option<Check> {
        let (ocsp, system) = (&self.settings.ocsp.issuers, &self.settings.system.ocsp_signers);
        let is_unknown = |name: &&IssuerId| authorities.generations(name).is_empty();
        // Who signs for an external issuer is decided elsewhere; how it is answered, here.
        let is_answered = |name: &&IssuerId| authorities.external(name).is_some();
        let ocsp = ocsp.keys().filter(|name| !is_answered(name));
        let unknown: BTreeSet<_> = ocsp.chain(system.keys()).filter(is_unknown).collect();
        let first = unknown.first()?;
        let detail = format!("the configuration has [issuer.{first}], and there is no such issuer");
        let hint = "certgate issuer list shows the names; the first of a line stands for all its generations";
        Some(Check::not_passed("issuer-sections", CheckResult::Warn, detail, hint))
    }

    fn check_crl(&self, authority: &Authority, now: Timestamp) -> Check {
        let id = &authority.issuer.id;
        let name = format!("crl/{id}");
        let hint = format!("look in the log for why none is made; certgate crl publish {id}");
        let all = self.crls_of(id);
        let Some(full) = all.first().filter(|crl| crl.scope == CrlScope::Full) else {
            if self.behind().is_some() {
                let detail = "not served (503): it may be older than the last that was published";
                return Check::not_passed(name, CheckResult::Fail, detail, "see checkpoint above");
            }
            return Check::not_passed(name, CheckResult::Fail, "none was published yet", hint);
        };
        let late =
            all.iter().max_by_key(|crl| (lateness(authority, crl, now), Reverse(crl.scope))).unwrap_or(full);
        let mut detail = format!("number {}, nextUpdate {}", late.number, late.next_update);
        if late.scope != CrlScope::Full {
            detail = format!("{}: {detail}", late.scope.label());
        }
        let (result, what) = match lateness(authority, late, now) {
            Lateness::OnTime => return self.check_crl_size(authority, full, name, detail),
            Lateness::Half => (CheckResult::Warn, "more than half of its life is over and no new one came"),
            Lateness::ThreeQuarters => {
                (CheckResult::Warn, "more than three quarters of its life are over and no new one came")
            }
            Lateness::Stale => (CheckResult::Fail, "it is stale"),
        };
        Check::not_passed(name, result, format!("{detail}: {what}"), hint)
    }

    fn check_crl_size(
        &self,
        authority: &Authority,
        crl: &PublishedCrl,
        name: String,
        detail: String,
    ) -> Check {
        let (size, soon) = (crl.der.len() as u64, self.crl_forecast(authority, crl).bytes);
        if size.max(soon) <= SIZE_WARNING {
            return Check::pass(name, detail);
        }
        let megabytes = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
        let detail = format!("{detail}: it has {}, and in a year {}", megabytes(size), megabytes(soon));
        let hint = "much gear takes no CRL above 10 MB: keep expired certificates for fewer days (crl.keep-expired-days), let \
                    renewed certificates run out (lifecycle.revoke-superseded), or divide the CRL (crl.partitions)";
        Check::not_passed(name, CheckResult::Warn, detail, hint)
    }
}

/// What is to be said of a delegate's certificate that can be forged. A trusted responder's is our own, and never is.
fn broken_digest(external: &External, certificate: &Certificate) -> Option<String> {
    let is_delegate = external.issuer.ocsp == OcspAuthority::Delegate;
    let found = warnings(certificate);
    found
        .iter()
        .find(|it| is_delegate && matches!(it, ResponderWarning::BrokenDigest(_)))
        .map(ToString::to_string)
}

/// Its work is done: neither CRL nor OCSP answers are asked of it, and nothing is to be done about it.
fn is_over(authority: &Authority, now: Timestamp) -> bool {
    !authority.issuer.generation.state.issues() && authority.certificate.validity().not_after < now
}

fn check_validity(authorities: &Authorities, authority: &Authority, now: Timestamp) -> Check {
    let name = format!("issuer/{}", authority.issuer.id);
    let validity = authority.certificate.validity();
    let Generation { line, state, .. } = &authority.issuer.generation;
    let detail = match state {
        GenerationState::Current => format!("valid until {}", validity.not_after),
        state => format!("{state}, valid until {}", validity.not_after),
    };
    let hint = what_follows(authorities, authority);
    if !validity.contains(now) {
        let detail =
            format!("valid from {} to {}, and now is {now}", validity.not_before, validity.not_after);
        return Check::not_passed(name, CheckResult::Fail, detail, hint);
    }
    if !state.issues() {
        return Check::pass(name, detail);
    }
    if now.plus(ISSUER_WARNING) > validity.not_after {
        return Check::not_passed(name, CheckResult::Warn, detail, hint);
    }
    // No certificate outlives its issuer: those that are issued now end sooner than their profile promises.
    let mut profiles = authorities.profiles().filter(|profile| profile.spec().issuer == *line);
    let cut_short = profiles.find(|profile| {
        let promised = Duration::from_secs(u64::from(profile.spec().validity_days) * 86_400);
        now.plus(promised) > validity.not_after
    });
    match cut_short {
        Some(profile) => {
            let (days, profile) = (profile.spec().validity_days, profile.name());
            let detail = format!("{detail}: sooner than the {days} days of the profile {profile}");
            Check::not_passed(name, CheckResult::Warn, detail, hint)
        }
        None => Check::pass(name, detail),
    }
}

/// What an operator does about a CA that ends.
fn what_follows(authorities: &Authorities, authority: &Authority) -> String {
    let Issuer { kind, parent, generation: Generation { line, .. }, .. } = &authority.issuer;
    let end = |authority: &Authority| authority.certificate.validity().not_after;
    let above = parent.as_ref().and_then(|parent| authorities.issuer(parent));
    match (kind, authorities.announced(line)) {
        (IssuerKind::Root, _) => "make a new gateway with a new root before this one ends".to_owned(),
        (IssuerKind::Subordinate, _) if above.is_some_and(|above| end(above) <= end(authority)) => {
            "a successor would end with the root, too: make a new gateway with a new root before that"
                .to_owned()
        }
        (IssuerKind::Subordinate, None) => format!("certgate issuer rollover {line}"),
        (IssuerKind::Subordinate, Some(_)) => format!("certgate issuer cutover {line}"),
    }
}

fn check_message_key(authorities: &Authorities, authority: &Authority, now: Timestamp) -> Check {
    let name = format!("scep-message-key/{}", authority.issuer.id);
    if authority.certificate.validity().not_after < now {
        let detail = "the CA has expired: it certifies no message key, and nothing is enrolled";
        return Check::not_passed(name, CheckResult::Fail, detail, what_follows(authorities, authority));
    }
    check_system_certificate(name, authority.message_keys.first().map(|it| it.certificate.validity()), now)
}

fn check_system_certificate(name: String, validity: Option<Validity>, now: Timestamp) -> Check {
    let hint = "it is renewed by itself: look in the log for why it was not";
    match validity {
        None => Check::not_passed(name, CheckResult::Fail, "there is none", hint),
        Some(validity) if !validity.contains(now) => {
            let detail = format!("valid from {} to {}", validity.not_before, validity.not_after);
            Check::not_passed(name, CheckResult::Fail, detail, hint)
        }
        Some(validity) => {
            let life = validity.not_after.since(validity.not_before);
            let detail = format!("valid until {}", validity.not_after);
            // Renewal begins when a third is left; a sixth is half-way to the end without one.
            if validity.not_after.since(now) < life / 6 {
                Check::not_passed(name, CheckResult::Warn, detail, hint)
            } else {
                Check::pass(name, detail)
            }
        }
    }
}
