//! Lengths of time as people write them on a command line: `90s`, `15m`, `12h`, `7d`.

use crate::app::failure::Failure;

/// A length of time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub u64);

/// Reads a number with its unit.
pub(super) fn parse(text: &str) -> Result<Seconds, Failure> {
    let wrong = || Failure::usage("expected a number with its unit: 90s, 15m, 12h or 7d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.get(..text.len() - 1).unwrap_or_default().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).map(Seconds).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_seconds_minutes_hours_days() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse(text).unwrap(), Seconds(seconds), "{text}");
        }
    }

    #[test]
    fn a_number_alone_is_no_time() {
        for text in ["", "7", "d", "0s", "-1d", "1w", "7 d", "99999999999999999999d", "1\u{e4}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
