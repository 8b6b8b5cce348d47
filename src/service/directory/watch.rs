//! Directories that are behind: said aloud, shown, and looked at when an operator asks.

use std::{collections::BTreeSet, sync::PoisonError, time::Duration};

use serde::{Deserialize, Serialize};

use super::Target;
use crate::{
    domain::{
        access::Actor,
        crl::CrlScope,
        directory::{DirectoryAttribute, Publication},
        queue::JobWorker,
    },
    ports::{DirectorySession, StoreError, Tx, View},
    service::{
        Gateway, ServiceError,
        audit::Act,
        authority::Authority,
        health::{Check, CheckResult},
        metric::{self, label},
    },
    types::{DirectoryName, IssuerId, Timestamp},
    wire::crl::CrlHead,
};

/// What operators see of an issuer in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryView {
    /// The directory.
    pub directory: DirectoryName,
    /// The entry in it.
    pub entry: String,
    /// cRLNumber of the full CRL that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it was written, or found to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// Since when the newest CRLs are not all there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Gateway {
    /// The directories of an issuer.
    pub(in crate::service) fn directories_of(
        &self,
        issuer: &IssuerId,
    ) -> Result<Vec<DirectoryView>, ServiceError> {
        let own = self.targets().into_iter().filter(|target| target.authority.issuer.id == *issuer);
        own.map(|target| {
            let known = self.publication(&target)?;
            Ok(DirectoryView {
                directory: target.name.clone(),
                entry: known.entry.to_string(),
                number: known.number_of(CrlScope::Full),
                published_at: known.published_at,
                behind_since: self.behind_in(&known),
                problem: known.problem,
            })
        })
        .collect()
    }

    /// Since when a directory does not have everything that is published.
    fn behind_in(&self, known: &Publication) -> Option<Timestamp> {
        let newest = self.crls_of(&known.issuer);
        known.behind_since(newest.iter().map(|crl| (crl.scope, crl.number, crl.this_update)))
    }

    /// Says aloud, once each time that a directory falls behind, that it has been so for too long. Jobs for directories that are not
    /// configured any more go.
    pub(in crate::service) fn watch_directories(&self) -> Result<(), ServiceError> {
        self.drop_jobs_of_no_directory()?;
        let now = self.now();
        for target in self.targets() {
            let known = self.publication(&target)?;
            let late = self.behind_in(&known).filter(|since| now.since(*since) >= target.policy.alarm_after);
            if self.is_news_of(&target, late.is_some())
                && let Some(since) = late
            {
                self.say_behind(&target, &known, since)?;
            }
        }
        Ok(())
    }

    fn drop_jobs_of_no_directory(&self) -> Result<(), ServiceError> {
        let configured: BTreeSet<_> = self.directories.threads.keys().collect();
        let jobs = self.ports.store.read(|view| view.jobs(usize::MAX))?;
        let orphans = jobs.iter().filter(|job| match job.kind.worker() {
            JobWorker::Directory(name) => !configured.contains(&name),
            JobWorker::Maintenance | JobWorker::Outside => false,
        });
        let orphans: Vec<u64> = orphans.map(|job| job.sequence).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        let remove = |tx: &mut dyn Tx| orphans.iter().try_for_each(|job| tx.remove_job(*job).map(drop));
        Ok(self.ports.store.write(remove)?)
    }

    /// Whether it was not said since the directory had everything.
    fn is_news_of(&self, target: &Target<'_>, is_late: bool) -> bool {
        let (directory, issuer) = (target.name, &target.authority.issuer.id);
        let mut said = self.directories.said.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (directory.clone(), issuer.clone());
        if is_late {
            return said.insert(key);
        }
        if said.remove(&key) {
            tracing::info!(%directory, %issuer, "the directory has the newest CRLs again");
        }
        false
    }

    fn say_behind(
        &self,
        target: &Target<'_>,
        known: &Publication,
        since: Timestamp,
    ) -> Result<(), ServiceError> {
        let (directory, issuer) = (target.name, &known.issuer);
        let problem = known.problem.clone().unwrap_or_else(|| "it was not asked yet".to_owned());
        tracing::error!(%directory, %issuer, %since, problem, "the directory does not have the newest CRLs: see `certgate doctor`");
        let labels = [(label::DIRECTORY, directory.to_string()), (label::ISSUER, issuer.to_string())];
        metrics::counter!(metric::DIRECTORY_LATE, &labels).increment(1);
        let act = Act { actor: Actor::System, request: self.new_request(), at: self.now() };
        let detail = [
            ("directory", directory.to_string()),
            ("entry", known.entry.to_string()),
            ("since", since.to_string()),
            ("problem", problem),
        ];
        let fact = act.fact("crl.directory-behind", issuer, &detail);
        Ok(self.ports.store.write(|tx: &mut dyn Tx| tx.append_audit(&fact))?)
    }

    pub(in crate::service) fn set_directory_gauges(
        &self,
        view: &dyn View,
        authority: &Authority,
    ) -> Result<(), StoreError> {
        for name in self.directories.threads.keys() {
            if let Some(known) = view.publication(name, &authority.issuer.id)? {
                self.set_gauges_of(&known);
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub(super) fn set_gauges_of(&self, known: &Publication) {
        let (directory, issuer) = (known.directory.to_string(), known.issuer.to_string());
        let labels = [(label::DIRECTORY, directory), (label::ISSUER, issuer)];
        if let Some(number) = known.number_of(CrlScope::Full) {
            metrics::gauge!(metric::DIRECTORY_CRL_NUMBER, &labels).set(number as f64);
        }
        let behind = self.behind_in(known).map_or(Duration::ZERO, |since| self.now().since(since));
        metrics::gauge!(metric::DIRECTORY_BEHIND, &labels).set(behind.as_secs_f64());
        // Seen from now on, not from its first alarm on.
        metrics::counter!(metric::DIRECTORY_LATE, &labels).increment(0);
    }

    /// What is known: the directories are not asked now, for a health check must not wait. HTTP has the CRLs whatever they say, so that
    /// they make nothing unready.
    pub(in crate::service) fn check_directories(&self, now: Timestamp) -> Vec<Check> {
        self.targets().iter().map(|target| self.check_directory(target, now)).collect()
    }

    fn check_directory(&self, target: &Target<'_>, now: Timestamp) -> Check {
        let name = check_name(target);
        let known = match self.publication(target) {
            Ok(known) => known,
            Err(error) => {
                return Check::not_passed(name, CheckResult::Warn, error.to_string(), "look at the store");
            }
        };
        let has = match (known.number_of(CrlScope::Full), known.published_at) {
            (Some(number), Some(at)) => format!("has number {number}, seen at {at}"),
            _ => "has no CRL of this issuer yet".to_owned(),
        };
        let behind = self.behind_in(&known);
        let Some(since) = behind.filter(|since| known.problem.is_some() || now.since(*since) > SOON) else {
            return Check::pass(name, has);
        };
        let why = known.problem.as_deref().unwrap_or("it was not asked yet");
        let detail = format!("{has}, and not the newest since {since}: {why}");
        let hint = "HTTP has the newest CRL; it is tried again by itself: certgate queue jobs, and certgate doctor --probe asks the directory now";
        Check::not_passed(name, CheckResult::Warn, detail, hint)
    }

    /// Connects, binds, reads back and compares: for an operator, who may wait.
    pub(in crate::service) fn probe_directories(&self) -> Vec<Check> {
        let targets = self.targets();
        let of = |name: &DirectoryName| {
            let own: Vec<_> = targets.iter().filter(|target| target.name == name).collect();
            let Some(first) = own.first() else { return Vec::new() };
            let server = format!("directory/{name}");
            match first.server.open() {
                Ok(mut session) => {
                    let bound = Check::pass(server, "it answers, and takes bind-dn and password");
                    let read = own.iter().map(|target| self.probe_entry(target, session.as_mut()));
                    std::iter::once(bound).chain(read).collect()
                }
                Err(error) => {
                    let hint = "look at the section of the directory in the configuration, and at the directory's log";
                    vec![Check::not_passed(server, CheckResult::Fail, error.to_string(), hint)]
                }
            }
        };
        self.directories.threads.keys().flat_map(of).collect()
    }

    fn probe_entry(&self, target: &Target<'_>, session: &mut dyn DirectorySession) -> Check {
        let (name, id) = (check_name(target), &target.authority.issuer.id);
        let fail = |detail: String| {
            let hint = format!("it is brought up to date by itself; at once by certgate crl publish {id}");
            Check::not_passed(name.clone(), CheckResult::Fail, detail, hint)
        };
        let attribute = DirectoryAttribute::CertificateRevocationList;
        let held = match session.read(&target.entry, &[attribute]) {
            Ok(Some(held)) => held,
            Ok(None) => return fail(format!("there is no entry {}", target.entry)),
            Err(error) => return fail(error.to_string()),
        };
        let Some(crl) = self.crl(id) else { return fail("there is no CRL to compare with yet".to_owned()) };
        let values = held.of(attribute);
        if values == [&crl.der[..]] {
            return Check::pass(name, format!("{} has number {}, as HTTP has it", target.entry, crl.number));
        }
        let numbers = values.iter().filter_map(|value| CrlHead::of(value).ok()?.number());
        let found = numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
        let found = if found.is_empty() { "no CRL".to_owned() } else { format!("number {found}") };
        fail(format!("{} has {found}, and the newest CRL is number {}", target.entry, crl.number))
    }
}

/// A directory that does not have a CRL yet that was made a moment ago is not worth a word.
const SOON: Duration = Duration::from_secs(30);

fn check_name(target: &Target<'_>) -> String {
    format!("directory/{}/{}", target.name, target.authority.issuer.id)
}
