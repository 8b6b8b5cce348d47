//! Against a socket on this machine that says what it is told to.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use super::*;

const SETTINGS: HttpSettings =
    HttpSettings { authorities: Vec::new(), system_roots: false, proxy: None, enrolment_places: 1 };

/// A party that hands each connection to `talk`, one after the other.
fn party(talk: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(talk));
    address
}

/// Reads a request's head and `Content-Length` bytes.
fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    text.extend(body);
    String::from_utf8(text).unwrap()
}

fn says(answer: &'static str) -> SocketAddr {
    party(move |mut stream| {
        read_request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

fn destination(address: SocketAddr) -> Destination {
    Destination {
        name: "party".to_owned(),
        hosts: vec![HostRule::exact("127.0.0.1", Some(address.port()))],
        limits: RequestLimits { connect: Duration::from_secs(1), total: Duration::from_secs(1), places: 1 },
        max_answer: 1000,
        enrols: true,
    }
}

fn client(destination: Destination) -> HttpOutbound {
    HttpOutbound::new(&SETTINGS, vec![destination], Box::new(|_, _, _| {})).unwrap()
}

fn ask(client: &HttpOutbound, url: &str) -> Result<OutboundAnswer, OutboundError> {
    client.send(&OutboundRequest {
        destination: "party",
        method: OutboundMethod::Post,
        url,
        headers: &[("authorization", Secret::from("Bearer hunter2"))],
        body: b"{\"secret\":\"hunter2\"}",
    })
}

fn ask_at(client: &HttpOutbound, address: SocketAddr) -> Result<OutboundAnswer, OutboundError> {
    ask(client, &format!("http://{address}/path"))
}

#[test]
fn sends_what_it_is_given_and_reads_the_answer() {
    let (seen, requests) = mpsc::channel();
    let address = party(move |mut stream| {
        seen.send(read_request(&mut stream)).unwrap();
        let head = "HTTP/1.1 403 No\r\nRetry-After: 7\r\nX-A: b\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(head.as_bytes()).unwrap();
    });
    let answer = ask_at(&client(destination(address)), address).unwrap();
    assert_eq!((answer.status, answer.body.expose()), (403, &b"no"[..]));
    assert_eq!((answer.header("x-a"), answer.retry_after()), (Some("b"), Some(Duration::from_secs(7))));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /path HTTP/1.1\r\n"), "{request}");
    for part in
        ["authorization: Bearer hunter2\r\n", "user-agent: certgate/", "\r\n\r\n{\"secret\":\"hunter2\"}"]
    {
        assert!(request.contains(part), "{part} in {request}");
    }
}

#[test]
fn redirects_are_answers_and_not_followed() {
    let address = says("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(ask_at(&client(destination(address)), address).unwrap().status, 307);
}

#[test]
fn only_what_the_configuration_names_is_asked() {
    let (seen, requests) = mpsc::channel();
    let address = party(move |mut stream| seen.send(read_request(&mut stream)).unwrap());
    let port = address.port();
    let client = client(destination(address));
    for url in [
        format!("http://localhost:{port}/"),
        "http://127.0.0.1/".to_owned(),
        format!("http://user:pass@127.0.0.1:{port}/"),
        "http://192.0.2.1/".to_owned(),
        "http://127.0.0.1.evil.test/".to_owned(),
        "https://127.0.0.1/".to_owned(),
        format!("ftp://127.0.0.1:{port}/"),
        "/path".to_owned(),
        "no url".to_owned(),
    ] {
        assert!(matches!(ask(&client, &url), Err(OutboundError::NotAllowed { .. })), "{url}");
    }
    assert!(requests.try_recv().is_err());
}

#[test]
fn plain_http_goes_to_loopback_addresses_only() {
    for (host, loopback) in [
        ("127.0.0.1", true),
        ("127.8.8.8", true),
        ("[::1]", true),
        ("localhost", true),
        ("10.0.0.1", false),
        ("localhost.example", false),
        ("[::ffff:127.0.0.1]", false),
    ] {
        assert_eq!(is_loopback(host), loopback, "{host}");
    }
}

#[test]
fn a_long_answer_is_refused() {
    let address = party(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
        let _ = stream.write_all(&[b'a'; 1001]);
    });
    let error = ask_at(&client(destination(address)), address).unwrap_err();
    assert!(matches!(error, OutboundError::TooLarge { limit: 1000, .. }), "{error}");
}

#[test]
fn a_party_that_trickles_is_cut_off() {
    let address = party(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n");
        while stream.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut limited = destination(address);
    limited.limits.total = Duration::from_millis(300);
    let error = ask_at(&client(limited), address).unwrap_err();
    assert!(matches!(error, OutboundError::TimeOut { .. }), "{error}");
}

#[test]
fn garbage_is_no_answer_and_shows_no_secret() {
    let address = says("hunter2 is not HTTP\r\n\r\n");
    let error = ask_at(&client(destination(address)), address).unwrap_err();
    assert!(matches!(error, OutboundError::Broken { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn who_does_not_listen_is_left_alone_after_three_tries() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(destination(address));
    for _ in 0..3 {
        assert!(matches!(ask_at(&client, address), Err(OutboundError::Connect { .. })));
    }
    assert!(matches!(ask_at(&client, address), Err(OutboundError::Down { .. })));
}

#[test]
fn who_asks_for_a_pause_gets_it() {
    let address = says("HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
    let client = client(destination(address));
    assert_eq!(ask_at(&client, address).unwrap().status, 503);
    assert!(matches!(ask_at(&client, address), Err(OutboundError::Down { .. })));
}

#[test]
fn a_slow_party_takes_its_own_places_only() {
    let (arrived, arrivals) = mpsc::channel();
    let address = party(move |mut stream| {
        read_request(&mut stream);
        arrived.send(()).unwrap();
        thread::sleep(Duration::from_millis(400));
    });
    let client = Arc::new(client(destination(address)));
    let slow = {
        let client = Arc::clone(&client);
        thread::spawn(move || ask_at(&client, address))
    };
    arrivals.recv().unwrap();
    assert!(matches!(ask_at(&client, address), Err(OutboundError::Busy { .. })));
    assert!(slow.join().unwrap().is_err());
}

#[test]
fn each_request_is_told_to_the_observer() {
    let address = says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        Box::new(move |party: &str, result: &str, _| told.lock().unwrap().push(format!("{party} {result}")))
    };
    let client = HttpOutbound::new(&SETTINGS, vec![destination(address)], observer).unwrap();
    ask_at(&client, address).unwrap();
    ask(&client, "https://elsewhere.test/").unwrap_err();
    assert_eq!(*told.lock().unwrap(), ["party 2xx", "party not-allowed"]);
}

#[test]
fn a_rule_of_a_url_is_its_host_and_port() {
    let rule = |url| Destination::host_of(url).map(|rule| rule.to_string());
    assert_eq!(rule("https://A.example:8443/hook?x=1").as_deref(), Some("a.example:8443"));
    assert_eq!(rule("http://127.0.0.1:81/hook").as_deref(), Some("127.0.0.1:81"));
    for wrong in ["http://a.example/", "https://u:p@a.example/", "ftp://a.example/", "a.example", ""] {
        assert_eq!(rule(wrong), None, "{wrong}");
    }
}
