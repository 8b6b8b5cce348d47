//! Many writers at once.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use certgate::{
    domain::{challenge::Ticket, queue::JobWorker},
    ports::store::{Store, StoreError, Tx},
};

use crate::samples::{at, certificate, fact, job, mac, read, ticket, user, write};

/// What a closure of these claims refuses with.
fn no() -> StoreError {
    StoreError::Unavailable("no".to_owned())
}

/// Reads the user's version and writes the next: a lost update would be a conflict or a missing count.
fn count_up(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    let version = tx.user(&"counter".parse().unwrap())?.map_or(0, |counter| counter.version);
    tx.put_user(&user("counter", version + 1))?;
    Ok(version + 1)
}

fn counted(store: &dyn Store) -> u64 {
    read(store, |view| view.user(&"counter".parse().unwrap())).map_or(0, |counter| counter.version)
}

/// Runs `work` on `threads` threads at once, with the number of each.
fn at_once(threads: u64, work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for number in 0..threads {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

pub(crate) fn writers_are_durable_and_serialised(store: &dyn Store) {
    let seen = std::sync::Mutex::new(BTreeSet::new());
    at_once(16, |_| {
        for _ in 0..100 {
            let version = write(store, count_up);
            // It was acknowledged: everybody sees it.
            assert!(counted(store) >= version);
            assert!(seen.lock().unwrap().insert(version), "{version} was given twice");
        }
    });
    assert_eq!(counted(store), 1600);
}

pub(crate) fn a_ticket_is_consumed_once(store: &dyn Store) {
    write(store, |tx| (0..20).try_for_each(|number| tx.put_ticket(&ticket(number))));
    let consumed = AtomicU64::new(0);
    at_once(32, |racer| {
        for number in 0..20 {
            let issued = certificate(&format!("issuing/{:04x}", 1 + racer * 100 + u64::from(number)));
            let won: Result<(), StoreError> = store.write(|tx| {
                let found =
                    tx.ticket_by_mac(&mac(number))?.filter(|found| found.uses_left > 0).ok_or_else(no)?;
                tx.put_ticket(&Ticket { uses_left: found.uses_left - 1, ..found })?;
                tx.insert_certificate(&issued)
            });
            // Who was refused was refused by something that is durable.
            let now = read(store, |view| view.ticket_by_mac(&mac(number))).unwrap();
            assert_eq!(now.uses_left, 0);
            consumed.fetch_add(u64::from(won.is_ok()), Ordering::Relaxed);
        }
    });
    assert_eq!(consumed.into_inner(), 20);
    assert_eq!(read(store, |view| view.count_certificates()), 20);
}

pub(crate) fn the_audit_chain_survives_concurrency(store: &dyn Store) {
    at_once(16, |writer| {
        for turn in 0..25 {
            let refuse = (writer + turn) % 7 == 0;
            let written: Result<(), StoreError> = store.write(|tx| {
                tx.append_audit(&fact(&format!("SN{writer}")))?;
                if refuse { Err(no()) } else { Ok(()) }
            });
            assert_eq!(written.is_ok(), !refuse);
        }
    });
    let refused = (0..16).flat_map(|writer| (0..25).map(move |turn| writer + turn));
    let expected = 400 - refused.filter(|sum| sum % 7 == 0).count();
    let events = read(store, |view| view.audit_events(0, usize::MAX));
    assert_eq!(events.len(), expected);
    assert!(events.iter().zip(1..).all(|(event, sequence)| event.sequence == sequence));
    assert!(events.windows(2).all(|pair| pair[1].previous == pair[0].hash()));
}

pub(crate) fn neighbours_of_a_rollback_run_again(store: &dyn Store) {
    let runs = AtomicU64::new(0);
    at_once(16, |writer| {
        for turn in 0..25 {
            let spoil = (writer + turn) % 5 == 0;
            let written: Result<u64, StoreError> = store.write(|tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                let version = count_up(tx)?;
                if spoil { Err(no()) } else { Ok(version) }
            });
            assert_eq!(written.is_err(), spoil);
        }
    });
    assert_eq!(counted(store), 320);
    // Twice at most, for each.
    assert!((400..=800).contains(&runs.into_inner()));
}

pub(crate) fn what_is_made_meanwhile_is_of_what_is_durable(store: &dyn Store) {
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let made_in_all = AtomicU64::new(0);
    at_once(16, |writer| {
        for turn in 0..25 {
            let spoil = (writer + turn) % 5 == 0;
            let written: Result<(u64, String), StoreError> = store.write_meanwhile(
                |tx| {
                    let version = count_up(tx)?;
                    if spoil { Err(no()) } else { Ok(version) }
                },
                |version| {
                    let number = made_in_all.fetch_add(1, Ordering::Relaxed);
                    // Whoever wants to write meanwhile can.
                    write(store, |tx| tx.put_user(&user(&format!("beside-{number}"), 1)));
                    format!("made of {version}")
                },
            );
            match written {
                Ok((version, made)) => {
                    assert_eq!(made, format!("made of {version}"));
                    assert!(counted(store) >= version);
                    assert!(seen.lock().unwrap().insert(version), "{version} was given twice");
                }
                Err(error) => assert!(spoil && error == no()),
            }
        }
    });
    assert_eq!(seen.into_inner().unwrap(), (1..=320).collect());
    assert!(made_in_all.into_inner() >= 320);
}

pub(crate) fn neighbours_of_a_panic_run_again(store: &dyn Store) {
    at_once(8, |writer| {
        for turn in 0..10 {
            let spoil = writer == 0 && turn % 2 == 0;
            let written = catch_unwind(AssertUnwindSafe(|| {
                write(store, |tx| {
                    let version = count_up(tx)?;
                    assert!(!spoil, "on purpose");
                    Ok(version)
                })
            }));
            assert_eq!(written.is_err(), spoil);
        }
    });
    assert_eq!(counted(store), 75);
}

/// A refusal that says which count it saw.
enum Refusal {
    Saw(u64),
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(crate) fn a_refusal_rests_on_what_is_durable(store: &dyn Store) {
    at_once(12, |number| {
        for _ in 0..40 {
            let answer: Result<u64, Refusal> = store.write(|tx| {
                let saw = tx.user(&"counter".parse().unwrap())?.map_or(0, |counter| counter.version);
                match number % 4 {
                    // Reads and refuses.
                    0 => Err(Refusal::Saw(saw)),
                    // Writes, refuses, and so undoes what its neighbours wrote.
                    1 => count_up(tx).map_err(Refusal::from).and(Err(Refusal::Saw(saw))),
                    // Only reads.
                    2 => Ok(saw),
                    _ => Ok(count_up(tx)?),
                }
            });
            let saw = match answer {
                Ok(saw) | Err(Refusal::Saw(saw)) => saw,
                Err(Refusal::Store(error)) => panic!("{error}"),
            };
            assert!(counted(store) >= saw, "{number} saw {saw}");
        }
    });
    assert_eq!(counted(store), 120);
}

pub(crate) fn one_worker_gets_each_job(store: &dyn Store) {
    write(store, |tx| (0..40).try_for_each(|lane| tx.enqueue(&job(&format!("issuer-{lane}")), at(0))));
    let done = std::sync::Mutex::new(Vec::new());
    at_once(8, |_| {
        while let Some(job) = write(store, |tx| tx.lease_job(&JobWorker::Maintenance, at(0), at(60))) {
            assert!(write(store, |tx| tx.complete_job(job.sequence, job.fence)));
            done.lock().unwrap().push(job.sequence);
        }
    });
    let done = done.into_inner().unwrap();
    assert_eq!(done.len(), 40);
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(read(store, |view| view.jobs(1)), []);
}
