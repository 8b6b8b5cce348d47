//! Daemons of others: started in the foreground with a log of their own, ended by their process id, never left behind.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use super::{Place, process::send_signal};

/// How long a daemon may take to start, to reload and to end; generous, for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon. Its log is shown if the test fails.
pub(super) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it and waits until its log or its listener shows that it is ready.
    pub(super) fn start(place: &Place, command: &[&str], is_ready: impl Fn(&Self) -> bool) -> Self {
        let log = place.file("log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        // Should this process be killed, so that nothing is dropped, the daemon ends with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .args(command)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {command:?}: {error} (conformance/run installs it)"));
        let mut program = Self { child, log };
        eventually("it is ready", || {
            let ended = program.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended with {ended:?}");
            is_ready(&program)
        });
        program
    }

    /// For a daemon that listens on a TCP port.
    pub(super) fn listening(place: &Place, command: &[&str], address: SocketAddr) -> Self {
        Self::start(place, command, |_| TcpStream::connect(address).is_ok())
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it said while `work` was done, once that has the word `wanted` in it.
    #[track_caller]
    pub(super) fn says(&self, wanted: &str, work: impl FnOnce()) {
        let before = self.log().len();
        work();
        eventually(wanted, || self.log()[before..].contains(wanted));
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} says:\n{}", self.log.display(), self.log());
        }
        // Asked to end, a daemon ends its own processes too.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal("TERM");
        }
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                // It may have ended just now; then there is nothing to do.
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until something has happened.
#[track_caller]
pub(super) fn eventually(what: &str, mut has_happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !has_happened() {
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
