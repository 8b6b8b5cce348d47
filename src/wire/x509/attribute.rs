//! Attribute types of distinguished names: keywords, limits and string types.

use const_oid::ObjectIdentifier;

use super::NameError;
use crate::wire::der::{
    reader::{IA5_STRING, PRINTABLE_STRING, UTF8_STRING},
    writer,
};

/// commonName.
pub const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// serialNumber: of a device, not of the certificate.
pub const DEVICE_SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
/// emailAddress (PKCS #9).
pub const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// Limit of attributes that no standard limits.
const DEFAULT_MAX: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    /// Two letters, PrintableString.
    Country,
    Printable,
    Ia5,
    Utf8,
}

struct Rule {
    oid: ObjectIdentifier,
    /// Spellings that are read, in any case; the first is written.
    keywords: &'static [&'static str],
    /// Characters (RFC 5280 appendix A.1, upper bounds).
    max: usize,
    charset: Charset,
}

const fn rule(oid: &str, keywords: &'static [&'static str], max: usize, charset: Charset) -> Rule {
    Rule { oid: ObjectIdentifier::new_unwrap(oid), keywords, max, charset }
}

const RULES: [Rule; 15] = [
    rule("2.5.4.3", &["CN", "commonName"], 64, Charset::Utf8),
    rule("2.5.4.11", &["OU", "organizationalUnitName"], 64, Charset::Utf8),
    rule("2.5.4.10", &["O", "organizationName"], 64, Charset::Utf8),
    rule("2.5.4.7", &["L", "localityName"], 128, Charset::Utf8),
    rule("2.5.4.8", &["ST", "S", "stateOrProvinceName"], 128, Charset::Utf8),
    rule("2.5.4.6", &["C", "countryName"], 2, Charset::Country),
    rule("0.9.2342.19200300.100.1.25", &["DC", "domainComponent"], 255, Charset::Ia5),
    rule("0.9.2342.19200300.100.1.1", &["UID", "userId"], 255, Charset::Utf8),
    rule("1.2.840.113549.1.9.1", &["emailAddress", "E", "EMAIL"], 255, Charset::Ia5),
    rule("2.5.4.5", &["SERIALNUMBER"], 64, Charset::Printable),
    rule("2.5.4.9", &["STREET", "streetAddress"], 128, Charset::Utf8),
    rule("2.5.4.4", &["SN", "surname"], DEFAULT_MAX, Charset::Utf8),
    rule("2.5.4.42", &["GN", "givenName"], DEFAULT_MAX, Charset::Utf8),
    rule("2.5.4.12", &["T", "title"], 64, Charset::Utf8),
    rule("2.5.4.46", &["dnQualifier"], 64, Charset::Printable),
];

/// The keyword that is written for an attribute type.
pub(super) fn keyword(oid: ObjectIdentifier) -> Option<&'static str> {
    RULES.iter().find(|rule| rule.oid == oid).and_then(|rule| rule.keywords.first().copied())
}

/// The attribute type of a keyword or of a dotted object identifier (`OID.` in front is accepted).
pub(super) fn from_keyword(text: &str) -> Option<ObjectIdentifier> {
    let named = RULES.iter().find(|rule| rule.keywords.iter().any(|known| known.eq_ignore_ascii_case(text)));
    let dotted = || {
        let has_prefix = text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("OID."));
        ObjectIdentifier::new(if has_prefix { text.get(4..)? } else { text }).ok()
    };
    named.map(|rule| rule.oid).or_else(dotted)
}

/// AttributeTypeAndValue, if `value` is within the attribute's limits.
pub(super) fn encode(oid: ObjectIdentifier, value: &str) -> Result<Vec<u8>, NameError> {
    let rule = RULES.iter().find(|rule| rule.oid == oid);
    let charset = rule.map_or(Charset::Utf8, |rule| rule.charset);
    check(value, charset, rule.map_or(DEFAULT_MAX, |rule| rule.max))
        .map_err(|problem| wrong(oid, &problem))?;
    let tag = match charset {
        Charset::Country | Charset::Printable => PRINTABLE_STRING,
        Charset::Ia5 => IA5_STRING,
        Charset::Utf8 => UTF8_STRING,
    };
    Ok(writer::sequence(&[&writer::oid(oid), &writer::element(tag, &[value.as_bytes()])]))
}

/// Whether a value that somebody else wrote is within what X.520 and RFC 5280 appendix A.1 allow of its length, and has no control
/// character. Its alphabet is left as it is: `_` and `@` in PrintableString are common. An attribute that no standard limits may be as long
/// as it likes, and anything but a string; so may one whose object identifier is longer than any that is known.
pub(super) fn check_foreign(oid: Option<ObjectIdentifier>, value: Option<&str>) -> Result<(), NameError> {
    let rule = RULES.iter().find(|rule| Some(rule.oid) == oid);
    let checked = match (rule, value) {
        (Some(rule), Some(value)) => check_length(value, rule.charset, rule.max),
        (Some(_), None) => Err("is no string".to_owned()),
        (None, _) => Ok(()),
    };
    let checked = checked.and_then(|()| check_characters(value.unwrap_or_default(), Charset::Utf8));
    checked.map_err(|problem| match oid {
        Some(oid) => wrong(oid, &problem),
        None => NameError::new(format!("an attribute that is not known: {problem}")),
    })
}

fn wrong(oid: ObjectIdentifier, problem: &str) -> NameError {
    let name = keyword(oid).map_or_else(|| oid.to_string(), str::to_owned);
    NameError::new(format!("{name}: {problem}"))
}

fn check(value: &str, charset: Charset, max: usize) -> Result<(), String> {
    check_length(value, charset, max)?;
    check_characters(value, charset)
}

fn check_length(value: &str, charset: Charset, max: usize) -> Result<(), String> {
    let length = value.chars().count();
    if length == 0 {
        return Err("is empty".to_owned());
    }
    if charset == Charset::Country && (length != 2 || !value.bytes().all(|byte| byte.is_ascii_alphabetic())) {
        return Err(format!("{value:?} is not a country code of exactly two letters"));
    }
    if length > max {
        return Err(format!("has {length} characters, at most {max} are allowed"));
    }
    Ok(())
}

fn check_characters(value: &str, charset: Charset) -> Result<(), String> {
    match value.chars().find(|character| !allowed(*character, charset)) {
        Some(character) => Err(format!("character {character:?} is not allowed")),
        None => Ok(()),
    }
}

fn allowed(character: char, charset: Charset) -> bool {
    match charset {
        // X.680 §41.4.
        Charset::Country | Charset::Printable => {
            character.is_ascii_alphanumeric() || " '()+,-./:=?".contains(character)
        }
        Charset::Ia5 => character.is_ascii() && !character.is_ascii_control(),
        Charset::Utf8 => !character.is_control(),
    }
}
