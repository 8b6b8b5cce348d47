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
fn the_password_is_not_shown() {
    assert!(!format!("{:?}", answering(&[])).contains("hunter22"));
}
