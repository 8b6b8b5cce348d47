//! How many connections one client may have open: so that one alone cannot take all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::forwarded::TrustedProxies;
use crate::domain::throttle::ClientNetwork;

/// Counts the open connections of each client. Proxies that are trusted speak for many and are not counted.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    proxies: TrustedProxies,
    open: Mutex<HashMap<ClientNetwork, usize>>,
}

/// A place in the crowd, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    counted: Option<(Arc<Crowd>, ClientNetwork)>,
}

impl Crowd {
    pub(super) fn new(most: usize, proxies: TrustedProxies) -> Arc<Self> {
        Arc::new(Self { most, proxies, open: Mutex::default() })
    }

    /// A place for one more connection of this client; none where it has as many as it may. Who has no address, on the local socket, is
    /// not counted.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let Some(address) = address.filter(|address| !self.proxies.trusts(*address)) else {
            return Some(Place { counted: None });
        };
        let client = ClientNetwork::from(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.entry(client).or_default();
        if *number >= self.most {
            return None;
        }
        *number += 1;
        Some(Place { counted: Some((Arc::clone(self), client)) })
    }

    fn leave(&self, client: ClientNetwork) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = open.get_mut(&client) {
            *number -= 1;
            if *number == 0 {
                open.remove(&client);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((crowd, client)) = self.counted.take() {
            crowd.leave(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Arc<Crowd> {
        Crowd::new(2, TrustedProxies(vec!["10.0.0.1".parse().unwrap()]))
    }

    fn enter(crowd: &Arc<Crowd>, address: &str) -> Option<Place> {
        crowd.enter(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_client_has_so_many_places_and_gets_them_back() {
        let crowd = crowd();
        let first = enter(&crowd, "192.0.2.1");
        let second = enter(&crowd, "192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(enter(&crowd, "192.0.2.1").is_none());
        assert!(enter(&crowd, "192.0.2.2").is_some());
        drop(first);
        assert!(enter(&crowd, "192.0.2.1").is_some());
        drop(second);
        assert!(crowd.open.lock().unwrap().is_empty(), "nobody is remembered who is gone");
    }

    #[test]
    fn trusted_proxies_and_the_local_socket_are_not_counted() {
        let crowd = crowd();
        let places: Vec<_> = (0..9).map(|_| enter(&crowd, "10.0.0.1")).collect();
        assert!(places.iter().all(Option::is_some));
        assert!((0..9).map(|_| crowd.enter(None)).collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
