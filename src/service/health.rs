//! Whether everything works: named checks, each with what to do about it.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Gateway, OcspSigner, ServiceError,
    authority::{Authorities, Authority, External},
    crl::{PublishedCrl, lateness},
    issuer::public_url,
    outside::Heard,
};
use crate::{
    domain::{
        access::{Authed, Read},
        alternate::AlternateIssuers,
        crl::{CrlScope, Lateness, SIZE_WARNING},
        issuer::{Generation, GenerationState, Issuer, IssuerKind, OcspAuthority},
        responder::{ResponderWarning, renew_at, warnings},
        vouch::Voucher,
    },
    types::{IssuerId, ProfileName, Timestamp, Validity},
    wire::x509::Certificate,
};

/// Issuers are mentioned this long before they expire.
const ISSUER_WARNING: Duration = Duration::from_secs(90 * 86_400);

/// What certgate proves itself with to others is mentioned this long before it ends.
const CREDENTIAL_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// Revocations that a restore lost are mentioned this long.
const RESTORE_WARNING: Duration = Duration::from_secs(90 * 86_400);

/// What to do about a CRL of another CA that cannot be asked.
const RENEWAL_CRL: &str = "devices that renew with certificates of that CA are told to come back: fetch its newest CRL into `crl-files` of \
                           `renewal-issuers`, or take out a CA that has ended";

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// As it should be.
    Pass,
    /// It works, but somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `store`, `issuer/NAME`, `crl/NAME`, `ocsp-signer/NAME`, `ocsp-responder/NAME`, `scep-message-key/NAME`, `status`, `jobs`,
    /// `clock`, `key-encryption-key`, `checkpoint`, `restored`, `lock-outs`, `alarms`, `intune`, `intune/certificate`, `issuer-sections`,
    /// `directory/NAME/ISSUER`, `renewal-crl/PROFILE`, `public-url`.
    pub name: String,
    /// How it came out.
    pub result: CheckResult,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when it passed.
    pub hint: String,
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// No check failed.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// How much there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// certgate's version.
    pub version: String,
    /// The server's time.
    pub now: Timestamp,
    /// Whether [`HealthReport::ready`].
    pub ready: bool,
    /// The issuers.
    pub issuers: Vec<IssuerId>,
    /// How many profiles there are.
    pub profiles: u64,
    /// How many certificates were ever issued.
    pub certificates: u64,
    /// How many devices there are.
    pub devices: u64,
    /// How many enrolments wait for approval.
    pub pending_enrolments: u64,
    /// How many jobs wait.
    pub waiting_jobs: u64,
    /// How many jobs were given up.
    pub dead_jobs: u64,
}

impl Check {
    pub(super) fn pass(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), result: CheckResult::Pass, detail: detail.into(), hint: String::new() }
    }

    pub(super) fn not_passed(
        name: impl Into<String>,
        result: CheckResult,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), result, detail: detail.into(), hint: hint.into() }
    }
}

impl Gateway {
    /// Runs every check. Needs no permission: it says nothing that is secret, and load balancers ask.
    pub fn health(&self) -> HealthReport {
        let now = self.now();
        let authorities = self.authorities();
        let mut checks =
            vec![self.check_store(), self.check_jobs(), self.check_status(), self.check_key_encryption_key()];
        checks.extend(self.check_clock());
        checks.push(self.check_checkpoint());
        checks.extend(self.check_restoration(now));
        checks.extend(self.check_lock_outs());
        checks.extend(self.check_alarms(now));
        checks.extend(self.check_public_url(&authorities));
        checks.extend(self.check_vouchers());
        checks.extend(self.check_issuer_names(&authorities));
        checks.extend(self.check_credentials(now));
        checks.extend(self.check_renewal_crls(now));
        checks.extend(self.check_directories(now));
        for authority in authorities.issuers() {
            if is_over(authority, now) {
                let name = format!("issuer/{}", authority.issuer.id);
                checks.push(Check::pass(name, "retired and expired, with all that it issued"));
                continue;
            }
            checks.push(self.check_issuer(&authorities, authority, now));
            checks.push(self.check_ocsp_signer(authority, now));
            checks.push(self.check_crl(authority, now));
            let Generation { line, state, .. } = &authority.issuer.generation;
            if state.issues() && authorities.profiles().any(|profile| profile.spec().issuer == *line) {
                checks.push(check_message_key(authority, now));
            }
        }
        for external in authorities.externals() {
            checks.extend(self.check_imported_crl(external, now));
            checks.extend(self.check_responder(external, now));
        }
        let ready = checks.iter().all(|check| check.result != CheckResult::Fail);
        HealthReport { ready, checks }
    }

    /// How the last exchange with each of them ended: they are not asked now, for a health check must not wait. While they are away
    /// everything else works, so that they make nothing unready.
    fn check_vouchers(&self) -> Vec<Check> {
        let check = |by: &Voucher| match self.outside.last_heard(*by) {
            None => Check::pass(by.to_string(), "was not asked yet"),
            Some(Heard { at, problem: None }) => Check::pass(by.to_string(), format!("answered at {at}")),
            Some(Heard { at, problem: Some(problem) }) => Check::not_passed(
                by.to_string(),
                CheckResult::Warn,
                format!("did not answer at {at}: {problem}"),
                "devices are told to come back, and nothing is lost; see `certgate queue jobs` and the README on Intune",
            ),
        };
        self.ports.vouchers.vouching.keys().map(check).collect()
    }

    /// Nothing for one whose end is not known. Everything else works without it, so that it makes nothing unready.
    fn check_credentials(&self, now: Timestamp) -> Vec<Check> {
        let check = |by: &Voucher, ends: Timestamp| {
            let name = format!("{by}/certificate");
            if now.plus(CREDENTIAL_WARNING) < ends {
                return Check::pass(name, format!("valid until {ends}"));
            }
            let detail = if now < ends { format!("ends at {ends}") } else { format!("ended at {ends}") };
            let hint = "make another key and certificate, upload the certificate to the application, change the files, restart";
            Check::not_passed(name, CheckResult::Warn, detail, hint)
        };
        let vouching = self.ports.vouchers.vouching.iter();
        vouching.filter_map(|(by, vouching)| Some(check(by, vouching.credential_ends()?))).collect()
    }

    /// Nothing where the configuration and the certificates say the same.
    fn check_public_url(&self, authorities: &Authorities) -> Option<Check> {
        let configured = self.settings.public_url.as_deref()?;
        let named =
            authorities.issuers().find_map(|it| public_url(&it.issuer).filter(|it| *it != configured))?;
        Some(Check::not_passed(
            "public-url",
            CheckResult::Warn,
            format!("is {configured}, and certificates name {named}"),
            "it is settled when a gateway is made, for it is in every certificate: write the old one, and let its name lead here",
        ))
    }

    /// Whether devices can renew with certificates of other CAs whose CRLs are asked. Everything else works without them, so that they
    /// make nothing unready.
    fn check_renewal_crls(&self, now: Timestamp) -> Vec<Check> {
        let asked = self.settings.renewal_issuers.iter().filter(|(_, issuers)| !issuers.crls.is_empty());
        let check = |(profile, issuers): (&ProfileName, &AlternateIssuers)| {
            let name = format!("renewal-crl/{profile}");
            let crls: Result<Vec<_>, _> = issuers.crls.iter().map(|name| self.ports.crls.crl(name)).collect();
            let found = match &crls {
                Ok(crls) => issuers.asked_until(crls, now).map_err(|no_crl| no_crl.to_string()),
                Err(unreadable) => Err(unreadable.to_string()),
            };
            found.map_or_else(
                |problem| Check::not_passed(&name, CheckResult::Warn, problem, RENEWAL_CRL),
                |until| Check::pass(&name, format!("valid until {until}")),
            )
        };
        asked.map(check).collect()
    }

    /// How much there is.
    pub fn overview(&self, _authed: &Authed<Read>) -> Result<GatewayStatus, ServiceError> {
        let ready = self.health().ready;
        self.ports.store.read(|view| {
            let jobs = view.jobs(usize::MAX)?;
            let dead = jobs.iter().filter(|job| job.dead).count();
            Ok(GatewayStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now: self.now(),
                ready,
                issuers: self.authorities().issuers().map(|it| it.issuer.id.clone()).collect(),
                profiles: self.authorities().profiles().count() as u64,
                certificates: view.count_certificates()?,
                devices: view.count_devices()?,
                pending_enrolments: view.count_pending_enrolments()?,
                waiting_jobs: (jobs.len() - dead) as u64,
                dead_jobs: dead as u64,
            })
        })
    }

    fn check_store(&self) -> Check {
        match self.ports.store.read(|view| view.count_certificates()) {
            Ok(count) => Check::pass("store", format!("readable, {count} certificates")),
            Err(error) => {
                let hint =
                    "look at the disk of the data directory: space, permissions, errors in the system log";
                Check::not_passed("store", CheckResult::Fail, error.to_string(), hint)
            }
        }
    }

    fn check_jobs(&self) -> Check {
        let jobs = self.ports.store.read(|view| view.jobs(usize::MAX)).unwrap_or_default();
        let dead: Vec<_> = jobs.iter().filter(|job| job.dead).collect();
        match dead.first() {
            None => Check::pass("jobs", format!("{} waiting", jobs.len())),
            Some(job) => {
                let error = job.last_error.as_deref().unwrap_or("no reason recorded");
                let detail =
                    format!("{} given up, the first in lane {}: {error}", dead.len(), job.kind.lane());
                Check::not_passed(
                    "jobs",
                    CheckResult::Warn,
                    detail,
                    "see certgate queue jobs; remove the cause, then publish the CRL by hand",
                )
            }
        }
    }

    fn check_key_encryption_key(&self) -> Check {
        const NAME: &str = "key-encryption-key";
        if !self.settings.key_beside_store {
            return Check::pass(NAME, "kept apart from the store");
        }
        Check::not_passed(
            NAME,
            CheckResult::Warn,
            "lies in the data directory: whoever copies the data has the key too",
            "keep it elsewhere: move the file and name its place in keys.kek, or use a systemd credential",
        )
    }

    fn check_checkpoint(&self) -> Check {
        const NAME: &str = "checkpoint";
        if let Some(behind) = self.behind() {
            let found: Vec<_> = behind.shortfalls.iter().map(ToString::to_string).collect();
            let detail = format!(
                "the database is older than what was published ({}): OCSP says tryLater, no CRL is made, none is served but \
                 where it is the last that was published, nothing is issued",
                found.join("; ")
            );
            let hint =
                "put the present database back; or go on from this one: certgate doctor --accept-restore";
            return Check::not_passed(NAME, CheckResult::Fail, detail, hint);
        }
        match self.unwritten_checkpoint() {
            None => Check::pass(NAME, "the database is not older than what was published"),
            Some(problem) => {
                let detail = format!("the checkpoint cannot be written: {problem}");
                let hint =
                    "look at the directory of restore.checkpoint: an older database would not be found out";
                Check::not_passed(NAME, CheckResult::Warn, detail, hint)
            }
        }
    }

    /// Nothing for a gateway that never came out of a backup.
    fn check_restoration(&self, now: Timestamp) -> Option<Check> {
        const NAME: &str = "restored";
        let restoration = self.ports.store.read(|view| view.restoration()).ok().flatten()?;
        let detail = format!("at {} from the backup of {}", restoration.restored_at, restoration.backup_of);
        if !restoration.revocations_lost || restoration.restored_at.plus(RESTORE_WARNING) < now {
            return Some(Check::pass(NAME, detail));
        }
        let detail = format!("{detail}; what was revoked in between is lost");
        let hint = "revoke again what was revoked after the backup: your MDM and the old audit record know";
        Some(Check::not_passed(NAME, CheckResult::Warn, detail, hint))
    }

    /// Nothing while nobody is locked out.
    fn check_lock_outs(&self) -> Option<Check> {
        let number = self.locked_out();
        let detail = format!("{number} addresses are locked out: they sent many different wrong challenges");
        let hint = "certgate audit tail names them (address.locked-out); it ends by itself after limits.lock-out-minutes";
        (number > 0).then(|| Check::not_passed("lock-outs", CheckResult::Warn, detail, hint))
    }

    /// Nothing while there is no open alarm.
    fn check_alarms(&self, now: Timestamp) -> Option<Check> {
        let alarms = self.ports.store.read(|view| view.alarms()).unwrap_or_default();
        let open: Vec<_> = alarms.iter().filter(|alarm| alarm.is_open(now)).collect();
        let (number, last) = (open.len(), open.last()?);
        let detail = format!(
            "{number} used-up tickets came again with another key, the last one ({}) from {} at {}: somebody else has its secret",
            last.ticket, last.peer, last.last_at
        );
        let hint = "certgate alarm list; find out who has the secret, then certgate alarm acknowledge";
        Some(Check::not_passed("alarms", CheckResult::Warn, detail, hint))
    }

    fn check_status(&self) -> Check {
        const HINT: &str = "look at the store: it is read again by itself";
        let (certificates, issuers) = (self.status.unsettled().len(), self.status.unsettled_issuers());
        let detail = match issuers.first() {
            Some(first) => format!(
                "the standing of {} issuers changed and could not be read yet, the first is {first}; OCSP says tryLater of all that they issued",
                issuers.len()
            ),
            None if certificates > 0 => {
                format!("{certificates} certificates changed and could not be read yet; OCSP says tryLater")
            }
            None => return Check::pass("status", "every change is in force"),
        };
        Check::not_passed("status", CheckResult::Fail, detail, HINT)
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
    fn check_issuer_names(&self, authorities: &Authorities) -> Option<Check> {
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

fn check_message_key(authority: &Authority, now: Timestamp) -> Check {
    let name = format!("scep-message-key/{}", authority.issuer.id);
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
