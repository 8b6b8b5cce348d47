//! What the content of an element says.

use const_oid::ObjectIdentifier;
use der::{
    Decode,
    asn1::{GeneralizedTime, UtcTime},
};

use super::{
    BerError,
    reader::{
        BIT_STRING, BOOLEAN, Element, GENERALIZED_TIME, IA5_STRING, OBJECT_IDENTIFIER, PRINTABLE_STRING,
        UTC_TIME, UTF8_STRING,
    },
};
use crate::types::Timestamp;

const NUMERIC_STRING: u8 = 0x12;
const T61_STRING: u8 = 0x14;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

impl<'a> Element<'a> {
    /// OBJECT IDENTIFIER.
    pub(crate) fn oid(&self) -> Result<ObjectIdentifier, BerError> {
        self.tagged(OBJECT_IDENTIFIER)?;
        ObjectIdentifier::from_bytes(self.content).map_err(|_| "unreadable object identifier".into())
    }

    /// BOOLEAN; every value but zero is TRUE.
    pub(crate) fn boolean(&self) -> Result<bool, BerError> {
        match (self.tag, self.content) {
            (BOOLEAN, [value]) => Ok(*value != 0),
            _ => Err("unreadable BOOLEAN".into()),
        }
    }

    /// The value of a small non-negative INTEGER or ENUMERATED.
    pub(crate) fn unsigned(&self) -> Result<u64, BerError> {
        match self.content {
            [] => Err("empty INTEGER".into()),
            [first, ..] if first & 0x80 != 0 => Err("negative INTEGER".into()),
            content if content.len() > 9 || (content.len() == 9 && content.first() != Some(&0)) => {
                Err("INTEGER out of range".into())
            }
            content => Ok(content.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        }
    }

    /// The bits of a BIT STRING without unused ones.
    pub(crate) fn bits(&self) -> Result<&'a [u8], BerError> {
        match (self.tag, self.content) {
            (BIT_STRING, [0, bits @ ..]) => Ok(bits),
            _ => Err("a BIT STRING of whole octets is expected".into()),
        }
    }

    /// UTCTime or GeneralizedTime. What was before 1970 is 1970: a device whose clock was never set dates its certificate so, west of
    /// Greenwich or an hour back.
    pub(crate) fn time(&self) -> Result<Timestamp, BerError> {
        if self.is_before_1970() {
            return Ok(Timestamp::EPOCH);
        }
        let time = match self.tag {
            UTC_TIME => UtcTime::from_der(self.encoding).map(|time| time.to_date_time()),
            GENERALIZED_TIME => GeneralizedTime::from_der(self.encoding).map(|time| time.to_date_time()),
            _ => return Err("neither UTCTime nor GeneralizedTime".into()),
        };
        time.map(Timestamp::from).map_err(|_| "unreadable time".into())
    }

    /// Whether it is a time of a year from 1950 on (UTCTime) or 0 on (GeneralizedTime) that is before 1970.
    fn is_before_1970(&self) -> bool {
        let (year, length) = match self.tag {
            UTC_TIME => (self.content.get(..2), 13),
            GENERALIZED_TIME => (self.content.get(..4), 15),
            _ => return false,
        };
        let (Some(year), Some((b'Z', digits))) = (year, self.content.split_last()) else { return false };
        let early = if self.tag == UTC_TIME { b"50".as_slice()..b"70" } else { b"0000".as_slice()..b"1970" };
        self.content.len() == length && digits.iter().all(u8::is_ascii_digit) && early.contains(&year)
    }

    /// The text of any of the string types of X.520, or nothing where the element is no readable string. Characters
    /// beyond a type's alphabet are taken as they are (`_` and `@` in PrintableString are common).
    pub(crate) fn text(&self) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::der::writer;

    #[test]
    fn integers_round_trip() {
        for value in [0, 1, 127, 128, 255, 256, u64::MAX >> 1, u64::MAX] {
            assert_eq!(Element::only(&writer::unsigned(value)).unwrap().unsigned(), Ok(value));
        }
        assert_eq!(writer::unsigned(0), [2, 1, 0]);
        assert_eq!(writer::unsigned(128), [2, 2, 0, 128]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        for (text, tag) in [("2049-12-31T23:59:59Z", UTC_TIME), ("2050-01-01T00:00:00Z", GENERALIZED_TIME)] {
            let at: Timestamp = text.parse().unwrap();
            let encoded = writer::time(at);
            assert_eq!(encoded[0], tag);
            assert_eq!(Element::only(&encoded).unwrap().time(), Ok(at));
        }
    }

    #[test]
    fn a_time_before_1970_is_1970() {
        let time = |tag, text: &[u8]| Element::only(&writer::element(tag, &[text])).unwrap().time();
        for text in [b"691231230000Z", b"500101000000Z"] {
            assert_eq!(time(UTC_TIME, text), Ok(Timestamp::EPOCH));
        }
        for text in [b"19691231230000Z", b"00010101000000Z"] {
            assert_eq!(time(GENERALIZED_TIME, text), Ok(Timestamp::EPOCH));
        }
        assert_eq!(time(UTC_TIME, b"700101000001Z"), Ok(Timestamp::from_unix(1)));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Ok("2049-12-31T23:59:59Z".parse().unwrap()));
        for text in [b"6912312300Z".as_slice(), b"69123123000xZ", b"69"] {
            assert!(time(UTC_TIME, text).is_err());
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
            let encoded = writer::element(tag, &[content]);
            assert_eq!(Element::only(&encoded).unwrap().text().as_deref(), Some("Zür"));
        }
        assert_eq!(Element::only(&[BMP_STRING, 1, 0]).unwrap().text(), None);
    }
}
