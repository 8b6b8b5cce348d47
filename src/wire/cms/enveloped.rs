//! EnvelopedData (RFC 5652 §6).

use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use cbc::{
    Decryptor, Encryptor,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, InvalidLength, KeyIvInit, block_padding::Pkcs7},
};
use const_oid::db::rfc5911;
use des::{Des, TdesEde3};
use zeroize::Zeroizing;

use super::{
    algorithm,
    password::{self, PASSWORD_RECIPIENT, PasswordRandom, PasswordRecipient},
    signed::{content_info, has_key_identifier, in_content_info, issuer_and_serial_number},
};
use crate::{
    types::{ContentCipher, KeyTransport, Secret, SerialNumber},
    wire::{
        EncodeError,
        algorithm::AlgorithmIdentifier,
        der::{
            BerError, normalise,
            reader::{
                Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET, context,
                context_primitive,
            },
            writer,
        },
        x509::{CannotEncrypt, Certificate, Name},
    },
};

/// Most RecipientInfos that are read. SCEP addresses one; more make a decryption oracle cheaper.
pub const MAX_RECIPIENTS: usize = 8;

/// EnvelopedData (RFC 5652 §6) as far as SCEP uses it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Those RecipientInfos that are KeyTransRecipientInfo with an algorithm that certgate speaks; may be empty where `passwords`
    /// is not.
    pub recipients: Vec<Recipient>,
    /// Those that are PasswordRecipientInfo with algorithms that certgate speaks.
    pub passwords: Vec<PasswordRecipient>,
    /// How the content is encrypted.
    pub cipher: ContentCipher,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// KeyTransRecipientInfo (RFC 5652 §6.2.1).
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Whose key it is.
    pub id: RecipientId,
    /// How the content-encryption key is wrapped.
    pub transport: KeyTransport,
    /// The wrapped content-encryption key.
    pub encrypted_key: Vec<u8>,
}

/// RecipientIdentifier (RFC 5652 §6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientId {
    /// issuerAndSerialNumber.
    IssuerAndSerial {
        /// Issuer of the recipient's certificate.
        issuer: Name,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// subjectKeyIdentifier.
    SubjectKeyIdentifier(Vec<u8>),
}

/// Why there is no envelope to open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The message has no content.
    #[error("no envelope")]
    Missing,
    /// The content is no EnvelopedData. The text is for logs.
    #[error("malformed envelope: {0}")]
    Malformed(String),
    /// An algorithm outside the closed sets: badAlg. The text is for logs.
    #[error("algorithm not spoken: {0}")]
    Algorithm(String),
}

impl From<BerError> for EnvelopeError {
    fn from(error: BerError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The ciphertext does not open under the key. Carries nothing: every cause must look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope does not open")]
pub struct CannotOpen;

impl Envelope {
    /// Reads a ContentInfo with an EnvelopedData, in BER or DER.
    pub fn from_ber(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let der = normalise(bytes)?;
        let mut fields = content_info(&der, rfc5911::ID_ENVELOPED_DATA, "EnvelopedData")?.open();
        fields.expect(INTEGER, "version")?;
        fields.optional(context(0))?;
        let (recipients, passwords) = recipients(fields.expect(SET, "recipientInfos")?)?;
        let mut content = fields.expect(SEQUENCE, "encryptedContentInfo")?.open();
        content.expect(OBJECT_IDENTIFIER, "contentType")?;
        let (cipher, iv) = content_cipher(AlgorithmIdentifier::read(&mut content)?)?;
        let ciphertext = encrypted_content(&mut content)?;
        content.end()?;
        Ok(Self { recipients, passwords, cipher, iv, ciphertext })
    }

    /// Octets of the encrypted content.
    pub fn content_len(&self) -> usize {
        self.ciphertext.len()
    }

    /// Decrypts with the unwrapped content key (or, where unwrapping failed, a random one of the right length: implicit
    /// rejection by the caller).
    pub fn open(&self, content_key: &Secret) -> Result<Secret, CannotOpen> {
        if self.ciphertext.is_empty() || !self.ciphertext.len().is_multiple_of(self.cipher.block_len()) {
            return Err(CannotOpen);
        }
        let key = content_key.expose();
        match self.cipher {
            ContentCipher::Aes128Cbc => self.open_with::<Decryptor<Aes128>>(key),
            ContentCipher::Aes192Cbc => self.open_with::<Decryptor<Aes192>>(key),
            ContentCipher::Aes256Cbc => self.open_with::<Decryptor<Aes256>>(key),
            ContentCipher::TripleDesCbc => self.open_with::<Decryptor<TdesEde3>>(key),
            ContentCipher::DesCbc => self.open_with::<Decryptor<Des>>(key),
        }
    }

    fn open_with<C: KeyIvInit + BlockModeDecrypt>(&self, key: &[u8]) -> Result<Secret, CannotOpen> {
        let cipher = C::new_from_slices(key, &self.iv).map_err(|_| CannotOpen)?;
        let mut buffer = Zeroizing::new(self.ciphertext.clone());
        let plaintext = cipher.decrypt_padded::<Pkcs7>(&mut buffer).map_err(|_| CannotOpen)?;
        Ok(Secret::new(plaintext.to_vec()))
    }

    /// The recipient that is `certificate`: by serial and normalised issuer, by SKI, or the only one there is (clients
    /// re-encode or shorten the issuer). Where several certificates are in question, [`Recipient::is`] tells them apart.
    pub fn recipient_for(&self, certificate: &Certificate) -> Option<&Recipient> {
        let named = self.recipients.iter().find(|recipient| recipient.is(certificate));
        match self.recipients.as_slice() {
            [only] => Some(only),
            _ => named,
        }
    }
}

impl Recipient {
    /// Whether the identifier names `certificate`.
    pub fn is(&self, certificate: &Certificate) -> bool {
        match &self.id {
            RecipientId::IssuerAndSerial { issuer, serial } => {
                serial == certificate.serial() && issuer.matches(certificate.issuer())
            }
            RecipientId::SubjectKeyIdentifier(identifier) => has_key_identifier(certificate, identifier),
        }
    }
}

fn recipients(set: Element<'_>) -> Result<(Vec<Recipient>, Vec<PasswordRecipient>), EnvelopeError> {
    let mut recipients = Vec::new();
    let mut passwords = Vec::new();
    let mut not_spoken = None;
    for (count, info) in set.open().enumerate() {
        let info = info?;
        if count == MAX_RECIPIENTS {
            return Err(EnvelopeError::Malformed(format!("more than {MAX_RECIPIENTS} recipients")));
        }
        let read = match info.tag {
            SEQUENCE => recipient(info).map(|recipient| recipients.push(recipient)),
            PASSWORD_RECIPIENT => PasswordRecipient::read(&info).map(|password| passwords.push(password)),
            // Key agreement, key-encryption keys and what is yet to come: nobody here could open them.
            _ => continue,
        };
        match read {
            Ok(()) => {}
            Err(error @ EnvelopeError::Algorithm(_)) => not_spoken = Some(error),
            Err(error) => return Err(error),
        }
    }
    if recipients.is_empty() && passwords.is_empty() {
        let none = || EnvelopeError::Algorithm("no recipient with key transport or a password".to_owned());
        return Err(not_spoken.unwrap_or_else(none));
    }
    Ok((recipients, passwords))
}

fn recipient(info: Element<'_>) -> Result<Recipient, EnvelopeError> {
    let mut fields = info.open();
    fields.expect(INTEGER, "version")?;
    let id = match fields.optional(context_primitive(0))? {
        Some(identifier) => RecipientId::SubjectKeyIdentifier(identifier.content.to_vec()),
        None => recipient_issuer_and_serial(fields.expect(SEQUENCE, "issuerAndSerialNumber")?)?,
    };
    let algorithm = AlgorithmIdentifier::read(&mut fields)?;
    let encrypted_key = fields.expect(OCTET_STRING, "encryptedKey")?.content.to_vec();
    fields.end()?;
    let transport = algorithm::key_transport(&algorithm)?;
    let transport =
        transport.ok_or_else(|| EnvelopeError::Algorithm(format!("key transport {}", algorithm.text())))?;
    Ok(Recipient { id, transport, encrypted_key })
}

fn recipient_issuer_and_serial(element: Element<'_>) -> Result<RecipientId, EnvelopeError> {
    let malformed = |error: &dyn fmt::Display| EnvelopeError::Malformed(error.to_string());
    let mut fields = element.open();
    let issuer = fields.expect(SEQUENCE, "issuer")?.encoding;
    let serial = fields.expect(INTEGER, "serialNumber")?.content;
    fields.end()?;
    Ok(RecipientId::IssuerAndSerial {
        issuer: Name::from_der(issuer).map_err(|error| malformed(&error))?,
        serial: SerialNumber::from_der_integer(serial).map_err(|error| malformed(&error))?,
    })
}

/// The cipher of an AlgorithmIdentifier with its initialisation vector.
pub(super) fn content_cipher(
    algorithm: AlgorithmIdentifier<'_>,
) -> Result<(ContentCipher, Vec<u8>), EnvelopeError> {
    let cipher = algorithm::cipher(algorithm.oid)
        .ok_or_else(|| EnvelopeError::Algorithm(format!("content encryption {}", algorithm.text())))?;
    match algorithm.parameters {
        Some(Element { tag: OCTET_STRING, content: iv, .. }) if iv.len() == cipher.block_len() => {
            Ok((cipher, iv.to_vec()))
        }
        _ => Err(EnvelopeError::Malformed("initialisation vector".to_owned())),
    }
}

/// `encryptedContent [0] IMPLICIT OCTET STRING`. micromdm's scepclient 2.1.0 and everything else on its PKCS #7 library
/// sends it constructed, even with definite lengths; the tag does not say that it is a string, so the segments are joined here.
fn encrypted_content(fields: &mut Reader<'_>) -> Result<Vec<u8>, BerError> {
    if let Some(primitive) = fields.optional(context_primitive(0))? {
        return Ok(primitive.content.to_vec());
    }
    let mut segments = fields.expect(context(0), "encryptedContent")?.open();
    let mut content = Vec::new();
    while let Some(segment) = segments.optional(OCTET_STRING)? {
        content.extend_from_slice(segment.content);
    }
    segments.end()?;
    Ok(content)
}

/// Randomness that one envelope needs.
pub struct EnvelopeRandom {
    /// The content-encryption key: as long as the cipher's.
    pub content_key: Secret,
    /// The initialisation vector; a cipher with short blocks takes the first octets.
    pub iv: [u8; 16],
}

impl fmt::Debug for EnvelopeRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeRandom").finish_non_exhaustive()
    }
}

/// Why no envelope was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The recipient's key cannot encrypt.
    #[error(transparent)]
    Recipient(#[from] CannotEncrypt),
    /// A content key that is not the cipher's.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Encrypts `payload` to `recipient` (issuerAndSerialNumber, `transport`, primitive encryptedContent): the DER of a
/// ContentInfo with the EnvelopedData, ready to be the content of a message.
pub fn seal(
    payload: &[u8],
    recipient: &Certificate,
    cipher: ContentCipher,
    transport: KeyTransport,
    random: &EnvelopeRandom,
) -> Result<Vec<u8>, SealError> {
    let encrypted_key = recipient.public_key().encrypt(transport, random.content_key.expose())?;
    let recipient_info = writer::sequence(&[
        &writer::unsigned(0),
        &issuer_and_serial_number(recipient.issuer(), recipient.serial()),
        &algorithm::key_transport_identifier(transport),
        &writer::octets(&encrypted_key),
    ]);
    Ok(enveloped(0, &recipient_info, payload, cipher, random)?)
}

/// Encrypts `payload` under a password (RFC 8894 §3.1, for a recipient whose key cannot encrypt): the DER of a ContentInfo with the
/// EnvelopedData. Errors: single DES.
///
/// Whoever gets the envelope can try passwords on it for as long as they like: the password must be one that nobody guesses.
pub fn seal_with_password(
    payload: &[u8],
    password: &Secret,
    cipher: ContentCipher,
    random: &EnvelopeRandom,
    password_random: &PasswordRandom,
) -> Result<Vec<u8>, EncodeError> {
    let recipient = password::recipient_info(password, random.content_key.expose(), cipher, password_random)?;
    // RFC 5652 §6.1: 3 where there is a pwri.
    enveloped(3, &recipient, payload, cipher, random)
}

fn enveloped(
    version: u64,
    recipient_info: &[u8],
    payload: &[u8],
    cipher: ContentCipher,
    random: &EnvelopeRandom,
) -> Result<Vec<u8>, EncodeError> {
    let (iv, _) = random.iv.split_at(cipher.block_len());
    let ciphertext = encrypt(payload, cipher, random.content_key.expose(), iv)?;
    let content = writer::sequence(&[
        &writer::oid(rfc5911::ID_DATA),
        &algorithm::cipher_identifier(cipher, iv),
        &writer::element(context_primitive(0), &[&ciphertext]),
    ]);
    let enveloped =
        writer::sequence(&[&writer::unsigned(version), &writer::element(SET, &[recipient_info]), &content]);
    Ok(in_content_info(rfc5911::ID_ENVELOPED_DATA, &enveloped))
}

fn encrypt(payload: &[u8], cipher: ContentCipher, key: &[u8], iv: &[u8]) -> Result<Vec<u8>, EncodeError> {
    fn with<C: KeyIvInit + BlockModeEncrypt>(
        payload: &[u8],
        key: &[u8],
        iv: &[u8],
    ) -> Result<Vec<u8>, InvalidLength> {
        Ok(C::new_from_slices(key, iv)?.encrypt_padded_vec::<Pkcs7>(payload))
    }
    let what = "EnvelopedData";
    match cipher {
        ContentCipher::Aes128Cbc => with::<Encryptor<Aes128>>(payload, key, iv),
        ContentCipher::Aes192Cbc => with::<Encryptor<Aes192>>(payload, key, iv),
        ContentCipher::Aes256Cbc => with::<Encryptor<Aes256>>(payload, key, iv),
        ContentCipher::TripleDesCbc => with::<Encryptor<TdesEde3>>(payload, key, iv),
        // RFC 8894 §2.9: single DES MUST NOT be used; whether it is, nevertheless, is the caller's policy.
        ContentCipher::DesCbc => with::<Encryptor<Des>>(payload, key, iv),
    }
    .map_err(EncodeError::of(what))
}
