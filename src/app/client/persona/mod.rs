//! SCEP clients of different make, as data: what each puts on the wire and what it wants to see in an answer. `certgate scep enrol --as NAME`
//! speaks like one of them, so that an operator can try his endpoint as each.
//!
//! | file | what |
//! |---|---|
//! | this one | what a persona is made of |
//! | `table` | the personas, each fact with its source |
//! | `check` | what a persona wants to see, and its words where it does not |
//! | `dress` | messages as it writes them |

mod check;
mod dress;
mod table;

pub(super) use check::Exchange;
pub(super) use dress::{csr_as, envelope_as, message_as};
pub use table::{CERTGATE, PERSONAS};

use super::http::Manner;
use crate::{
    app::failure::Failure,
    ports::Random,
    types::{ContentCipher, DigestAlgorithm, KeyTransport, TransactionId},
    wire::{
        scep::{
            MessageType,
            client::{Capabilities, Spelling},
        },
        x509::{Name, PublicKey},
    },
};

/// How one make of SCEP client speaks.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one habit of a client, independent of the others")]
pub struct Persona {
    /// What `--as` takes.
    pub name: &'static str,
    /// Whose client it is.
    pub client: &'static str,
    /// HTTP version and headers.
    pub manner: Manner,
    /// What it appends to the URL's path.
    pub path: &'static str,
    /// `message` of GetCACaps and GetCACert.
    pub ca_identifier: Option<&'static str>,
    /// Whether GetCACert comes before GetCACaps.
    pub certificates_first: bool,
    /// How messages travel.
    pub verb: Verb,
    /// How base64 stands in a query.
    pub spelling: Spelling,
    /// Content-Type of a POST.
    pub post_type: Option<&'static str>,
    /// Of the envelope; none: AES-128 or triple DES, as offered.
    pub cipher: Option<ContentCipher>,
    /// Of messageDigest and signatures.
    pub digest: DigestAlgorithm,
    /// How the content key is wrapped.
    pub transport: KeyTransport,
    /// Indefinite lengths and constructed strings at every level.
    pub indefinite: bool,
    /// SignerInfo.signatureAlgorithm names the digest too, as sha256WithRSAEncryption does.
    pub names_digest_in_signature: bool,
    /// Which signed attributes there are, beside those of SCEP.
    pub content_type_attribute: bool,
    /// Whether the attributes of the PKCS#10 stand in the order of DER.
    pub sorted_csr: bool,
    /// transactionID.
    pub transaction: TransactionForm,
    /// Subject of the throw-away certificate.
    pub signer: SignerName,
    /// How it asks for its next certificate.
    pub renewal: Renewal,
    /// What it wants to see.
    pub checks: &'static [Check],
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// By GET, whatever the server offers.
    Get,
    /// By POST, whatever the server offers.
    Post,
    /// By POST if the server offers it.
    AsOffered,
}

/// How a client names a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionForm {
    /// SHA-256 of the key, hexadecimal.
    Sha256,
    /// SHA-1 of the key, lower-case hexadecimal.
    Sha1,
    /// SHA-1 of the key, upper-case hexadecimal.
    Sha1Upper,
    /// MD5 of the SubjectPublicKeyInfo, lower-case hexadecimal.
    Md5,
    /// [`TransactionForm::Md5`] in upper case.
    Md5Upper,
    /// SHA-256 of the key as a decimal number.
    Decimal,
}

/// Subject of the throw-away certificate that signs a first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerName {
    /// The name that is asked for (RFC 8894 §2.3).
    Requested,
    /// A random UUID.
    Uuid,
}

/// How a client asks for its next certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// RenewalReq if the server offers it, else PKCSReq signed by the present certificate.
    AsOffered,
    /// PKCSReq signed by the present certificate.
    PkcsReq,
    /// Not at all: it enrols again.
    Anew,
}

/// What a client wants to see in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// GetCACert's Content-Type is one of the two, to the last character.
    ExactCaType,
    /// The same, after cutting off what follows a semicolon.
    CutCaType,
    /// PKIOperation's Content-Type is exactly `application/x-pki-message`.
    ExactReplyType,
    /// PKIOperation's Content-Type begins so.
    ReplyTypePrefix,
    /// GetCACaps' answer has at most this many octets.
    CapsLength(usize),
    /// GetCACaps names SHA-384, without which the client believes AES to be missing.
    Sha384Offered,
    /// A certificate with digitalSignature and keyEncipherment, or one with each, and a chain that ends in a CA.
    RaByKeyUsage,
    /// The message certificate has an extendedKeyUsage that the client knows.
    RaExtendedKeyUsage,
    /// senderNonce is there.
    SenderNonce,
    /// The signed attribute contentType is there.
    ContentTypeAttribute,
    /// SignerInfo.signatureAlgorithm is rsaEncryption.
    PlainRsaSignature,
    /// Cipher and digest are those of the request.
    SameAlgorithms,
    /// The first certificate of SUCCESS is the one that was asked for.
    FirstIsLeaf,
    /// SUCCESS holds one certificate.
    LeafAlone,
}

impl Persona {
    /// The URL of the server as this client makes it.
    pub(super) fn base(&self, url: &str) -> String {
        let url = url.trim_end_matches('?');
        if self.path.is_empty() || url.to_ascii_lowercase().ends_with(self.path) {
            url.to_owned()
        } else {
            format!("{}{}", url.trim_end_matches('/'), self.path)
        }
    }

    /// The cipher of its envelopes.
    pub(super) fn cipher(&self, capabilities: &Capabilities) -> ContentCipher {
        self.cipher.unwrap_or_else(|| capabilities.cipher())
    }

    /// Whether its messages travel by POST.
    pub(super) fn posts(&self, capabilities: &Capabilities) -> bool {
        match self.verb {
            Verb::Get => false,
            Verb::Post => true,
            Verb::AsOffered => capabilities.takes_post(),
        }
    }

    /// The messageType of a renewal. Errors: it does not renew.
    pub fn renewal_type(&self, capabilities: &Capabilities) -> Result<MessageType, Failure> {
        match self.renewal {
            Renewal::AsOffered => Ok(capabilities.renewal_type()),
            Renewal::PkcsReq => Ok(MessageType::PkcsReq),
            Renewal::Anew => Err(Failure::usage(format_args!("{} does not renew", self.client))
                .hint("it enrols again, with a challenge: certgate scep enrol --as")),
        }
    }

    /// The transactionID of a first request for `key`, the same each time: a repetition after a lost answer is recognised.
    #[expect(clippy::expect_used, reason = "digits are a transactionID")]
    pub fn transaction(&self, key: &PublicKey) -> TransactionId {
        let fingerprint = key.fingerprint();
        let bytes = fingerprint.as_bytes();
        let text = match self.transaction {
            TransactionForm::Sha256 => hex::encode(bytes),
            TransactionForm::Sha1 => hex::encode(key.key_identifier()),
            TransactionForm::Sha1Upper => hex::encode_upper(key.key_identifier()),
            TransactionForm::Md5 => hex::encode(DigestAlgorithm::Md5.digest(key.as_spki())),
            TransactionForm::Md5Upper => hex::encode_upper(DigestAlgorithm::Md5.digest(key.as_spki())),
            TransactionForm::Decimal => decimal(bytes),
        };
        text.parse().expect("printable and short")
    }

    /// The subject of the throw-away certificate.
    pub fn signer_name(&self, requested: &Name, random: &dyn Random) -> Result<Name, Failure> {
        if self.signer == SignerName::Requested {
            return Ok(requested.clone());
        }
        let digits = hex::encode_upper(random.bytes::<16>());
        let mut uuid = String::from("CN=");
        for (at, digit) in digits.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                uuid.push('-');
            }
            uuid.push(digit);
        }
        uuid.parse().map_err(Failure::error)
    }

    /// One line about how it speaks.
    pub fn describe(&self, capabilities: &Capabilities) -> String {
        let verb = if self.posts(capabilities) { "POST" } else { "GET" };
        let version = if self.manner.old_http { "HTTP/1.0" } else { "HTTP/1.1" };
        let form = if self.indefinite { "indefinite lengths" } else { "DER" };
        let (cipher, digest) = (self.cipher(capabilities), self.digest);
        format!("speaking as {}: {verb}, {version}, {cipher}, {digest}, {form}", self.client)
    }
}

/// The persona of this name.
pub fn named(name: &str) -> Result<&'static Persona, Failure> {
    PERSONAS.iter().find(|persona| persona.name == name).ok_or_else(|| {
        let names: Vec<_> = PERSONAS.iter().map(|persona| persona.name).collect();
        Failure::usage(format_args!("expected one of {}", names.join(", ")))
    })
}

/// A big-endian number in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0u16];
    for byte in bytes {
        let mut carry = u16::from(*byte);
        for digit in &mut digits {
            let value = *digit * 256 + carry;
            *digit = value % 10;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().map(u16::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        assert_eq!(decimal(&[0]), "0");
        assert_eq!(decimal(&[1, 0]), "256");
        assert_eq!(decimal(&[0xff; 8]), u64::MAX.to_string());
    }

    #[test]
    fn a_path_is_appended_once() {
        let windows = named("windows").unwrap();
        assert_eq!(windows.base("http://x/scep/p"), "http://x/scep/p/pkiclient.exe");
        assert_eq!(windows.base("http://x/scep/p/"), "http://x/scep/p/pkiclient.exe");
        assert_eq!(windows.base("http://x/scep/p/PKIClient.exe"), "http://x/scep/p/PKIClient.exe");
        assert_eq!(CERTGATE.base("http://x/scep/p?"), "http://x/scep/p");
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let failure = named("nokia").unwrap_err();
        assert!(failure.message.contains("apple") && failure.message.contains("strongswan"), "{failure}");
    }
}
