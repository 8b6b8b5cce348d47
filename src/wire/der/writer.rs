//! DER of elements from their parts.

use const_oid::ObjectIdentifier;

use super::reader::{INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET};

/// An element with the identifier octet `tag` whose content are `parts`, one after the other.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content_len = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(content_len + 6);
    out.push(tag);
    push_length(&mut out, content_len);
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

/// INTEGER of one octet below 128: versions.
pub(crate) fn small_integer(value: u8) -> Vec<u8> {
    debug_assert!(value < 0x80, "needs a sign octet");
    element(INTEGER, &[&[value]])
}

/// AlgorithmIdentifier without parameters.
pub(crate) fn algorithm(algorithm: ObjectIdentifier) -> Vec<u8> {
    sequence(&[&oid(algorithm)])
}

/// AlgorithmIdentifier with NULL for parameters.
pub(crate) fn algorithm_null(algorithm: ObjectIdentifier) -> Vec<u8> {
    sequence(&[&oid(algorithm), &[NULL, 0]])
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
