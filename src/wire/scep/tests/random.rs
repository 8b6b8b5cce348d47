//! Random and randomly damaged input: never a panic, never something else than what was signed.

use proptest::prelude::*;

use super::*;

const FILES: [&str; 6] = [
    "scepclient-des.der",
    "scepclient-renewal.der",
    "strongswan-aes.der",
    "strongswan-3des.der",
    "certmonger-aes256.der",
    "micromdm-certrep.der",
];

fn damaged(files: &'static [&'static str]) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(files), any::<bool>(), damage).prop_map(|(file, ber, damage)| {
        let original = crate::wire::der::normalise(&fixture(file)).unwrap().into_owned();
        let original = if ber { as_ber(&original) } else { original };
        let mut bytes = original.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        (original, bytes)
    })
}

proptest! {
    #[test]
    fn noise_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(PkiMessage::from_ber(&bytes).is_err());
        prop_assert!(Envelope::from_ber(&bytes).is_err());
        prop_assert!(Degenerate::from_ber(&bytes).is_err());
        let _ = IssuerAndSubject::from_ber(&bytes);
        let _ = IssuerAndSerialNumber::from_ber(&bytes);
    }

    #[test]
    fn a_damaged_message_never_verifies_as_another((original, bytes) in damaged(&FILES)) {
        let Ok(message) = PkiMessage::from_ber(&bytes) else { return Ok(()) };
        let Ok(verified) = message.verify() else { return Ok(()) };
        let original = PkiMessage::from_ber(&original).unwrap().verify().unwrap();
        prop_assert_eq!(verified.message().transaction_id(), original.message().transaction_id());
        prop_assert_eq!(verified.message().message_type(), original.message().message_type());
        prop_assert_eq!(verified.message().sender_nonce(), original.message().sender_nonce());
        let key = |message: &VerifiedPki| message.signer().public_key().key_identifier();
        prop_assert_eq!(key(&verified), key(&original));
        prop_assert_eq!(format!("{:?}", verified.envelope()), format!("{:?}", original.envelope()));
    }

    #[test]
    fn a_damaged_envelope_is_an_error_or_does_not_open(
        (_, bytes) in damaged(&["openssl-ber.der", "openssl-oaep-sha256.der", "openssl-two-recipients.der"]),
    ) {
        if let Ok(envelope) = Envelope::from_ber(&bytes) {
            let _ = envelope.open(&Secret::new(vec![1; envelope.cipher.key_len()]));
            let _ = envelope.recipient_for(&message_ca());
        }
    }

    #[test]
    fn any_payload_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let message = PkiMessage::from_ber(&request(sealed(&payload))).unwrap();
        prop_assert_eq!(open(&message.verify().unwrap().envelope().unwrap()), payload);
    }
}
