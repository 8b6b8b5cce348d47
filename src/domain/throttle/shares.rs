//! What is scarce, shared among those who ask for it.

use std::collections::HashMap;

use super::ClientNetwork;
use crate::types::Timestamp;

/// Clients that are told apart in one second; those beyond are taken for one.
const MAX_TOLD_APART: usize = 16_384;

/// Shares what may be spent in a second among the clients that ask: who asks for little gets it, and the others get equally much of what
/// is left, so that nobody who asks for more takes it from somebody else. What a second brings is not known before: the shares are
/// those that would have been right in the second before. Where everybody could have had everything, there are none.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    second: u64,
    /// How often each has asked in this second, whatever the answer.
    asked: HashMap<Option<ClientNetwork>, u32>,
    /// The most that one may have in this second.
    most: Option<u32>,
}

impl Shares {
    /// Counts a question; whether it is within the client's share of what all together may have in a second.
    pub fn ask(&mut self, client: Option<ClientNetwork>, of_all: u32, now: Timestamp) -> bool {
        self.turn_to(now.unix(), of_all);
        let known = self.asked.len() < MAX_TOLD_APART || self.asked.contains_key(&client);
        let asked = self.asked.entry(client.filter(|_| known)).or_default();
        *asked = asked.saturating_add(1);
        self.most.is_none_or(|most| *asked <= most)
    }

    fn turn_to(&mut self, second: u64, of_all: u32) {
        if second == self.second {
            return;
        }
        let follows = self.second.checked_add(1) == Some(second);
        let asked = std::mem::take(&mut self.asked);
        self.most = if follows { fair(asked.into_values().collect(), of_all) } else { None };
        self.second = second;
    }
}

/// The most that one may have, so that all together have no more than `of_all`; none where everybody can have what he asked for.
fn fair(mut asked: Vec<u32>, of_all: u32) -> Option<u32> {
    asked.sort_unstable();
    let (mut left, mut clients) = (of_all, u32::try_from(asked.len()).unwrap_or(u32::MAX));
    for wanted in asked {
        let share = left / clients.max(1);
        if wanted > share {
            return Some(share.max(1));
        }
        left -= wanted;
        clients = clients.saturating_sub(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> ClientNetwork {
        IpAddr::from([192, 0, 2, number]).into()
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + second)
    }

    /// How many of its questions each had answered.
    fn second(shares: &mut Shares, second: u64, asked: &[u32]) -> Vec<u32> {
        let mut granted = vec![0; asked.len()];
        for turn in 0..asked.iter().copied().max().unwrap_or_default() {
            for (number, wanted) in (0..).zip(asked) {
                if turn < *wanted && shares.ask(Some(client(number)), 100, at(second)) {
                    granted[usize::from(number)] += 1;
                }
            }
        }
        granted
    }

    #[test]
    fn who_asks_for_little_gets_it_beside_one_who_asks_for_all() {
        let mut shares = Shares::default();
        second(&mut shares, 0, &[1_000, 10, 5]);
        assert_eq!(second(&mut shares, 1, &[1_000, 10, 5]), [85, 10, 5]);
        assert_eq!(
            second(&mut shares, 2, &[1_000, 1_000, 5]),
            [85, 85, 5],
            "what comes is seen in the next one"
        );
        assert_eq!(second(&mut shares, 3, &[1_000, 1_000, 5]), [47, 47, 5]);
    }

    #[test]
    fn one_alone_has_everything_and_a_pause_is_forgotten() {
        let mut shares = Shares::default();
        second(&mut shares, 0, &[1_000]);
        assert_eq!(second(&mut shares, 1, &[1_000]), [100]);
        second(&mut shares, 2, &[90, 5]);
        assert_eq!(second(&mut shares, 3, &[95, 40]), [95, 40], "there was enough for both");
        assert_eq!(second(&mut shares, 9, &[300]), [300]);
        assert_eq!(second(&mut shares, 4, &[300]), [300], "the clock went back");
    }

    #[test]
    fn more_clients_than_can_be_told_apart_are_one() {
        let mut shares = Shares::default();
        for number in 0..20_000_u32 {
            let network = IpAddr::from(number.to_be_bytes());
            shares.ask(Some(network.into()), 100, at(0));
        }
        assert!(shares.asked.len() <= MAX_TOLD_APART + 1);
    }

    proptest! {
        /// Nobody gets less than an equal part, or what he asked for; all together get no more than there is, but for one each.
        #[test]
        fn shares_are_fair(asked in prop::collection::vec(0..500_u32, 1..40), of_all in 1..1_000_u32) {
            let clients = u32::try_from(asked.len()).unwrap();
            let most = fair(asked.clone(), of_all);
            let granted = |wanted: &u32| most.map_or(*wanted, |most| *wanted.min(&most));
            let sum: u32 = asked.iter().map(granted).sum();
            prop_assert!(sum <= of_all.max(clients));
            prop_assert!(asked.iter().all(|wanted| granted(wanted) >= *wanted.min(&(of_all / clients))));
            prop_assert_eq!(most.is_none(), asked.iter().sum::<u32>() <= of_all);
        }
    }
}
