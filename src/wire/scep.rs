//! SCEP messages (RFC 8894 §3).

use super::{
    EncodeError, Unsigned,
    crl::Crl,
    x509::{Certificate, DecodeError, Name},
};
use crate::types::{
    ContentCipher, DigestAlgorithm, KeyTransport, Secret, SerialNumber, SignatureAlgorithm, Timestamp,
    TransactionId,
};

/// messageType (RFC 8894 §3.2.1.2): the closed set; anything else is refused before any other logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    CertRep = 3,
    RenewalReq = 17,
    PkcsReq = 19,
    CertPoll = 20,
    GetCert = 21,
    GetCrl = 22,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PkiStatus {
    Success = 0,
    Failure = 2,
    Pending = 3,
}
/// failInfo (RFC 8894 §3.2.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FailInfo {
    BadAlg = 0,
    BadMessageCheck = 1,
    BadRequest = 2,
    BadTime = 3,
    BadCertId = 4,
}

/// A pkiMessage as read: attributes and envelope are readable (an answer needs them even when the check fails), nothing is proven.
#[derive(Clone, Debug)]
pub struct PkiMessage {/* .. */}
/// Not CMS, or without a readable transactionID: there is nobody to answer; HTTP 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pkiMessage: {0}")]
pub struct NotPkiMessage(pub String);
/// Signature or messageDigest wrong, or the signer's certificate is missing: badMessageCheck. An algorithm that is not spoken: badAlg.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageCheckError {
    #[error("{0}")]
    BadMessageCheck(&'static str),
    #[error("{0}")]
    BadAlg(&'static str),
}

impl PkiMessage {
    /// BER or DER.
    pub fn from_ber(_bytes: &[u8]) -> Result<Self, NotPkiMessage> {
        todo!()
    }
    pub fn transaction_id(&self) -> &TransactionId {
        todo!()
    }
    /// Empty when the client sent none.
    pub fn sender_nonce(&self) -> &[u8] {
        todo!()
    }
    /// Decimal text as sent (PrintableString or, from old clients, INTEGER). None when absent.
    pub fn message_type_text(&self) -> Option<&str> {
        todo!()
    }
    pub fn message_type(&self) -> Option<MessageType> {
        todo!()
    }
    pub fn signer_certificate(&self) -> Option<&Certificate> {
        todo!()
    }
    /// Checks the one SignerInfo over the signed attributes as received, then DER-sorted; and messageDigest over the content.
    pub fn verify(self) -> Result<VerifiedPki, MessageCheckError> {
        todo!()
    }
}

/// A pkiMessage whose signature was checked against the certificate that it carries. Only [`PkiMessage::verify`] makes one. It proves possession of
/// that key, not an identity.
#[derive(Clone, Debug)]
pub struct VerifiedPki {
    message: PkiMessage,
}
impl VerifiedPki {
    pub fn message(&self) -> &PkiMessage {
        &self.message
    }
    pub fn signer(&self) -> &Certificate {
        todo!()
    }
    pub fn digest(&self) -> DigestAlgorithm {
        todo!()
    }
    pub fn signing_time(&self) -> Option<Timestamp> {
        todo!()
    }
    /// The EnvelopedData in the content.
    pub fn envelope(&self) -> Result<Envelope, EnvelopeError> {
        todo!()
    }
    /// CertRep only (the client): pkiStatus, failInfo, failInfoText, recipientNonce.
    pub fn reply(&self) -> Option<ReplyAttributes> {
        todo!()
    }
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyAttributes {
    pub status: PkiStatus,
    pub fail_info: Option<FailInfo>,
    pub fail_info_text: Option<String>,
    pub recipient_nonce: Vec<u8>,
}

/// EnvelopedData (RFC 5652 §6) as far as SCEP uses it.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub recipients: Vec<Recipient>,
    pub cipher: ContentCipher,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
}
#[derive(Clone, Debug)]
pub struct Recipient {
    pub id: RecipientId,
    pub transport: KeyTransport,
    pub encrypted_key: Vec<u8>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientId {
    IssuerAndSerial { issuer: Name, serial: SerialNumber },
    SubjectKeyIdentifier(Vec<u8>),
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("no envelope")]
    Missing,
    #[error("malformed envelope: {0}")]
    Malformed(String),
    #[error("algorithm not spoken: {0}")]
    Algorithm(String),
}
/// The ciphertext does not open under the key. Carries nothing: every cause must look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope does not open")]
pub struct CannotOpen;
impl Envelope {
    /// Decrypts with the unwrapped content key (or, where unwrapping failed, a random one of the right length: implicit rejection by the caller).
    pub fn open(&self, _content_key: &Secret) -> Result<Secret, CannotOpen> {
        todo!()
    }
    /// Which recipients could be `certificate`: by serial and normalised issuer, by SKI, or the only one there is.
    pub fn recipient_for(&self, _certificate: &Certificate) -> Option<&Recipient> {
        todo!()
    }
}

/// IssuerAndSubject (RFC 8894 §3.3.3) and IssuerAndSerialNumber payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerAndSubject {
    pub issuer: Name,
    pub subject: Name,
}
impl IssuerAndSubject {
    pub fn from_ber(_b: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        todo!()
    }
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerAndSerialNumber {
    pub issuer: Name,
    pub serial: SerialNumber,
}
impl IssuerAndSerialNumber {
    pub fn from_ber(_b: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        todo!()
    }
}

/// The certificates and CRL of a degenerate SignedData (RFC 8894 §3.4).
#[derive(Clone, Debug, Default)]
pub struct Degenerate {
    pub certificates: Vec<Certificate>,
    pub crls: Vec<Crl>,
}
impl Degenerate {
    /// Certificates in the order given (the first is the leaf for Apple; SET OF order is given up on purpose), encapContentInfo content omitted.
    pub fn to_der(_certificates: &[&[u8]], _crls: &[&[u8]]) -> Result<Vec<u8>, EncodeError> {
        todo!()
    }
    pub fn from_ber(_b: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
}

/// Randomness that one envelope needs.
pub struct EnvelopeRandom {
    pub content_key: Secret,
    pub iv: [u8; 16],
}
/// Encrypts `payload` to `recipient` (IssuerAndSerialNumber, `transport`), primitive encryptedContent. Errors: the recipient's key cannot encrypt.
pub fn seal(
    _payload: &[u8],
    _recipient: &Certificate,
    _cipher: ContentCipher,
    _transport: KeyTransport,
    _random: &EnvelopeRandom,
) -> Result<Vec<u8>, SealError> {
    todo!()
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Recipient(#[from] super::x509::CannotEncrypt),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What a CertRep answers.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// DER of the EnvelopedData
    Success(Vec<u8>),
    Failure {
        info: FailInfo,
        text: Option<String>,
    },
    Pending,
}
/// A CertRep to be signed. SignerInfo.signatureAlgorithm is rsaEncryption (strongSwan accepts nothing else), digest as given.
#[derive(Clone, Debug)]
pub struct CertRepSpec<'a> {
    pub outcome: Outcome,
    pub transaction_id: &'a TransactionId,
    pub recipient_nonce: &'a [u8],
    pub sender_nonce: [u8; 16],
    pub signer: &'a Certificate,
    pub digest: DigestAlgorithm,
    pub signing_time: Option<Timestamp>,
}
impl CertRepSpec<'_> {
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
/// A request to be signed (the built-in client). `content` is the DER of the EnvelopedData.
#[derive(Clone, Debug)]
pub struct RequestSpec<'a> {
    pub message_type: MessageType,
    pub transaction_id: &'a TransactionId,
    pub sender_nonce: [u8; 16],
    pub content: Vec<u8>,
    pub signer: &'a Certificate,
    pub digest: DigestAlgorithm,
}
impl RequestSpec<'_> {
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
