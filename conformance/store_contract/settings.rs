//! Issuers, keys, profiles, CRLs, tokens, audit record.

use certgate::{
    domain::{
        access::ApiToken,
        certificate::Purpose,
        crl::{CrlRecord, CrlScope, Partition},
        issuer::{ExternalIssuer, Issuer, OcspAuthority},
        profile::Profile,
    },
    ports::store::Store,
    types::Fingerprint,
};

use crate::samples::{
    at, conflicts, crl, external, fact, issuer, key, mac, profile, publication, read, system_certificate,
    token, write,
};

pub(crate) fn issuers_are_replaced_and_listed_by_name(store: &dyn Store) {
    let changed = Issuer { ocsp_urls: Vec::new(), ..issuer("b") };
    write(store, |tx| {
        tx.put_issuer(&issuer("b"))?;
        tx.put_issuer(&issuer("a"))
    });
    write(store, |tx| tx.put_issuer(&changed));
    assert_eq!(read(store, |view| view.issuers()), [issuer("a"), changed.clone()]);
    assert_eq!(read(store, |view| view.issuer(&changed.id)), Some(changed));
    assert_eq!(read(store, |view| view.issuer(&"c".parse().unwrap())), None);
}

pub(crate) fn external_issuers_share_the_names_of_issuers(store: &dyn Store) {
    let (first, second) = (external("old-a"), external("old-b"));
    write(store, |tx| {
        tx.put_issuer(&issuer("issuing"))?;
        tx.put_external_issuer(&second)?;
        tx.put_external_issuer(&first)
    });
    assert_eq!(read(store, |view| view.external_issuers()), [first.clone(), second]);
    assert_eq!(read(store, |view| view.issuers()), [issuer("issuing")]);
    let renewed = ExternalIssuer {
        certificate: vec![2],
        ocsp: OcspAuthority::Delegate,
        requested: None,
        ..first.clone()
    };
    write(store, |tx| tx.put_external_issuer(&renewed));
    assert_eq!(read(store, |view| view.external_issuer(&first.id)), Some(renewed));
    conflicts(store, |tx| tx.put_external_issuer(&external("issuing")));
    conflicts(store, |tx| tx.put_issuer(&issuer("old-a")));
}

pub(crate) fn a_key_is_inserted_once_and_removed(store: &dyn Store) {
    write(store, |tx| tx.insert_key(&key(1)));
    conflicts(store, |tx| tx.insert_key(&key(1)));
    assert_eq!(read(store, |view| view.key(&key(1).id)), Some(key(1)));
    assert_eq!(read(store, |view| view.key(&key(2).id)), None);
    for _ in 0..2 {
        write(store, |tx| tx.remove_key(&key(1).id));
        assert_eq!(read(store, |view| view.key(&key(1).id)), None);
    }
}

pub(crate) fn system_certificates_come_newest_first(store: &dyn Store) {
    let (old, new) = (system_certificate("issuing/01", 10), system_certificate("issuing/02", 20));
    let other = system_certificate("issuing-2/01", 30);
    write(store, |tx| {
        tx.insert_system_certificate(&new)?;
        tx.insert_system_certificate(&old)?;
        tx.insert_system_certificate(&other)
    });
    let issuer = "issuing".parse().unwrap();
    let found = |purpose| read(store, |view| view.system_certificates(purpose, &issuer));
    assert_eq!(found(Purpose::OcspSigner), [new, old]);
    assert_eq!(found(Purpose::ScepMessage), []);
    assert_eq!(read(store, |view| view.all_system_certificates()).len(), 3);
}

pub(crate) fn removing_a_system_certificate_removes_its_key(store: &dyn Store) {
    let certificate = system_certificate("issuing/01", 10);
    write(store, |tx| {
        tx.insert_key(&key(10))?;
        tx.insert_system_certificate(&certificate)
    });
    write(store, |tx| tx.remove_system_certificate(&certificate));
    assert_eq!(read(store, |view| view.all_system_certificates()), []);
    assert_eq!(read(store, |view| view.key(&certificate.key)), None);
    write(store, |tx| tx.remove_system_certificate(&certificate));
}

pub(crate) fn profile_versions_follow_each_other(store: &dyn Store) {
    conflicts(store, |tx| tx.insert_profile_version(&profile("device", 2)));
    write(store, |tx| tx.insert_profile_version(&profile("device", 1)));
    conflicts(store, |tx| tx.insert_profile_version(&profile("device", 1)));
    conflicts(store, |tx| tx.insert_profile_version(&profile("device", 3)));
    write(store, |tx| tx.insert_profile_version(&profile("device", 2)));
    let name = "device".parse().unwrap();
    assert_eq!(read(store, |view| view.profile_version(&name, 1)), Some(profile("device", 1)));
    assert_eq!(read(store, |view| view.profile_version(&name, 3)), None);
    assert_eq!(read(store, |view| view.profile(&name)), Some(profile("device", 2)));
}

pub(crate) fn the_newest_version_of_each_profile_is_listed(store: &dyn Store) {
    for version in 1..=300 {
        write(store, |tx| tx.insert_profile_version(&profile("a", version)));
    }
    write(store, |tx| {
        tx.insert_profile_version(&profile("b", 1))?;
        tx.insert_profile_version(&profile("a-b", 1))
    });
    let listed: Vec<Profile> = read(store, |view| view.profiles());
    assert_eq!(listed, [profile("a", 300), profile("a-b", 1), profile("b", 1)]);
}

pub(crate) fn the_crl_number_never_goes_back(store: &dyn Store) {
    write(store, |tx| tx.put_crl(&crl(7)));
    conflicts(store, |tx| tx.put_crl(&crl(7)));
    conflicts(store, |tx| tx.put_crl(&crl(6)));
    write(store, |tx| tx.put_crl(&crl(300)));
    let issuer = "issuing".parse().unwrap();
    assert_eq!(read(store, |view| view.latest_crl(&issuer, CrlScope::Full)), Some(crl(300)));
}

pub(crate) fn a_large_crl_is_there_once_all_of_it_is(store: &dyn Store) {
    let large = |number: u64, length: usize| {
        let mut der = vec![0; length];
        der.chunks_mut(1000)
            .zip((0..=u8::MAX).cycle())
            .for_each(|(some, byte)| some.fill(byte.wrapping_add(number.to_be_bytes()[7])));
        CrlRecord { der: der.into(), ..crl(number) }
    };
    let (issuer, full) = ("issuing".parse().unwrap(), CrlScope::Full);
    let latest = || read(store, |view| view.latest_crl(&issuer, full));
    let keep = |crl: &CrlRecord, from| write(store, |tx| tx.keep_crl(crl, from));
    let (first, second, small) = (large(7, 5_000_000), large(8, 4_000_000), large(9, 10));
    write(store, |tx| tx.put_crl(&crl(6)));
    write(store, |tx| tx.reserve_crl(&first));
    assert_eq!(read(store, |view| view.crl_mark(&issuer)).map(|mark| mark.number), Some(7));
    conflicts(store, |tx| tx.reserve_crl(&first));
    let mut kept = 0;
    while kept < first.der.len() {
        assert_eq!(latest().map(|crl| crl.is_published()), Some(false), "it is no CRL in part");
        let further = keep(&first, kept);
        assert!(further > kept);
        kept = further;
    }
    assert_eq!(latest(), Some(first.clone()));
    conflicts(store, |tx| tx.keep_crl(&first, 0).map(drop));

    // One that stays half done is in nobody's way.
    write(store, |tx| tx.reserve_crl(&second));
    keep(&second, 0);
    assert_eq!(latest().map(|crl| (crl.number, crl.is_published())), Some((8, false)));
    write(store, |tx| tx.put_crl(&small));
    assert_eq!(latest(), Some(small));
    conflicts(store, |tx| tx.keep_crl(&second, 0).map(drop));
}

pub(crate) fn each_scope_has_its_newest_crl_and_one_sequence_of_numbers(store: &dyn Store) {
    let partition = |index| CrlScope::Partition(Partition { of: 300, index });
    let of = |scope, number| CrlRecord { scope, ..crl(number) };
    let other = CrlRecord { issuer: "issuing-2".parse().unwrap(), ..crl(99) };
    write(store, |tx| {
        tx.put_crl(&of(CrlScope::Full, 1))?;
        tx.put_crl(&CrlRecord { base_number: Some(1), ..of(CrlScope::Delta, 2) })?;
        tx.put_crl(&of(partition(1), 2))?;
        tx.put_crl(&of(partition(256), 2))?;
        tx.put_crl(&other)
    });
    conflicts(store, |tx| tx.put_crl(&of(partition(256), 2)));
    let issuer = "issuing".parse().unwrap();
    let newest = |scope| read(store, |view| view.latest_crl(&issuer, scope));
    assert_eq!(newest(CrlScope::Full), Some(crl(1)));
    assert_eq!(newest(CrlScope::Delta).and_then(|delta| delta.base_number), Some(1));
    assert_eq!(newest(partition(1)), Some(of(partition(1), 2)));
    assert_eq!(newest(partition(2)), None);
    let highest = || read(store, |view| view.crl_mark(&issuer)).map(|mark| mark.number);
    assert_eq!(highest(), Some(2));
    write(store, |tx| tx.remove_crl(&issuer, CrlScope::Delta));
    write(store, |tx| tx.remove_crl(&issuer, partition(9)));
    assert!(newest(CrlScope::Delta).is_some_and(|delta| !delta.is_published()));
    assert_eq!(highest(), Some(2), "its number was used");
    assert_eq!(read(store, |view| view.crl_mark(&"root".parse().unwrap())), None);
    let marks = read(store, |view| view.crl_marks());
    let numbers: Vec<_> = marks.iter().map(|(issuer, mark)| (issuer.as_str(), mark.number)).collect();
    assert_eq!(
        numbers,
        [("issuing", 2), ("issuing-2", 99)],
        "nobody of whom the store has no record is left out"
    );
}

pub(crate) fn the_time_of_an_imported_crl_is_that_of_its_part(store: &dyn Store) {
    let (issuer, part) = ("old".parse().unwrap(), Fingerprint::of(b"http://old.example/1.crl"));
    let of = |part: Option<&Fingerprint>| read(store, |view| view.imported_crl(&issuer, part));
    assert_eq!((of(None), of(Some(&part))), (None, None));
    write(store, |tx| tx.put_imported_crl(&issuer, Some(&part), at(7)));
    assert_eq!((of(None), of(Some(&part))), (None, Some(at(7))));
    write(store, |tx| tx.put_imported_crl(&issuer, None, at(9)));
    write(store, |tx| tx.put_imported_crl(&issuer, Some(&part), at(8)));
    assert_eq!((of(None), of(Some(&part))), (Some(at(9)), Some(at(8))));
    assert_eq!(read(store, |view| view.imported_crl(&"other".parse().unwrap(), None)), None);
}

pub(crate) fn a_crl_of_any_length_comes_back_and_leaves_nothing_of_a_longer_one(store: &dyn Store) {
    let issuer = "issuing".parse().unwrap();
    let of = |number, length: usize| {
        let der: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        CrlRecord { der: der.into(), ..crl(number) }
    };
    for (number, length) in (1..).zip([0, 1, 262_143, 262_144, 262_145, 1_000_000, 300_000, 262_144, 5]) {
        write(store, |tx| tx.put_crl(&of(number, length)));
        let found = read(store, |view| view.latest_crl(&issuer, CrlScope::Full));
        assert!(found == Some(of(number, length)), "{length} bytes");
    }
}

pub(crate) fn a_token_is_found_by_its_present_mac(store: &dyn Store) {
    let changed = ApiToken { secret_mac: mac(9), ..token(1) };
    write(store, |tx| tx.put_token(&token(1)));
    write(store, |tx| tx.put_token(&changed));
    assert_eq!(read(store, |view| view.token_by_mac(&mac(1))), None);
    assert_eq!(read(store, |view| view.token_by_mac(&mac(9))), Some(changed.clone()));
    write(store, |tx| tx.remove_token(&changed.id));
    assert_eq!(read(store, |view| view.token_by_mac(&mac(9))), None);
    assert_eq!(read(store, |view| view.tokens()), []);
    write(store, |tx| tx.remove_token(&changed.id));
}

pub(crate) fn two_tokens_never_share_a_mac(store: &dyn Store) {
    write(store, |tx| tx.put_token(&token(1)));
    conflicts(store, |tx| tx.put_token(&ApiToken { secret_mac: mac(1), ..token(2) }));
    assert_eq!(read(store, |view| view.tokens()), [token(1)]);
}

pub(crate) fn the_audit_record_is_a_chain(store: &dyn Store) {
    assert_eq!(read(store, |view| view.last_audit_event()), None);
    write(store, |tx| {
        tx.append_audit(&fact("SN1"))?;
        tx.append_audit(&fact("SN2"))
    });
    write(store, |tx| tx.append_audit(&fact("SN3")));
    let events = read(store, |view| view.audit_events(0, 10));
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(events[0].previous, Fingerprint::from_bytes([0; 32]));
    assert_eq!(events[1].previous, events[0].hash());
    assert_eq!(events[2].previous, events[1].hash());
    assert_eq!(events[2].fact, fact("SN3"));
    assert_eq!(read(store, |view| view.last_audit_event()).as_ref(), events.last());
}

pub(crate) fn audit_events_are_paged_by_sequence(store: &dyn Store) {
    write(store, |tx| (0..300).try_for_each(|_| tx.append_audit(&fact("SN1"))));
    let page = read(store, |view| view.audit_events(255, 3));
    assert_eq!(page.iter().map(|event| event.sequence).collect::<Vec<_>>(), [256, 257, 258]);
    assert_eq!(read(store, |view| view.audit_events(300, 3)), []);
    assert_eq!(read(store, |view| view.audit_events(0, 0)), []);
}

pub(crate) fn what_a_directory_has_is_replaced_and_kept_apart(store: &dyn Store) {
    let of = |directory: &str, issuer: &str| {
        let (directory, issuer) = (directory.parse().unwrap(), issuer.parse().unwrap());
        read(store, |view| view.publication(&directory, &issuer))
    };
    let samples = [publication("a", "b-c", 1), publication("a-b", "c", 2), publication("a", "b-c", 3)];
    write(store, |tx| samples.iter().try_for_each(|it| tx.put_publication(it)));
    assert_eq!(of("a", "b-c").as_ref(), Some(&samples[2]));
    assert_eq!(of("a-b", "c").as_ref(), Some(&samples[1]));
    assert_eq!(of("a", "c"), None);
}
