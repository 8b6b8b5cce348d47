//! Base64 in a URL, as clients and what lies between make it: SCEP (RFC 8894 §4.1) and OCSP (RFC 6960 A.1.1) over GET.

use std::borrow::Cow;

use ::base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;

const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes `text`, which is as it stands in the URL. `None`: it is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    decode_digits(&digits(text))
}

/// Decodes what [`digits`] gave, or a part of it.
pub(super) fn decode_digits(digits: &str) -> Option<Vec<u8>> {
    STANDARD.decode(digits).ok()
}

/// [`decode_digits`] into `out`, which must have room for three bytes per four digits begun.
pub(super) fn decode_digits_into<'b>(digits: &[u8], out: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = STANDARD.decode_slice(digits, out).ok()?;
    out.get(..length)
}

/// The digits alone, in the standard alphabet: percent-decoded, without padding and line ends (Cisco IOS breaks the line
/// every 64 characters). `+` comes raw (iOS), or as the space that form decoding made of it.
///
/// What is clean already, the usual OCSP request, is not copied.
pub(super) fn digits(text: &str) -> Cow<'_, str> {
    let unpadded = text.trim_end_matches('=');
    if unpadded.bytes().all(is_digit) {
        return Cow::Borrowed(unpadded);
    }
    let once = percent_decoded(text);
    // Twice where an intermediary encoded the encoding (certmonger behind some proxies): base64 itself has no `%`.
    Cow::Owned(if once.contains('%') { percent_decoded(&once) } else { once })
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// [`digits`], written to `out`. `None`: there is no room for them, or what encoded them was encoded too.
pub(super) fn digits_into<'b>(text: &str, out: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut length = 0;
    for digit in percent_decode_str(text).filter_map(standard) {
        if digit == b'%' {
            return None;
        }
        *out.get_mut(length)? = digit;
        length += 1;
    }
    out.get(..length)
}

fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).filter_map(standard).map(char::from).collect()
}

/// A digit in the standard alphabet; none for what is not needed. Whatever is no digit stays in, so that decoding fails.
const fn standard(byte: u8) -> Option<u8> {
    match byte {
        b'-' | b' ' => Some(b'+'),
        b'_' => Some(b'/'),
        b'\r' | b'\n' | b'\t' | b'=' => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_client_decodes_alike() {
        let wanted = Some(vec![0xfb, 0xef, 0xff, 0x01]);
        for text in [
            "++//AQ==",
            "++//AQ",
            "  //AQ==",
            "--__AQ",
            "++//\nAQ==\r\n",
            "%2B%2B//AQ==",
            "%2B%2b%2F%2fAQ%3D%3D%0A",
            "%252B%252B//AQ%253D%253D",
        ] {
            assert_eq!(decode(text), wanted, "{text:?}");
        }
        assert_eq!(decode("++//A*"), None);
        assert_eq!(decode("++//é"), None);
    }
}
