//! The service manager: its sockets, its watchdog, and being told how things stand. Without one, nothing of this does anything.

use std::{collections::BTreeMap, io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// A socket that was asked for but not passed, or passed but not usable.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No socket has this name.
    #[error("systemd passed no socket named {name:?}; it passed: {passed}")]
    NotPassed {
        /// The name asked for.
        name: String,
        /// The names that there are.
        passed: String,
    },
    /// It is not a TCP socket that listens.
    #[error("socket {name:?} from systemd is not a listening TCP socket: {source}")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// The sockets that were passed, by name (`FileDescriptorName=`).
pub struct Sockets {
    passed: ListenFd,
    /// Positions not taken yet.
    free: BTreeMap<usize, String>,
}

impl Sockets {
    /// Takes over what the service manager passed. Once per process and before it starts threads: it clears the variables
    /// that say how many sockets there are, so that no child process takes them for its own.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::new(ListenFd::from_env(), &names)
    }

    fn new(passed: ListenFd, names: &str) -> Self {
        let free = names.split(':').map(str::to_owned).enumerate().take(passed.len()).collect();
        Self { passed, free }
    }

    /// Every listener of that name (`ListenStream=` may be given more than once), non-blocking, each only once.
    pub fn take(&mut self, name: &str) -> Result<Vec<TcpListener>, SocketError> {
        let positions: Vec<_> =
            self.free.iter().filter(|(_, free)| *free == name).map(|(at, _)| *at).collect();
        if positions.is_empty() {
            return Err(self.not_passed(name));
        }
        positions.into_iter().map(|position| self.take_at(position, name)).collect()
    }

    fn take_at(&mut self, position: usize, name: &str) -> Result<TcpListener, SocketError> {
        let unusable = |source| SocketError::Unusable { name: name.to_owned(), source };
        self.free.remove(&position);
        let listener = self.passed.take_tcp_listener(position).map_err(unusable)?;
        let listener = listener.ok_or_else(|| self.not_passed(name))?;
        listener.set_nonblocking(true).map_err(unusable)?;
        Ok(listener)
    }

    fn not_passed(&self, name: &str) -> SocketError {
        let passed: Vec<_> = self.free.values().map(String::as_str).collect();
        let passed = if passed.is_empty() { "none".to_owned() } else { passed.join(", ") };
        SocketError::NotPassed { name: name.to_owned(), passed }
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets").field("free", &self.free).finish_non_exhaustive()
    }
}

/// Says that every listener answers. `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the process is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says that the process works. To be called at least every [`watchdog_interval`], and only while it does.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be called: half of `WatchdogSec=`. None without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

/// A message that does not arrive is no reason to stop serving; the service manager will notice.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_that_was_not_passed_is_named() {
        let mut sockets = Sockets::new(ListenFd::empty(), "");
        let error = sockets.take("device").unwrap_err();
        assert_eq!(error.to_string(), "systemd passed no socket named \"device\"; it passed: none");
    }

    #[test]
    fn names_without_sockets_are_not_believed() {
        let mut sockets = Sockets::new(ListenFd::empty(), "device:admin");
        assert!(matches!(sockets.take("device"), Err(SocketError::NotPassed { .. })));
    }
}
