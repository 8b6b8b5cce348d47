//! The request in the path of a GET (RFC 6960 A.1.1), and what proxies make of it.

use super::{
    plain,
    request::{MAX_LEN, OcspRequest},
};
use crate::wire::{base64, der::BerError};

/// Longest path: every character of the base64 form of the largest request percent-encoded.
const MAX_PATH_LEN: usize = MAX_LEN * 4;

/// Most slashes that a proxy may have merged into others.
const MAX_MERGED: usize = 2;

/// Longest text whose slashes are repaired, and most slashes in it: repair tries them all. Requests of 255 bytes and more
/// come by POST (RFC 9919 §6).
const MAX_REPAIRED_LEN: usize = 1024;
const MAX_REPAIRED_SLASHES: usize = 32;

/// Where [`PlainRequest::decode_get`](super::PlainRequest::decode_get) puts what it decodes.
#[derive(Debug)]
pub struct GetBuffer {
    digits: [u8; plain::MAX_LEN / 3 * 4],
    der: [u8; plain::MAX_LEN],
}

impl Default for GetBuffer {
    fn default() -> Self {
        Self { digits: [0; _], der: [0; _] }
    }
}

/// What [`decode`] gives, for a path that needs no repair and is not longer than that of a plain request.
pub(super) fn decode_plain<'b>(path: &str, buffer: &'b mut GetBuffer) -> Option<&'b [u8]> {
    let digits = base64::digits_into(path.trim_start_matches('/'), &mut buffer.digits)?;
    let der = base64::decode_digits_into(digits, &mut buffer.der)?;
    (der_len(der) == Some(der.len())).then_some(der)
}

pub(super) fn decode(path: &str) -> Result<Vec<u8>, BerError> {
    if path.len() > MAX_PATH_LEN {
        return Err("GET path too long".into());
    }
    let digits = base64::digits(path);
    // DER never starts with `/`.
    let text = digits.trim_start_matches('/');
    let expected = expected_len(text).ok_or("GET path is not base64 of DER")?;
    if text.len() == expected {
        return base64::decode_digits(text).ok_or("GET path is not base64".into());
    }
    if text.len() > MAX_REPAIRED_LEN || text.matches('/').count() > MAX_REPAIRED_SLASHES {
        return Err("GET path is not base64 of DER".into());
    }
    let repaired = if text.len() < expected {
        restore_slashes(text, expected - text.len())
    } else {
        drop_slashes(text, expected)
    };
    repaired.ok_or("GET path is not base64 of an OCSPRequest".into())
}

/// How many characters the request has without padding, from the length in its DER header.
fn expected_len(text: &str) -> Option<usize> {
    let head = base64::decode_digits(text.get(..8)?)?;
    der_len(&head).filter(|len| *len <= MAX_LEN).map(|len| (len * 4).div_ceil(3))
}

/// The length of a DER SEQUENCE that begins with `head`.
fn der_len(head: &[u8]) -> Option<usize> {
    match *head {
        [0x30, short, ..] if short < 0x80 => Some(2 + usize::from(short)),
        [0x30, 0x81, length, ..] => Some(3 + usize::from(length)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

/// Some proxies write `//` as `/`: puts `missing` slashes back beside others.
fn restore_slashes(text: &str, missing: usize) -> Option<Vec<u8>> {
    if missing == 0 {
        return base64::decode_digits(text).filter(|der| OcspRequest::from_der(der).is_ok());
    }
    if missing > MAX_MERGED {
        return None;
    }
    // Within a run of slashes each place gives the same text.
    text.match_indices('/').find_map(|(at, _)| {
        let (before, after) = text.split_at(at);
        let starts_run = !before.ends_with('/');
        starts_run.then(|| restore_slashes(&format!("{before}/{after}"), missing - 1))?
    })
}

/// Some intermediaries write `/` as `//`, all of them or some.
fn drop_slashes(text: &str, expected: usize) -> Option<Vec<u8>> {
    let all = text.replace("//", "/");
    let candidates = text.match_indices("//").map(|(at, _)| {
        let (before, after) = text.split_at(at);
        format!("{before}{}", after.get(1..).unwrap_or_default())
    });
    std::iter::once(all)
        .chain(candidates)
        .filter(|candidate| candidate.len() == expected)
        .filter_map(|candidate| base64::decode_digits(&candidate))
        .find(|der| OcspRequest::from_der(der).is_ok())
}
