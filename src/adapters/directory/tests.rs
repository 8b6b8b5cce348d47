//! Against servers that misbehave; OpenLDAP's slapd is in `conformance/gear`.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use super::*;

/// A server that gives these answers, one to each request, and closes then; and a directory on it.
fn answering(answers: &'static [&'static str]) -> LdapDirectory {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut request = [0; 4096];
            if stream.read(&mut request).unwrap_or(0) == 0 {
                return;
            }
            let bytes = hex::decode(answer.split_whitespace().collect::<String>()).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
    LdapDirectory::new(LdapSettings {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        bind_dn: "cn=certgate".to_owned(),
        password: Secret::from("hunter22"),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_millis(300),
    })
    .unwrap()
}

const BOUND: &str = "300c 020101 6107 0a0100 0400 0400";

/// Two messages that answer one request.
fn concat_hex(one: &str, other: &str) -> &'static str {
    [one, other].concat().leak()
}

fn read(directory: &LdapDirectory) -> Result<Option<EntryValues>, DirectoryError> {
    let attributes = [DirectoryAttribute::CertificateRevocationList];
    directory.open()?.read(&"cn=a,o=b".parse().unwrap(), &attributes)
}

#[test]
fn an_entry_that_is_not_there_is_no_error() {
    assert_eq!(read(&answering(&[BOUND, "300c 020102 6507 0a0120 0400 0400"])), Ok(None));
    let error = read(&answering(&["300c 020101 6107 0a0131 0400 0400"])).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("refuses the bind: invalidCredentials (49); bind-dn or the password is wrong")
    );
}

#[test]
fn what_is_no_answer_ends_the_connection_in_plain_words() {
    for (answer, words) in [
        ("485454502f312e312034303020", "malformed LDAPMessage"),
        ("3084 7fffffff", "an answer of"),
        ("300c 020109 6507 0a0100 0400 0400", "not asked"),
        ("300c 020102 4207 0a0100 0400 0400", "malformed LDAPMessage"),
        ("300c 020102", "did not answer within"),
        ("", "did not answer within"),
        // Notice of Disconnection (RFC 4511 §4.4.1).
        (
            "3024 020100 781f 0a0134 0400 0400 8a16 312e332e362e312e342e312e313436362e3230303336",
            "refuses to go on: unavailable (52)",
        ),
    ] {
        let leaked: &'static [&'static str] = Box::leak(Box::new([BOUND, answer, "00"]));
        let error = read(&answering(leaked)).err().unwrap().to_string();
        assert!(error.contains(words), "{answer}: {error}");
        assert!(!error.contains("hunter22"));
    }
    let error = read(&answering(&[BOUND])).err().unwrap().to_string();
    assert!(error.contains("the server closed it"), "{error}");
}

#[test]
fn room_is_made_for_what_was_asked_for_and_no_more() {
    // Nobody knows yet who answers: the end of an operation is a few words.
    let error = read(&answering(&["3084 00100000"])).err().unwrap().to_string();
    assert!(error.contains("an answer of 1048582 bytes"), "{error}");
    // An entry is large, and all that comes in the place of one is no larger.
    let first = "3014 020102 640f 0400 300b 3009 0403613b62 3102 0400";
    let answers: &'static [&'static str] =
        Box::leak(Box::new([BOUND, concat_hex(first, "3084 0ffffff0"), "00"]));
    let error = read(&answering(answers)).err().unwrap().to_string();
    assert!(error.contains("an answer of 268435446 bytes"), "{error}");
}

#[test]
fn the_words_of_a_directory_are_one_short_line() {
    let words = format!("line\n\u{2028}\u{202e}{}", "x".repeat(50_000));
    let text =
        [&[0x04, 0x82], &u16::try_from(words.len()).unwrap().to_be_bytes()[..], words.as_bytes()].concat();
    let result = [&[0x0a, 1, 49, 0x04, 0][..], &text].concat();
    let of = |tag: u8, content: &[u8]| {
        [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
    };
    let answer = hex::encode(of(0x30, &[&[2, 1, 1][..], &of(0x61, &result)].concat()));
    let answers: &'static [&'static str] = Box::leak(Box::new([&*answer.leak()]));
    let error = read(&answering(answers)).err().unwrap().to_string();
    assert!(error.contains("in its words: linexxx") && error.chars().count() < 400, "{error}");
}

#[test]
fn the_password_is_not_shown() {
    assert!(!format!("{:?}", answering(&[])).contains("hunter22"));
}
