//! Whole seconds since 1970: the resolution of X.509, OCSP and CRL times (no fractions: RFC 5280 §4.1.2.5.2).

use std::{fmt, str::FromStr, time::Duration};

use der::DateTime;
use serde::{Deserialize, Serialize, Serializer};

/// A point in time with a resolution of one second, from 1970 to 9999. Text: RFC 3339 in UTC, `2026-11-21T02:04:54Z`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Timestamp(u64);

/// A text or number that is no time between 1970 and 9999.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time in the form 2026-11-21T02:04:54Z")]
pub struct TimeError;

impl Timestamp {
    /// The last second that certificates can express (RFC 5280 §4.1.2.5).
    pub const MAX: Self = Self(253_402_300_799);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From seconds since 1970; later than 9999 becomes [`Timestamp::MAX`].
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Seconds since 1970.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// This time plus `duration`, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(duration.as_secs()))
    }

    /// This time minus `duration`, at least 1970.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// The time from `earlier` to this, or zero.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// As HTTP writes it (RFC 9110 §5.6.7): `Sat, 21 Nov 2026 02:04:54 GMT`.
    pub fn to_http_date(self) -> String {
        httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(self.0))
    }

    /// Gives `read` the text. Every record has several of them: it allocates nothing.
    fn with_text<T>(self, read: impl FnOnce(&str) -> T) -> T {
        let time = self.to_date_time();
        let mut text = *b"0000-00-00T00:00:00Z";
        let [century, year] =
            [time.year() / 100, time.year() % 100].map(|half| u8::try_from(half).unwrap_or(0));
        let pairs = [century, year, time.month(), time.day(), time.hour(), time.minutes(), time.seconds()];
        for (place, pair) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(pairs) {
            text[place] += pair / 10;
            text[place + 1] += pair % 10;
        }
        read(str::from_utf8(&text).unwrap_or_default())
    }

    /// As `der` writes it.
    pub fn to_date_time(self) -> DateTime {
        // Every Timestamp is within DateTime's range (1970 to 9999) by construction.
        DateTime::from_unix_duration(Duration::from_secs(self.0)).unwrap_or(DateTime::INFINITY)
    }
}

impl From<DateTime> for Timestamp {
    fn from(time: DateTime) -> Self {
        Self::from_unix(time.unix_duration().as_secs())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse::<DateTime>().map(Self::from).map_err(|_| TimeError)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

/// The period in which a certificate is valid, both ends included (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Validity {
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whether `time` lies in the period.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.not_before <= time && time <= self.not_after
    }

    /// The part of this period that also lies in `outer`, or nothing.
    pub fn within(&self, outer: &Self) -> Option<Self> {
        let not_before = self.not_before.max(outer.not_before);
        let not_after = self.not_after.min(outer.not_after);
        (not_before < not_after).then_some(Self { not_before, not_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let time: Timestamp = "2026-11-21T02:04:54Z".parse().unwrap();
        assert_eq!(time.unix(), 1_795_226_694);
        assert_eq!(time.to_string(), "2026-11-21T02:04:54Z");
        assert_eq!(time.to_http_date(), "Sat, 21 Nov 2026 02:04:54 GMT");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.minus(Duration::from_secs(1)), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
    }
}
