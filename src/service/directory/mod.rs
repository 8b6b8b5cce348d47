//! CRLs and CA certificates in directory servers, over LDAP.
//!
//! Every build of a CRL leaves a job for each directory in its own transaction, and HTTP waits for none of them. A job brings the newest
//! CRLs, whichever those are by then, so that those that waited collapse into one, and a restart goes on where it was. A thread for each
//! directory does its jobs: none waits for another that is down.
//!
//! What is there is read first. The same CRL is left alone; an older one never takes the place of a newer one, nor ours that of another
//! CA's: then an operator has to look (`domain::directory`).
//!
//! | file | |
//! |---|---|
//! | `bring` | what is written, over what |
//! | `watch` | directories that are behind, and what operators see |

mod bring;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub use watch::DirectoryView;

use super::{
    Gateway, ServiceError,
    authority::Authority,
    maintain::WorkSignal,
    metric::{self, label},
};
use crate::{
    domain::{
        crl::CrlScope,
        directory::{DirectoryPolicy, EntryName, Publication},
        issuer::Issuer,
        queue::{JobKind, JobWorker, retry_after},
    },
    ports::{Directory, NoAnswer, StoreError, Tx},
    types::{DirectoryName, IssuerId, Timestamp},
};

/// Jobs per round, so that an end that was asked for comes soon.
const JOBS_PER_ROUND: usize = 16;
/// The longest sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the threads of the directories share with the rest.
#[derive(Debug)]
pub(super) struct Publishing {
    threads: BTreeMap<DirectoryName, Thread>,
    /// The directories that are known to be behind for too long, by issuer.
    said: Mutex<BTreeSet<(DirectoryName, IssuerId)>>,
}

/// What the thread of a directory sleeps on.
#[derive(Debug, Default)]
struct Thread {
    work: WorkSignal,
    /// Whether everything was looked at once since the process started.
    scheduled: AtomicBool,
}

impl Publishing {
    pub(super) fn new<'a>(directories: impl Iterator<Item = &'a DirectoryName>) -> Self {
        let threads = directories.map(|name| (name.clone(), Thread::default())).collect();
        Self { threads, said: Mutex::default() }
    }

    /// Wakes all of them.
    pub(super) fn wake(&self) {
        self.threads.values().for_each(|thread| thread.work.wake());
    }
}

/// An issuer in a directory.
struct Target<'a> {
    name: &'a DirectoryName,
    policy: &'a DirectoryPolicy,
    server: &'a dyn Directory,
    authority: Arc<Authority>,
    entry: EntryName,
}

impl Gateway {
    /// The directories that there are: each wants a thread for [`Gateway::run_directory`].
    pub fn directories(&self) -> impl Iterator<Item = &DirectoryName> {
        self.directories.threads.keys()
    }

    /// Does what is due in a directory; gives how long until something is due next (at most 60 s). For a thread that may wait for it.
    ///
    /// At the first call every issuer is looked at: whoever put an old copy of the directory back is found out at the next start.
    pub fn run_directory(&self, name: &DirectoryName) -> Result<Duration, ServiceError> {
        if self.behind().is_some() {
            return Ok(LONGEST_WAIT);
        }
        self.schedule_publications(name)?;
        let worker = JobWorker::Directory(name.clone());
        for _ in 0..JOBS_PER_ROUND {
            if !self.run_one_job(&worker)? {
                let wait = self.next_job_at(&worker)?.map_or(LONGEST_WAIT, |at| at.since(self.now()));
                return Ok(wait.clamp(Duration::from_secs(1), LONGEST_WAIT));
            }
        }
        Ok(Duration::ZERO)
    }

    /// Blocks until woken or for `at_most`.
    pub fn wait_for_directory(&self, name: &DirectoryName, at_most: Duration) {
        if let Some(thread) = self.directories.threads.get(name) {
            thread.work.wait(at_most);
        }
    }

    /// Once in the life of the process.
    fn schedule_publications(&self, name: &DirectoryName) -> Result<(), ServiceError> {
        let Some(thread) = self.directories.threads.get(name) else { return Ok(()) };
        if thread.scheduled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let authorities = self.authorities();
        let issuers: Vec<_> = authorities.issuers().filter(|it| self.target(name, it).is_some()).collect();
        let now = self.now();
        self.ports.store.write(|tx: &mut dyn Tx| {
            issuers.iter().try_for_each(|it| tx.enqueue(&job(name, &it.issuer.id), now))
        })?;
        thread.scheduled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// With a CRL that was built: every directory of the issuer is to have it.
    pub(super) fn enqueue_publications(
        &self,
        tx: &mut dyn Tx,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, line) = (&authority.issuer.id, &authority.issuer.generation.line);
        for (name, policy) in &self.settings.directories {
            if policy.placement.entry_of(id, line).is_some() {
                tx.enqueue(&job(name, id), now)?;
            }
        }
        Ok(())
    }

    /// The URLs by which certificates of an issuer name its CRL of this scope in directories.
    pub(super) fn directory_urls(&self, issuer: &Issuer, scope: CrlScope) -> Vec<String> {
        let line = &issuer.generation.line;
        let urls = self.settings.directories.values().map(|it| it.crl_url(&issuer.id, line, scope));
        urls.flatten().collect()
    }

    fn target<'a>(&'a self, name: &'a DirectoryName, authority: &Arc<Authority>) -> Option<Target<'a>> {
        let policy = self.settings.directories.get(name)?;
        let issuer = &authority.issuer;
        let entry = policy.placement.entry_of(&issuer.id, &issuer.generation.line)?;
        let server = self.ports.directories.0.get(name)?.as_ref();
        Some(Target { name, policy, server, authority: Arc::clone(authority), entry })
    }

    /// All of them, by directory and issuer.
    fn targets(&self) -> Vec<Target<'_>> {
        let authorities = self.authorities();
        let of = |name| authorities.issuers().filter_map(move |it| self.target(name, it)).collect::<Vec<_>>();
        self.directories.threads.keys().flat_map(of).collect()
    }

    /// Brings an issuer's newest CRLs into a directory. Errors: it did not take all of them; the job is tried again.
    pub(super) fn publish_to(&self, name: &DirectoryName, issuer: &IssuerId) -> Result<(), ServiceError> {
        let authorities = self.authorities();
        let Some(target) = authorities.issuer(issuer).and_then(|authority| self.target(name, authority))
        else {
            tracing::warn!(directory = %name, %issuer, "not published: it is not configured any more");
            return Ok(());
        };
        let before = self.publication(&target)?;
        let mut there = before.crls.clone();
        let outcome = self.bring(&target, &mut there);
        let now = self.now();
        let (result, after) = match &outcome {
            Ok(written) => {
                let result = if *written { "written" } else { "unchanged" };
                (result, before.succeeded(there, now))
            }
            Err(problem) => ("failed", before.failed(there, problem.clone(), now)),
        };
        let labels = [(label::DIRECTORY, name.to_string()), (label::RESULT, result.to_owned())];
        metrics::counter!(metric::DIRECTORY_PUBLICATIONS, &labels).increment(1);
        if result == "written" {
            let number = after.crls.first().map(|crl| crl.number);
            tracing::info!(directory = %name, %issuer, entry = %target.entry, number, "CRLs published");
        }
        self.ports.store.write(|tx: &mut dyn Tx| tx.put_publication(&after))?;
        self.set_gauges_of(&after);
        outcome.map(drop).map_err(|reason| NoAnswer { reason, retry_after: retry_after(1) }.into())
    }

    /// What is known of it; nothing where the entry is another one by now.
    fn publication(&self, target: &Target<'_>) -> Result<Publication, ServiceError> {
        let (name, issuer) = (target.name, &target.authority.issuer.id);
        let known = self.ports.store.read(|view| view.publication(name, issuer))?;
        let known = known.filter(|known| known.entry == target.entry);
        Ok(known.unwrap_or_else(|| Publication::new(name.clone(), issuer.clone(), target.entry.clone())))
    }
}

fn job(directory: &DirectoryName, issuer: &IssuerId) -> JobKind {
    JobKind::PublishToDirectory { directory: directory.clone(), issuer: issuer.clone() }
}
