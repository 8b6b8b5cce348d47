//! Distinguished names (RFC 5280 §4.1.2.4), their comparison and their text (RFC 4514).

use const_oid::ObjectIdentifier;
use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use super::{
    DecodeError, attribute,
    name_text::{self, Value},
};
use crate::wire::der::{
    BerError,
    reader::{Element, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET},
    writer,
};

/// A distinguished name: DER kept as it came, compared as RFC 5280 §7.1 says.
///
/// Text is RFC 4514: the most specific RDN comes first (`CN=dev,OU=computers,O=Lab`), which is the reverse of the DER.
/// Equality is of the bytes; see [`Name::matches`] for equality of what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    der: Vec<u8>,
}

/// Text that is no distinguished name, with what is wrong (attribute, length, character).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl NameError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Default for Name {
    /// The empty name.
    fn default() -> Self {
        Self { der: vec![SEQUENCE, 0] }
    }
}

impl Name {
    /// Reads the DER of an RDNSequence.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(DecodeError::of("Name"))
    }

    pub(in crate::wire) fn parse(der: &[u8]) -> Result<Self, BerError> {
        let mut rdns = Element::only_tagged(der, SEQUENCE)?.open();
        while !rdns.is_empty() {
            let mut attributes = rdns.expect(SET, "RelativeDistinguishedName")?.open();
            while {
                split_attribute(&attributes.any()?)?;
                !attributes.is_empty()
            } {}
        }
        Ok(Self { der: der.to_vec() })
    }

    /// A name with one attribute in each RDN, in the order of the DER: the most general first (`C`, `O`, .., `CN`).
    /// Values are checked as in text.
    pub fn from_attributes(attributes: &[(ObjectIdentifier, &str)]) -> Result<Self, NameError> {
        let encode = |(oid, value): &(ObjectIdentifier, &str)| {
            attribute::encode(*oid, value).map(|encoded| writer::element(SET, &[&encoded]))
        };
        let rdns = attributes.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { der: writer::sequence(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>()) })
    }

    /// The DER of the RDNSequence, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Whether there is no RDN.
    pub fn is_empty(&self) -> bool {
        self.rdns().is_empty()
    }

    /// Values of the attribute type as text, in order (e.g. all OU). Values that are no strings are left out.
    pub fn values(&self, attribute: ObjectIdentifier) -> Vec<String> {
        let of_type =
            |(oid, value): Attribute<'_>| (oid == attribute.as_bytes()).then(|| value.text()).flatten();
        self.each_rdn().into_iter().flatten().filter_map(of_type).collect()
    }

    /// The most specific commonName.
    pub fn common_name(&self) -> Option<String> {
        self.values(attribute::COMMON_NAME).pop()
    }

    /// Whether every value is within the limits of its attribute, as those in text have to be, and has no control character.
    pub fn check_values(&self) -> Result<(), NameError> {
        self.each_rdn().into_iter().flatten().try_for_each(|(oid, value)| {
            attribute::check_foreign(ObjectIdentifier::from_bytes(oid).ok(), value.text().as_deref())
        })
    }

    /// RFC 5280 §7.1: case-insensitive, white space folded, string types equal. Byte-equal names always match.
    pub fn matches(&self, other: &Self) -> bool {
        self.der == other.der || self.folded() == other.folded()
    }

    /// Octets that are the same for names that match, and for no others: to look a name up among many.
    pub fn meaning(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut push = |kind: u8, bytes: &[u8]| {
            all.push(kind);
            all.extend((bytes.len() as u64).to_be_bytes());
            all.extend(bytes);
        };
        for rdn in self.folded() {
            push(0, &[]);
            for (oid, value) in rdn {
                push(1, oid);
                match value {
                    Folded::Text(text) => push(2, text.as_bytes()),
                    Folded::Bytes(bytes) => push(3, bytes),
                }
            }
        }
        all
    }

    fn rdns(&self) -> Reader<'_> {
        Element::only(&self.der).map_or(Reader::new(&[]), |sequence| sequence.open())
    }

    /// The attributes of each RDN: type and value. The DER was checked when the name was made.
    fn each_rdn(&self) -> Vec<Vec<Attribute<'_>>> {
        elements(self.rdns())
            .map(|rdn| elements(rdn.open()).filter_map(|pair| split_attribute(&pair).ok()).collect())
            .collect()
    }

    fn folded(&self) -> Vec<Vec<(&[u8], Folded<'_>)>> {
        self.each_rdn().iter().map(|rdn| fold(rdn)).collect()
    }
}

/// An RDN is a set: its attributes are compared in sorted order.
fn fold<'a>(rdn: &[Attribute<'a>]) -> Vec<(&'a [u8], Folded<'a>)> {
    let mut folded: Vec<_> = rdn.iter().map(|(oid, value)| (*oid, Folded::of(value))).collect();
    folded.sort();
    folded
}

/// Type (content octets of the OID) and value.
type Attribute<'a> = (&'a [u8], Element<'a>);

/// An attribute's value as RFC 5280 §7.1 compares it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Folded<'a> {
    Text(String),
    Bytes(&'a [u8]),
}

impl<'a> Folded<'a> {
    fn of(value: &Element<'a>) -> Self {
        match value.text() {
            Some(text) => {
                let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
                Self::Text(words.join(" "))
            }
            None => Self::Bytes(value.encoding),
        }
    }
}

fn elements(reader: Reader<'_>) -> impl Iterator<Item = Element<'_>> {
    reader.map_while(Result::ok)
}

fn split_attribute<'a>(pair: &Element<'a>) -> Result<Attribute<'a>, BerError> {
    let mut fields = pair.tagged(SEQUENCE)?.open();
    let oid = fields.expect(OBJECT_IDENTIFIER, "type")?.content;
    let value = fields.any()?;
    fields.end()?;
    Ok((oid, value))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (index, rdn) in self.each_rdn().into_iter().rev().enumerate() {
            if index > 0 {
                text.push(',');
            }
            for (index, (oid, value)) in rdn.into_iter().enumerate() {
                if index > 0 {
                    text.push('+');
                }
                push_attribute(&mut text, oid, &value)?;
            }
        }
        f.pad(&text)
    }
}

/// `keyword=text`, or `dotted=#hex` where the keyword or the string type is unknown (RFC 4514 §2.4).
fn push_attribute(out: &mut String, oid: &[u8], value: &Element<'_>) -> fmt::Result {
    let oid = ObjectIdentifier::from_bytes(oid).ok();
    match (oid.and_then(attribute::keyword), value.text()) {
        (Some(keyword), Some(text)) => {
            write!(out, "{keyword}=")?;
            name_text::push_escaped(out, &text)
        }
        (Some(keyword), None) => write!(out, "{keyword}=#{}", hex::encode(value.encoding)),
        (None, _) => match oid {
            Some(oid) => write!(out, "{oid}=#{}", hex::encode(value.encoding)),
            None => write!(out, "?=#{}", hex::encode(value.encoding)),
        },
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// RFC 4514 text as administrators write it: keywords in any case or dotted OIDs, `\,` and `\2C`, quoted values,
    /// `+` between attributes of one RDN, white space around separators. The empty text is the empty name.
    fn from_str(s: &str) -> Result<Self, NameError> {
        let mut rdns = name_text::parse(s)?;
        rdns.reverse();
        let rdns = rdns.iter().map(|rdn| encode_rdn(rdn)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { der: writer::sequence(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>()) })
    }
}

fn encode_rdn(attributes: &[(ObjectIdentifier, Value)]) -> Result<Vec<u8>, NameError> {
    let encode = |(oid, value): &(ObjectIdentifier, Value)| match value {
        Value::Text(text) => attribute::encode(*oid, text),
        Value::Der(der) => Ok(writer::sequence(&[&writer::oid(*oid), der])),
    };
    let mut encoded = attributes.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    // DER: the elements of a SET OF are sorted (X.690 §11.6).
    encoded.sort();
    Ok(writer::element(SET, &encoded.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_keeps_its_order_and_der_is_the_reverse() {
        let name = name("CN=dev,OU=computers,O=Lab");
        assert_eq!(name.to_string(), "CN=dev,OU=computers,O=Lab");
        let general_first = Name::from_attributes(&[
            (ObjectIdentifier::new_unwrap("2.5.4.10"), "Lab"),
            (ObjectIdentifier::new_unwrap("2.5.4.11"), "computers"),
            (attribute::COMMON_NAME, "dev"),
        ]);
        assert_eq!(name, general_first.unwrap());
        assert_eq!(name.common_name().as_deref(), Some("dev"));
    }

    #[test]
    fn reads_what_administrators_write() {
        for (text, shown) in [
            ("", ""),
            (" cn = dev , o = Lab ", "CN=dev,O=Lab"),
            ("CN=Doe\\, Ada,O=Lab", "CN=Doe\\, Ada,O=Lab"),
            ("CN=Doe\\2C Ada", "CN=Doe\\, Ada"),
            ("CN=\"Doe, Ada\" , O=x", "CN=Doe\\, Ada,O=x"),
            ("CN=Z\\C3\\BCrich", "CN=Zürich"),
            ("S=Bern,C=CH", "ST=Bern,C=CH"),
            (
                "E=a@lab.example,UID=ada,DC=lab,DC=example",
                "emailAddress=a@lab.example,UID=ada,DC=lab,DC=example",
            ),
            ("SERIALNUMBER=F2L,SN=Doe,GN=Ada,T=Dr", "SERIALNUMBER=F2L,SN=Doe,GN=Ada,T=Dr"),
            ("CN=a+UID=b,O=x", "CN=a+UID=b,O=x"),
            ("1.2.3.4=x", "1.2.3.4=#0c0178"),
            ("OID.2.5.4.3=x", "CN=x"),
            ("CN=#0c0178", "CN=x"),
            ("CN=\\#x\\ ", "CN=\\#x\\ "),
        ] {
            assert_eq!(name(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn refuses_with_the_attribute_and_the_limit() {
        for (text, part) in [
            ("C=CHE", "C: \"CHE\" is not a country code of exactly two letters"),
            (&format!("O={}", "x".repeat(65)), "O: has 65 characters, at most 64 are allowed"),
            (&format!("L={}", "x".repeat(129)), "L: has 129 characters, at most 128"),
            ("DC=zürich", "DC: character 'ü' is not allowed"),
            ("SERIALNUMBER=a_b", "SERIALNUMBER: character '_'"),
            ("CN=", "CN: is empty"),
            ("CN=a\\00b", "CN: character '\\0'"),
            ("XY=a", "XY"),
            ("CN", "="),
            ("CN=a,", "="),
            ("CN=\"a", "quot"),
            ("CN=\"a\"b", "quot"),
            ("CN=a;b", "\\;"),
            ("CN=a\\", "\\"),
            ("CN=\\ff", "UTF-8"),
            ("CN=#0c", "hex"),
        ] {
            let error = text.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_measured_as_text_is() {
        const UTF8: u8 = 0x0c;
        let of = |oid: &str, tag: u8, value: &[u8]| {
            let oid = ObjectIdentifier::new_unwrap(oid);
            let attribute = writer::sequence(&[&writer::oid(oid), &writer::element(tag, &[value])]);
            Name::from_der(&writer::sequence(&[&writer::element(SET, &[&attribute])])).unwrap().check_values()
        };
        for (oid, most) in [
            ("2.5.4.3", 64),
            ("2.5.4.5", 64),
            ("2.5.4.7", 128),
            ("2.5.4.8", 128),
            ("2.5.4.10", 64),
            ("2.5.4.11", 64),
            ("2.5.4.12", 64),
            ("1.2.840.113549.1.9.1", 255),
        ] {
            assert_eq!(of(oid, UTF8, &vec![b'x'; most]), Ok(()), "{oid}");
            let error = of(oid, UTF8, &vec![b'x'; most + 1]).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("has {} characters, at most {most} are allowed", most + 1)),
                "{error}"
            );
        }
        assert_eq!(of("2.5.4.3", UTF8, "ü".repeat(64).as_bytes()), Ok(()), "characters, not octets");
        assert_eq!(of("2.5.4.3", 0x1e, &[0, b'x'].repeat(64)), Ok(()), "whatever the string type is");
        assert_eq!(of("2.5.4.5", 0x13, b"F2L_X@1"), Ok(()), "beyond the alphabet, as clients write it");
        assert_eq!(of("1.2.3.4", UTF8, &[b'x'; 1000]), Ok(()), "no standard limits it");
        assert_eq!(of("2.5.4.45", 3, &[0, 1]), Ok(()), "x500UniqueIdentifier");
        for (oid, tag, value, problem) in [
            ("2.5.4.6", 0x13, &b"CHE"[..], "C: \"CHE\" is not a country code of exactly two letters"),
            ("2.5.4.3", UTF8, b"", "CN: is empty"),
            ("2.5.4.3", UTF8, b"a\x1b[2Jb", "CN: character '\\u{1b}' is not allowed"),
            ("2.5.4.3", 0x1e, &[0, b'a', 0, 0], "CN: character '\\0' is not allowed"),
            ("2.5.4.3", 4, b"octets", "CN: is no string"),
            ("1.2.3.4", UTF8, b"a\nb", "1.2.3.4: character '\\n' is not allowed"),
        ] {
            assert_eq!(of(oid, tag, value).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn matching_folds_case_space_and_string_type() {
        let utf8 = name("CN=Issuing  ca,O=Lab");
        let printable = writer::sequence(&[
            &writer::element(
                SET,
                &[&writer::sequence(&[&[6, 3, 0x55, 4, 10], &writer::element(0x13, &[b"LAB"])])],
            ),
            &writer::element(
                SET,
                &[&writer::sequence(&[&[6, 3, 0x55, 4, 3], &writer::element(0x13, &[b" Issuing CA "])])],
            ),
        ]);
        let printable = Name::from_der(&printable).unwrap();
        assert!(utf8.matches(&printable));
        assert_eq!(utf8.meaning(), printable.meaning());
        assert_ne!(utf8, printable);
        for other in ["CN=Issuing CB,O=Lab", "CN=Issuing ca", "O=Lab,CN=Issuing  ca", "CN=Issuing ca+O=Lab"] {
            assert!(!utf8.matches(&name(other)));
            assert_ne!(utf8.meaning(), name(other).meaning());
        }
    }

    #[test]
    fn rejects_what_is_no_rdn_sequence() {
        for bad in [&[][..], &[0x30], &[0x31, 0], &[0x30, 2, 0x31, 0], &[0x30, 2, 5, 0], &[0x30, 0, 0]] {
            assert!(Name::from_der(bad).is_err(), "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_its_text(value in "[^\\p{C}]{1,64}") {
            let made = Name::from_attributes(&[(attribute::COMMON_NAME, &value)]).unwrap();
            prop_assert_eq!(made.to_string().parse::<Name>().unwrap(), made);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = text.parse::<Name>();
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(name) = Name::from_der(&bytes) {
                let _ = (name.to_string(), name.matches(&Name::default()));
            }
        }
    }
}
