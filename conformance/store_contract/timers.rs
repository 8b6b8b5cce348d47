//! Timers: by time, each once.

use certgate::{
    domain::timer::{Timer, TimerSubject},
    ports::store::Store,
};

use crate::samples::{at, certificate_id, read, write};

fn ticket_ends(device: &str, seconds: u64) -> Timer {
    Timer { at: at(seconds), subject: TimerSubject::TicketEnds { device: device.parse().unwrap() } }
}

fn set(store: &dyn Store, timers: &[&Timer]) {
    write(store, |tx| timers.iter().try_for_each(|timer| tx.set_timer(timer)));
}

pub(crate) fn timers_come_earliest_first_and_only_when_due(store: &dyn Store) {
    let [first, second, third] = [3, 5, 7].map(|seconds| ticket_ends("SN1", seconds));
    assert_eq!(read(store, |view| view.next_timer_at()), None);
    set(store, &[&third, &first, &second]);
    assert_eq!(read(store, |view| view.next_timer_at()), Some(at(3)));
    assert_eq!(read(store, |view| view.due_timers(at(2), 10)), []);
    assert_eq!(read(store, |view| view.due_timers(at(5), 10)), [first.clone(), second.clone()]);
    assert_eq!(read(store, |view| view.due_timers(at(9), 2)), [first, second]);
}

pub(crate) fn a_timer_is_set_once_and_cleared_once(store: &dyn Store) {
    let (timer, other) = (ticket_ends("SN1", 3), ticket_ends("SN2", 3));
    set(store, &[&timer, &timer, &other]);
    assert_eq!(read(store, |view| view.due_timers(at(3), 10)), [timer.clone(), other.clone()]);
    for _ in 0..2 {
        write(store, |tx| tx.clear_timer(&timer));
        assert_eq!(read(store, |view| view.due_timers(at(3), 10)), std::slice::from_ref(&other));
    }
}

pub(crate) fn timers_at_one_time_stay_apart(store: &dyn Store) {
    let successor = certificate_id("issuing/4f");
    let overlap = Timer { at: at(3), subject: TimerSubject::OverlapEnds { successor } };
    let (short, long) = (ticket_ends("SN1", 3), ticket_ends("SN11", 3));
    set(store, &[&overlap, &long, &short]);
    assert_eq!(read(store, |view| view.due_timers(at(3), 10)), [short, long, overlap]);
}

pub(crate) fn the_time_that_was_believed_last_is_kept(store: &dyn Store) {
    assert_eq!(read(store, |view| view.believed_time()), None);
    for seconds in [7, 3] {
        write(store, |tx| tx.put_believed_time(at(seconds)));
        assert_eq!(read(store, |view| view.believed_time()), Some(at(seconds)));
    }
}
