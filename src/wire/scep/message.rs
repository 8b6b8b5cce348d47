//! Reading a pkiMessage (RFC 8894 §3.1, §3.2).

use const_oid::db::rfc5911;

use super::{
    Envelope, EnvelopeError, FAIL_INFO, FAIL_INFO_TEXT, FailInfo, MESSAGE_TYPE, MessageType, PKI_STATUS,
    PkiStatus, RECIPIENT_NONCE, SENDER_NONCE, TRANSACTION_ID,
};
use crate::{
    types::{DigestAlgorithm, Timestamp, TransactionId},
    wire::{
        cms::signed::{AttributeError, Attributes, Signature, SignatureError, SignedData},
        der::{
            BerError, normalise,
            reader::{Element, IA5_STRING, INTEGER, OCTET_STRING, PRINTABLE_STRING, UTF8_STRING},
        },
        x509::Certificate,
    },
};

/// Longest nonce that is read, in bytes. RFC 8894 §3.2.1.5 asks for 16; clients send 8 to 32, or none.
pub const MAX_NONCE: usize = 64;

/// So many certificates of a message are looked at. Real ones carry the signer's, some with its chain; every further one
/// would be compared with the signer's name before anything is proven.
const MAX_CERTIFICATES: usize = 16;

/// Not CMS, or without a readable transactionID: there is nobody to answer; HTTP 400. The text is for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pkiMessage: {0}")]
pub struct NotPkiMessage(pub String);

impl From<BerError> for NotPkiMessage {
    fn from(error: BerError) -> Self {
        Self(error.to_string())
    }
}

/// Why a message that was read does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageCheckError {
    /// Signature or messageDigest wrong, or the signer's certificate is missing.
    #[error("{0}")]
    BadMessageCheck(&'static str),
    /// An algorithm that is not spoken.
    #[error("{0}")]
    BadAlg(&'static str),
    /// Signed with MD5, which was not asked for.
    #[error("it is signed with MD5")]
    Md5,
}

impl From<SignatureError> for MessageCheckError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Invalid(why) => Self::BadMessageCheck(why),
            SignatureError::Algorithm(why) => Self::BadAlg(why),
            SignatureError::Md5 => Self::Md5,
        }
    }
}

/// A pkiMessage as read: attributes and envelope are readable (an answer needs them even when the check fails), nothing is
/// proven.
#[derive(Clone, Debug)]
pub struct PkiMessage {
    transaction_id: TransactionId,
    sender_nonce: Vec<u8>,
    message_type: Option<String>,
    signer: Option<Certificate>,
    signature: Signature,
}

impl PkiMessage {
    /// Reads a message in BER or DER. Whether its attributes make sense for its messageType is not looked at here.
    pub fn from_ber(bytes: &[u8]) -> Result<Self, NotPkiMessage> {
        let der = normalise(bytes)?;
        let data = SignedData::read(&der)?;
        // RFC 8894 §3.1: one signer.
        let [signer] = data.signers.as_slice() else {
            return Err(NotPkiMessage(format!("{} signers", data.signers.len())));
        };
        // A certificate that cannot be read cannot be the signer's; the message is answered with badMessageCheck.
        let readable = data.certificates.iter().filter_map(|der| Certificate::from_der(der).ok());
        let certificates: Vec<_> = readable.take(MAX_CERTIFICATES).collect();
        let signature =
            Signature::of(&data, signer).ok_or_else(|| NotPkiMessage("no signed attributes".to_owned()))?;
        let attributes = signature.attributes();
        Ok(Self {
            transaction_id: transaction_id(attributes)?,
            sender_nonce: nonce(attributes)?,
            message_type: message_type(attributes)?,
            signer: signer.certificate(&certificates).cloned(),
            signature,
        })
    }

    /// The client's name for the transaction, to be echoed (RFC 8894 §3.2.1.1).
    pub fn transaction_id(&self) -> &TransactionId {
        &self.transaction_id
    }

    /// At most [`MAX_NONCE`] bytes; empty when the client sent none.
    pub fn sender_nonce(&self) -> &[u8] {
        &self.sender_nonce
    }

    /// Decimal text as sent (PrintableString or, from old clients, INTEGER). None when absent.
    pub fn message_type_text(&self) -> Option<&str> {
        self.message_type.as_deref()
    }

    /// None when absent or outside the closed set: badRequest before any other logic (RFC 8894 §3.2.1.2).
    pub fn message_type(&self) -> Option<MessageType> {
        self.message_type_text().and_then(MessageType::from_text)
    }

    /// The certificate whose key is said to have signed; an answer may be encrypted to it only after
    /// [`PkiMessage::verify`].
    pub fn signer_certificate(&self) -> Option<&Certificate> {
        self.signer.as_ref()
    }

    /// Whether there is a contentType among the signed attributes (RFC 5652 §11.1).
    pub fn has_content_type(&self) -> bool {
        self.signature.attributes().value(rfc5911::ID_CONTENT_TYPE).is_ok_and(|value| value.is_some())
    }

    /// Whether there is a readable signingTime among the signed attributes (RFC 5652 §11.3).
    pub fn has_signing_time(&self) -> bool {
        self.signature.signing_time().is_some()
    }

    /// Checks the one SignerInfo over the signed attributes as received, then DER-sorted; and messageDigest over the
    /// content. MD5 does not count.
    pub fn verify(self) -> Result<VerifiedPki, MessageCheckError> {
        self.verify_taking(false)
    }

    /// [`PkiMessage::verify`], where MD5 counts if `md5` says so: for requests of the oldest gear, where a profile lets it in, and for
    /// answers to such requests.
    pub fn verify_taking(self, md5: bool) -> Result<VerifiedPki, MessageCheckError> {
        // An unknown algorithm is told before a missing certificate: it is what the client can change.
        self.signature.algorithms(md5)?;
        // RFC 8894 §2.3: the signer's certificate is part of the message.
        let missing = MessageCheckError::BadMessageCheck("the signer's certificate is missing");
        let signer = self.signer.clone().ok_or(missing)?;
        let digest = self.signature.check_taking(signer.public_key(), md5)?;
        Ok(VerifiedPki { message: self, signer, digest })
    }
}

/// A pkiMessage whose signature was checked against the certificate that it carries. Only [`PkiMessage::verify`] makes one.
/// It proves possession of that key, not an identity.
#[derive(Clone, Debug)]
pub struct VerifiedPki {
    message: PkiMessage,
    signer: Certificate,
    digest: DigestAlgorithm,
}

impl VerifiedPki {
    /// The message.
    pub fn message(&self) -> &PkiMessage {
        &self.message
    }

    /// The certificate whose key signed.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    /// The digest of messageDigest and signature. Whether it is good enough is the caller's policy.
    pub fn digest(&self) -> DigestAlgorithm {
        self.digest
    }

    /// The signingTime attribute (RFC 5652 §11.3), if there is a readable one.
    pub fn signing_time(&self) -> Option<Timestamp> {
        self.message.signature.signing_time()
    }

    /// The EnvelopedData in the content. [`EnvelopeError::Missing`] also for an empty content, which some servers send with
    /// FAILURE and PENDING in place of none.
    pub fn envelope(&self) -> Result<Envelope, EnvelopeError> {
        match self.message.signature.content() {
            None | Some([]) => Err(EnvelopeError::Missing),
            Some(content) => Envelope::from_ber(content),
        }
    }

    /// CertRep only (the client): pkiStatus, failInfo, failInfoText, recipientNonce. None when the message is no CertRep, or
    /// pkiStatus or recipientNonce is missing (RFC 8894 §3.2.1: both are required).
    pub fn reply(&self) -> Option<ReplyAttributes> {
        if self.message.message_type() != Some(MessageType::CertRep) {
            return None;
        }
        let attributes = self.message.signature.attributes();
        let text_of = |oid| attributes.value(oid).ok().flatten().and_then(text);
        Some(ReplyAttributes {
            status: PkiStatus::from_text(text_of(PKI_STATUS)?)?,
            fail_info: text_of(FAIL_INFO).and_then(FailInfo::from_text),
            fail_info_text: text_of(FAIL_INFO_TEXT).map(str::to_owned),
            recipient_nonce: attributes
                .value(RECIPIENT_NONCE)
                .ok()?
                .filter(|value| value.tag == OCTET_STRING)?
                .content
                .to_vec(),
        })
    }
}

/// What a CertRep says besides its envelope (RFC 8894 §3.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyAttributes {
    /// pkiStatus.
    pub status: PkiStatus,
    /// failInfo, with FAILURE; None also for a number outside the closed set.
    pub fail_info: Option<FailInfo>,
    /// failInfoText: the server's words, not to be trusted.
    pub fail_info_text: Option<String>,
    /// The senderNonce of the request that this answers.
    pub recipient_nonce: Vec<u8>,
}

/// The characters of an attribute. RFC 8894 §3.2.1 wants PrintableString; Go clients (micromdm) write UTF8String where a
/// character is outside that set, others IA5String.
fn text(value: Element<'_>) -> Option<&str> {
    match value.tag {
        PRINTABLE_STRING | UTF8_STRING | IA5_STRING => std::str::from_utf8(value.content).ok(),
        _ => None,
    }
}

fn transaction_id(attributes: Attributes<'_>) -> Result<TransactionId, NotPkiMessage> {
    let value = attributes.value(TRANSACTION_ID).map_err(|error| unusable("transactionID", error))?;
    let value = value.ok_or_else(|| NotPkiMessage("no transactionID".to_owned()))?;
    let text = text(value).ok_or_else(|| NotPkiMessage("transactionID is no text".to_owned()))?;
    text.parse().map_err(|error| NotPkiMessage(format!("{error}")))
}

fn nonce(attributes: Attributes<'_>) -> Result<Vec<u8>, NotPkiMessage> {
    match attributes.value(SENDER_NONCE).map_err(|error| unusable("senderNonce", error))? {
        None => Ok(Vec::new()),
        Some(Element { tag: OCTET_STRING, content, .. }) if content.len() <= MAX_NONCE => {
            Ok(content.to_vec())
        }
        Some(_) => Err(NotPkiMessage("senderNonce is no short octet string".to_owned())),
    }
}

fn message_type(attributes: Attributes<'_>) -> Result<Option<String>, NotPkiMessage> {
    let Some(value) = attributes.value(MESSAGE_TYPE).map_err(|error| unusable("messageType", error))? else {
        return Ok(None);
    };
    let number = || match (value.tag, value.content) {
        (INTEGER, [number @ 0..0x80]) => Some(number.to_string()),
        _ => None,
    };
    let text = text(value).map(str::to_owned).or_else(number);
    text.map(Some).ok_or_else(|| NotPkiMessage("messageType is no text".to_owned()))
}

fn unusable(name: &str, error: AttributeError) -> NotPkiMessage {
    NotPkiMessage(format!("{name}: {error}"))
}
