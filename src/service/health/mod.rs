//! Whether everything works: named checks, each with what to do about it.

mod issuer;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Gateway, ServiceError, authority::Authorities, issuer::public_url};
use crate::{
    domain::{
        access::{Authed, Read},
        alternate::AlternateIssuers,
        vouch::Voucher,
    },
    types::{IssuerId, ProfileName, Timestamp},
};

/// What certgate proves itself with to others is mentioned this long before it ends.
const CREDENTIAL_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// Revocations that a restore lost are mentioned this long.
const RESTORE_WARNING: Duration = Duration::from_secs(90 * 86_400);

/// What to do about who vouches and does not answer.
const VOUCHER_AWAY: &str =
    "devices are told to come back, and nothing is lost; see `certgate queue jobs` and the README on Intune";

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
    /// `clock`, `key-encryption-key`, `checkpoint`, `restored`, `lock-outs`, `alarms`, `tokens`, `intune`, `intune/certificate`, `issuer-sections`,
    /// `directory/NAME/ISSUER`, `renewal-crl/PROFILE`, `approval-webhook/PROFILE`, `public-url`.
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
        checks.extend(self.check_tokens(now));
        checks.extend(self.check_public_url(&authorities));
        checks.extend(self.check_vouchers());
        checks.extend(self.check_approval_webhooks());
        checks.extend(self.check_issuer_names(&authorities));
        checks.extend(self.check_credentials(now));
        checks.extend(self.check_renewal_crls(now));
        checks.extend(self.check_directories(now));
        checks.extend(self.check_issuers(&authorities, now));
        let ready = checks.iter().all(|check| check.result != CheckResult::Fail);
        HealthReport { ready, checks }
    }

    /// How the last exchange with each of those who vouch ended.
    fn check_vouchers(&self) -> Vec<Check> {
        let check = |by: &Voucher| self.outside.check(by.to_string(), VOUCHER_AWAY);
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
        let (who, they) = if number == 1 { ("address is", "it") } else { ("addresses are", "they") };
        let detail = format!("{number} {who} locked out: {they} sent many different wrong challenges");
        let hint = "certgate audit tail names them (address.locked-out); it ends by itself after limits.lock-out-minutes";
        (number > 0).then(|| Check::not_passed("lock-outs", CheckResult::Warn, detail, hint))
    }

    /// Nothing while there is no open alarm.
    fn check_alarms(&self, now: Timestamp) -> Option<Check> {
        let alarms = self.ports.store.read(|view| view.alarms()).unwrap_or_default();
        let open: Vec<_> = alarms.iter().filter(|alarm| alarm.is_open(now)).collect();
        let (number, last) = (open.len(), open.last()?);
        let what = match number {
            1 => "a used-up ticket came again with another key".to_owned(),
            _ => format!("{number} used-up tickets came again with another key, the last one"),
        };
        let detail = format!(
            "{what} ({}) from {} at {}: somebody else has its secret",
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
                "the standing of {} changed and could not be read yet, the first is {first}; OCSP says tryLater of all that they issued",
                counted(issuers.len(), "issuer")
            ),
            None if certificates > 0 => {
                let certificates = counted(certificates, "certificate");
                format!("{certificates} changed and could not be read yet; OCSP says tryLater")
            }
            None => return Check::pass("status", "every change is in force"),
        };
        Check::not_passed("status", CheckResult::Fail, detail, HINT)
    }
}

/// `1 issuer`, `2 issuers`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
