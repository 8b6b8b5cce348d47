//! Elements of DER: the bytes of tag, length and value, read without copying and written with known lengths.

use const_oid::ObjectIdentifier;
use der::{
    Decode,
    asn1::{GeneralizedTime, UtcTime},
};

use super::DecodeError;
use crate::types::Timestamp;

pub(in crate::wire) const BOOLEAN: u8 = 0x01;
pub(in crate::wire) const INTEGER: u8 = 0x02;
pub(in crate::wire) const BIT_STRING: u8 = 0x03;
pub(in crate::wire) const OCTET_STRING: u8 = 0x04;
pub(in crate::wire) const NULL: u8 = 0x05;
pub(in crate::wire) const OID: u8 = 0x06;
pub(in crate::wire) const ENUMERATED: u8 = 0x0a;
pub(in crate::wire) const UTF8_STRING: u8 = 0x0c;
pub(in crate::wire) const PRINTABLE_STRING: u8 = 0x13;
pub(in crate::wire) const IA5_STRING: u8 = 0x16;
pub(in crate::wire) const UTC_TIME: u8 = 0x17;
pub(in crate::wire) const GENERALIZED_TIME: u8 = 0x18;
pub(in crate::wire) const SEQUENCE: u8 = 0x30;
pub(in crate::wire) const SET: u8 = 0x31;

const NUMERIC_STRING: u8 = 0x12;
const T61_STRING: u8 = 0x14;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// The tag of a constructed context-specific element.
pub(in crate::wire) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of a primitive context-specific element.
pub(in crate::wire) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

/// What is wrong with an element, in the words of a log line.
pub(in crate::wire) type Reason = &'static str;

/// Names the structure that could not be read.
pub(in crate::wire) fn malformed(what: &'static str) -> impl Fn(Reason) -> DecodeError {
    move |reason| DecodeError { what, reason: reason.to_owned() }
}

/// One element as it lies in the input.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Element<'a> {
    pub(in crate::wire) tag: u8,
    pub(in crate::wire) content: &'a [u8],
    /// Tag, length and content.
    pub(in crate::wire) encoding: &'a [u8],
}

impl<'a> Element<'a> {
    /// The one element that `bytes` is.
    pub(in crate::wire) fn only(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut cursor = Cursor::new(bytes);
        let element = cursor.next()?;
        cursor.finish()?;
        Ok(element)
    }

    /// The one element that `bytes` is, which must have `tag`.
    pub(in crate::wire) fn only_tagged(bytes: &'a [u8], tag: u8) -> Result<Self, Reason> {
        Self::only(bytes)?.tagged(tag)
    }

    /// This element, if it has `tag`.
    pub(in crate::wire) fn tagged(self, tag: u8) -> Result<Self, Reason> {
        if self.tag == tag { Ok(self) } else { Err("unexpected tag") }
    }

    /// The elements in this one.
    pub(in crate::wire) fn inside(&self) -> Cursor<'a> {
        Cursor::new(self.content)
    }

    /// The one element that is wrapped in this one (EXPLICIT tagging).
    pub(in crate::wire) fn explicit(&self) -> Result<Element<'a>, Reason> {
        Element::only(self.content)
    }

    pub(in crate::wire) fn oid(&self) -> Result<ObjectIdentifier, Reason> {
        self.tagged(OID)?;
        ObjectIdentifier::from_bytes(self.content).map_err(|_| "unreadable object identifier")
    }

    pub(in crate::wire) fn boolean(&self) -> Result<bool, Reason> {
        match (self.tag, self.content) {
            (BOOLEAN, [value]) => Ok(*value != 0),
            _ => Err("unreadable BOOLEAN"),
        }
    }

    /// The value of a small non-negative INTEGER or ENUMERATED.
    pub(in crate::wire) fn unsigned(&self) -> Result<u64, Reason> {
        match self.content {
            [] => Err("empty INTEGER"),
            [first, ..] if first & 0x80 != 0 => Err("negative INTEGER"),
            content if content.len() > 9 || (content.len() == 9 && content.first() != Some(&0)) => {
                Err("INTEGER out of range")
            }
            content => Ok(content.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        }
    }

    /// The bits of a BIT STRING without unused ones.
    pub(in crate::wire) fn bits(&self) -> Result<&'a [u8], Reason> {
        match (self.tag, self.content) {
            (BIT_STRING, [0, bits @ ..]) => Ok(bits),
            _ => Err("a BIT STRING of whole octets is expected"),
        }
    }

    /// UTCTime or GeneralizedTime.
    pub(in crate::wire) fn time(&self) -> Result<Timestamp, Reason> {
        let time = match self.tag {
            UTC_TIME => UtcTime::from_der(self.encoding).map(|time| time.to_date_time()),
            GENERALIZED_TIME => GeneralizedTime::from_der(self.encoding).map(|time| time.to_date_time()),
            _ => return Err("neither UTCTime nor GeneralizedTime"),
        };
        time.map(Timestamp::from).map_err(|_| "unreadable time")
    }

    /// The text of any of the string types of X.520, or nothing where the element is no readable string. Characters
    /// beyond a type's alphabet are taken as they are (`_` and `@` in PrintableString are common).
    pub(in crate::wire) fn text(&self) -> Option<String> {
        match self.tag {
            UTF8_STRING => String::from_utf8(self.content.to_vec()).ok(),
            NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING | T61_STRING => {
                let latin = || self.content.iter().copied().map(char::from).collect();
                Some(String::from_utf8(self.content.to_vec()).unwrap_or_else(|_| latin()))
            }
            BMP_STRING => {
                let (units, rest) = self.content.as_chunks::<2>();
                let units = units.iter().copied().map(u16::from_be_bytes);
                rest.is_empty().then(|| char::decode_utf16(units).collect::<Result<_, _>>().ok())?
            }
            UNIVERSAL_STRING => {
                let (units, rest) = self.content.as_chunks::<4>();
                let units = units.iter().copied().map(u32::from_be_bytes);
                rest.is_empty().then(|| units.map(char::from_u32).collect::<Option<_>>())?
            }
            _ => None,
        }
    }
}

/// Reads one element after the other.
#[derive(Clone, Debug)]
pub(in crate::wire) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(in crate::wire) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::wire) const fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    pub(in crate::wire) fn finish(self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err("trailing data") }
    }

    /// The next element, whatever its tag.
    pub(in crate::wire) fn next(&mut self) -> Result<Element<'a>, Reason> {
        let (&tag, after_tag) = self.rest.split_first().ok_or("truncated")?;
        if tag & 0x1f == 0x1f {
            return Err("tag number above 30");
        }
        let (length, after_length) = read_length(after_tag)?;
        let (content, rest) = after_length.split_at_checked(length).ok_or("truncated")?;
        let (encoding, _) = self.rest.split_at_checked(self.rest.len() - rest.len()).ok_or("truncated")?;
        self.rest = rest;
        Ok(Element { tag, content, encoding })
    }

    /// The next element, which must have `tag`.
    pub(in crate::wire) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Reason> {
        self.next()?.tagged(tag)
    }

    /// The next element if it has `tag`.
    pub(in crate::wire) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Reason> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }
}

/// A definite length in its shortest form (X.690 §10.1), and the octets after it.
fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), Reason> {
    let (&first, rest) = bytes.split_first().ok_or("truncated")?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err("indefinite or oversize length");
    }
    let (octets, rest) = rest.split_at_checked(count).ok_or("truncated")?;
    let length = octets.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if length < 0x80 || octets.first() == Some(&0) {
        return Err("length is not in its shortest form");
    }
    Ok((usize::try_from(length).map_err(|_| "oversize length")?, rest))
}

/// Octets of tag and length before `content_len` octets of content.
pub(in crate::wire) fn header_len(content_len: usize) -> usize {
    if content_len < 0x80 { 2 } else { 2 + usize::from(significant(content_len)) }
}

/// Octets of a length without leading zeros.
fn significant(length: usize) -> u8 {
    let bits = usize::BITS - length.leading_zeros();
    u8::try_from(bits.div_ceil(8)).unwrap_or(u8::MAX)
}

/// Appends tag and length.
pub(in crate::wire) fn push_header(out: &mut Vec<u8>, tag: u8, content_len: usize) {
    out.push(tag);
    match u8::try_from(content_len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let count = significant(content_len);
            out.push(0x80 | count);
            out.extend(content_len.to_be_bytes().iter().skip(size_of::<usize>() - usize::from(count)));
        }
    }
}

/// One element whose content is `parts` one after the other.
pub(in crate::wire) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content_len = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(header_len(content_len) + content_len);
    push_header(&mut out, tag, content_len);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(in crate::wire) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

pub(in crate::wire) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    element(OID, &[oid.as_bytes()])
}

/// A BIT STRING of whole octets.
pub(in crate::wire) fn bit_string(bits: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bits])
}

/// A non-negative INTEGER.
pub(in crate::wire) fn unsigned(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let start = octets.iter().position(|byte| *byte != 0).unwrap_or(octets.len() - 1);
    let magnitude = octets.get(start..).unwrap_or_default();
    let sign: &[u8] = if magnitude.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[sign, magnitude])
}

/// UTCTime to the end of 2049, GeneralizedTime after (RFC 5280 §4.1.2.5).
pub(in crate::wire) fn time(time: Timestamp) -> Vec<u8> {
    let year = time.to_date_time().year();
    if (1950..2050).contains(&year) {
        element(UTC_TIME, &[time_digits(time, year % 100, 2).as_bytes()])
    } else {
        generalized_time(time)
    }
}

/// GeneralizedTime without fractions (RFC 5280 §4.1.2.5.2).
pub(in crate::wire) fn generalized_time(time: Timestamp) -> Vec<u8> {
    element(GENERALIZED_TIME, &[time_digits(time, time.to_date_time().year(), 4).as_bytes()])
}

fn time_digits(time: Timestamp, year: u16, width: usize) -> String {
    let at = time.to_date_time();
    let (month, day, hour, minute, second) = (at.month(), at.day(), at.hour(), at.minutes(), at.seconds());
    format!("{year:0width$}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 24] {
            let content = vec![0; length];
            let encoded = element(OCTET_STRING, &[&content]);
            assert_eq!(encoded.len(), header_len(length) + length);
            assert_eq!(Element::only(&encoded).unwrap().content.len(), length);
        }
    }

    #[test]
    fn rejects_what_der_forbids() {
        for bad in [
            &[0x30][..],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 0x01, 0x00],
            &[0x30, 0x82, 0x00, 0x81],
            &[0x1f, 0x01, 0x00],
            &[0x04, 0x02, 0x00],
            &[0x04, 0x01, 0x00, 0x00],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
        ] {
            assert!(Element::only(bad).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn integers_round_trip() {
        for value in [0, 1, 127, 128, 255, 256, u64::MAX >> 1, u64::MAX] {
            assert_eq!(Element::only(&unsigned(value)).unwrap().unsigned(), Ok(value));
        }
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(128), [2, 2, 0, 128]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        for (text, tag) in [("2049-12-31T23:59:59Z", UTC_TIME), ("2050-01-01T00:00:00Z", GENERALIZED_TIME)] {
            let at: Timestamp = text.parse().unwrap();
            let encoded = time(at);
            assert_eq!(encoded[0], tag);
            assert_eq!(Element::only(&encoded).unwrap().time(), Ok(at));
        }
    }

    #[test]
    fn every_string_type_is_text() {
        for (tag, content) in [
            (UTF8_STRING, "Zür".as_bytes()),
            (T61_STRING, b"Z\xfcr"),
            (BMP_STRING, &[0, b'Z', 0, 0xfc, 0, b'r']),
            (UNIVERSAL_STRING, &[0, 0, 0, b'Z', 0, 0, 0, 0xfc, 0, 0, 0, b'r']),
        ] {
            let encoded = element(tag, &[content]);
            assert_eq!(Element::only(&encoded).unwrap().text().as_deref(), Some("Zür"));
        }
        assert_eq!(Element::only(&[BMP_STRING, 1, 0]).unwrap().text(), None);
    }
}
