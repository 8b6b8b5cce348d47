//! PasswordRecipientInfo (RFC 5652 §6.2.4): a content key under a password. PBKDF2 (RFC 8018 §5.2) makes the key-encryption key, and
//! id-alg-PWRI-KEK (RFC 3211 §2.3) wraps with it.

use std::{fmt, num::NonZeroU32};

use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::pbkdf2;
use cbc::{
    Decryptor, Encryptor,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding},
};
use const_oid::ObjectIdentifier;
use des::TdesEde3;
use zeroize::Zeroizing;

use super::{
    algorithm,
    enveloped::{CannotOpen, EnvelopeError, content_cipher},
};
use crate::{
    types::{ContentCipher, Secret},
    wire::{
        EncodeError,
        algorithm::{AlgorithmIdentifier, with_null},
        der::{
            reader::{Element, INTEGER, OCTET_STRING, SEQUENCE, context},
            writer,
        },
    },
};

/// The tag of pwri in RecipientInfo: `[3] IMPLICIT`.
pub(super) const PASSWORD_RECIPIENT: u8 = context(3);

/// id-PBKDF2 (RFC 8018 appendix A.2).
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
/// id-alg-PWRI-KEK (RFC 3211 appendix A).
const PWRI_KEK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.3.9");
const HMAC_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.7");
const HMAC_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const HMAC_SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.10");
const HMAC_SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.11");

/// Most rounds of PBKDF2 that a peer can make us count: about a third of a second.
const MAX_ITERATIONS: u32 = 1_000_000;

/// How many octets of the content key are in the wrapped key a second time, complemented.
const CHECK: usize = 3;

/// Longest salt that is read.
const MAX_SALT: usize = 64;

/// Rounds that are written: the passwords have 64 bits of randomness and more.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(99_999);

/// PasswordRecipientInfo as far as it is spoken: PBKDF2 and PWRI-KEK with AES or triple DES.
#[derive(Clone)]
pub struct PasswordRecipient {
    prf: pbkdf2::Algorithm,
    salt: Vec<u8>,
    iterations: NonZeroU32,
    cipher: ContentCipher,
    iv: Vec<u8>,
    encrypted_key: Vec<u8>,
}

impl fmt::Debug for PasswordRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordRecipient")
            .field("iterations", &self.iterations)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl PasswordRecipient {
    /// Reads the content of a pwri. Errors: [`EnvelopeError::Algorithm`] for what is not spoken, more rounds than
    /// [`MAX_ITERATIONS`] among it.
    pub(super) fn read(info: &Element<'_>) -> Result<Self, EnvelopeError> {
        let mut fields = info.open();
        fields.expect(INTEGER, "version")?;
        let not_spoken = |what: &str| EnvelopeError::Algorithm(format!("password recipient: {what}"));
        let derivation =
            fields.optional(context(0))?.ok_or_else(|| not_spoken("no key derivation algorithm"))?;
        let mut derivation = derivation.open();
        let oid = derivation.any()?;
        if oid.content != PBKDF2.as_bytes() {
            return Err(not_spoken("another key derivation than PBKDF2"));
        }
        let (prf, salt, iterations) = pbkdf2_parameters(derivation.expect(SEQUENCE, "PBKDF2-params")?)?;
        derivation.end()?;
        let wrapping = AlgorithmIdentifier::read(&mut fields)?;
        let encrypted_key = fields.expect(OCTET_STRING, "encryptedKey")?.content.to_vec();
        fields.end()?;
        let inner = wrapping.parameters.filter(|_| wrapping.is(PWRI_KEK));
        let inner = inner.ok_or_else(|| not_spoken("another key wrap than PWRI-KEK"))?;
        let (cipher, iv) = content_cipher(AlgorithmIdentifier::of(&inner)?)?;
        Ok(Self { prf, salt, iterations, cipher, iv, encrypted_key })
    }

    /// Unwraps the content key. A wrong password and a broken key look alike.
    pub fn unwrap(&self, password: &Secret) -> Result<Secret, CannotOpen> {
        let key = derive(self.prf, self.iterations, &self.salt, password, self.cipher);
        unwrap_key(self.cipher, &key, &self.iv, &self.encrypted_key).map(Secret::new)
    }
}

/// PBKDF2-params (RFC 8018 appendix A.2): the salt as octets; keyLength is implied by the cipher.
fn pbkdf2_parameters(
    parameters: Element<'_>,
) -> Result<(pbkdf2::Algorithm, Vec<u8>, NonZeroU32), EnvelopeError> {
    let mut fields = parameters.open();
    let salt = fields.expect(OCTET_STRING, "salt")?.content;
    let iterations = fields.expect(INTEGER, "iterationCount")?.content;
    fields.optional(INTEGER)?;
    let prf = match fields.optional(SEQUENCE)? {
        Some(prf) => prf_of(&AlgorithmIdentifier::of(&prf)?),
        None => Some(pbkdf2::PBKDF2_HMAC_SHA1),
    };
    fields.end()?;
    let iterations = small_number(iterations)
        .filter(|iterations| *iterations <= MAX_ITERATIONS)
        .and_then(NonZeroU32::new)
        .filter(|_| salt.len() <= MAX_SALT);
    let prf = prf.zip(iterations).map(|(prf, iterations)| (prf, salt.to_vec(), iterations));
    prf.ok_or_else(|| EnvelopeError::Algorithm("PBKDF2 with parameters that are not taken".to_owned()))
}

/// A DER INTEGER of up to four octets that is not negative.
fn small_number(content: &[u8]) -> Option<u32> {
    let short =
        !content.is_empty() && content.len() <= 4 && content.first().is_some_and(|first| *first < 0x80);
    short.then(|| content.iter().fold(0, |number, octet| (number << 8) | u32::from(*octet)))
}

fn prf_of(identifier: &AlgorithmIdentifier<'_>) -> Option<pbkdf2::Algorithm> {
    [
        (HMAC_SHA_1, pbkdf2::PBKDF2_HMAC_SHA1),
        (HMAC_SHA_256, pbkdf2::PBKDF2_HMAC_SHA256),
        (HMAC_SHA_384, pbkdf2::PBKDF2_HMAC_SHA384),
        (HMAC_SHA_512, pbkdf2::PBKDF2_HMAC_SHA512),
    ]
    .into_iter()
    .find(|(oid, _)| identifier.is(*oid))
    .map(|(_, prf)| prf)
}

fn derive(
    prf: pbkdf2::Algorithm,
    iterations: NonZeroU32,
    salt: &[u8],
    password: &Secret,
    cipher: ContentCipher,
) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; cipher.key_len()]);
    pbkdf2::derive(prf, iterations, salt, password.expose(), &mut key);
    key
}

/// Randomness that one password recipient needs, beside the envelope's.
pub struct PasswordRandom {
    /// Of PBKDF2.
    pub salt: [u8; 16],
    /// Initialisation vector of the key wrap; a cipher with short blocks takes the first octets.
    pub iv: [u8; 16],
    /// What fills the wrapped key up.
    pub padding: [u8; 16],
}

impl fmt::Debug for PasswordRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordRandom").finish_non_exhaustive()
    }
}

/// The DER of a RecipientInfo with a pwri for `content_key`. Errors: single DES, which wraps no key.
pub(super) fn recipient_info(
    password: &Secret,
    content_key: &[u8],
    cipher: ContentCipher,
    random: &PasswordRandom,
) -> Result<Vec<u8>, EncodeError> {
    let refused = |_| EncodeError { what: "PasswordRecipientInfo", reason: format!("{cipher} wraps no key") };
    let (iv, _) = random.iv.split_at(cipher.block_len());
    let key = derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &random.salt, password, cipher);
    let wrapped = wrap_key(cipher, &key, iv, content_key, &random.padding).map_err(refused)?;
    let parameters = writer::sequence(&[
        &writer::octets(&random.salt),
        &writer::unsigned(u64::from(ITERATIONS.get())),
        &with_null(HMAC_SHA_256),
    ]);
    Ok(writer::element(
        PASSWORD_RECIPIENT,
        &[
            &writer::unsigned(0),
            &writer::element(context(0), &[&writer::oid(PBKDF2), &parameters]),
            &writer::sequence(&[&writer::oid(PWRI_KEK), &algorithm::cipher_identifier(cipher, iv)]),
            &writer::octets(&wrapped),
        ],
    ))
}

/// RFC 3211 §2.3.1: length, check value, key and padding to at least two blocks, encrypted twice; the second time the last block of
/// the first pass is the initialisation vector.
fn wrap_key(
    cipher: ContentCipher,
    key: &[u8],
    iv: &[u8],
    content_key: &[u8],
    padding: &[u8],
) -> Result<Vec<u8>, CannotOpen> {
    let block = cipher.block_len();
    let length = u8::try_from(content_key.len()).map_err(|_| CannotOpen)?;
    let check = content_key.iter().take(CHECK).map(|octet| !octet);
    let mut plain = Zeroizing::new(vec![length]);
    plain.extend(check);
    plain.extend_from_slice(content_key);
    let whole = plain.len().next_multiple_of(block).max(2 * block);
    let missing = whole - plain.len();
    plain.extend(padding.iter().take(missing));
    if plain.len() != whole {
        return Err(CannotOpen);
    }
    let first = pass(cipher, Direction::Encrypt, key, iv, &plain)?;
    let (_, last) = first.split_at_checked(whole - block).ok_or(CannotOpen)?;
    Ok(pass(cipher, Direction::Encrypt, key, last, &first)?.to_vec())
}

/// RFC 3211 §2.3.2: the last block gives the initialisation vector of the second pass; then both passes are undone.
fn unwrap_key(cipher: ContentCipher, key: &[u8], iv: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, CannotOpen> {
    let block = cipher.block_len();
    if wrapped.len() < 2 * block || !wrapped.len().is_multiple_of(block) {
        return Err(CannotOpen);
    }
    let (body, last) = wrapped.split_at_checked(wrapped.len() - block).ok_or(CannotOpen)?;
    let (_, before) = body.split_at_checked(body.len() - block).ok_or(CannotOpen)?;
    let last = pass(cipher, Direction::Decrypt, key, before, last)?;
    let mut first = pass(cipher, Direction::Decrypt, key, &last, body)?;
    first.extend_from_slice(&last);
    let plain = pass(cipher, Direction::Decrypt, key, iv, &first)?;
    let (length, rest) = plain.split_first().ok_or(CannotOpen)?;
    let (check, rest) = rest.split_first_chunk::<CHECK>().ok_or(CannotOpen)?;
    let content_key = rest.get(..usize::from(*length)).ok_or(CannotOpen)?;
    let start = content_key.first_chunk::<CHECK>().ok_or(CannotOpen)?;
    if start.map(|octet| !octet) == *check { Ok(content_key.to_vec()) } else { Err(CannotOpen) }
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// One pass of CBC over whole blocks.
fn pass(
    cipher: ContentCipher,
    direction: Direction,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    match (cipher, direction) {
        (ContentCipher::Aes128Cbc, Direction::Encrypt) => encrypt::<Encryptor<Aes128>>(key, iv, data),
        (ContentCipher::Aes192Cbc, Direction::Encrypt) => encrypt::<Encryptor<Aes192>>(key, iv, data),
        (ContentCipher::Aes256Cbc, Direction::Encrypt) => encrypt::<Encryptor<Aes256>>(key, iv, data),
        (ContentCipher::TripleDesCbc, Direction::Encrypt) => encrypt::<Encryptor<TdesEde3>>(key, iv, data),
        (ContentCipher::Aes128Cbc, Direction::Decrypt) => decrypt::<Decryptor<Aes128>>(key, iv, data),
        (ContentCipher::Aes192Cbc, Direction::Decrypt) => decrypt::<Decryptor<Aes192>>(key, iv, data),
        (ContentCipher::Aes256Cbc, Direction::Decrypt) => decrypt::<Decryptor<Aes256>>(key, iv, data),
        (ContentCipher::TripleDesCbc, Direction::Decrypt) => decrypt::<Decryptor<TdesEde3>>(key, iv, data),
        (ContentCipher::DesCbc, _) => Err(CannotOpen),
    }
}

fn encrypt<C: KeyIvInit + BlockModeEncrypt>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CannotOpen)?;
    Ok(Zeroizing::new(cipher.encrypt_padded_vec::<NoPadding>(data)))
}

fn decrypt<C: KeyIvInit + BlockModeDecrypt>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CannotOpen)?;
    let mut buffer = Zeroizing::new(data.to_vec());
    cipher.decrypt_padded::<NoPadding>(&mut buffer).map_err(|_| CannotOpen)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scep::{Envelope, EnvelopeRandom, seal_with_password};

    const CIPHERS: [ContentCipher; 4] = [
        ContentCipher::Aes128Cbc,
        ContentCipher::Aes192Cbc,
        ContentCipher::Aes256Cbc,
        ContentCipher::TripleDesCbc,
    ];

    fn sealed(cipher: ContentCipher) -> Vec<u8> {
        let random = EnvelopeRandom { content_key: Secret::new(vec![7; cipher.key_len()]), iv: [1; 16] };
        let password = PasswordRandom { salt: [2; 16], iv: [3; 16], padding: [4; 16] };
        seal_with_password(b"payload", &Secret::from("a long password"), cipher, &random, &password).unwrap()
    }

    #[test]
    fn opens_what_openssl_encrypts_under_a_password() {
        let only = include_bytes!("../../../fixtures/scep/openssl-password-only.der");
        let both = include_bytes!("../../../fixtures/scep/openssl-password-and-rsa.der");
        let payload = include_bytes!("../../../fixtures/scep/payload.txt");
        for (envelope, recipients) in [(&only[..], 0), (&both[..], 1)] {
            let envelope = Envelope::from_ber(envelope).unwrap();
            assert_eq!((envelope.recipients.len(), envelope.passwords.len()), (recipients, 1));
            let key = envelope.passwords[0].unwrap(&Secret::from("x")).unwrap();
            assert_eq!(envelope.open(&key).unwrap().expose(), payload);
            assert_eq!(envelope.passwords[0].unwrap(&Secret::from("y")).unwrap_err(), CannotOpen);
        }
    }

    #[test]
    fn opens_what_it_seals_under_the_same_password_only() {
        for cipher in CIPHERS {
            let envelope = Envelope::from_ber(&sealed(cipher)).unwrap();
            let key = envelope.passwords[0].unwrap(&Secret::from("a long password")).unwrap();
            assert_eq!(envelope.open(&key).unwrap().expose(), b"payload", "{cipher}");
            assert!(envelope.passwords[0].unwrap(&Secret::from("a long Password")).is_err());
        }
    }

    #[test]
    fn every_changed_octet_of_the_wrapped_key_is_noticed_or_changes_the_key() {
        let (key, iv, content_key) = ([5; 16], [6; 16], [9; 16]);
        let wrapped = wrap_key(ContentCipher::Aes128Cbc, &key, &iv, &content_key, &[1; 16]).unwrap();
        for index in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[index] ^= 1;
            let found = unwrap_key(ContentCipher::Aes128Cbc, &key, &iv, &changed);
            assert_ne!(found.as_deref(), Ok(&content_key[..]), "{index}");
        }
        for short in [0, 16, 31] {
            assert!(unwrap_key(ContentCipher::Aes128Cbc, &key, &iv, &wrapped[..short]).is_err());
        }
    }

    #[test]
    fn refuses_rounds_that_would_keep_a_processor_busy() {
        let mut der = sealed(ContentCipher::Aes128Cbc);
        // INTEGER 100000, as this module writes it.
        let rounds = [0x02, 0x03, 0x01, 0x86, 0xa0];
        let at = der.windows(rounds.len()).position(|window| window == rounds).unwrap();
        der[at + 2] = 0x7f;
        let error = Envelope::from_ber(&der).unwrap_err();
        assert!(matches!(error, EnvelopeError::Algorithm(_)), "{error}");
    }

    #[test]
    fn single_des_wraps_no_key() {
        let random = PasswordRandom { salt: [2; 16], iv: [3; 16], padding: [4; 16] };
        assert!(recipient_info(&Secret::from("x"), &[7; 8], ContentCipher::DesCbc, &random).is_err());
    }
}
