//! `certgate sim`: the fleet against a gateway that does well, and against what stands in between and does not.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    FAST, MANUAL, code,
    process::{Answer, Server, expect_success, http_get, http_post, send_signal},
    stderr, stdout,
};

/// A certificate can be renewed on its first day.
const RENEWABLE: &str = "[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\nvalidity-days = 90\nrenewal-window-days = 90\n";

fn sim(server: &Server, url: &str, more: &[&str]) -> Output {
    let usual = ["-o", "json", "sim", "--url", url, "--keys", "2"];
    server.run(&[&usual, more].concat())
}

fn told(output: &Output) -> Value {
    assert!(output.stdout.starts_with(b"{"), "no JSON: {}{}", stdout(output), stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the summary says of one step.
fn step<'a>(told: &'a Value, name: &str) -> &'a Value {
    let steps = told["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).expect("the step is in the summary")
}

fn failures(told: &Value) -> BTreeMap<String, u64> {
    let failures = told["failures"].as_array().unwrap().iter();
    let named = |failure: &Value| {
        format!("{} {}", failure["step"].as_str().unwrap(), failure["kind"].as_str().unwrap())
    };
    failures.map(|failure| (named(failure), failure["count"].as_u64().unwrap())).collect()
}

/// The states of all devices on the gateway, and how many are in each.
fn lifecycles(server: &Server) -> BTreeMap<String, usize> {
    let listed = server.json(&["device", "list", "--limit", "1000"]);
    let mut states = BTreeMap::new();
    for device in listed["items"].as_array().unwrap() {
        *states.entry(device["lifecycle"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    states
}

fn states(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect()
}

/// Something between the devices and the gateway: sees each request as its path and its number among those of this path, and answers itself or
/// looks at the gateway's answer.
pub(crate) struct Between {
    address: SocketAddr,
    gateway: SocketAddr,
}

type Meddle = dyn Fn(&str, usize, Answer) -> Answer + Send + Sync;

impl Between {
    pub(crate) fn start(
        server: &Server,
        meddle: impl Fn(&str, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let between = Self { address: listener.local_addr().unwrap(), gateway: server.device_address() };
        let (gateway, meddle) = (between.gateway, Arc::new(meddle));
        let seen = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (meddle, seen) = (Arc::clone(&meddle), Arc::clone(&seen));
                thread::spawn(move || pass_on(stream, gateway, &*meddle, &seen));
            }
        });
        between
    }

    pub(crate) fn scep_url(&self) -> String {
        self.scep_url_of("device")
    }

    pub(crate) fn scep_url_of(&self, profile: &str) -> String {
        format!("http://{}/scep/{profile}", self.address)
    }
}

fn pass_on(
    stream: TcpStream,
    gateway: SocketAddr,
    meddle: &Meddle,
    seen: &Mutex<BTreeMap<String, usize>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length, mut line) = (String::new(), 0, String::new());
    reader.read_line(&mut request).ok()?;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let number = {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(path.to_owned()).or_default();
        *count += 1;
        *count
    };
    let answer = match method {
        "POST" => http_post(gateway, path, "application/x-pki-message", &body)?,
        _ => http_get(gateway, path)?,
    };
    let answer = meddle(path, number, answer);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for name in ["content-type", "retry-after"] {
        if let Some(value) = answer.header(name) {
            head = format!("{head}{name}: {value}\r\n");
        }
    }
    let mut stream = reader.into_inner();
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", answer.body.len()).as_bytes()).ok()?;
    stream.write_all(&answer.body).ok()
}

fn web_page() -> Answer {
    Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: b"<html>Please sign in</html>".to_vec(),
    }
}

pub(crate) fn is_operation(path: &str) -> bool {
    path.contains("PKIOperation")
}

#[test]
fn a_fleet_enrols_renews_asks_and_is_wiped_and_nothing_is_left_in_service() {
    let server = Server::started(FAST, RENEWABLE);
    let output = sim(
        &server,
        &server.scep_url("device"),
        &["--tickets", "--devices", "20", "--renew", "--ocsp", "--crl", "--wipe", "25", "--yes"],
    );
    expect_success(&output, "sim");
    let told = told(&output);
    assert_eq!(told["devices"]["right"], 20, "{told:#}");
    assert_eq!(failures(&told), BTreeMap::new());
    for (name, done) in [
        ("ticket", 20),
        ("getca", 20),
        ("enrol", 20),
        ("renew", 20),
        ("ocsp", 20),
        ("crl", 20),
        ("wipe-to-revoked", 5),
        ("retire", 20),
    ] {
        let step = step(&told, name);
        assert_eq!((step["done"].as_u64(), step["failed"].as_u64()), (Some(done), Some(0)), "{name}");
        let time = |key: &str| step[key].as_f64().unwrap();
        assert!(time("p50_ms") <= time("p99_ms") && time("p99_ms") <= time("max_ms"), "{step}");
    }
    assert_eq!(lifecycles(&server), states(&[("retired", 15), ("wiped", 5)]));
    let certificates = server.json(&["cert", "list", "--limit", "1000"]);
    let of_devices = |certificate: &&Value| certificate["subject"].as_str().unwrap().starts_with("CN=sim-");
    let certificates: Vec<_> = certificates["items"].as_array().unwrap().iter().filter(of_devices).collect();
    assert_eq!(certificates.len(), 40, "each device has two");
    assert!(certificates.iter().all(|certificate| certificate["status"] == "revoked"), "{certificates:?}");
}

#[test]
fn it_says_what_it_will_make_and_makes_nothing_without_a_yes() {
    let server = Server::started(FAST, "");
    let output = sim(&server, &server.scep_url("device"), &["--tickets", "--devices", "3"]);
    assert_eq!(code(&output), 2);
    for words in ["registers these devices", "a ticket of profile \"device\"", "revoked for good", "--yes"] {
        assert!(stderr(&output).contains(words), "{words} in\n{}", stderr(&output));
    }
    let other = sim(&server, &server.scep_url("device"), &["--tickets", "--profile", "none", "--yes"]);
    assert_eq!(code(&other), 3, "{}", stderr(&other));
    assert_eq!(lifecycles(&server), BTreeMap::new());
}

#[test]
fn a_wrong_challenge_is_named_with_the_servers_words() {
    let server = Server::started(FAST, "");
    let challenge = server.scratch().join("wrong.txt");
    std::fs::write(&challenge, "not the challenge").unwrap();
    let more = ["--devices", "4", "--challenge-file", challenge.to_str().unwrap()];
    let output = sim(&server, &server.scep_url("device"), &more);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let summary = told(&output);
    assert_eq!(failures(&summary), BTreeMap::from([("enrol badRequest".to_owned(), 4)]));
    assert_eq!(summary["failures"][0]["text"], "The challenge is missing or not valid.");
    assert_eq!(summary["wrong_answers"].as_array().unwrap().len(), 0, "a refusal is no wrong answer");
    let table =
        server.run(&[&["sim", "--url", &server.scep_url("device"), "--keys", "1"], &more[..]].concat());
    assert!(stdout(&table).contains("badRequest"), "{}", stdout(&table));
}

#[test]
fn garbage_is_counted_shown_in_full_and_does_not_hang() {
    let server = Server::started(FAST, "");
    let meddle = |path: &str, _, answer| if is_operation(path) { web_page() } else { answer };
    let between = Between::start(&server, meddle);
    let begun = Instant::now();
    let output = sim(&server, &between.scep_url(), &["--devices", "8", "--timeout", "5s"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let told = told(&output);
    assert_eq!(failures(&told), BTreeMap::from([("enrol unreadable".to_owned(), 8)]));
    let wrong = told["wrong_answers"].as_array().unwrap();
    assert_eq!(wrong.len(), 5, "the first few");
    assert!(wrong[0]["detail"].as_str().unwrap().contains("<html>Please sign in</html>"), "{wrong:?}");
}

#[test]
fn an_answer_meant_for_another_device_is_found_and_the_rest_is_partly_right() {
    let server = Server::started(FAST, "");
    // A cache that keeps the answer to the first POST and gives it to every second device.
    let kept = Mutex::new(None::<Vec<u8>>);
    let meddle = move |path: &str, number: usize, answer: Answer| {
        if !is_operation(path) {
            return answer;
        }
        let mut kept = kept.lock().unwrap();
        match &*kept {
            Some(body) if number.is_multiple_of(2) => Answer { body: body.clone(), ..answer },
            _ => {
                kept.get_or_insert_with(|| answer.body.clone());
                answer
            }
        }
    };
    let between = Between::start(&server, meddle);
    // One after the other, so that the first is the first.
    let output =
        sim(&server, &between.scep_url(), &["--devices", "6", "--tickets", "--yes", "--connections", "1"]);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    let told = told(&output);
    assert_eq!((told["devices"]["right"].as_u64(), told["devices"]["failed"].as_u64()), (Some(3), Some(3)));
    assert_eq!(failures(&told), BTreeMap::from([("enrol wrong-transaction".to_owned(), 3)]));
    assert_eq!(lifecycles(&server), states(&[("retired", 6)]), "what failed is retired too");
}

#[test]
fn another_ca_behind_the_load_balancer_is_found() {
    let [server, stranger] = [(); 2].map(|()| Server::started(FAST, ""));
    let other = stranger.device_address();
    let meddle = move |path: &str, number, answer| {
        // The first is asked before the fleet begins.
        let is_stranger = path.contains("GetCACert") && number > 1;
        if is_stranger { http_get(other, path).unwrap() } else { answer }
    };
    let between = Between::start(&server, meddle);
    let output = sim(&server, &between.scep_url(), &["--devices", "3"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert_eq!(failures(&told(&output)), BTreeMap::from([("getca other-ca".to_owned(), 3)]));
}

#[test]
fn a_busy_server_is_obeyed_and_counted() {
    let server = Server::started(FAST, "");
    let meddle = |path: &str, number, answer| {
        if is_operation(path) && number == 1 {
            let headers = vec![("retry-after".to_owned(), "1".to_owned())];
            return Answer { status: 503, headers, body: Vec::new() };
        }
        answer
    };
    let between = Between::start(&server, meddle);
    let begun = Instant::now();
    let output = sim(&server, &between.scep_url(), &["--devices", "2", "--tickets", "--yes"]);
    expect_success(&output, "sim");
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was 1");
    let told = told(&output);
    assert_eq!(step(&told, "enrol")["busy"], 1);
    assert_eq!(step(&told, "enrol")["done"], 2);
}

#[test]
fn a_server_that_is_busy_for_zero_seconds_is_not_asked_for_ever() {
    let server = Server::started(FAST, "");
    let meddle = |path: &str, number, answer| {
        if is_operation(path) && number <= 50 {
            let headers = vec![("retry-after".to_owned(), "0".to_owned())];
            return Answer { status: 503, headers, body: Vec::new() };
        }
        answer
    };
    let between = Between::start(&server, meddle);
    let output = sim(&server, &between.scep_url(), &["--devices", "1", "--patience", "2s"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let told = told(&output);
    assert_eq!(failures(&told), BTreeMap::from([("enrol http-503".to_owned(), 1)]));
    assert_eq!(step(&told, "enrol")["busy"], 2, "once a second");
}

#[test]
fn waiting_for_an_operator_is_polled_counted_and_ends() {
    let server = Server::started(FAST, MANUAL);
    let more = ["--devices", "2", "--tickets", "--yes", "--patience", "2s"];
    let output = sim(&server, &server.scep_url("manual"), &more);
    assert_eq!(code(&output), 5, "the polls were answered: {}", stderr(&output));
    let told = told(&output);
    assert_eq!(step(&told, "enrol")["pending"], 2);
    assert_eq!(failures(&told), BTreeMap::from([("poll still-pending".to_owned(), 2)]));
}

#[test]
fn a_signal_shows_the_summary_so_far_and_still_retires() {
    let server = Server::started(FAST, "");
    let child = server
        .command()
        .env("CERTGATE_DATA", server.data())
        .args(["-o", "json", "sim", "--url", &server.scep_url("device"), "--tickets", "--yes", "--keys", "1"])
        .args(["--devices", "10", "--rate", "0.01/s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !lifecycles(&server).contains_key("active") {
        assert!(Instant::now() < deadline, "the first device does not enrol");
        thread::sleep(Duration::from_millis(50));
    }
    send_signal("INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    let told = told(&output);
    assert_eq!((told["interrupted"].as_bool(), told["devices"]["begun"].as_u64()), (Some(true), Some(1)));
    assert_eq!(lifecycles(&server), states(&[("retired", 10)]));
}

#[test]
fn what_was_kept_is_cleaned_up_by_the_name_of_the_run_and_nothing_else_is() {
    let server = Server::started(FAST, "");
    server.register_device("sim");
    server.register_device("simone");
    let output =
        sim(&server, &server.scep_url("device"), &["--devices", "3", "--tickets", "--yes", "--keep"]);
    expect_success(&output, "sim --keep");
    let run = told(&output)["run"].as_str().unwrap().to_owned();
    assert_eq!(lifecycles(&server), states(&[("active", 3), ("pending", 2)]));
    let clean_up = |prefix: &str| {
        let cleaned = server.json(&["sim", "--cleanup", prefix, "--yes"]);
        (cleaned["retired"].as_u64().unwrap(), cleaned["failed"].as_u64().unwrap())
    };
    // No simulation registered these, whatever their names begin with.
    server.register_device(&format!("{run}mine"));
    assert_eq!(clean_up(&run), (3, 0));
    assert_eq!(lifecycles(&server), states(&[("pending", 3), ("retired", 3)]));
    assert_eq!(clean_up("s"), (0, 0), "they are retired");
    assert_eq!(lifecycles(&server), states(&[("pending", 3), ("retired", 3)]));
}
