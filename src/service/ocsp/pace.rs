//! When who asks comes back (RFC 9919 §7.1).
//!
//! Were max-age what is left until nextUpdate, everybody who asked about a certificate would come back in the same second, and all
//! who asked about many at once (a switch after a power cut) would ask about all again at once. So an answer has one max-age for as long as it
//! is given out, so that clients stay as far apart as they came, and answers have different ones, between 15/32 and 17/32 of
//! their window.
//!
//! The responder signs anew after 15/32, just before half of it. Then whoever comes back finds a newer answer (RFC 9919 §7.1: it MUST be
//! refreshed before max-age is over), and nobody keeps one beyond its nextUpdate, because 15/32 and 17/32 are the whole.
//! At half-life itself all of them would have the same max-age, half of the window.
//!
//! So that nobody has to wait for that signature, answers that are asked for are signed anew beforehand, some time between 7/8
//! and 15/16 of it, each at another moment, so that what was signed at once is not signed at once again.

use std::time::Duration;

use crate::types::Fingerprint;

/// For how long an answer with this window is given out before it is signed anew.
pub(super) const fn fresh_for(window: Duration) -> Duration {
    Duration::from_secs(window.as_secs() / 32 * 15 + window.as_secs() % 32 * 15 / 32)
}

/// How long after it was signed an answer with this window is to be signed anew beforehand; `spread` is random.
pub(super) fn refresh_after(window: Duration, spread: u8) -> Duration {
    let fresh = fresh_for(window);
    fresh.saturating_sub(fresh / 16).saturating_sub(fresh / 16 * u32::from(spread) / 255)
}

/// For how long others may keep an answer with this window and digest.
pub(super) fn max_age(window: Duration, digest: &Fingerprint) -> Duration {
    let (fresh, [spread, ..]) = (fresh_for(window).as_secs(), *digest.as_bytes());
    let room = window.as_secs() - 2 * fresh;
    Duration::from_secs(fresh + room / 256 * u64::from(spread) + room % 256 * u64::from(spread) / 256)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn digest(number: u64) -> Fingerprint {
        Fingerprint::of(&number.to_be_bytes())
    }

    proptest! {
        #[test]
        fn whoever_comes_back_finds_a_newer_answer_before_the_old_one_ends(window in 1_u64..10_000_000, number: u64) {
            let window = Duration::from_secs(window);
            let (fresh, max_age) = (fresh_for(window), max_age(window, &digest(number)));
            prop_assert!(max_age >= fresh, "asked in the first second, back before it is signed anew");
            // Given out for the last time one second before it is signed anew.
            prop_assert!(fresh.saturating_sub(Duration::from_secs(1)) + max_age <= window);
        }

        #[test]
        fn what_is_signed_beforehand_is_signed_in_good_time(window in 60_u64..10_000_000, spread: u8) {
            let window = Duration::from_secs(window);
            let (fresh, refresh) = (fresh_for(window), refresh_after(window, spread));
            prop_assert!(refresh < fresh && refresh >= fresh * 7 / 8);
        }
    }

    #[test]
    fn answers_signed_at_once_do_not_end_at_once() {
        let hour = Duration::from_secs(3600);
        let ages: BTreeSet<_> = (0..1000).map(|number| max_age(hour, &digest(number))).collect();
        assert!(ages.len() > 200, "{} different ones", ages.len());
        assert!(
            *ages.first().unwrap() < Duration::from_secs(1700)
                && *ages.last().unwrap() > Duration::from_secs(1900)
        );
    }
}
