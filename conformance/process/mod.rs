//! The real `certgate` binary as a child process: initialised in a temporary directory, served on free loopback ports, spoken to
//! through its command line. For the tests that must see what an operator and a device see.

#![allow(dead_code, unreachable_pub, reason = "each test target uses its own part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]
#![allow(clippy::disallowed_methods, reason = "a test of a real process measures real time")]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take until it is ready; generous, for a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// An initialised data directory and, while it runs, its server.
pub struct Server {
    root: TempDir,
    child: Option<Child>,
    reaper: Option<Child>,
    device: SocketAddr,
    ops: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Initialises with `init_options` (for example `--key p-256`) and adds `profiles` (TOML) to the configuration.
    pub fn initialise(init_options: &[&str], profiles: &str) -> Self {
        let root = TempDir::new().unwrap();
        let server = Self {
            root,
            child: None,
            reaper: None,
            device: free_address(),
            ops: free_address(),
            admin: free_address(),
        };
        let url = server.url();
        let mut command = server.command();
        command.args(["init", "--url", &url, "--data"]).arg(server.data()).args(init_options);
        expect_success(&command.output().unwrap(), "certgate init");
        server.configure(profiles);
        server
    }

    /// Adds sections (TOML) to the configuration; it counts from the next start on.
    pub fn configure(&self, sections: &str) {
        let path = self.data().join("certgate.toml");
        let mut config: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let listen = toml::toml! { device = "" admin = "" ops = "" };
        config.insert("listen".to_owned(), listen.into());
        for (key, address) in [("device", self.device), ("admin", self.admin), ("ops", self.ops)] {
            config["listen"][key] = address.to_string().into();
        }
        let extra: toml::Table = sections.parse().unwrap();
        for (section, value) in extra {
            match (config.get_mut(&section), value) {
                (Some(toml::Value::Table(present)), toml::Value::Table(more)) => present.extend(more),
                (_, value) => {
                    config.insert(section, value);
                }
            }
        }
        fs::write(path, toml::to_string(&config).unwrap()).unwrap();
    }

    /// Writes a file beside the configuration that only its owner can read, as secrets must be.
    pub fn write_secret(&self, name: &str, secret: &str) {
        let path = self.data().join(name);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
        file.write_all(secret.as_bytes()).unwrap();
    }

    /// Initialises and serves.
    pub fn started(init_options: &[&str], profiles: &str) -> Self {
        let mut server = Self::initialise(init_options, profiles);
        server.start();
        server
    }

    /// Serves, and returns once it is ready.
    pub fn start(&mut self) {
        self.start_until(200);
    }

    /// Serves, and returns once it says that it is not ready.
    pub fn start_unready(&mut self) {
        self.start_until(503);
    }

    fn start_until(&mut self, readiness: u16) {
        assert!(self.child.is_none(), "the server is running already");
        self.dismiss_reaper();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .command()
            .args(["serve", "--config"])
            .arg(self.data().join("certgate.toml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.reaper = Some(self.reaper(child.id()));
        self.child = Some(child);
        self.wait_until(readiness);
    }

    /// A process that ends the server and removes its directory when this process is gone: what a static holds is never dropped.
    fn reaper(&self, server: u32) -> Child {
        Command::new("sh")
            .args(["-c", r#"cat >/dev/null; kill -KILL "$1" 2>/dev/null; rm -rf "$2""#, "reaper"])
            .arg(server.to_string())
            .arg(self.root.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The server is ended by somebody else: there is nothing left to reap.
    fn dismiss_reaper(&mut self) {
        if let Some(mut reaper) = self.reaper.take() {
            reaper.kill().unwrap();
            reaper.wait().unwrap();
        }
    }

    fn wait_until(&mut self, readiness: u16) {
        let deadline = Instant::now() + READY_WITHIN;
        while http_get(self.ops, "/readyz").is_none_or(|answer| answer.status != readiness) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "the server does not say {readiness}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it with SIGKILL: no drain, no goodbye.
    pub fn kill(&mut self) {
        self.dismiss_reaper();
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The process id of the running server.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// A handle that ends it with SIGKILL while others use the server.
    pub fn killer(&self) -> Killer {
        Killer(self.child.as_ref().expect("the server runs").id())
    }

    /// Ends it with SIGTERM and gives its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.dismiss_reaper();
        let mut child = self.child.take().expect("the server runs");
        send_signal("TERM", child.id());
        child.wait().unwrap().code()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// A place for the test's own files, beside the data directory.
    pub fn scratch(&self) -> &Path {
        self.root.path()
    }

    /// Base URL of the device listener.
    pub fn url(&self) -> String {
        format!("http://{}", self.device)
    }

    /// Address of the device listener.
    pub fn device_address(&self) -> SocketAddr {
        self.device
    }

    /// Address of the ops listener.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops
    }

    /// Address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// SCEP URL of a profile.
    pub fn scep_url(&self, profile: &str) -> String {
        format!("{}/scep/{profile}", self.url())
    }

    fn log_path(&self) -> PathBuf {
        self.root.path().join("server.log")
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The binary, without arguments.
    #[expect(clippy::unused_self, reason = "whose binary it is reads better at the calls")]
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certgate"));
        command.stdin(Stdio::null()).env_remove("CERTGATE_DATA");
        command
    }

    /// Runs a subcommand against this server.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().env("CERTGATE_DATA", self.data()).args(arguments).output().unwrap()
    }

    /// Runs a subcommand that must succeed and gives its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["-o", "json"], arguments].concat());
        expect_success(&output, &format!("certgate {}", arguments.join(" ")));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {output:?}"))
    }

    /// Registers a device.
    pub fn register_device(&self, id: &str) {
        self.json(&["device", "register", id, "--serial", id]);
    }

    /// Mints a one-time challenge for a device and writes it to a file of mode 0600; gives the secret and the file.
    pub fn ticket(&self, profile: &str, device: &str) -> (String, PathBuf) {
        let minted = self.json(&["ticket", "create", "--profile", profile, "--device", device]);
        let secret = minted["secret"].as_str().expect("the secret is shown once").to_owned();
        let file = self.scratch().join(format!("{device}.ticket"));
        fs::write(&file, &secret).unwrap();
        (secret, file)
    }

    /// The effective status of a certificate, by serial.
    pub fn status_of(&self, serial: &str) -> String {
        self.json(&["cert", "show", serial])["status"].as_str().unwrap().to_owned()
    }
}

/// Ends one server with SIGKILL. [`Server::kill`] must follow, which waits for its end.
pub struct Killer(u32);

impl Killer {
    /// Ends it.
    pub fn kill(self) {
        send_signal("KILL", self.0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal; by the shell's own `kill`, for the program of that name is not everywhere.
pub fn send_signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(sent.success(), "SIG{name} to {process}");
}

/// Fails with both streams if the program did not succeed.
#[track_caller]
pub fn expect_success(output: &Output, what: &str) {
    assert!(
        output.status.success(),
        "{what} ended with {:?}\nstdout: {}\nstderr: {}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A loopback address that nothing listened on a moment ago: below the ports that outgoing connections get, and another one each
/// time.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 97).unwrap() * 100;
    loop {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// An HTTP answer.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// GET by HTTP/1.0 without a Host header, as old gear does it. None: nobody answered.
pub fn http_get(address: SocketAddr, path: &str) -> Option<Answer> {
    http(address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes(), &[])
}

/// POST by HTTP/1.0 without a Host header. None: nobody answered.
pub fn http_post(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Option<Answer> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    http(address, head.as_bytes(), body)
}

fn http(address: SocketAddr, head: &[u8], body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(head).ok()?;
    stream.write_all(body).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    parse_answer(&bytes)
}

/// The answer in what a connection gave; none where it is not whole.
pub fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect::<Vec<_>>();
    let answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    // A connection that breaks in the middle of an answer is no answer.
    let complete =
        answer.header("content-length").is_none_or(|length| length == answer.body.len().to_string());
    complete.then_some(answer)
}
