//! Keys whose bytes sort as the values do.
//!
//! Numbers are big-endian; a serial number is its length and its magnitude, so that numeric order holds; a text that is
//! followed by something ends with a zero byte, which no identifier contains and which sorts before every character.

use std::ops::Bound;

use super::table::Table;
use crate::{
    domain::{
        binding::BoundObject,
        certificate::Purpose,
        device::IdentityKind,
        status::{CauseKey, CauseKind},
        timer::{Timer, TimerSubject},
    },
    types::{CertificateId, DeviceId, IssuerId, SerialNumber, SourceId, UserId},
};

/// A range of keys.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A key under construction.
#[derive(Default)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Appends a byte.
    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// Appends bytes of a fixed length, or the last part of a key.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a text and its end.
    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).byte(0)
    }

    /// Appends a number.
    pub(super) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a serial number.
    pub(super) fn serial(self, serial: &SerialNumber) -> Self {
        let magnitude = serial.as_bytes();
        // A SerialNumber has at most 32 bytes.
        self.byte(u8::try_from(magnitude.len()).unwrap_or(u8::MAX)).bytes(magnitude)
    }

    /// The finished key.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A number as a key.
pub(super) fn number(number: u64) -> Vec<u8> {
    Key::default().number(number).done()
}

/// The number that a key starts with.
pub(super) fn read_number(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Issuer and serial.
pub(super) fn certificate(id: &CertificateId) -> Vec<u8> {
    certificate_of(&id.issuer, &id.serial)
}

/// Issuer and serial.
fn certificate_of(issuer: &IssuerId, serial: &SerialNumber) -> Vec<u8> {
    Key::default().text(issuer.as_str()).serial(serial).done()
}

/// Reads [`certificate`], with or without something after it.
pub(super) fn read_certificate(key: &[u8]) -> Option<CertificateId> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (issuer, rest) = key.split_at_checked(end)?;
    let (length, magnitude) = rest.get(1..)?.split_first()?;
    let serial = SerialNumber::from_magnitude(magnitude.get(..usize::from(*length))?).ok()?;
    Some(CertificateId { issuer: std::str::from_utf8(issuer).ok()?.parse().ok()?, serial })
}

/// The keys of a certificate's causes start with [`certificate`].
pub(super) fn cause(id: &CertificateId, key: &CauseKey) -> Vec<u8> {
    Key(certificate(id)).byte(cause_kind(key.kind)).bytes(key.reference.as_bytes()).done()
}

/// In the order of [`CauseKind`]; part of the file format.
const fn cause_kind(kind: CauseKind) -> u8 {
    match kind {
        CauseKind::Manual => 0,
        CauseKind::DeviceLifecycle => 1,
        CauseKind::DeviceCondition => 2,
        CauseKind::UserState => 3,
        CauseKind::Superseded => 4,
        CauseKind::Issuer => 5,
        CauseKind::Voucher => 6,
    }
}

/// When, and what about.
pub(super) fn timer(timer: &Timer) -> Vec<u8> {
    let key = Key::default().number(timer.at.unix());
    match &timer.subject {
        TimerSubject::TicketEnds { device } => key.byte(0).bytes(device.as_str().as_bytes()),
        TimerSubject::OverlapEnds { successor } => key.byte(1).bytes(&certificate(successor)),
        TimerSubject::CutOver { successor } => key.byte(2).bytes(successor.as_str().as_bytes()),
    }
    .done()
}

/// Keys that start with a number up to this one.
pub(super) fn up_to(number: u64) -> KeyRange {
    (Bound::Unbounded, end_of(&self::number(number)))
}

/// The keys of a device's tickets start with this.
pub(super) fn tickets_of(device: &DeviceId) -> Vec<u8> {
    Key::default().text(device.as_str()).done()
}

/// A binding's object. No object's key is the beginning of another's.
pub(super) fn object(object: &BoundObject) -> Vec<u8> {
    match object {
        BoundObject::Device { id, generation } => {
            Key::default().byte(0).text(id.as_str()).number(u64::from(*generation)).done()
        }
        BoundObject::User { id } => Key::default().byte(1).text(id.as_str()).done(),
    }
}

/// The keys of an issuer's system certificates for one purpose start with this.
pub(super) fn system_certificates(purpose: Purpose, issuer: &IssuerId) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::Leaf => 0,
        Purpose::Issuer => 1,
        Purpose::ScepMessage => 2,
        Purpose::OcspSigner => 3,
        Purpose::ServerTls => 4,
        Purpose::Imported => 5,
        Purpose::TrustedResponder => 6,
    };
    Key::default().byte(purpose).text(issuer.as_str()).done()
}

/// Kind and value of a device's identity.
pub(super) fn identity(kind: IdentityKind, value: &str) -> Vec<u8> {
    let kind = match kind {
        IdentityKind::Serial => 0,
        IdentityKind::Udid => 1,
        IdentityKind::Uuid => 2,
        IdentityKind::Imei => 3,
        IdentityKind::Imsi => 4,
        IdentityKind::Mac => 5,
        IdentityKind::ClientId => 6,
    };
    Key::default().byte(kind).bytes(value.as_bytes()).done()
}

/// The keys of a user's devices start with this.
pub(super) fn user(id: &UserId) -> Vec<u8> {
    Key::default().text(id.as_str()).done()
}

/// The keys of a source's members start with this.
pub(super) fn source(id: &SourceId) -> Vec<u8> {
    Key::default().text(id.as_str()).done()
}

/// Every key.
pub(super) const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// Keys that start with `prefix`.
pub(super) fn starting_with(prefix: &[u8]) -> KeyRange {
    (Bound::Included(prefix.to_vec()), end_of(prefix))
}

/// Keys after the last of the previous page.
pub(super) fn after(key: Option<Vec<u8>>) -> KeyRange {
    (key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Keys after all that start with `prefix`.
pub(super) fn beyond(prefix: &[u8]) -> KeyRange {
    let start = match end_of(prefix) {
        Bound::Excluded(end) => Bound::Included(end),
        // Nothing sorts after a prefix of 0xff bytes.
        _ => Bound::Excluded(vec![u8::MAX; 1 + prefix.len()]),
    };
    (start, Bound::Unbounded)
}

/// The least key after all that start with `prefix`.
fn end_of(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// A key for people: as the record's own id where that can be read, else with what is not printable escaped.
pub(super) fn describe(table: Table, key: &[u8]) -> String {
    let known = match table {
        Table::Certificates | Table::CertificatesBySuperseded | Table::Bindings | Table::Causes => {
            read_certificate(key).map(|id| id.to_string())
        }
        Table::CertificateRecords | Table::Jobs | Table::Audit | Table::EnrolmentsPending | Table::Timers => {
            read_number(key).map(|number| number.to_string())
        }
        Table::CertificatesByFingerprint | Table::TicketsByMac | Table::TokensByMac => Some(hex::encode(key)),
        _ => None,
    };
    known.unwrap_or_else(|| key.escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> CertificateId {
        text.parse().unwrap()
    }

    #[test]
    fn certificate_keys_sort_as_their_ids() {
        let mut ids = ["b/01", "a/0100", "a/ff", "a-b/01", "a/01", "aa/01"].map(id);
        let mut keys = ids.clone().map(|id| certificate(&id));
        ids.sort();
        keys.sort();
        assert_eq!(keys.map(|key| read_certificate(&key).unwrap()), ids);
    }

    #[test]
    fn a_prefix_holds_its_own_keys_only() {
        let inside =
            |range: &KeyRange, key: &[u8]| std::ops::RangeBounds::<Vec<u8>>::contains(range, &key.to_vec());
        let range = starting_with(&certificate(&id("a/01")));
        let cause_key = CauseKey { kind: CauseKind::Superseded, reference: "x".to_owned() };
        assert!(inside(&range, &cause(&id("a/01"), &cause_key)));
        assert!(!inside(&range, &cause(&id("a/0100"), &cause_key)));
        assert!(inside(&starting_with(&[0xff, 0xff]), &[0xff, 0xff, 0xff]));
        assert!(!inside(&beyond(&[1, 0xff]), &[1, 0xff, 7]));
        assert!(inside(&beyond(&[1, 0xff]), &[2]));
    }

    #[test]
    fn broken_certificate_keys_are_no_ids() {
        for bad in [&b""[..], b"a", b"a\0", b"a\0\x02\x01", b"a\0\x01\x00", b"A\0\x01\x01"] {
            assert_eq!(read_certificate(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_described_as_people_know_them() {
        assert_eq!(describe(Table::Certificates, &certificate(&id("a/4f00ab"))), "a/4f00ab");
        assert_eq!(describe(Table::Jobs, &number(7)), "7");
        assert_eq!(describe(Table::Users, b"ada\x01"), "ada\\x01");
    }
}
