//! From a name to a connection, all within one time: the look-up, and the addresses, of which one that swallows everything must not keep the
//! others from being tried (RFC 8305, "Happy Eyeballs").
//!
//! The look-up is the system's, which has no time limit that could be set here. It runs in a thread of its own, and nobody waits for it longer
//! than there is time; the thread itself ends when the system gives up, by the `timeout` and `attempts` of resolv.conf. What it finds then
//! is thrown away, as is a connection that another one was faster than.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use super::connection::instant;

/// So long an address has before the next one is tried beside it (RFC 8305 §5 recommends 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses that are tried: each is a thread.
const MAX_ADDRESSES: usize = 16;

/// Why nobody is connected.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// The time is over.
    TimeOut,
    /// The name has no address, or no address takes connections: the last problem.
    Failed(io::Error),
}

impl From<io::Error> for NoConnection {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::TimeOut } else { Self::Failed(error) }
    }
}

/// Connects to the first address of `host` that answers.
pub(super) fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, NoConnection> {
    let addresses = if let Ok(address) = host.parse::<IpAddr>() {
        vec![SocketAddr::from((address, port))]
    } else {
        let name = host.to_owned();
        looked_up(move || Ok((name.as_str(), port).to_socket_addrs()?.collect()), deadline)?
    };
    first_to_answer(by_turns(addresses), deadline, |address, left| TcpStream::connect_timeout(&address, left))
}

/// What `look_up` finds, if that is before `deadline`.
fn looked_up(
    look_up: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, NoConnection> {
    let (found, finds) = mpsc::channel();
    thread::Builder::new().name("directory-name".to_owned()).spawn(move || found.send(look_up()))?;
    match told(&finds, left(deadline)?) {
        Some(addresses) => Ok(addresses?),
        None => Err(NoConnection::TimeOut),
    }
}

/// IPv6 and IPv4 by turns, beginning with what the system prefers (RFC 8305 §4): all of one family may lead nowhere.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|it| it.is_ipv6() == preferred);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// Tries the addresses one after the other, the next when the one before failed, or had its time: then both go on.
fn first_to_answer<S: Send + 'static>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr, Duration) -> io::Result<S> + Copy + Send + 'static,
) -> Result<S, NoConnection> {
    let (outcome, outcomes) = mpsc::channel();
    let mut ahead = addresses.into_iter().take(MAX_ADDRESSES).peekable();
    let mut under_way = 0_usize;
    let mut problem = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    loop {
        if let Some(address) = ahead.next() {
            let (outcome, left) = (outcome.clone(), left(deadline)?);
            let attempt = move || outcome.send(connect(address, left));
            thread::Builder::new().name("directory-connect".to_owned()).spawn(attempt)?;
            under_way += 1;
        }
        if under_way == 0 {
            return Err(problem.into());
        }
        let left = left(deadline)?;
        let patience = if ahead.peek().is_some() { left.min(ATTEMPT_DELAY) } else { left };
        match told(&outcomes, patience) {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => {
                under_way -= 1;
                problem = error;
            }
            None => {}
        }
    }
}

/// How long it is until then. Errors: it is over.
fn left(deadline: Instant) -> Result<Duration, NoConnection> {
    let left = deadline.saturating_duration_since(instant());
    if left.is_zero() { Err(NoConnection::TimeOut) } else { Ok(left) }
}

/// What a thread says within `patience`.
fn told<T>(from: &Receiver<T>, patience: Duration) -> Option<T> {
    from.recv_timeout(patience).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    /// As long as nobody should need.
    fn soon() -> Instant {
        instant() + Duration::from_secs(60)
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address where nobody listens any more.
    fn closed() -> SocketAddr {
        listener().1
    }

    /// Connects, but to IPv6, which swallows everything until its time is over.
    fn without_ipv6(address: SocketAddr, left: Duration) -> io::Result<TcpStream> {
        if address.is_ipv6() {
            thread::sleep(left);
            return Err(io::ErrorKind::TimedOut.into());
        }
        TcpStream::connect_timeout(&address, left)
    }

    fn swallowing(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, port))
    }

    #[test]
    fn an_address_that_swallows_everything_keeps_no_other_from_being_tried() {
        let (_listener, open) = listener();
        let addresses = vec![swallowing(1), swallowing(2), closed(), open];
        let connected = first_to_answer(by_turns(addresses), soon(), without_ipv6).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), open);
    }

    #[test]
    fn where_nobody_answers_it_ends_with_its_time() {
        let outcome = first_to_answer(
            vec![swallowing(1), closed()],
            instant() + Duration::from_millis(400),
            without_ipv6,
        );
        assert!(matches!(outcome, Err(NoConnection::TimeOut)), "{outcome:?}");
    }

    #[test]
    fn where_all_refuse_the_reason_is_told_at_once() {
        let outcome = first_to_answer(vec![closed(), closed()], soon(), without_ipv6);
        let Err(NoConnection::Failed(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let outcome = first_to_answer(Vec::new(), soon(), without_ipv6);
        let Err(NoConnection::Failed(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.to_string(), "its name has no address");
    }

    #[test]
    fn a_look_up_that_does_not_end_costs_no_more_than_the_time() {
        let (end, ended) = mpsc::channel::<()>();
        let endless = move || {
            let _ = ended.recv();
            Ok(Vec::new())
        };
        let outcome = looked_up(endless, instant() + Duration::from_millis(50));
        assert!(matches!(outcome, Err(NoConnection::TimeOut)), "{outcome:?}");
        drop(end);
    }

    #[test]
    fn what_a_look_up_finds_or_says_is_told() {
        let found = looked_up(|| Ok(vec![swallowing(1)]), soon()).unwrap();
        assert_eq!(found, [swallowing(1)]);
        let outcome = looked_up(|| Err(io::Error::other("no such host")), soon());
        assert!(matches!(outcome, Err(NoConnection::Failed(_))), "{outcome:?}");
    }

    #[test]
    fn the_families_take_turns() {
        let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let [a, b, c] = [1, 2, 3].map(swallowing);
        assert_eq!(by_turns(vec![a, b, c, v4(1)]), [a, v4(1), b, c]);
        assert_eq!(by_turns(vec![v4(1), a, v4(2), v4(3)]), [v4(1), a, v4(2), v4(3)]);
        assert_eq!(by_turns(Vec::new()), []);
    }

    #[test]
    fn a_name_and_an_address_connect() {
        let (_listener, open) = listener();
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(connect(host, open.port(), soon()).unwrap().peer_addr().unwrap(), open);
        }
    }
}
