//! DER of elements from their parts.

use const_oid::ObjectIdentifier;

use super::reader::{
    BIT_STRING, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, UTC_TIME,
};
use crate::types::Timestamp;

/// An element with the identifier octet `tag` whose content are `parts`, one after the other.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content_len = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(header_len(content_len) + content_len);
    push_header(&mut out, tag, content_len);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// SEQUENCE of `parts`.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

/// SET OF `members` in the order that DER asks for (X.690 §11.6).
pub(crate) fn set_of(mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort_unstable();
    element(SET, &[&members.concat()])
}

/// OBJECT IDENTIFIER.
pub(crate) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, &[oid.as_bytes()])
}

/// OCTET STRING.
pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, &[content])
}

/// A BIT STRING of whole octets.
pub(crate) fn bit_string(bits: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bits])
}

/// A non-negative INTEGER.
pub(crate) fn unsigned(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let start = octets.iter().position(|byte| *byte != 0).unwrap_or(octets.len() - 1);
    let magnitude = octets.get(start..).unwrap_or_default();
    let sign: &[u8] = if magnitude.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[sign, magnitude])
}

/// UTCTime to the end of 2049, GeneralizedTime after (RFC 5280 §4.1.2.5).
pub(crate) fn time(time: Timestamp) -> Vec<u8> {
    let year = time.to_date_time().year();
    if (1950..2050).contains(&year) {
        element(UTC_TIME, &[time_digits(time, year % 100, 2).as_bytes()])
    } else {
        generalized_time(time)
    }
}

/// GeneralizedTime without fractions (RFC 5280 §4.1.2.5.2).
pub(crate) fn generalized_time(time: Timestamp) -> Vec<u8> {
    element(GENERALIZED_TIME, &[time_digits(time, time.to_date_time().year(), 4).as_bytes()])
}

fn time_digits(time: Timestamp, year: u16, width: usize) -> String {
    let at = time.to_date_time();
    let (month, day, hour, minute, second) = (at.month(), at.day(), at.hour(), at.minutes(), at.seconds());
    format!("{year:0width$}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// Appends the identifier octet `tag` and the length of the content.
pub(crate) fn push_header(out: &mut Vec<u8>, tag: u8, content_len: usize) {
    out.push(tag);
    push_length(out, content_len);
}

/// How many octets [`push_header`] appends.
pub(crate) fn header_len(content_len: usize) -> usize {
    1 + length_len(content_len)
}

/// Appends the octets of a definite length in its shortest form (X.690 §10.1).
pub(super) fn push_length(out: &mut Vec<u8>, len: usize) {
    if let Ok(short @ 0..0x80) = u8::try_from(len) {
        out.push(short);
        return;
    }
    let octets = len.to_be_bytes();
    let skip = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = octets.get(skip..).unwrap_or_default();
    // A usize has at most eight octets.
    out.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
    out.extend_from_slice(octets);
}

/// How many octets [`push_length`] appends.
pub(super) fn length_len(len: usize) -> usize {
    if len < 0x80 { 1 } else { 1 + (usize::BITS - len.leading_zeros()).div_ceil(8) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        for (len, expected) in [
            (0, vec![0]),
            (0x7f, vec![0x7f]),
            (0x80, vec![0x81, 0x80]),
            (0xff, vec![0x81, 0xff]),
            (0x100, vec![0x82, 1, 0]),
            (0x1_0000, vec![0x83, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            push_length(&mut out, len);
            assert_eq!(out, expected);
            assert_eq!(length_len(len), expected.len());
            assert_eq!(element(4, &[&vec![0; len]]).len(), header_len(len) + len);
        }
    }

    #[test]
    fn set_members_are_sorted() {
        assert_eq!(
            set_of(vec![vec![4, 1, 9], vec![4, 1, 2], vec![2, 1, 7]]),
            [0x31, 9, 2, 1, 7, 4, 1, 2, 4, 1, 9]
        );
    }
}
