//! The units in `systemd/` against systemd's own judgement, and against the program that they start.
//!
//! Where `systemd-analyze` is not installed, the directives are still checked as text.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is a test; clippy's leave for tests does not reach its helper functions"
)]

mod process;

use std::{
    collections::BTreeSet,
    env, fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use certgate::app::{
    cli::Cli,
    config::Kek,
    settings::{Endpoint, Settings},
};
use clap::Parser as _;
use process::{Server, free_address, http_get, send_signal};

/// What `systemd-analyze security` may give at most. 10 is an unprotected root service; below 2 it says "OK".
const MAX_EXPOSURE: f64 = 1.5;

/// What makes the sandbox. Leaving one out is a decision, not an accident.
const HARDENING: &[&str] = &[
    "CapabilityBoundingSet=",
    "DevicePolicy=closed",
    "KeyringMode=private",
    "LimitCORE=0",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "PrivateUsers=yes",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallFilter=setpriority",
    "UMask=0077",
    "User=certgate",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

/// The directives of a unit, without sections, comments and blank lines.
fn directives(text: &str) -> BTreeSet<&str> {
    text.lines().map(str::trim).filter(|line| line.contains('=') && !line.starts_with('#')).collect()
}

/// Runs a tool of systemd; None where it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("{tool} is not installed: checked as text only");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// The number in `→ Overall exposure level for certgate.service: 1.1 OK`.
fn overall_exposure(report: &str) -> Option<f64> {
    let line = report.lines().find(|line| line.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

#[test]
fn service_is_sandboxed() {
    let unit = read("certgate.service");
    let directives = directives(&unit);
    for wanted in HARDENING {
        assert!(directives.contains(wanted), "{wanted}");
    }
    let offline = "--offline=true";
    if let Some(output) =
        run("systemd-analyze", &["security", offline, path("certgate.service").to_str().unwrap()])
    {
        let report = text(&output);
        let exposure = overall_exposure(&report).unwrap_or_else(|| panic!("no exposure in\n{report}"));
        assert!(exposure <= MAX_EXPOSURE, "exposure {exposure} is over {MAX_EXPOSURE}:\n{report}");
    }
}

#[test]
fn exposure_is_read_from_the_report() {
    assert_eq!(overall_exposure("x\n→ Overall exposure level for a.service: 9.6 UNSAFE 😨\n"), Some(9.6));
    assert_eq!(overall_exposure("Unit not found"), None);
}

#[test]
fn units_have_no_key_that_systemd_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let verify = |socket: &str| {
        // The program is not installed where tests run; systemd looks for it.
        let service = read("certgate.service").replace("ExecStart=/usr/bin/certgate ", "ExecStart=/bin/sh ");
        assert!(service.contains("ExecStart=/bin/sh serve --config /etc/certgate/certgate.toml\n"));
        let paths =
            [("certgate.service", service.as_str()), ("certgate.socket", socket)].map(|(name, content)| {
                let path = directory.path().join(name);
                fs::write(&path, content).unwrap();
                path.to_str().unwrap().to_owned()
            });
        run("systemd-analyze", &["verify", "--man=no", "--recursive-errors=no", &paths[0], &paths[1]])
    };
    let socket = read("certgate.socket");
    assert!(directives(&socket).contains("ListenStream=80"));
    if let Some(output) = verify(&socket) {
        assert!(output.status.success() && text(&output).is_empty(), "{}", text(&output));
        let broken = verify(&format!("{socket}NoSuchKey=1\n")).unwrap();
        assert!(text(&broken).contains("NoSuchKey"), "the tool finds what is wrong: {}", text(&broken));
    }
}

#[test]
fn packaged_configuration_fits_the_units() {
    let config = read("certgate.toml");
    let (settings, warnings) = Settings::parse(Path::new("/etc/certgate/certgate.toml"), &config).unwrap();
    assert!(warnings.is_empty(), "{warnings:#?}");
    let Endpoint::Inherited(name) = &settings.listen.device[0] else {
        panic!("the service may not bind port 80 itself: {:?}", settings.listen.device);
    };
    let (service, socket) = (read("certgate.service"), read("certgate.socket"));
    assert!(directives(&socket).contains(format!("FileDescriptorName={name}").as_str()));
    assert!(directives(&service).contains("StateDirectory=certgate"));
    assert_eq!(settings.data, Path::new("/var/lib/certgate"));
    let kek: Kek = toml::from_str::<toml::Table>(&config).unwrap()["keys"]["kek"].clone().try_into().unwrap();
    let Kek::Credential(credential) = kek else { panic!("{kek:?}") };
    let example = read("examples/credentials.conf");
    assert!(example.contains(&format!("LoadCredentialEncrypted={credential}:")));
    assert!(example.contains(&format!("systemd-creds encrypt --name={credential} ")));
}

#[test]
fn account_and_directories_are_those_of_the_service() {
    let (service, sysusers, tmpfiles) =
        (read("certgate.service"), read("sysusers.conf"), read("tmpfiles.conf"));
    assert!(directives(&service).contains("User=certgate"));
    assert!(sysusers.lines().any(|line| line.starts_with("u certgate ")));
    assert!(tmpfiles.lines().any(|line| line == "d /var/lib/certgate 0700 certgate certgate -"));
    if let Some(output) = run("systemd-sysusers", &["--dry-run", path("sysusers.conf").to_str().unwrap()]) {
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn the_nightly_backup_runs_commands_that_exist_and_uses_its_credential() {
    let service = read("examples/certgate-backup.service");
    let commands: Vec<_> =
        service.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/")).collect();
    assert_eq!(commands.len(), 2, "a backup and its test");
    for command in commands {
        let parsed = Cli::try_parse_from(command.split_whitespace());
        assert!(parsed.is_ok(), "{command}: {:?}", parsed.err());
        assert!(command.ends_with("--passphrase-credential passphrase"), "{command}");
    }
    assert!(directives(&service).iter().any(|line| line.starts_with("LoadCredentialEncrypted=passphrase:")));
    if let Some(output) = run("systemd-analyze", &["calendar", "*-*-* 02:30"]) {
        assert!(output.status.success(), "{}", text(&output));
    }
    assert!(directives(&read("examples/certgate-backup.timer")).contains("OnCalendar=*-*-* 02:30"));
}

/// Starts the server as the service manager would: the socket is there before the process is, READY, WATCHDOG and STOPPING are told.
#[test]
fn the_server_takes_the_passed_socket_and_tells_the_manager_how_it_is() {
    let server = Server::initialise(&["--key", "p-256"], "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n");
    listen_on(&server, "fd:device");
    let manager = server.scratch().join("notify");
    let notices = UnixDatagram::bind(&manager).unwrap();
    notices.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let listener = TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();

    let mut child = serve_with_socket(&server, listener)
        .env("NOTIFY_SOCKET", &manager)
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    await_notice(&notices, "READY=1");
    assert_eq!(http_get(address, "/scep/wifi?operation=GetCACaps").unwrap().status, 200);
    await_notice(&notices, "WATCHDOG=1");

    send_signal("TERM", child.id());
    await_notice(&notices, "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_socket_that_was_not_passed_is_named_with_those_that_were() {
    let server = Server::initialise(&["--key", "p-256"], "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n");
    listen_on(&server, "fd:radius");
    let output = serve_with_socket(&server, TcpListener::bind(free_address()).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("no socket named \"radius\"") && said.contains("it passed: device"), "{said}");
}

fn listen_on(server: &Server, endpoint: &str) {
    let path = server.data().join("certgate.toml");
    let mut config: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    config["listen"]["device"] = endpoint.into();
    fs::write(path, toml::to_string(&config).unwrap()).unwrap();
}

/// `certgate serve` with `socket` passed under the name `device`.
fn serve_with_socket(server: &Server, socket: TcpListener) -> Command {
    let mut command = server.command();
    command.args(["serve", "--config"]).arg(server.data().join("certgate.toml"));
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "0"), ("LISTEN_FDNAMES", "device")]);
    command.env_remove("LISTEN_PID").stdin(OwnedFd::from(socket)).stderr(Stdio::piped());
    command
}

/// Reads notices until one holds `wanted`.
fn await_notice(notices: &UnixDatagram, wanted: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = notices.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == wanted) {
            return;
        }
    }
}
