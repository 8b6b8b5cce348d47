//! Jobs: order in a lane, leases, fences.

use certgate::{
    domain::{
        queue::{Job, JobKind, JobWorker},
        vouch::Voucher,
    },
    ports::store::Store,
};

use crate::samples::{at, job, read, write};

/// Leases at `now` for a minute.
fn lease(store: &dyn Store, now: u64) -> Option<Job> {
    write(store, |tx| tx.lease_job(&JobWorker::Maintenance, at(now), at(now + 60)))
}

fn enqueue(store: &dyn Store, issuer: &str, run_at: u64) {
    write(store, |tx| tx.enqueue(&job(issuer), at(run_at)));
}

fn complete(store: &dyn Store, job: &Job) -> bool {
    write(store, |tx| tx.complete_job(job.sequence, job.fence))
}

fn fail(store: &dyn Store, job: &Job, run_at: u64, dead: bool) -> bool {
    write(store, |tx| tx.fail_job(job.sequence, job.fence, "the disk is full", at(run_at), dead))
}

pub(crate) fn jobs_of_a_lane_run_in_order(store: &dyn Store) {
    enqueue(store, "a", 0);
    let first = lease(store, 0).unwrap();
    // A second one of the lane, while the first is under way: it waits for its turn.
    enqueue(store, "a", 0);
    assert_eq!(lease(store, 0), None);
    assert!(complete(store, &first));
    let second = lease(store, 0).unwrap();
    assert!(second.sequence > first.sequence);
    assert!(complete(store, &second));
    assert_eq!(read(store, |view| view.jobs(10)), []);
}

pub(crate) fn lanes_run_side_by_side(store: &dyn Store) {
    for issuer in ["b", "a", "a-b"] {
        enqueue(store, issuer, 0);
    }
    let leased: Vec<_> = std::iter::from_fn(|| lease(store, 0)).map(|job| job.kind).collect();
    assert_eq!(leased, [job("b"), job("a"), job("a-b")]);
}

pub(crate) fn a_job_is_not_leased_before_it_is_due(store: &dyn Store) {
    enqueue(store, "a", 5);
    assert_eq!(lease(store, 4), None);
    let leased = lease(store, 5).unwrap();
    assert_eq!((leased.attempts, leased.leased_until), (1, Some(at(65))));
    assert_eq!(read(store, |view| view.jobs(10)), [leased]);
}

pub(crate) fn a_head_that_is_not_due_holds_its_lane(store: &dyn Store) {
    enqueue(store, "a", 0);
    let head = lease(store, 0).unwrap();
    enqueue(store, "a", 0);
    assert!(fail(store, &head, 100, false));
    assert_eq!(lease(store, 50), None);
    assert_eq!(lease(store, 100).unwrap().sequence, head.sequence);
}

pub(crate) fn equal_waiting_jobs_are_one_job_that_runs_earlier(store: &dyn Store) {
    enqueue(store, "a", 10);
    enqueue(store, "a", 20);
    enqueue(store, "a", 5);
    let jobs = read(store, |view| view.jobs(10));
    assert_eq!(jobs.iter().map(|job| job.run_at).collect::<Vec<_>>(), [at(5)]);
}

pub(crate) fn a_leased_job_does_not_swallow_the_next(store: &dyn Store) {
    enqueue(store, "a", 0);
    lease(store, 0).unwrap();
    enqueue(store, "a", 0);
    assert_eq!(read(store, |view| view.jobs(10)).len(), 2);
}

pub(crate) fn a_start_ends_the_leases_of_who_is_gone(store: &dyn Store) {
    enqueue(store, "a", 0);
    enqueue(store, "b", 7);
    let lost = lease(store, 0).unwrap();
    assert_eq!(lease(store, 1), None);
    write(store, |tx| tx.end_leases());
    assert!(!complete(store, &lost));
    let present = lease(store, 1).unwrap();
    assert_eq!((present.sequence, present.attempts), (lost.sequence, 2));
    assert_eq!(lease(store, 1), None, "what is not due stays so");
    assert!(complete(store, &present));
}

pub(crate) fn a_lost_lease_completes_nothing(store: &dyn Store) {
    enqueue(store, "a", 0);
    let lost = lease(store, 0).unwrap();
    assert_eq!(lease(store, 59), None);
    let present = lease(store, 60).unwrap();
    assert_eq!(present.sequence, lost.sequence);
    assert!(present.fence > lost.fence);
    assert!(!complete(store, &lost));
    assert!(!fail(store, &lost, 0, true));
    assert!(complete(store, &present));
    assert!(!complete(store, &present));
}

pub(crate) fn a_lease_that_was_given_back_completes_nothing(store: &dyn Store) {
    enqueue(store, "a", 0);
    let leased = lease(store, 0).unwrap();
    assert!(fail(store, &leased, 0, false));
    assert!(!complete(store, &leased));
    assert!(!fail(store, &leased, 0, true));
    assert_eq!(read(store, |view| view.jobs(10)).len(), 1);
}

pub(crate) fn a_failed_job_is_tried_again_with_its_error(store: &dyn Store) {
    enqueue(store, "a", 0);
    let leased = lease(store, 0).unwrap();
    assert!(fail(store, &leased, 30, false));
    assert_eq!(lease(store, 29), None);
    let again = lease(store, 30).unwrap();
    assert_eq!(again.attempts, 2);
    assert_eq!(again.last_error.as_deref(), Some("the disk is full"));
}

pub(crate) fn a_dead_job_is_seen_and_out_of_the_way(store: &dyn Store) {
    enqueue(store, "a", 0);
    let bad = lease(store, 0).unwrap();
    assert!(fail(store, &bad, 0, true));
    // An equal job is not swallowed by the dead one, and runs.
    enqueue(store, "a", 0);
    let next = lease(store, 0).unwrap();
    assert_ne!(next.sequence, bad.sequence);
    let dead: Vec<_> = read(store, |view| view.jobs(10)).into_iter().filter(|job| job.dead).collect();
    assert_eq!(dead.iter().map(|job| job.sequence).collect::<Vec<_>>(), [bad.sequence]);
    assert_eq!(dead[0].last_error.as_deref(), Some("the disk is full"));
}

pub(crate) fn sequences_are_never_used_again(store: &dyn Store) {
    enqueue(store, "a", 0);
    let first = lease(store, 0).unwrap();
    assert!(complete(store, &first));
    enqueue(store, "a", 0);
    assert!(lease(store, 0).unwrap().sequence > first.sequence);
}

pub(crate) fn each_worker_leases_its_own_jobs_and_a_lane_is_asked_by_name(store: &dyn Store) {
    let poll = JobKind::PollRevocations { by: Voucher::Intune };
    write(store, |tx| tx.enqueue(&poll, at(5)));
    assert_eq!(lease(store, 10), None, "it is the other worker's");
    let waiting = read(store, |view| view.job_in_lane(&poll.lane())).unwrap();
    assert_eq!((&waiting.kind, waiting.leased_until), (&poll, None));
    let leased = write(store, |tx| tx.lease_job(&JobWorker::Outside, at(10), at(70))).unwrap();
    assert_eq!(leased.sequence, waiting.sequence);
    assert!(write(store, |tx| tx.remove_job(leased.sequence)), "leased or not");
    assert!(!write(store, |tx| tx.remove_job(leased.sequence)));
    assert!(!write(store, |tx| tx.complete_job(leased.sequence, leased.fence)));
    assert_eq!(read(store, |view| view.job_in_lane(&poll.lane())), None);
}
