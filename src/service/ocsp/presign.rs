//! Signing ahead of any question, on request or always: for gear that all comes at once, a signer that is slow, or one that will be away
//! for a while.
//!
//! A run goes through the certificates of an issuer that have not expired, first to count them, then to sign; issuers take turns. It is bounded by
//! the cache: what would not fit is not begun. It is in memory, and a restart ends it; where `ocsp-presign` is set it begins again by
//! itself, again and again, so that what is issued meanwhile is signed too.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Refusal, Why, pace};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        certificate::CertificateRecord,
    },
    ports::store::Page,
    service::{Gateway, ServiceError, audit::Act},
    types::{CertificateId, DigestAlgorithm, IssuerId, SerialNumber, Timestamp},
    wire::{ocsp::CertId, x509::Certificate},
};

/// Certificates per step, between which old answers get their turn.
const STEP: usize = 200;
/// A signer that fails so often in a row is not asked any more.
const MOST_FAILURES: u64 = 100;
/// Between the runs of an issuer that is always signed ahead, at least.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);
/// What nearly all who ask hash with.
const USUAL: [DigestAlgorithm; 2] = [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256];

/// What to sign ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresignRequest {
    /// Hashes of the CertIDs; SHA-1 and SHA-256 where none is named.
    #[serde(default)]
    pub hashes: Vec<DigestAlgorithm>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresignState {
    /// It is to begin, or counts the certificates.
    Counting,
    /// It signs.
    Signing,
    /// All are signed, but for what failed.
    Done,
    /// Somebody ended it.
    Stopped,
    /// It could not be begun or went wrong, see the detail.
    Failed,
}

/// A run as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignView {
    /// Of which issuer.
    pub issuer: IssuerId,
    /// Where it stands.
    pub state: PresignState,
    /// Hashes of the CertIDs.
    pub hashes: Vec<DigestAlgorithm>,
    /// How many of its certificates have not expired, as far as they are counted.
    pub certificates: u64,
    /// How many of them are looked at.
    pub seen: u64,
    /// How many answers were signed.
    pub signed: u64,
    /// How many were there already.
    pub kept: u64,
    /// How many could not be signed.
    pub failed: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The runs, by issuer; the last of each is kept.
#[derive(Debug, Default)]
pub struct Presigning(Mutex<BTreeMap<IssuerId, Run>>);

#[derive(Clone, Debug)]
struct Run {
    view: PresignView,
    /// The last one that was looked at in this phase.
    cursor: Option<CertificateId>,
    failures_in_a_row: u64,
}

impl Run {
    fn new(issuer: &IssuerId, mut hashes: Vec<DigestAlgorithm>, now: Timestamp) -> Self {
        if hashes.is_empty() {
            hashes = USUAL.to_vec();
        }
        hashes.sort_unstable();
        hashes.dedup();
        let view = PresignView {
            issuer: issuer.clone(),
            state: PresignState::Counting,
            hashes,
            certificates: 0,
            seen: 0,
            signed: 0,
            kept: 0,
            failed: 0,
            started_at: now,
            ended_at: None,
            detail: None,
        };
        Self { view, cursor: None, failures_in_a_row: 0 }
    }

    const fn is_active(&self) -> bool {
        matches!(self.view.state, PresignState::Counting | PresignState::Signing)
    }

    fn end(&mut self, state: PresignState, detail: Option<String>, now: Timestamp) {
        self.view.state = state;
        self.view.ended_at = Some(now);
        self.view.detail = detail;
    }
}

impl Presigning {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IssuerId, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// Begins to sign ahead for all certificates of an issuer that have not expired; one that is at it goes on.
    pub fn presign(
        &self,
        authed: &Authed<Operate>,
        issuer: &IssuerId,
        wanted: &PresignRequest,
    ) -> Result<PresignView, ServiceError> {
        let authorities = self.authorities();
        let answered = authorities.answered(issuer).ok_or_else(|| match authorities.external(issuer) {
            Some(_) => ServiceError::Refused(format!(
                "nobody answers OCSP for {issuer} here: see certgate responder"
            )),
            None => ServiceError::not_found("issuer", issuer),
        })?;
        if self.ocsp_policy(answered).signed_requests {
            let told = format!("{issuer} answers signed requests alone, and none of them from the cache");
            return Err(ServiceError::Refused(told));
        }
        let now = self.now();
        let act = Act::of(authed, now);
        let mut runs = self.ocsp_presigning.lock();
        if let Some(run) = runs.get(issuer).filter(|run| run.is_active()) {
            return Ok(run.view.clone());
        }
        self.ports.store.write(|tx| tx.append_audit(&act.fact("ocsp.presign-started", issuer, &[])))?;
        let run = Run::new(issuer, wanted.hashes.clone(), now);
        let view = run.view.clone();
        runs.insert(issuer.clone(), run);
        drop(runs);
        self.wake_ocsp();
        Ok(view)
    }

    /// The last run of an issuer since this process started.
    pub fn presigned(&self, _authed: &Authed<Read>, issuer: &IssuerId) -> Result<PresignView, ServiceError> {
        let runs = self.ocsp_presigning.lock();
        let run = runs.get(issuer).ok_or_else(|| ServiceError::not_found("run of presign", issuer))?;
        Ok(run.view.clone())
    }

    /// Ends the run of an issuer; what is signed stays.
    pub fn stop_presign(
        &self,
        _authed: &Authed<Operate>,
        issuer: &IssuerId,
    ) -> Result<PresignView, ServiceError> {
        let mut runs = self.ocsp_presigning.lock();
        let run = runs.get_mut(issuer).ok_or_else(|| ServiceError::not_found("run of presign", issuer))?;
        if run.is_active() {
            run.end(PresignState::Stopped, None, self.now());
        }
        Ok(run.view.clone())
    }

    /// Some more of what is to be signed ahead. False: nothing is.
    pub(super) fn presign_some(&self) -> bool {
        self.begin_permanent_runs();
        let next = self.ocsp_presigning.lock().values().find(|run| run.is_active()).cloned();
        let Some(mut run) = next else { return false };
        let stepped = self.presign_step(&mut run);
        if let Err(error) = stepped {
            run.end(PresignState::Failed, Some(error.to_string()), self.now());
        }
        let mut runs = self.ocsp_presigning.lock();
        // Whoever stopped it meanwhile is not overruled.
        if let Some(current) = runs.get_mut(&run.view.issuer).filter(|current| current.is_active()) {
            *current = run;
        }
        true
    }

    /// The issuers that are always signed ahead and were not for a while.
    fn begin_permanent_runs(&self) {
        let permanent = self.settings.ocsp.issuers.values().any(|policy| policy.presign);
        if !permanent {
            return;
        }
        let now = self.now();
        let pause = (pace::fresh_for(self.settings.ocsp.good) / 2).max(SHORTEST_PAUSE);
        let authorities = self.authorities();
        let mut runs = self.ocsp_presigning.lock();
        for answered in authorities.all_answered().filter(|answered| self.ocsp_policy(*answered).presign) {
            let id = answered.id();
            // One that ended in what is the future now was before the clock was set back: what it signed is of no use.
            let is_recent = |ended| ended <= now && now.since(ended) < pause;
            let rests = |run: &Run| run.view.ended_at.is_none_or(is_recent);
            let alive = answered.certificate().validity().contains(now);
            if alive && !runs.get(id).is_some_and(rests) {
                runs.insert(id.clone(), Run::new(id, Vec::new(), now));
            }
        }
    }

    fn presign_step(&self, run: &mut Run) -> Result<(), ServiceError> {
        let now = self.now();
        let authorities = self.authorities();
        let issuer = run.view.issuer.clone();
        let answered =
            authorities.answered(&issuer).ok_or_else(|| ServiceError::not_found("issuer", &issuer))?;
        let records = self.certificates_after(&issuer, run.cursor.as_ref())?;
        let Some(last) = records.last().map(|record| record.id.clone()) else {
            self.end_of_phase(run, now);
            return Ok(());
        };
        let unexpired = records.iter().filter(|record| record.validity.not_after > now);
        if run.view.state == PresignState::Counting {
            run.view.certificates += unexpired.count() as u64;
        } else {
            for record in unexpired {
                run.view.seen += 1;
                self.presign_one(run, answered.certificate(), &record.id.serial)?;
            }
        }
        run.cursor = Some(last);
        Ok(())
    }

    fn end_of_phase(&self, run: &mut Run, now: Timestamp) {
        if run.view.state == PresignState::Signing {
            tracing::info!(issuer = %run.view.issuer, signed = run.view.signed, kept = run.view.kept, failed = run.view.failed, "ocsp: signed ahead");
            run.end(PresignState::Done, None, now);
            return;
        }
        let (needed, room) =
            (run.view.certificates * run.view.hashes.len() as u64, self.settings.ocsp.cache_entries as u64);
        if needed > room {
            let detail = format!("{needed} answers do not fit: ocsp.cache-entries is {room}");
            tracing::warn!(issuer = %run.view.issuer, %detail, "ocsp: not signed ahead");
            run.end(PresignState::Failed, Some(detail), now);
        } else {
            run.view.state = PresignState::Signing;
            run.cursor = None;
        }
    }

    fn presign_one(
        &self,
        run: &mut Run,
        issuer: &Certificate,
        serial: &SerialNumber,
    ) -> Result<(), ServiceError> {
        let name = run.view.issuer.clone();
        for hash in run.view.hashes.clone() {
            let cert_id = CertId::new(hash, issuer, serial)?;
            let _turn = self.ocsp.signing_turn(serial);
            if self.ocsp.has_fresh(&cert_id.borrowed(), self.now()) {
                run.view.kept += 1;
                continue;
            }
            match self.signed_and_remembered(&name, &cert_id, Why::Presign) {
                Ok(_) => {
                    run.view.signed += 1;
                    run.failures_in_a_row = 0;
                }
                Err(Refusal::Internal(reason)) => return Err(ServiceError::Internal(reason)),
                Err(refusal) => {
                    run.view.failed += 1;
                    run.failures_in_a_row += 1;
                    if run.failures_in_a_row >= MOST_FAILURES {
                        let told = format!("{MOST_FAILURES} times in a row: {}", refusal.reason());
                        return Err(ServiceError::Refused(told));
                    }
                }
            }
        }
        Ok(())
    }

    /// The next certificates of an issuer, by serial number.
    fn certificates_after(
        &self,
        issuer: &IssuerId,
        cursor: Option<&CertificateId>,
    ) -> Result<Vec<CertificateRecord>, ServiceError> {
        let least = CertificateId { issuer: issuer.clone(), serial: SerialNumber::least() };
        self.ports.store.read(|view| {
            // A page begins after a certificate, and the first may be the one with the least number.
            let first = match cursor {
                Some(_) => None,
                None => view.certificate(&least)?,
            };
            let after = Some(cursor.unwrap_or(&least).clone());
            let rest = view.certificates(&Page { after, limit: STEP })?;
            let all = first.into_iter().chain(rest);
            Ok(all.take_while(|record| record.id.issuer == *issuer).collect())
        })
    }
}
