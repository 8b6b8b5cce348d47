//! Alarms: signs of a breach, which stay visible until somebody has seen them.
//!
//! There is one kind. A used-up one-time challenge that comes again, from another key than the one that it gave a certificate to, means that
//! somebody else has the secret (RFC 8894 §7.3): it travels encrypted, so nobody has it from the wire, and a message that is sent
//! again as a whole is answered as the repeat that it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{CertificateId, DeviceId, ProfileName, TicketId, Timestamp, UserId};

/// So many are kept; those that were quiet longest give way.
pub const MAX_ALARMS: usize = 100;

/// An alarm that was quiet for so long is open no more.
pub const OPEN_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The same alarm again within this time is not counted anew: whoever rings must not keep the disk busy.
const QUIET: Duration = Duration::from_secs(60);

/// A used-up ticket was presented again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketAlarm {
    /// Which ticket.
    pub ticket: TicketId,
    /// Its profile.
    pub profile: ProfileName,
    /// The device that it was minted for.
    pub device: Option<DeviceId>,
    /// The user that it was minted for.
    pub user: Option<UserId>,
    /// The certificates that came of it, renewals included.
    pub certificates: Vec<CertificateId>,
    /// Whether they were put on hold.
    pub held: bool,
    /// From which address, the last time.
    pub peer: String,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
    /// How often, at most once a minute.
    pub times: u64,
    /// When somebody said that they had seen it.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

impl TicketAlarm {
    /// Whether it is still to be looked at.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.acknowledged_at.is_none() && now < self.last_at.plus(OPEN_FOR)
    }

    /// Whether it rang a moment ago, so that ringing again says nothing new.
    fn rings(&self, now: Timestamp) -> bool {
        self.is_open(now) && now < self.last_at.plus(QUIET)
    }
}

/// What it is that a used-up ticket comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Its alarm rang a moment ago: nothing is written.
    Still,
    /// Its alarm is open: it is counted there. The audit record, which is kept for ever, has it already.
    Again,
    /// No alarm of it is open: that one is raised is on record.
    First {
        /// Another one gives way, which is news when it rings again. So whoever has more tickets than there are alarms could ring for
        /// ever.
        displaces: bool,
    },
}

/// What it is that `ticket` comes again, beside the alarms that are kept.
pub fn ring(alarms: &[TicketAlarm], ticket: &TicketId, now: Timestamp) -> Ring {
    match alarms.iter().find(|alarm| alarm.ticket == *ticket) {
        None => Ring::First { displaces: alarms.len() >= MAX_ALARMS },
        Some(alarm) if !alarm.is_open(now) => Ring::First { displaces: false },
        Some(alarm) if alarm.rings(now) => Ring::Still,
        Some(_) => Ring::Again,
    }
}

/// The alarms with this one more: what is known of the ticket goes on, and what was acknowledged is open again.
#[must_use]
pub fn raised(mut alarms: Vec<TicketAlarm>, new: TicketAlarm) -> Vec<TicketAlarm> {
    let known = alarms.iter().position(|alarm| alarm.ticket == new.ticket);
    let earlier = known.map(|place| alarms.remove(place));
    let first_at = earlier.as_ref().map_or(new.first_at, |earlier| earlier.first_at);
    let times = earlier.map_or(0, |earlier| earlier.times).saturating_add(new.times);
    alarms.push(TicketAlarm { first_at, times, ..new });
    let surplus = alarms.len().saturating_sub(MAX_ALARMS);
    alarms.drain(..surplus);
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(number: u8, at: u64) -> TicketAlarm {
        let at = Timestamp::from_unix(1_800_000_000 + at);
        TicketAlarm {
            ticket: TicketId::from_random([number; 16]),
            profile: "device".parse().unwrap(),
            device: None,
            user: None,
            certificates: Vec::new(),
            held: false,
            peer: "192.0.2.7".to_owned(),
            first_at: at,
            last_at: at,
            times: 1,
            acknowledged_at: None,
            acknowledged_by: None,
        }
    }

    #[test]
    fn the_same_ticket_is_one_alarm_that_opens_again() {
        let seen = TicketAlarm { acknowledged_at: Some(alarm(1, 5).last_at), ..alarm(1, 0) };
        let alarms = raised(raised(vec![seen], alarm(2, 50)), alarm(1, 100));
        assert_eq!(alarms.len(), 2);
        assert_eq!((alarms[1].times, alarms[1].first_at), (2, alarm(1, 0).first_at));
        assert!(alarms[1].is_open(alarm(1, 101).last_at));
    }

    #[test]
    fn only_so_many_are_kept_and_the_newest() {
        let alarms = (0..=150).fold(Vec::new(), |alarms, n| raised(alarms, alarm(n, n.into())));
        assert_eq!(alarms.len(), MAX_ALARMS);
        assert_eq!(alarms.last().unwrap().ticket, alarm(150, 0).ticket);
    }

    #[test]
    fn an_alarm_is_open_until_it_is_acknowledged_or_old() {
        let now = |seconds| alarm(1, seconds).last_at;
        assert!(alarm(1, 0).is_open(now(OPEN_FOR.as_secs() - 1)));
        assert!(!alarm(1, 0).is_open(now(OPEN_FOR.as_secs())));
        let seen = TicketAlarm { acknowledged_at: Some(now(1)), ..alarm(1, 0) };
        assert!(!seen.is_open(now(2)));
    }

    #[test]
    fn a_ticket_is_news_once_while_its_alarm_is_open() {
        let at = |seconds| alarm(1, seconds).last_at;
        let rings = |alarms: &[TicketAlarm], seconds| ring(alarms, &alarm(1, 0).ticket, at(seconds));
        let (open, news) = ([alarm(1, 0)], Ring::First { displaces: false });
        assert_eq!(rings(&[], 0), news);
        assert_eq!((rings(&open, 59), rings(&open, 60)), (Ring::Still, Ring::Again));
        assert_eq!(rings(&open, OPEN_FOR.as_secs()), news);
        let seen = [TicketAlarm { acknowledged_at: Some(at(1)), ..alarm(1, 0) }];
        assert_eq!(rings(&seen, 2), news);
        let others: Vec<_> = (2..=101).map(|number| alarm(number, 0)).collect();
        assert_eq!(rings(&others[1..], 2), news);
        assert_eq!(rings(&others, 2), Ring::First { displaces: true });
    }
}
