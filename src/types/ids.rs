//! Identifiers: one newtype each, one door, one textual form.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{IssuerId as Issuer, SerialNumber, Timestamp};

/// Text that is not an identifier of the named kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a valid {kind}: expected {expected}")]
pub struct IdError {
    kind: &'static str,
    found: String,
    expected: &'static str,
}

impl IdError {
    pub(crate) fn new(kind: &'static str, found: &str, expected: &'static str) -> Self {
        Self { kind, found: found.chars().take(80).collect(), expected }
    }
}

/// Defines a string identifier with its rule of validity.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The textual form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(s) { Ok(Self(s.to_owned())) } else { Err(IdError::new($kind, s, $expected)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(s: String) -> Result<Self, Self::Error> {
                s.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// Defines an identifier made of 16 random bytes, written as 32 hexadecimal digits.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        string_id!($(#[$doc])* $name, $kind, "32 lower-case hexadecimal digits", |s| {
            s.len() == 32 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });

        impl $name {
            /// An identifier from 16 random bytes.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(hex::encode(bytes))
            }
        }
    };
}

fn is_slug(s: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&s.len()) && s.bytes().all(ok) && !s.starts_with('-') && !s.ends_with('-')
}

/// What MDM servers and inventories use as a name of a device or user: no spaces, no path separators, no control characters.
fn is_object_name(s: &str) -> bool {
    (1..=128).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@+-".contains(&b))
        && !s.starts_with('-')
        && !s.starts_with('.')
}

string_id!(
    /// The name of an issuer; part of its URLs (`/crl/{issuer}.crl`).
    IssuerId, "issuer name", "1 to 63 lower-case letters, digits and inner hyphens", is_slug
);
string_id!(
    /// The name of a profile; part of its SCEP URL (`/scep/{profile}`).
    ProfileName, "profile name", "1 to 63 lower-case letters, digits and inner hyphens", is_slug
);
string_id!(
    /// The name of a device, chosen by whoever registers it (often its serial number).
    DeviceId, "device id", "1 to 128 letters, digits and . _ : @ + -, not starting with . or -", is_object_name
);
string_id!(
    /// The name of a user, usually the UPN or e-mail address.
    UserId, "user id", "1 to 128 letters, digits and . _ : @ + -, not starting with . or -", is_object_name
);
string_id!(
    /// The name of a source of devices; part of its URL (`/api/v1/sources/{source}`).
    SourceId, "source name", "1 to 63 lower-case letters, digits and inner hyphens", is_slug
);
string_id!(
    /// The name of a directory server that CRLs are published to, as the configuration calls it.
    DirectoryName, "directory name", "1 to 63 lower-case letters, digits and inner hyphens", is_slug
);
random_id!(
    /// A one-time challenge's handle. It is not the secret.
    TicketId, "ticket id"
);
random_id!(
    /// One enrolment transaction as certgate recorded it.
    EnrolmentId, "enrolment id"
);
random_id!(
    /// A private key in the keyring.
    KeyId, "key id"
);
random_id!(
    /// An API token's handle. It is not the secret.
    TokenId, "token id"
);
random_id!(
    /// One request from outside, the same in every log line it causes.
    RequestId, "request id"
);

impl RequestId {
    /// An identifier that sorts by arrival: five bytes of seconds since 1970, three of a count within the process, eight random
    /// ones, so that it cannot be guessed.
    pub fn from_arrival(at: Timestamp, count: u32, random: [u8; 8]) -> Self {
        Self(format!("{:010x}{:06x}{}", at.unix(), count & 0xff_ffff, hex::encode(random)))
    }
}

impl EnrolmentId {
    /// The least id of a request of this second or later.
    pub fn first_of(at: Timestamp) -> Self {
        Self(format!("{:010x}{}", at.unix(), "0".repeat(22)))
    }
}

impl From<&RequestId> for EnrolmentId {
    /// An enrolment bears the id of the request that began it: the same in the log, the audit record and the answer's header.
    fn from(request: &RequestId) -> Self {
        Self(request.0.clone())
    }
}

/// A certificate of one of our issuers: (issuer, serial), as in IssuerAndSerialNumber. Text: `issuer/serial`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CertificateId {
    /// Who issued it.
    pub issuer: Issuer,
    /// Its serial number, unique per issuer.
    pub serial: SerialNumber,
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.issuer, self.serial)
    }
}

impl FromStr for CertificateId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let error = || IdError::new("certificate id", s, "ISSUER/SERIAL with the serial in hexadecimal");
        let (issuer, serial) = s.split_once('/').ok_or_else(error)?;
        Ok(Self { issuer: issuer.parse()?, serial: serial.parse().map_err(|_| error())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_safe_in_urls() {
        for good in ["a", "device", "wifi-2", "0"] {
            assert!(good.parse::<ProfileName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "a b", "ü", "..", &"x".repeat(64)] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn device_ids_hold_no_path_and_no_option() {
        for good in ["SN123", "ada@lab.example", "02:00:5e:10", "x.y"] {
            assert!(good.parse::<DeviceId>().is_ok(), "{good}");
        }
        for bad in ["", "../x", "a/b", "-rf", "a b", "a\n"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_sort_by_arrival() {
        let id = |at, count, random| RequestId::from_arrival(Timestamp::from_unix(at), count, [random; 8]);
        let ids = [id(7, 9, 9), id(0x01_0000_0000, 1, 9), id(0x01_0000_0000, 2, 0), id(0x01_0000_0001, 0, 0)];
        assert!(ids.is_sorted());
        assert_eq!(ids[1].as_str(), "0100000000000001".to_owned() + &"09".repeat(8));
    }

    #[test]
    fn certificate_id_reads_its_own_text() {
        let id: CertificateId = "issuing/4f00ab".parse().unwrap();
        assert_eq!(id.to_string(), "issuing/4f00ab");
        assert!("4f00ab".parse::<CertificateId>().is_err());
    }
}
