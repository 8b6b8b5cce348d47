//! Starting, ending, and the disk that says no.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    FAST, code,
    process::{Server, http_get},
    stderr,
};

#[test]
fn two_servers_do_not_share_a_directory() {
    let server = Server::started(FAST, "");
    let second = server.run(&["serve", "--data", server.data().to_str().unwrap()]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains("is in use: another certgate serves from it"), "{}", stderr(&second));
    assert_eq!(code(&server.run(&["doctor"])), 0, "the first is unharmed");
}

#[test]
fn the_end_waits_for_the_request_in_flight() {
    let mut server = Server::started(FAST, "");
    let mut slow = TcpStream::connect(server.device_address()).unwrap();
    slow.write_all(
        b"POST /scep/device?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ",
    )
    .unwrap();
    // The server has the head once it has answered somebody who came later.
    http_get(server.device_address(), "/ca/root.cer").unwrap();
    let server_log = server.scratch().join("server.log");
    let (ended, device) = thread::scope(|scope| {
        let device = server.device_address();
        let end = scope.spawn(|| server.terminate());
        while !fs::read_to_string(&server_log).unwrap().contains("stopping") {
            thread::sleep(Duration::from_millis(20));
        }
        slow.write_all(b"of it").unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "the whole message was read and answered: {answer}");
        (end.join().unwrap(), device)
    });
    assert_eq!(ended, Some(0));
    assert!(TcpStream::connect(device).is_err());
    assert!(server.log().contains("stopped"), "{}", server.log());
    assert!(!server.data().join("certgate.sock").exists(), "the socket is taken away");
}

#[test]
fn a_disk_that_refuses_a_write_ends_the_process_so_that_it_is_started_again() {
    let mut server = Server::initialise(FAST, "");
    // The store may grow by a little, then every write fails as on a full disk.
    let blocks = fs::metadata(server.data().join("certgate.redb")).unwrap().size() / 512 + 1024;
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" serve --data \"$1\"");
    let log = server.scratch().join("limited.log");
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_certgate"), server.data().to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    while http_get(server.ops_address(), "/readyz").is_none_or(|answer| answer.status != 200) {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
        thread::sleep(Duration::from_millis(20));
    }
    let mut acknowledged = Vec::new();
    for number in 0..400 {
        let id = format!("SN{number:04}");
        let mut arguments = ["device", "register", &id].map(str::to_owned).to_vec();
        for number in 0..16 {
            arguments.extend(["--attribute".to_owned(), format!("a{number}={}", "x".repeat(120))]);
        }
        let output = server.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        if !output.status.success() {
            assert_eq!(code(&output), 1, "{}", stderr(&output));
            break;
        }
        acknowledged.push(id);
    }
    let told = || fs::read_to_string(&log).unwrap();
    let deadline = Instant::now() + Duration::from_secs(25);
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it goes on after {} registrations: {}", acknowledged.len(), told());
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(ended.code(), Some(1), "{}", told());
    assert!(told().contains("the store failed"), "{}", told());
    // Started again, with space, nothing that was acknowledged is missing.
    server.start();
    assert!(!acknowledged.is_empty());
    for id in &acknowledged {
        server.json(&["device", "show", id]);
    }
    server.register_device("one-more");
    assert_eq!(server.terminate(), Some(0));
}
