//! The trace of requests.

use certgate::{
    domain::exchange::{Exchange, Transcript},
    ports::store::Store,
};

use crate::samples::{at, exchange, read, write};

fn all(store: &dyn Store, before: Option<&Exchange>) -> Vec<Exchange> {
    let mut all = Vec::new();
    read(store, |view| {
        view.visit_exchanges(before.map(|before| &before.id), &mut |exchange| {
            all.push(exchange);
            Ok(true)
        })
    });
    all
}

pub(crate) fn exchanges_of_all_are_visited_newest_first(store: &dyn Store) {
    // More than are read at a time, of both kinds.
    let mut expected: Vec<_> = (1..=200).map(|number| exchange(number, number % 3 == 0)).collect();
    write(store, |tx| expected.iter().try_for_each(|exchange| tx.put_exchange(exchange, None)));
    expected.reverse();
    assert_eq!(all(store, None), expected);
    assert_eq!(all(store, Some(&expected[150])), expected[151..]);
    assert_eq!(read(store, |view| view.exchange(&expected[7].id)).as_ref(), Some(&expected[7]));
    assert_eq!(read(store, |view| view.count_exchanges()), (66, 134));
}

pub(crate) fn an_exchange_written_again_keeps_its_transcript(store: &dyn Store) {
    let mut transcript = Transcript::default();
    transcript.asked("messageType", "19");
    let exchange = exchange(1, true);
    write(store, |tx| tx.put_exchange(&exchange, Some(&transcript)));
    let again = Exchange { more: 3, ..exchange.clone() };
    write(store, |tx| tx.put_exchange(&again, None));
    assert_eq!(read(store, |view| view.transcript(&exchange.id)), Some(transcript));
    assert_eq!(all(store, None), [again]);
}

pub(crate) fn the_oldest_exchanges_are_pruned_in_small_steps(store: &dyn Store) {
    let transcript = Transcript::default();
    let exchanges: Vec<_> = (1..=10).map(|number| exchange(number, number > 5)).collect();
    write(store, |tx| exchanges.iter().try_for_each(|exchange| tx.put_exchange(exchange, Some(&transcript))));
    let prune = |before, most, limit| write(store, |tx| tx.prune_exchanges(at(before), most, limit));
    assert_eq!(prune(0, (5, 5), 100), 0);
    // Strangers' are counted apart.
    assert_eq!((prune(0, (5, 3), 1), prune(0, (5, 3), 100), prune(0, (5, 3), 100)), (1, 1, 0));
    assert_eq!(prune(7, (5, 3), 100), 4);
    let mut left = exchanges[6..].to_vec();
    left.reverse();
    assert_eq!(all(store, None), left);
    assert_eq!(read(store, |view| view.transcript(&exchanges[0].id)), None);
    assert_eq!(write(store, |tx| tx.prune_transcripts(at(9), 100)), 2);
    assert_eq!(read(store, |view| view.transcript(&exchanges[9].id)), Some(transcript));
}
