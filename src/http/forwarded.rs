//! Whose request it is when a proxy stands between.
//!
//! `X-Forwarded-For` is what a client says of itself, unless a proxy that is trusted wrote it. It is read only where the peer is such a
//! proxy, and from its end: the last address that is no trusted proxy is the client's, whatever stands before it.

use std::{fmt, net::IpAddr, str::FromStr};

use hyper::HeaderMap;

const HEADER: &str = "x-forwarded-for";

/// Addresses of proxies: `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// A text that names no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no address and no network of the form ADDRESS/LENGTH")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), |length| length.parse().map_err(|_| NetworkError))?;
        if length > most { Err(NetworkError) } else { Ok(Self { address, length }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Network {
    /// Whether an address lies in it. An IPv4 address is never in an IPv6 network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= u32::from(self.length) || differ == 0
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<Network>);

impl TrustedProxies {
    /// The client behind `peer`: the peer itself unless it is a trusted proxy that names another.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer.to_canonical();
        }
        // Bytes that are no text are no address either; what a proxy wrote behind them counts all the same.
        let named = headers.get_all(HEADER).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let named: Vec<_> = named.collect();
        let hops: Vec<_> = named.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // What is no address was not written by a proxy that can be believed, and nothing before it can be either.
            let Some(address) = address_of(hop) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client.to_canonical()
    }

    /// Whether `address` is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address, with a port or without: proxies of Azure and IIS write one.
fn address_of(hop: &str) -> Option<IpAddr> {
    let socket = || hop.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    hop.parse().ok().or_else(socket)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies(trusted.iter().map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_he_is_trusted() {
        assert_eq!(client(&[], "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client(&["::/0"], "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(client(&trusted, "10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client(&trusted, "10.0.0.1", &["203.0.113.1, 198.51.100.9, 10.1.1.1"]), "198.51.100.9");
        assert_eq!(
            client(&trusted, "::ffff:10.0.0.1", &["203.0.113.1", "198.51.100.9:4711"]),
            "198.51.100.9"
        );
        assert_eq!(client(&trusted, "2001:db8::1", &["[2001:dead::2]:80"]), "2001:dead::2");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["198.51.100.9, unknown"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["198.51.100.9, unknown, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn nobody_hides_behind_bytes_that_are_no_text() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client(&trusted, "10.0.0.1", &["\u{fc}, 198.51.100.9"]), "198.51.100.9");
        assert_eq!(client(&trusted, "10.0.0.1", &["203.0.113.1", "\u{fc}, 198.51.100.9"]), "198.51.100.9");
        assert_eq!(client(&trusted, "10.0.0.1", &["203.0.113.1", "\u{fc}"]), "10.0.0.1");
    }

    #[test]
    fn networks_are_read_or_refused() {
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "proxy.example"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError), "{wrong}");
        }
        let exact: Network = "192.0.2.1".parse().unwrap();
        assert!(exact.contains("192.0.2.1".parse().unwrap()));
        assert!(!exact.contains("192.0.2.2".parse().unwrap()));
    }
}
