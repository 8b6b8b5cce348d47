//! What is read, what is built, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::{
    types::KeyAlgorithm,
    wire::{
        Unsigned, algorithm,
        x509::{
            CaConstraint, CertificateSpec,
            testing::{Authority, mutations},
        },
    },
};

const CA: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");
const EMPTY: &[u8] = include_bytes!("../../../fixtures/x509/empty.crl");
const ENTRIES: &[u8] = include_bytes!("../../../fixtures/x509/entries.crl");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn entry(serial: &str, reason: RevocationReason) -> CrlEntry {
    CrlEntry {
        serial: serial.parse().unwrap(),
        revoked_at: at("2026-01-03T00:00:00Z"),
        reason,
        invalidity_date: None,
    }
}

fn spec(ca: &Authority, number: u64) -> CrlSpec<'_> {
    let key = ca.certificate.subject_key_identifier().unwrap();
    let (this_update, next_update) = (at("2026-11-21T00:00:00Z"), at("2050-01-01T00:00:00Z"));
    CrlSpec::new(ca.certificate.subject(), key, number, this_update, next_update)
}

fn finish(ca: &Authority, spec: &CrlSpec<'_>, entries: &[Vec<u8>]) -> Vec<u8> {
    ca.key.finish(spec.unsigned(ca.key.algorithm(), entries.iter().map(Vec::as_slice)).unwrap())
}

fn build(ca: &Authority, entries: &[CrlEntry]) -> Vec<u8> {
    let entries: Vec<_> = entries.iter().map(CrlEntry::to_der).collect();
    finish(ca, &spec(ca, u64::MAX), &entries)
}

#[test]
fn reads_openssls_lists() {
    let ca = Certificate::from_der(CA).unwrap();
    let empty = Crl::from_der(EMPTY).unwrap();
    assert_eq!(empty.verify(&ca), Ok(()));
    assert_eq!((empty.number(), empty.entries()), (Some(0x1001), &[][..]));
    let crl = Crl::from_der(ENTRIES).unwrap();
    assert_eq!(crl.verify(&ca), Ok(()));
    assert_eq!(crl.as_der(), ENTRIES);
    assert_eq!(crl.issuer(), ca.subject());
    assert_eq!(crl.number(), Some(0x1002));
    assert_eq!(crl.authority_key_identifier(), ca.subject_key_identifier());
    assert!(crl.next_update().unwrap() > crl.this_update());
    let expected = [
        CrlEntry {
            revoked_at: at("2026-01-01T00:00:00Z"),
            invalidity_date: Some(at("2025-12-31T00:00:00Z")),
            ..entry("4f00ab", RevocationReason::KeyCompromise)
        },
        CrlEntry {
            revoked_at: at("2026-01-02T00:00:00Z"),
            ..entry("4f00ac", RevocationReason::CertificateHold)
        },
        entry("4f00ad", RevocationReason::Unspecified),
    ];
    assert_eq!(crl.entries(), expected);
}

#[test]
fn writes_entries_as_openssl_does() {
    for entry in Crl::from_der(ENTRIES).unwrap().entries() {
        let der = entry.to_der();
        assert!(ENTRIES.windows(der.len()).any(|window| window == der), "{entry:?}");
    }
}

#[test]
fn what_is_built_reads_back_and_verifies() {
    for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P384] {
        let ca = Authority::new(algorithm, "CN=CA,O=Lab");
        for count in [0, 1, 9, 500] {
            let entries: Vec<_> = (0..count)
                .map(|index| {
                    let reason = RevocationReason::ALL[index % 9];
                    let invalidity_date = (index % 2 == 1).then(|| at("2025-12-31T00:00:00Z"));
                    CrlEntry { invalidity_date, ..entry(&format!("{:x}", index + 1), reason) }
                })
                .collect();
            let crl = Crl::from_der(&build(&ca, &entries)).unwrap();
            assert_eq!(crl.verify(&ca.certificate), Ok(()));
            assert_eq!(crl.entries(), entries);
            assert_eq!(crl.number(), Some(u64::MAX));
            assert_eq!(crl.this_update(), at("2026-11-21T00:00:00Z"));
            assert_eq!(crl.next_update(), Some(at("2050-01-01T00:00:00Z")));
            assert_eq!(crl.authority_key_identifier(), ca.certificate.subject_key_identifier());
        }
    }
}

/// However many entries lie in a piece, the bytes are those of each part encoded by itself, also where a length gets another octet.
#[test]
fn one_buffer_has_the_bytes_of_its_parts() {
    for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P256] {
        let ca = Authority::new(algorithm, "CN=CA");
        let entry = |number: usize| entry(&format!("{number:x}"), RevocationReason::Superseded).to_der();
        for count in (0..8).chain(1_600..1_800) {
            let entries: Vec<_> = (1..=count).map(|number| entry(number + 0x8000)).collect();
            let unsigned =
                spec(&ca, 7).unsigned(ca.key.algorithm(), entries.iter().map(Vec::as_slice)).unwrap();
            let pieces: Vec<_> = entries.chunks(7).map(<[_]>::concat).collect();
            let in_pieces =
                spec(&ca, 7).unsigned(ca.key.algorithm(), pieces.iter().map(Vec::as_slice)).unwrap();
            let to_be_signed = unsigned.to_be_signed().to_vec();
            assert_eq!(in_pieces.to_be_signed(), to_be_signed);
            let signature = [0x5a; 256];
            let parts = [
                to_be_signed.as_slice(),
                &algorithm::signature_identifier(ca.key.algorithm()),
                &writer::bit_string(&signature),
            ];
            assert_eq!(in_pieces.finish(&signature).unwrap(), writer::sequence(&parts));
            let mut fields = Element::only(&to_be_signed).unwrap().open();
            let list = fields.nth(5).unwrap().unwrap();
            let expected = writer::sequence(&[&entries.concat()]);
            assert_eq!(list.encoding == expected, count > 0);
        }
    }
}

#[test]
fn lists_are_compared_in_whatever_pieces_they_lie() {
    let entries: Vec<_> =
        (1..400).map(|number| entry(&format!("{number:x}"), RevocationReason::Superseded).to_der()).collect();
    let list = |entries: &[Vec<u8>], piece: usize| {
        let mut list = EntryList::default();
        entries.chunks(piece).for_each(|some| list.push(some.concat().into(), some.len() as u64));
        list
    };
    let mut other = entries.clone();
    other[200] = entry("c9", RevocationReason::KeyCompromise).to_der();
    for [one, two] in [[1, 1], [1, 399], [7, 13], [399, 399]] {
        assert!(list(&entries, one).iter().same(list(&entries, two).iter()));
        assert!(!list(&entries, one).iter().same(list(&entries[1..], two).iter()));
        assert!(!list(&entries, one).iter().same(list(&entries[..398], two).iter()));
        assert!(!list(&entries, one).iter().same(list(&other, two).iter()));
        let (ours, theirs) = (list(&entries, one), list(&other, two));
        let (mut ours, mut theirs) = (ours.iter(), theirs.iter());
        ours.skip_common(&mut theirs);
        let left = ours.clone().count();
        assert_eq!(left, theirs.clone().count());
        assert!(left >= 199, "what differs is not passed over");
        assert!(one == 1 || left < 399, "and most of what does not is");
    }
}

#[test]
fn a_scan_sees_what_reading_keeps() {
    let ca = Certificate::from_der(CA).unwrap();
    let crl = Crl::from_der(ENTRIES).unwrap();
    let mut seen = Vec::new();
    let head = CrlHead::scan(ENTRIES, |entry| seen.push(entry)).unwrap();
    assert_eq!(seen, crl.entries());
    assert_eq!((head.number(), head.issuer()), (crl.number(), crl.issuer()));
    assert_eq!((head.this_update(), head.next_update()), (crl.this_update(), crl.next_update()));
    assert_eq!(head.authority_key_identifier(), crl.authority_key_identifier());
    assert_eq!(head.verify(ENTRIES, &ca), Ok(()));
    assert_eq!(head.verify(EMPTY, &ca), Err(BadSignature));
}

#[test]
fn verifies_only_under_the_issuer_that_may_sign() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let crl = Crl::from_der(&build(&ca, &[])).unwrap();
    let same_name = Authority::new(KeyAlgorithm::P256, "CN=CA");
    assert_eq!(crl.verify(&same_name.certificate), Err(BadSignature));

    let spec = ca.spec_for("CN=CA", ca.key.public_key());
    let other_case = ca.key.issue(&CertificateSpec { subject: "CN=ca".parse().unwrap(), ..spec.clone() });
    assert_eq!(crl.verify(&other_case), Err(BadSignature), "the issuer is compared byte for byte");
    let no_crl_sign = CertificateSpec {
        ca: Some(CaConstraint { path_len: None }),
        key_usage: KeyUsage::KEY_CERT_SIGN,
        ..spec
    };
    assert_eq!(crl.verify(&ca.key.issue(&no_crl_sign)), Err(BadSignature));
}

#[test]
fn refuses_lists_whose_scope_is_not_understood() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let partition = extension(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT, true, &writer::sequence(&[]));
    let to_be_signed = writer::sequence(&[
        &writer::unsigned(1),
        &algorithm::signature_identifier(ca.key.algorithm()),
        ca.certificate.subject().as_der(),
        &writer::time(at("2026-11-21T00:00:00Z")),
        &writer::element(context(0), &[&writer::sequence(&[&partition])]),
    ]);
    let der = ca.key.finish(Unsigned::signed(to_be_signed, ca.key.algorithm()));
    assert!(Crl::from_der(&der).unwrap_err().reason.contains("critical"));
    let urls = ["http://a/crl/ca/16/3.crl".to_owned()];
    for scoped in [
        CrlSpec { base_number: Some(4), ..spec(&ca, 5) },
        CrlSpec { distribution_point: &urls, ..spec(&ca, 5) },
    ] {
        let der = finish(&ca, &scoped, &[]);
        assert!(Crl::from_der(&der).unwrap_err().reason.contains("critical"));
    }
}

#[test]
fn truncations_and_changed_bytes_are_answered() {
    let ca = Certificate::from_der(CA).unwrap();
    let forged = mutations(ENTRIES)
        .filter(|der| der != ENTRIES)
        .filter_map(|der| Crl::from_der(&der).ok())
        .any(|crl| crl.verify(&ca).is_ok());
    assert!(!forged);
}

#[test]
fn a_partition_is_read_for_its_own_url_only() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let urls = ["http://a/crl/ca/16/3.crl", "http://b/crl/ca/16/3.crl"].map(str::to_owned);
    let held = entry("13", RevocationReason::CertificateHold);
    let spec = CrlSpec { distribution_point: &urls, ..spec(&ca, 7) };
    let der = finish(&ca, &spec, &[held.to_der()]);
    for url in &urls {
        let crl = Crl::of_partition(&der, url).unwrap();
        assert_eq!(crl.verify(&ca.certificate), Ok(()));
        assert_eq!(crl.head().distribution_point(), Some(&urls[..]));
        assert_eq!(crl.entries(), std::slice::from_ref(&held));
    }
    Crl::of_partition(&der, "http://a/crl/ca/16/4.crl").unwrap_err();
    Crl::of_partition(&build(&ca, &[]), "http://a/crl/ca/16/3.crl").unwrap_err();
}

#[test]
fn a_full_crl_says_where_its_delta_is_and_what_expired_entries_it_keeps() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let freshest = ["http://a/crl/ca-delta.crl".to_owned()];
    let since = at("2025-11-21T00:00:00Z");
    let spec = CrlSpec { expired_since: Some(since), freshest: &freshest, ..spec(&ca, 7) };
    let crl = Crl::from_der(&finish(&ca, &spec, &[])).unwrap();
    assert_eq!(crl.head().expired_since(), Some(since));
    assert_eq!(crl.head().freshest(), freshest);
    assert_eq!((crl.head().base_number(), crl.head().distribution_point()), (None, None));
}

#[test]
fn a_delta_changes_the_full_crl_that_it_names() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let revoked = |serial| entry(serial, RevocationReason::Superseded);
    let hold = |serial| entry(serial, RevocationReason::CertificateHold);
    let base = [revoked("01"), hold("02"), hold("03")];
    let of = |number, entries: &[CrlEntry]| {
        let entries: Vec<_> = entries.iter().map(CrlEntry::to_der).collect();
        Crl::from_der(&finish(&ca, &spec(&ca, number), &entries)).unwrap()
    };
    let changes = [
        DeltaEntry::Removed { serial: "02".parse().unwrap(), since: at("2026-11-21T00:00:00Z") },
        DeltaEntry::Listed(entry("03", RevocationReason::KeyCompromise)),
        DeltaEntry::Removed { serial: "04".parse().unwrap(), since: at("2026-11-21T00:00:00Z") },
        DeltaEntry::Listed(revoked("05")),
    ];
    let encoded: Vec<_> = changes.iter().map(DeltaEntry::to_der).collect();
    let der = finish(&ca, &CrlSpec { base_number: Some(7), ..spec(&ca, 9) }, &encoded);
    let delta = DeltaCrl::from_der(&der).unwrap();
    assert_eq!(delta.verify(&ca.certificate), Ok(()));
    assert_eq!(delta.entries(), changes);
    assert_eq!((delta.head().number(), delta.head().base_number()), (Some(9), Some(7)));

    let now: Vec<_> = delta.applied_to(&of(7, &base)).unwrap().into_values().collect();
    assert_eq!(now, [revoked("01"), entry("03", RevocationReason::KeyCompromise), revoked("05")]);
    delta.applied_to(&of(8, &base)).unwrap();
    assert_eq!(delta.applied_to(&of(6, &base)), Err(Unrelated), "older than what the delta starts from");
    assert_eq!(delta.applied_to(&of(10, &base)), Err(Unrelated), "newer than the delta");
    let other = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let others = Crl::from_der(&finish(&other, &spec(&other, 7), &[])).unwrap();
    assert_eq!(delta.applied_to(&others), Err(Unrelated));
    DeltaCrl::from_der(of(7, &base).as_der()).unwrap_err();
    // What is removed is removed in a delta alone (RFC 5280 §5.3.1).
    let error = Crl::from_der(&finish(&ca, &spec(&ca, 9), &encoded)).unwrap_err().to_string();
    assert!(error.contains("removeFromCRL") && error.contains("a full CRL"), "{error}");
}

#[test]
fn entries_are_compared_where_they_lie() {
    let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
    let all: Vec<_> = ["01", "80", "ff", "0100", "8000", "4f000000000000000000000000000001"]
        .map(|serial| entry(serial, RevocationReason::CertificateHold))
        .into();
    let der = build(&ca, &all);
    let seen: Vec<_> = EncodedEntries::of(&der).unwrap().collect();
    assert!(seen.is_sorted_by(|a, b| a.order() < b.order()));
    for (seen, entry) in seen.iter().zip(&all) {
        assert_eq!(seen.der, entry.to_der());
        assert_eq!(
            (seen.magnitude(), seen.serial().unwrap()),
            (entry.serial.as_bytes(), entry.serial.clone())
        );
        assert_eq!(EncodedEntry::of(seen.der).unwrap(), *seen);
    }
    assert_eq!(seen.len(), all.len());
    assert_eq!(EncodedEntries::of(&build(&ca, &[])).unwrap().count(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Crl::from_der(&bytes);
        let _ = Crl::from_der(&writer::sequence(&[&bytes]));
        let _ = DeltaCrl::from_der(&bytes);
        let _ = EncodedEntry::of(&bytes);
    }
}
