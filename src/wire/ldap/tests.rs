use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.split_whitespace().collect::<String>()).unwrap()
}

/// messageID, resultCode, diagnosticMessage.
fn done(hex: &str) -> (u32, u32, String) {
    let bytes = bytes(hex);
    assert_eq!(message_len(&bytes).unwrap(), Some(bytes.len()));
    let Message { id, answer } = Message::read(&bytes).unwrap();
    let Answer::Done { code, text } = answer else { panic!("{answer:?}") };
    (id, code.0, text)
}

#[test]
fn requests_are_written_as_rfc_4511_has_them() {
    let (entry, one) = ("cn=a", [("x", vec![&b"\x01"[..]])]);
    for (operation, expected) in [
        (Operation::Bind { name: entry, password: b"pw" }, "3012 020101 600d 020103 0404636e3d61 80027077"),
        (Operation::Unbind, "3005 020101 4200"),
        (Operation::StartTls, "301d 020101 7718 8016 312e332e362e312e342e312e313436362e3230303337"),
        (
            Operation::Read { entry, attributes: &["cn"] },
            "302d 020101 6328 0404636e3d61 0a0100 0a0100 020100 020100 010100 870b6f626a656374436c617373 30040402636e",
        ),
        (
            Operation::Replace { entry, attributes: &one },
            "301c 020101 6617 0404636e3d61 300f 300d 0a0102 3008 040178 3103040101",
        ),
        (
            Operation::Add { entry, attributes: &one },
            "3017 020101 6812 0404636e3d61 300a 3008 040178 3103040101",
        ),
    ] {
        assert_eq!(hex::encode(operation.encode(1)), hex::encode(bytes(expected)), "{expected}");
    }
}

#[test]
fn results_are_read_with_long_lengths_and_what_follows_them() {
    assert_eq!(done("300c 020101 6107 0a0100 0400 0400"), (1, 0, String::new()));
    // As Active Directory writes lengths.
    assert_eq!(done("308400000010 020101 618400000007 0a0100 0400 0400"), (1, 0, String::new()));
    // A referral, and the name of an extended operation's response.
    assert_eq!(done("3011 020103 670c 0a010a 0400 0400 a3030401 78"), (3, 10, String::new()));
    assert_eq!(done("300f 020102 780a 0a0134 0400 0400 8a01 78"), (2, 52, String::new()));
    assert_eq!(done("300f 020107 690a 0a0141 0400 0403 6e6f21"), (7, 65, "no!".to_owned()));
    assert_eq!(ResultCode(65).to_string(), "objectClassViolation (65)");
    assert_eq!(ResultCode(4096).to_string(), "resultCode (4096)");
}

#[test]
fn openldap_is_understood() {
    let entry = include_bytes!("../../../fixtures/ldap/openldap-entry.ber");
    let crl = &include_bytes!("../../../fixtures/x509/entries.crl")[..];
    let found = Attribute { description: "certificateRevocationList;binary", values: vec![crl] };
    assert_eq!(Message::read(entry).unwrap(), Message { id: 4, answer: Answer::Entry(vec![found]) });
    let done = |bytes: &[u8]| match Message::read(bytes).unwrap().answer {
        Answer::Done { code, text } => format!("{code} {text}"),
        other => panic!("{other:?}"),
    };
    for (bytes, said) in [
        (&include_bytes!("../../../fixtures/ldap/openldap-bind-refused.ber")[..], "invalidCredentials (49) "),
        (include_bytes!("../../../fixtures/ldap/openldap-no-such-object.ber"), "noSuchObject (32) "),
        (
            include_bytes!("../../../fixtures/ldap/openldap-object-class-violation.ber"),
            "objectClassViolation (65) attribute 'certificateRevocationList;binary' not allowed",
        ),
    ] {
        assert_eq!(done(bytes), said);
    }
}

#[test]
fn an_entry_gives_its_values() {
    let entry = bytes("301a 020102 6415 0404636e3d61 300d 300b 0403613b62 3104 0400 0400");
    let attribute = Attribute { description: "a;b", values: vec![&[], &[]] };
    assert_eq!(Message::read(&entry).unwrap(), Message { id: 2, answer: Answer::Entry(vec![attribute]) });
}

#[test]
fn an_entry_has_no_end_of_empty_values() {
    let entry = |values: usize| {
        let of = |tag: u8, content: &[u8]| {
            [&[tag, 0x84], &u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
        };
        let set = of(0x31, &[4, 0].repeat(values));
        let list = of(0x30, &of(0x30, &[&[4, 1, b'a'][..], &set].concat()));
        of(0x30, &[&[2, 1, 2][..], &of(0x64, &[&[4, 0][..], &list].concat())].concat())
    };
    assert!(Message::read(&entry(1_000)).is_ok());
    assert!(Message::read(&entry(100_000)).is_err());
}

#[test]
fn a_length_is_told_as_soon_as_it_is_there() {
    assert_eq!(message_len(&[]).unwrap(), None);
    assert_eq!(message_len(&bytes("3082 01")).unwrap(), None);
    assert_eq!(message_len(&bytes("3082 0105")).unwrap(), Some(0x105 + 4));
    for bad in ["3080", "04 00", "30ff", "3089 01 0000 0000 0000 0000 00000000000000000000"] {
        assert!(message_len(&bytes(bad)).is_err(), "{bad}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    for bad in [
        "3003 020101",
        "300c 0201ff 6107 0a0100 0400 0400",
        "3005 020101 4200",
        "300a 020101 6105 0a0100 0400",
        "300c 020101 6107 020100 0400 0400",
        "300c 020101 6109 0a0100 0400 0400",
        "3012 020102 640d 0400 3009 3007 0402ff61 3101 00",
    ] {
        assert!(Message::read(&bytes(bad)).is_err(), "{bad}");
    }
}

#[test]
fn nesting_costs_nothing() {
    let mut message = Vec::new();
    for depth in 0..200_000_usize {
        message = match depth {
            0 => vec![0x30, 0],
            _ if message.len() < 100_000 => {
                let mut outer = vec![0x30, 0x84];
                outer.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                outer.append(&mut message);
                outer
            }
            _ => break,
        };
    }
    assert!(Message::read(&message).is_err());
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0..30_usize) {
        let _ = Message::read(&bytes);
        let _ = message_len(&bytes);
        let whole = self::bytes("301a 020102 6415 0404636e3d61 300d 300b 0403613b62 3104 0400 0400");
        let _ = Message::read(&whole[..cut.min(whole.len())]);
    }
}
