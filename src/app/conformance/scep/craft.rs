//! Requests as a client makes them, and as no client should.

use const_oid::{ObjectIdentifier, db::rfc2985};

use crate::{
    app::{
        client::{
            key::ClientKey,
            scep::Requester,
            tree::{self, Node, place, set},
        },
        conformance::{Checked, Remark},
    },
    ports::Random,
    types::{ContentCipher, DigestAlgorithm, KeyTransport, Secret, SignatureAlgorithm, TransactionId},
    wire::{
        Unsigned,
        cms::signed::{SignedDataSpec, attribute},
        csr::CsrSpec,
        der::{
            reader::{BOOLEAN, PRINTABLE_STRING},
            writer,
        },
        scep::{EnvelopeRandom, MESSAGE_TYPE, SENDER_NONCE, TRANSACTION_ID, seal},
        x509::{Certificate, Name},
    },
};

/// For `map_err`: a message that could not be made is no fault of the server.
pub(super) fn cannot_make<E: std::fmt::Display>(error: E) -> Remark {
    Remark::skipped(format_args!("the message could not be made: {error}"))
}

/// A pkiMessage but for its content.
#[derive(Clone, Debug)]
pub(super) struct Draft<'a> {
    /// Decimal messageType, known or not.
    pub(super) message_type: &'a str,
    pub(super) transaction: &'a TransactionId,
    pub(super) nonce: [u8; 16],
    pub(super) digest: DigestAlgorithm,
}

impl Draft<'_> {
    /// The message, signed by `requester`, around `content`.
    pub(super) fn sign(&self, requester: Requester<'_>, content: &[u8]) -> Checked<Vec<u8>> {
        let printable = |text: &str| writer::element(PRINTABLE_STRING, &[text.as_bytes()]);
        let attributes = vec![
            attribute(MESSAGE_TYPE, &printable(self.message_type)),
            attribute(TRANSACTION_ID, &printable(self.transaction.as_str())),
            attribute(SENDER_NONCE, &writer::octets(&self.nonce)),
        ];
        SignedDataSpec { content: Some(content), signer: requester.certificate, digest: self.digest }
            .unsigned(attributes, SignatureAlgorithm::RsaPkcs1(self.digest))
            .map_err(cannot_make)
            .and_then(|unsigned| requester.key.finish(unsigned).map_err(cannot_make))
    }
}

/// An EnvelopedData for `recipient`.
pub(super) fn envelope(
    random: &dyn Random,
    recipient: &Certificate,
    payload: &[u8],
    cipher: ContentCipher,
    transport: KeyTransport,
) -> Checked<Vec<u8>> {
    let mut content_key = vec![0; cipher.key_len()];
    random.fill(&mut content_key);
    let randomness = EnvelopeRandom { content_key: Secret::new(content_key), iv: random.bytes() };
    seal(payload, recipient, cipher, transport, &randomness).map_err(cannot_make)
}

/// An EnvelopedData under single DES, which certgate's writer refuses to make (RFC 8894 §2.9).
pub(super) fn des_envelope(random: &dyn Random, recipient: &Certificate, payload: &[u8]) -> Checked<Vec<u8>> {
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
    const DES_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.7");
    let (key, iv) = (random.bytes::<8>(), random.bytes::<8>());
    let ciphertext = cbc::Encryptor::<des::Des>::new_from_slices(&key, &iv)
        .map_err(cannot_make)?
        .encrypt_padded_vec::<Pkcs7>(payload);
    let wrapped = recipient.public_key().encrypt(KeyTransport::Pkcs1, &key).map_err(cannot_make)?;
    let model = envelope(random, recipient, payload, ContentCipher::TripleDesCbc, KeyTransport::Pkcs1)?;
    changed(&model, |tree| {
        set(tree, place::CIPHER_OID, DES_CBC.as_bytes())?;
        set(tree, place::IV, &iv)?;
        set(tree, place::CIPHERTEXT, &ciphertext)?;
        set(tree, place::ENCRYPTED_KEY, &wrapped)
    })
}

/// `der` with a change made to it.
pub(super) fn changed(der: &[u8], change: impl FnOnce(&mut Node) -> Option<()>) -> Checked<Vec<u8>> {
    tree::changed(der, change).map_err(cannot_make)
}

/// Flips a bit in the primitive element at `path`, `from_end` octets from its end.
pub(super) fn flip(tree: &mut Node, path: &[usize], from_end: usize) -> Option<()> {
    let content = tree.at(path)?.content()?;
    let at = content.len().checked_sub(from_end)?;
    *content.get_mut(at)? ^= 0x40;
    Some(())
}

/// `message` with its signed attributes in another order than DER's, signed in that order, as old signers do it.
pub(super) fn unsorted(message: &[u8], key: &ClientKey) -> Checked<Vec<u8>> {
    tree::resigned(message, key, key.signature_algorithm().digest(), |attributes| attributes.reverse())
        .map_err(cannot_make)
}

/// A request for `key` under `subject`.
pub(super) fn csr(key: &ClientKey, subject: &Name, challenge: Option<&Secret>) -> Checked<Vec<u8>> {
    let spec = CsrSpec {
        subject: subject.clone(),
        public_key: key.public_key().clone(),
        subject_alt_names: Vec::new(),
        challenge_password: challenge.cloned(),
    };
    let unsigned = spec.unsigned(key.signature_algorithm()).map_err(cannot_make)?;
    key.finish(unsigned).map_err(cannot_make)
}

/// A request that asks for basicConstraints with cA TRUE.
pub(super) fn csr_for_a_ca(key: &ClientKey, subject: &Name, challenge: Option<&Secret>) -> Checked<Vec<u8>> {
    const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
    let yes = writer::element(BOOLEAN, &[&[0xff]]);
    let value = writer::octets(&writer::sequence(&[&yes]));
    let extension = writer::sequence(&[&writer::oid(BASIC_CONSTRAINTS), &yes, &value]);
    let wish = attribute(rfc2985::PKCS_9_AT_EXTENSION_REQUEST, &writer::sequence(&[&extension]));
    let mut request = Node::read(&csr(key, subject, challenge)?).map_err(cannot_make)?;
    let wish = Node::read(&wish).map_err(cannot_make)?;
    let shape = || cannot_make("it has another shape than expected");
    let attributes = request.at(&[0, 3]).and_then(Node::members).ok_or_else(shape)?;
    attributes.push(wish);
    attributes.sort_by_key(Node::write);
    let to_be_signed = request.at(&[0]).ok_or_else(shape)?.write();
    let unsigned = Unsigned::signed(to_be_signed, key.signature_algorithm());
    key.finish(unsigned).map_err(cannot_make)
}
