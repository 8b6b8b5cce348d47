//! Certificate serial numbers (RFC 5280 §4.1.2.2).

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest serial number that is read. RFC 5280 §4.1.2.2 allows 20 octets; SCEP clients put 32-byte serials into their
/// self-signed certificates (micromdm's scepclient), so the reader takes those too.
const MAX_LEN: usize = 32;

/// A positive certificate serial number. Text: lower-case hexadecimal with an even number of digits and no leading zero
/// byte. Ordered by value.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SerialNumber(Vec<u8>);

/// Bytes or text that are no serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// Zero and negative numbers are not serial numbers.
    #[error("a serial number must be positive")]
    NotPositive,
    /// More than 32 bytes.
    #[error("a serial number has at most {MAX_LEN} bytes")]
    TooLong,
    /// Not hexadecimal digits.
    #[error("a serial number is written in hexadecimal digits, optionally with colons or 0x in front")]
    NotHexadecimal,
}

impl SerialNumber {
    /// A fresh serial number with 126 random bits, always 16 bytes long and positive.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        // The first byte 01xxxxxx keeps the DER INTEGER at 16 bytes without a padding zero.
        bytes[0] = (bytes[0] & 0x3f) | 0x40;
        Self(bytes.to_vec())
    }

    /// 1, which sorts before all others.
    pub fn least() -> Self {
        Self(vec![1])
    }

    /// From the big-endian magnitude; leading zero bytes are dropped.
    pub fn from_magnitude(bytes: &[u8]) -> Result<Self, SerialError> {
        SerialRef::from_magnitude(bytes).map(Self::from)
    }

    /// From the content octets of a DER INTEGER (two's complement).
    pub fn from_der_integer(content: &[u8]) -> Result<Self, SerialError> {
        SerialRef::from_der_integer(content).map(Self::from)
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> SerialRef<'_> {
        SerialRef(&self.0)
    }

    /// The content octets of the DER INTEGER: the magnitude, with a zero byte in front where the top bit is set.
    pub fn to_der_integer(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.0.len() + 1);
        if self.0[0] & 0x80 != 0 {
            content.push(0);
        }
        content.extend_from_slice(&self.0);
        content
    }

    /// The big-endian magnitude without leading zero bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A serial number where it lies in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SerialRef<'a>(&'a [u8]);

impl<'a> SerialRef<'a> {
    fn from_magnitude(bytes: &'a [u8]) -> Result<Self, SerialError> {
        let start = bytes.iter().position(|b| *b != 0).ok_or(SerialError::NotPositive)?;
        let magnitude = &bytes[start..];
        if magnitude.len() > MAX_LEN { Err(SerialError::TooLong) } else { Ok(Self(magnitude)) }
    }

    /// As [`SerialNumber::from_der_integer`].
    pub fn from_der_integer(content: &'a [u8]) -> Result<Self, SerialError> {
        match content.first() {
            None => Err(SerialError::NotPositive),
            Some(first) if first & 0x80 != 0 => Err(SerialError::NotPositive),
            Some(_) => Self::from_magnitude(content),
        }
    }

    /// As [`SerialNumber::as_bytes`].
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl From<SerialRef<'_>> for SerialNumber {
    fn from(serial: SerialRef<'_>) -> Self {
        Self(serial.0.to_vec())
    }
}

impl Ord for SerialNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SerialNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SerialNumber {
    type Err = SerialError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let s = s.strip_prefix("0x").unwrap_or(s);
        let mut digits: String = s.chars().filter(|c| *c != ':').collect();
        if digits.len() % 2 == 1 {
            digits.insert(0, '0');
        }
        Self::from_magnitude(&hex::decode(digits).map_err(|_| SerialError::NotHexadecimal)?)
    }
}

impl TryFrom<String> for SerialNumber {
    type Error = SerialError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<SerialNumber> for String {
    fn from(serial: SerialNumber) -> Self {
        serial.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_numeric() {
        let small: SerialNumber = "ff".parse().unwrap();
        let large: SerialNumber = "0100".parse().unwrap();
        assert!(small < large);
    }

    #[test]
    fn text_takes_the_spellings_of_openssl_and_windows() {
        let serial: SerialNumber = "4f:00:ab".parse().unwrap();
        for spelling in ["4F00AB", "0x4f00ab", "004f00ab"] {
            assert_eq!(spelling.parse::<SerialNumber>().unwrap(), serial);
        }
        for bad in ["", "0", "00", "xyz", "-1"] {
            assert!(bad.parse::<SerialNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn der_content_keeps_the_sign() {
        let serial: SerialNumber = "80".parse().unwrap();
        assert_eq!(serial.to_der_integer(), [0x00, 0x80]);
        assert_eq!(SerialNumber::from_der_integer(&[0x00, 0x80]).unwrap(), serial);
        assert_eq!(SerialNumber::from_der_integer(&[0x80]), Err(SerialError::NotPositive));
    }

    #[test]
    fn random_serials_are_sixteen_bytes_and_positive() {
        for fill in [0x00, 0x7f, 0xff] {
            let serial = SerialNumber::from_random([fill; 16]);
            assert_eq!(serial.to_der_integer().len(), 16);
        }
    }
}
