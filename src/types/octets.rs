//! Octet strings in records, for `#[serde(with = "octets")]`: written and read as one run of bytes.
//!
//! Without it serde takes a `Vec<u8>` apart, byte by byte; a certificate has a thousand of them, a large CRL fifty million. The bytes in
//! the store are the same either way: a length, then the octets.

use std::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// Writes.
pub fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(octets)
}

/// Reads.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(Octets)
}

struct Octets;

impl<'de> Visitor<'de> for Octets {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("octets")
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Vec<u8>, E> {
        Ok(octets.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, octets: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(octets)
    }

    /// Of formats that know no octets, as JSON.
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u8>, A::Error> {
        let mut octets = Vec::new();
        while let Some(octet) = sequence.next_element()? {
            octets.push(octet);
        }
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole(#[serde(with = "super")] Vec<u8>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Apart(Vec<u8>);

    #[test]
    fn the_bytes_are_those_of_a_sequence() {
        for length in [0, 1, 127, 128, 1_000] {
            let octets: Vec<u8> = (0..length).map(|number: u32| number.to_le_bytes()[0]).collect();
            let written = postcard::to_allocvec(&Whole(octets.clone())).unwrap();
            assert_eq!(written, postcard::to_allocvec(&Apart(octets.clone())).unwrap());
            assert_eq!(postcard::from_bytes::<Whole>(&written), Ok(Whole(octets.clone())));
            let text = serde_json::to_string(&Whole(octets.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Whole>(&text).unwrap(), Whole(octets));
        }
    }
}
