//! GeneralName (RFC 5280 §4.2.1.6).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use const_oid::ObjectIdentifier;

use super::Name;
use crate::wire::{
    EncodeError,
    der::{
        BerError,
        reader::{Element, OBJECT_IDENTIFIER, Reader, UTF8_STRING, context, context_primitive},
        writer,
    },
};

/// userPrincipalName, an otherName of Microsoft.
const UPN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");

/// The general names that certgate writes and understands; the rest is kept as raw DER.
///
/// Text: `email:`, `dns:`, `uri:`, `ip:`, `upn:`, `dirname:` and the value; `other:` and hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GeneralName {
    /// rfc822Name.
    Email(String),
    /// dNSName.
    Dns(String),
    /// uniformResourceIdentifier.
    Uri(String),
    /// iPAddress.
    Ip(IpAddr),
    /// otherName 1.3.6.1.4.1.311.20.2.3: user@realm.
    Upn(String),
    /// directoryName.
    DirName(Name),
    /// The DER of a kind that is not listed here, or of a listed kind with a value that breaks its rules.
    Other(Vec<u8>),
}

impl GeneralName {
    /// The DER; values that their string type cannot carry are refused.
    pub(in crate::wire) fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(match self {
            Self::Email(text) => writer::element(context_primitive(1), &[ia5("rfc822Name", text)?]),
            Self::Dns(text) => writer::element(context_primitive(2), &[ia5("dNSName", text)?]),
            Self::Uri(text) => {
                writer::element(context_primitive(6), &[ia5("uniformResourceIdentifier", text)?])
            }
            Self::Ip(IpAddr::V4(address)) => writer::element(context_primitive(7), &[&address.octets()]),
            Self::Ip(IpAddr::V6(address)) => writer::element(context_primitive(7), &[&address.octets()]),
            Self::Upn(text) => upn(text)?,
            // Name is a CHOICE, so its tag is always explicit.
            Self::DirName(name) => writer::element(context(4), &[name.as_der()]),
            Self::Other(der) => der.clone(),
        })
    }

    fn read(element: &Element<'_>) -> Self {
        Self::understood(element).unwrap_or_else(|| Self::Other(element.encoding.to_vec()))
    }

    fn understood(element: &Element<'_>) -> Option<Self> {
        const EMAIL: u8 = context_primitive(1);
        const DNS: u8 = context_primitive(2);
        const URI: u8 = context_primitive(6);
        const IP: u8 = context_primitive(7);
        const OTHER_NAME: u8 = context(0);
        const DIR_NAME: u8 = context(4);
        match element.tag {
            EMAIL => visible(element.content).map(Self::Email),
            DNS => visible(element.content).map(Self::Dns),
            URI => visible(element.content).map(Self::Uri),
            IP => ip(element.content).map(Self::Ip),
            OTHER_NAME => read_upn(element).map(Self::Upn),
            DIR_NAME => Name::parse(element.content).ok().map(Self::DirName),
            _ => None,
        }
    }
}

impl fmt::Display for GeneralName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(text) => write!(f, "email:{text}"),
            Self::Dns(text) => write!(f, "dns:{text}"),
            Self::Uri(text) => write!(f, "uri:{text}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Upn(text) => write!(f, "upn:{text}"),
            Self::DirName(name) => write!(f, "dirname:{name}"),
            Self::Other(der) => write!(f, "other:{}", hex::encode(der)),
        }
    }
}

/// The content of GeneralNames.
pub(in crate::wire) fn read_all(mut names: Reader<'_>) -> Result<Vec<GeneralName>, BerError> {
    let mut all = Vec::new();
    while !names.is_empty() {
        all.push(GeneralName::read(&names.any()?));
    }
    Ok(all)
}

/// The encodings of `names`, one after the other: the content of GeneralNames.
pub(in crate::wire) fn write_all(names: &[GeneralName]) -> Result<Vec<u8>, EncodeError> {
    names.iter().map(GeneralName::to_der).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
}

/// ASCII without control characters: a NUL in a dNSName has fooled readers before.
fn visible(content: &[u8]) -> Option<String> {
    let valid = !content.is_empty() && content.iter().all(|byte| (0x20..0x7f).contains(byte));
    valid.then(|| content.iter().copied().map(char::from).collect())
}

fn ia5<'a>(what: &'static str, text: &'a str) -> Result<&'a [u8], EncodeError> {
    match visible(text.as_bytes()) {
        Some(_) => Ok(text.as_bytes()),
        None => Err(EncodeError { what, reason: format!("{text:?} is not printable ASCII text") }),
    }
}

fn ip(content: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(content).ok().map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(content).ok().map(|octets| Ipv6Addr::from(octets).into());
    v4().or_else(v6)
}

fn upn(text: &str) -> Result<Vec<u8>, EncodeError> {
    if text.is_empty() || text.chars().any(char::is_control) {
        let reason = format!("{text:?} is empty or has control characters");
        return Err(EncodeError { what: "userPrincipalName", reason });
    }
    let value = writer::element(context(0), &[&writer::element(UTF8_STRING, &[text.as_bytes()])]);
    Ok(writer::element(context(0), &[&writer::oid(UPN), &value]))
}

fn read_upn(other_name: &Element<'_>) -> Option<String> {
    let mut fields = other_name.open();
    let oid = fields.expect(OBJECT_IDENTIFIER, "type-id").ok()?;
    let value = fields.expect(context(0), "value").ok()?.explicit().ok()?;
    let text = value.text().filter(|text| !text.is_empty() && !text.chars().any(char::is_control))?;
    (oid.content == UPN.as_bytes() && fields.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(der: &[u8]) -> GeneralName {
        read_all(Reader::new(der)).unwrap().remove(0)
    }

    #[test]
    fn every_kind_reads_back_and_shows() {
        for (name, shown) in [
            (GeneralName::Email("a@lab.example".into()), "email:a@lab.example"),
            (GeneralName::Dns("dev.lab.example".into()), "dns:dev.lab.example"),
            (GeneralName::Uri("urn:x".into()), "uri:urn:x"),
            (GeneralName::Ip("192.0.2.1".parse().unwrap()), "ip:192.0.2.1"),
            (GeneralName::Ip("2001:db8::1".parse().unwrap()), "ip:2001:db8::1"),
            (GeneralName::Upn("ada@lab.example".into()), "upn:ada@lab.example"),
            (GeneralName::DirName("CN=x,O=y".parse().unwrap()), "dirname:CN=x,O=y"),
            (GeneralName::Other(vec![0x88, 1, 0x2a]), "other:88012a"),
        ] {
            assert_eq!(read_one(&name.to_der().unwrap()), name);
            assert_eq!(name.to_string(), shown);
        }
    }

    #[test]
    fn upn_is_written_as_windows_reads_it() {
        let der = GeneralName::Upn("a@b".into()).to_der().unwrap();
        assert_eq!(hex::encode(der), "a013060a2b060104018237140203a0050c03614062");
    }

    #[test]
    fn refuses_to_write_what_ia5_cannot_carry() {
        for bad in ["", "zürich.example", "a\0b", "a\nb"] {
            assert!(GeneralName::Dns(bad.into()).to_der().is_err(), "{bad:?}");
            assert!(GeneralName::Email(bad.into()).to_der().is_err(), "{bad:?}");
            assert!(GeneralName::Uri(bad.into()).to_der().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_that_break_their_rules_are_kept_raw() {
        for der in [&[0x82, 3, b'a', 0, b'b'][..], &[0x87, 3, 1, 2, 3], &[0xa4, 2, 5, 0], &[0xa0, 0]] {
            assert_eq!(read_one(der), GeneralName::Other(der.to_vec()));
        }
    }
}
