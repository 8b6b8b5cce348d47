//! The request in the path of a GET (RFC 6960 A.1.1), and what proxies make of it.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;

use super::request::{MAX_LEN, OcspRequest};
use crate::wire::x509::tlv::Reason;

/// Longest path: every character of the base64 form of the largest request percent-encoded.
const MAX_PATH_LEN: usize = MAX_LEN * 4;

/// Most slashes that a proxy may have merged into others.
const MAX_MERGED: usize = 2;

/// Longest text whose slashes are repaired, and most slashes in it: repair tries them all. Requests of 255 bytes and more
/// come by POST (RFC 9919 §6).
const MAX_REPAIRED_LEN: usize = 1024;
const MAX_REPAIRED_SLASHES: usize = 32;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn decode(path: &str) -> Result<Vec<u8>, Reason> {
    if path.len() > MAX_PATH_LEN {
        return Err("GET path too long");
    }
    let text = standard_alphabet(&percent_decoded(path));
    let expected = expected_len(&text).ok_or("GET path is not base64 of DER")?;
    if text.len() == expected {
        return BASE64.decode(&text).map_err(|_| "GET path is not base64");
    }
    if text.len() > MAX_REPAIRED_LEN || text.matches('/').count() > MAX_REPAIRED_SLASHES {
        return Err("GET path is not base64 of DER");
    }
    let repaired = if text.len() < expected {
        restore_slashes(&text, expected - text.len())
    } else {
        drop_slashes(&text, expected)
    };
    repaired.ok_or("GET path is not base64 of an OCSPRequest")
}

/// Percent-decoded, twice where an intermediary encoded the encoding: base64 itself has no `%`.
fn percent_decoded(path: &str) -> Cow<'_, str> {
    let once = percent_decode_str(path).decode_utf8_lossy();
    if once.contains('%') { percent_decode_str(&once).decode_utf8_lossy().into_owned().into() } else { once }
}

/// The base64 characters alone, in the standard alphabet, without padding. DER never starts with `/`.
fn standard_alphabet(text: &str) -> String {
    let standard = |character| match character {
        // Form decoding turns `+` into a space.
        '-' | ' ' => '+',
        '_' => '/',
        other => other,
    };
    let without_ends = text.trim_matches(['\r', '\n']).trim_start_matches('/').trim_end_matches('=');
    without_ends.chars().filter(|character| !matches!(character, '\r' | '\n')).map(standard).collect()
}

/// How many characters the request has without padding, from the length in its DER header.
fn expected_len(text: &str) -> Option<usize> {
    let head = BASE64.decode(text.get(..8)?).ok()?;
    let len = match *head.as_slice() {
        [0x30, short, ..] if short < 0x80 => 2 + usize::from(short),
        [0x30, 0x81, length, ..] => 3 + usize::from(length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => return None,
    };
    (len <= MAX_LEN).then_some((len * 4).div_ceil(3))
}

/// Some proxies write `//` as `/`: puts `missing` slashes back beside others.
fn restore_slashes(text: &str, missing: usize) -> Option<Vec<u8>> {
    if missing == 0 {
        return BASE64.decode(text).ok().filter(|der| OcspRequest::from_der(der).is_ok());
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
        .filter_map(|candidate| BASE64.decode(candidate).ok())
        .find(|der| OcspRequest::from_der(der).is_ok())
}
