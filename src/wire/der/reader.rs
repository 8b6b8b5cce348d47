//! A cursor over the elements of DER.
//!
//! It takes what X.690 §10.1 calls DER and nothing else: definite lengths in their shortest form. What comes in BER goes
//! through [`super::normalise()`] first.

use super::BerError;

/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// NULL.
pub(crate) const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// ENUMERATED.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// UTF8String.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// PrintableString.
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
/// IA5String.
pub(crate) const IA5_STRING: u8 = 0x16;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub(crate) const SET: u8 = 0x31;

/// The identifier octet of a constructed, context-specific element `[number]`.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The identifier octet of a primitive, context-specific element `[number]`.
pub(crate) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

/// The first octets of an element.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Header {
    /// First identifier octet: class, constructed bit and low tag number.
    pub(in crate::wire) tag: u8,
    /// Octets of the identifier.
    pub(in crate::wire) tag_len: usize,
    /// Octets of identifier and length.
    pub(in crate::wire) len: usize,
    /// Octets of the content; `None`: indefinite.
    pub(in crate::wire) content_len: Option<usize>,
    /// Whether the length has its shortest form.
    pub(in crate::wire) minimal: bool,
}

/// More subsequent identifier octets than any tag in use has.
const MAX_TAG_LEN: usize = 5;

impl Header {
    pub(in crate::wire) fn read(bytes: &[u8]) -> Result<Self, BerError> {
        let tag = *bytes.first().ok_or(BerError::Truncated)?;
        let tag_len = tag_len(bytes, tag)?;
        let first = *bytes.get(tag_len).ok_or(BerError::Truncated)?;
        let short = |content_len| Self { tag, tag_len, len: tag_len + 1, content_len, minimal: true };
        match first {
            0..0x80 => Ok(short(Some(usize::from(first)))),
            0x80 => Ok(short(None)),
            0xff => Err(BerError::Length),
            _ => {
                let len = tag_len + 1 + usize::from(first & 0x7f);
                let octets = bytes.get(tag_len + 1..len).ok_or(BerError::Truncated)?;
                let content_len = octets
                    .iter()
                    .try_fold(0_usize, |value, octet| Some(value.checked_mul(256)? | usize::from(*octet)));
                // A length that does not fit a usize reaches beyond any input.
                let content_len = content_len.ok_or(BerError::Truncated)?;
                let minimal = content_len >= 0x80 && octets.first() != Some(&0);
                Ok(Self { tag, tag_len, len, content_len: Some(content_len), minimal })
            }
        }
    }

    /// Whether the element consists of elements.
    pub(super) const fn is_constructed(self) -> bool {
        self.tag & 0x20 != 0
    }
}

fn tag_len(bytes: &[u8], tag: u8) -> Result<usize, BerError> {
    if tag & 0x1f != 0x1f {
        return Ok(1);
    }
    // X.690 §8.1.2.4.2 c: the first subsequent octet is not 0x80; numbers below 31 have the short form.
    let number = bytes.get(1..).unwrap_or_default();
    let last = number.iter().take(MAX_TAG_LEN).position(|octet| octet & 0x80 == 0);
    match (number.first(), last) {
        (None, _) => Err(BerError::Truncated),
        (Some(0x80), _) | (Some(..0x1f), Some(0)) => Err(BerError::Tag),
        (_, Some(last)) => Ok(last + 2),
        (_, None) if number.len() < MAX_TAG_LEN => Err(BerError::Truncated),
        (_, None) => Err(BerError::Tag),
    }
}

/// One element as it lies in the input. What its content means is read by the methods of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// The content octets.
    pub(crate) content: &'a [u8],
    /// Identifier, length and content.
    pub(crate) encoding: &'a [u8],
}

impl<'a> Element<'a> {
    /// The one element that `bytes` are.
    pub(crate) fn only(bytes: &'a [u8]) -> Result<Self, BerError> {
        let mut reader = Reader::new(bytes);
        let element = reader.any()?;
        reader.end()?;
        Ok(element)
    }

    /// The one element that `bytes` are, which must have the identifier octet `tag`.
    pub(crate) fn only_tagged(bytes: &'a [u8], tag: u8) -> Result<Self, BerError> {
        Self::only(bytes)?.tagged(tag)
    }

    /// This element, if it has the identifier octet `tag`.
    pub(crate) fn tagged(self, tag: u8) -> Result<Self, BerError> {
        if self.tag == tag { Ok(self) } else { Err(BerError::Unexpected { wanted: name(tag) }) }
    }

    /// A reader of the elements in the content.
    pub(crate) fn open(&self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// The one element in the content (EXPLICIT tagging).
    pub(crate) fn explicit(&self) -> Result<Element<'a>, BerError> {
        Element::only(self.content)
    }
}

/// A type by its identifier octet, for error texts.
fn name(tag: u8) -> &'static str {
    match tag {
        INTEGER => "INTEGER",
        OCTET_STRING => "OCTET STRING",
        OBJECT_IDENTIFIER => "OBJECT IDENTIFIER",
        ENUMERATED => "ENUMERATED",
        GENERALIZED_TIME => "GeneralizedTime",
        SEQUENCE => "SEQUENCE",
        SET => "SET",
        _ => "another tag",
    }
}

/// Reads one element after the other.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is. Tag numbers above 30, which nothing here has, are refused.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, BerError> {
        let header = Header::read(self.rest)?;
        if header.tag_len != 1 {
            return Err(BerError::Tag);
        }
        let content_len = header.content_len.filter(|_| header.minimal).ok_or(BerError::Length)?;
        let end = header.len.checked_add(content_len).ok_or(BerError::Truncated)?;
        let (encoding, rest) = self.rest.split_at_checked(end).ok_or(BerError::Truncated)?;
        self.rest = rest;
        Ok(Element { tag: header.tag, content: encoding.get(header.len..).unwrap_or_default(), encoding })
    }

    /// The next element, which must have the identifier octet `tag`; `wanted` says in an error what belongs here.
    pub(crate) fn expect(&mut self, tag: u8, wanted: &'static str) -> Result<Element<'a>, BerError> {
        self.optional(tag)?.ok_or(BerError::Unexpected { wanted })
    }

    /// The next element if it has the identifier octet `tag`.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, BerError> {
        if self.rest.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// Nothing may be left.
    pub(crate) const fn end(&self) -> Result<(), BerError> {
        if self.is_empty() { Ok(()) } else { Err(BerError::TrailingBytes) }
    }
}

/// The elements up to the end or the first error.
impl<'a> Iterator for Reader<'a> {
    type Item = Result<Element<'a>, BerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_empty() {
            return None;
        }
        let element = self.any();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_elements_in_order() {
        let mut reader = Reader::new(&[0x30, 3, 2, 1, 5, 4, 0]);
        let sequence = reader.expect(SEQUENCE, "SEQUENCE").unwrap();
        assert_eq!(sequence.open().expect(INTEGER, "INTEGER").unwrap().content, [5]);
        assert_eq!(reader.optional(INTEGER), Ok(None));
        assert_eq!(reader.any().unwrap().encoding, [4, 0]);
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(reader.any(), Err(BerError::Truncated));
    }

    #[test]
    fn rejects_content_beyond_the_end() {
        assert_eq!(Reader::new(&[4, 2, 0]).any(), Err(BerError::Truncated));
        assert_eq!(
            Reader::new(&[4, 0x88, 255, 255, 255, 255, 255, 255, 255, 255]).any(),
            Err(BerError::Truncated)
        );
        assert_eq!(Reader::new(&[4, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0]).any(), Err(BerError::Truncated));
    }

    #[test]
    fn rejects_what_der_forbids() {
        for (bad, error) in [
            (&[0x30][..], BerError::Truncated),
            (&[0x30, 0x80, 0, 0], BerError::Length),
            (&[0x30, 0x81, 0x01, 0x00], BerError::Length),
            (&[0x30, 0x82, 0x00, 0x81], BerError::Length),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], BerError::Truncated),
            (&[0x3f, 0x1f, 0x00], BerError::Tag),
            (&[0x1f, 0x01, 0x00], BerError::Tag),
            (&[0x04, 0x01, 0x00, 0x00], BerError::TrailingBytes),
        ] {
            assert_eq!(Element::only(bad), Err(error), "{bad:02x?}");
        }
    }

    #[test]
    fn an_unexpected_tag_is_named() {
        let wanted = "SEQUENCE";
        assert_eq!(Element::only_tagged(&[5, 0], SEQUENCE), Err(BerError::Unexpected { wanted }));
    }

    #[test]
    fn iteration_ends_at_the_first_error() {
        let results: Vec<_> = Reader::new(&[5, 0, 4, 9, 5, 0]).collect();
        assert_eq!(results.len(), 2);
        assert!(results[1].is_err());
    }
}
