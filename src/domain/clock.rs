//! Whether the clock is believed. What time brings and nobody can take back waits while it may be ahead.
//!
//! A clock that is far ahead makes everything due: renewed certificates superseded, a CA cut over to, records and keys removed. When it
//! is set right again that stays. So the time that is *believed* goes on, by a clock that nobody sets, from when the clock was last as it
//! had to be; a jump ahead is believed when the clock has run on from there for a day, in which somebody is told of it. A jump may
//! also be the correction (a machine without a clock of its own that hears the time, one that slept): then what is due is a day late,
//! which harms nobody, or somebody says that the clock is right.
//!
//! Over a restart nothing tells how long it took: a day is believed at once.

use std::time::Duration;

use crate::types::Timestamp;

/// Corrections of a clock that is right are smaller.
const STEP: Duration = Duration::from_secs(600);

/// So long a gateway may have been switched off.
const AWAY: Duration = Duration::from_secs(86_400);

/// A clock that was set ahead and runs on for so long is believed.
const STEADY: Duration = Duration::from_secs(86_400);

/// What the clock shows, and what one that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time of day.
    pub time: Timestamp,
    /// Since some moment in the past.
    pub elapsed: Duration,
}

impl Reading {
    /// What the clock shows when the other one shows this, if nobody sets it.
    const fn at(self, elapsed: Duration) -> Timestamp {
        self.time.plus(elapsed.saturating_sub(self.elapsed))
    }
}

/// How far the clock is believed.
#[derive(Clone, Copy, Debug)]
pub struct ClockTrust {
    /// The last reading that was believed.
    believed: Reading,
    /// How far from it the clock may be.
    slack: Duration,
    last: Reading,
    /// From when on the clock runs steadily, while it is not believed.
    doubted: Option<Duration>,
}

/// That the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDoubt {
    /// What the clock shows.
    pub shown: Timestamp,
    /// The time that is believed.
    pub believed: Timestamp,
    /// When the clock will be believed, by itself, if it runs on.
    pub until: Timestamp,
}

impl ClockTrust {
    /// At a start; `known` is the last time that was believed before it, if there is one.
    pub fn begin(known: Option<Timestamp>, now: Reading) -> Self {
        let believed = Reading { time: known.unwrap_or(now.time), ..now };
        let mut trust = Self { believed, slack: AWAY, last: now, doubted: None };
        trust.look(now);
        trust
    }

    /// Takes a reading into account.
    pub fn look(&mut self, now: Reading) {
        let jumped = now.time > self.last.at(now.elapsed).plus(STEP);
        self.last = now;
        let is_ahead = now.time > self.believed.at(now.elapsed).plus(self.slack);
        let since = self.doubted.filter(|_| !jumped).unwrap_or(now.elapsed);
        let is_steady = now.elapsed.saturating_sub(since) >= STEADY;
        if is_ahead && !is_steady {
            self.doubted = Some(since);
        } else {
            *self = Self { believed: now, slack: STEP, last: now, doubted: None };
        }
    }

    /// Somebody says that the clock was right when it showed this. What it did since is looked at as ever.
    pub fn accept(&mut self, right: Reading) {
        let last = self.last;
        *self = Self { believed: right, slack: STEP, last: right, doubted: None };
        self.look(last);
    }

    /// The last look.
    pub const fn last(&self) -> Reading {
        self.last
    }

    /// The time that is believed, as of the last look.
    pub fn believed(&self) -> Timestamp {
        self.believed.at(self.last.elapsed)
    }

    /// Whether the clock is not believed, as of the last look.
    pub fn doubt(&self) -> Option<ClockDoubt> {
        let since = self.doubted?;
        let left = STEADY.saturating_sub(self.last.elapsed.saturating_sub(since));
        let shown = self.last.time;
        Some(ClockDoubt { shown, believed: self.believed(), until: shown.plus(left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    /// After so long, by a clock that is so far ahead.
    fn reading(after: Duration, ahead: Duration) -> Reading {
        Reading { time: START.plus(after).plus(ahead), elapsed: after }
    }

    fn begun() -> ClockTrust {
        ClockTrust::begin(Some(START), reading(Duration::ZERO, Duration::ZERO))
    }

    fn looked(mut trust: ClockTrust, after: Duration, ahead: Duration) -> ClockTrust {
        trust.look(reading(after, ahead));
        trust
    }

    #[test]
    fn a_clock_that_runs_on_and_small_corrections_are_believed() {
        let trust = looked(begun(), HOUR * 5, STEP);
        assert_eq!((trust.doubt(), trust.believed()), (None, START.plus(HOUR * 5 + STEP)));
        let back = looked(trust, HOUR * 6, Duration::ZERO);
        assert_eq!((back.doubt(), back.believed()), (None, START.plus(HOUR * 6)));
    }

    #[test]
    fn a_jump_ahead_is_not_believed_until_the_clock_ran_on_for_a_day() {
        let trust = looked(begun(), HOUR, YEAR);
        let doubt = trust.doubt().unwrap();
        assert_eq!(doubt.believed, START.plus(HOUR));
        assert_eq!(doubt.until, START.plus(HOUR + YEAR + STEADY));
        let trust = looked(trust, STEADY, YEAR);
        assert_eq!((trust.doubt().unwrap().until, trust.believed()), (doubt.until, START.plus(STEADY)));
        let trust = looked(trust, HOUR + STEADY, YEAR);
        assert_eq!((trust.doubt(), trust.believed()), (None, START.plus(HOUR + STEADY + YEAR)));
    }

    #[test]
    fn each_jump_begins_the_day_anew_and_a_clock_that_is_set_right_is_believed() {
        let trust = looked(looked(begun(), HOUR, YEAR), HOUR * 20, YEAR * 2);
        let trust = looked(trust, HOUR * 30, YEAR * 2);
        assert_eq!(trust.believed(), START.plus(HOUR * 30));
        let half = looked(trust, HOUR * 31, YEAR);
        assert!(half.doubt().is_some(), "it was set back, and is ahead yet");
        let right = looked(half, HOUR * 32, Duration::ZERO);
        assert_eq!((right.doubt(), right.believed()), (None, START.plus(HOUR * 32)));
    }

    #[test]
    fn a_clock_that_somebody_says_is_right_is_believed_and_one_that_jumps_after_that_is_not() {
        let doubted = looked(begun(), HOUR, YEAR);
        let accepted = |mut trust: ClockTrust| {
            trust.accept(doubted.last());
            trust
        };
        let trust = accepted(doubted);
        assert_eq!((trust.doubt(), trust.believed()), (None, START.plus(HOUR + YEAR)));
        assert_eq!(looked(trust, HOUR * 2, YEAR).doubt(), None);
        let jumped = looked(trust, HOUR * 2, YEAR * 2).doubt().unwrap();
        assert_eq!(jumped.believed, START.plus(HOUR * 2 + YEAR));
        // It jumped again, or was set right, before the word came.
        let jumped = accepted(looked(doubted, HOUR * 2, YEAR * 2)).doubt().unwrap();
        assert_eq!(jumped.believed, START.plus(HOUR * 2 + YEAR));
        let right = accepted(looked(doubted, HOUR * 2, Duration::ZERO));
        assert_eq!((right.doubt(), right.believed()), (None, START.plus(HOUR * 2)));
    }

    #[test]
    fn over_a_restart_a_day_is_believed() {
        let begun = |away| ClockTrust::begin(Some(START), reading(Duration::ZERO, away));
        assert_eq!(begun(AWAY).doubt(), None);
        let trust = begun(AWAY + HOUR);
        assert_eq!(trust.doubt().unwrap().believed, START);
        // It took three hours, and the clock was ahead meanwhile.
        assert_eq!(looked(trust, HOUR, HOUR * 3).believed(), START.plus(HOUR * 4));
        assert_eq!(ClockTrust::begin(None, reading(HOUR, YEAR)).doubt(), None, "nothing is known");
    }
}
