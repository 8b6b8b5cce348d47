//! A SCEP client, and the messages and certificates that it makes.

use std::sync::Arc;

use certgate::{
    adapters::{
        keys::{legacy::SoftwareLegacySigner, software},
        system::SystemRandomSource,
    },
    ports::{Decrypter, Random, Signer},
    service::scep::CertRep,
    types::{
        ContentCipher, DigestAlgorithm, KeyAlgorithm, KeyTransport, Secret, SerialNumber, SignatureAlgorithm,
        Timestamp, TransactionId, Validity,
    },
    wire::{
        csr::CsrSpec,
        scep::{Degenerate, EnvelopeRandom, FailInfo, MessageType, PkiMessage, PkiStatus, RequestSpec, seal},
        x509::{Certificate, CertificateSpec, GeneralName, Name, PublicKey},
    },
};

use super::{DAY, START, World, keys};

/// A SCEP client with an RSA-2048 key.
#[derive(Clone)]
pub struct Client {
    signer: Arc<dyn Signer>,
    legacy_signer: Arc<SoftwareLegacySigner>,
    decrypter: Arc<dyn Decrypter>,
    /// What it signs its messages with: self-signed, or one that it was given.
    pub identity: Certificate,
    /// The transactionID of its messages.
    pub transaction: TransactionId,
}

/// How a message is built.
#[derive(Clone)]
pub struct MessageOptions {
    /// messageType.
    pub kind: MessageType,
    /// Of the envelope.
    pub cipher: ContentCipher,
    /// Of the envelope.
    pub transport: KeyTransport,
    /// Of the signature.
    pub digest: DigestAlgorithm,
}

impl Default for MessageOptions {
    fn default() -> Self {
        Self {
            kind: MessageType::PkcsReq,
            cipher: ContentCipher::Aes128Cbc,
            transport: KeyTransport::Pkcs1,
            digest: DigestAlgorithm::Sha256,
        }
    }
}

impl From<MessageType> for MessageOptions {
    fn from(kind: MessageType) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// A CertRep, opened.
#[derive(Debug)]
pub struct Answer {
    /// pkiStatus.
    pub status: PkiStatus,
    /// failInfo.
    pub fail_info: Option<FailInfo>,
    /// failInfoText.
    pub fail_info_text: Option<String>,
    /// Who signed it.
    pub signer: Certificate,
    /// With which digest.
    pub digest: DigestAlgorithm,
    /// senderNonce.
    pub sender_nonce: Vec<u8>,
    /// How its envelope is encrypted.
    pub cipher: Option<ContentCipher>,
    /// How its content key is wrapped.
    pub transport: Option<KeyTransport>,
    /// What its envelope holds: the degenerate SignedData.
    pub payload: Vec<u8>,
    /// Of the degenerate SignedData.
    pub certificates: Vec<Certificate>,
    /// Of the degenerate SignedData.
    pub crls: Vec<certgate::wire::crl::Crl>,
    /// The answer for metrics.
    pub rep: CertRep,
}

impl Answer {
    /// The one certificate of a SUCCESS.
    pub fn certificate(&self) -> &Certificate {
        assert_eq!(self.status, PkiStatus::Success, "{:?} {:?}", self.fail_info, self.fail_info_text);
        self.certificates.first().expect("SUCCESS carries the certificate")
    }

    /// The failInfo of a FAILURE.
    pub fn failure(&self) -> FailInfo {
        assert_eq!(self.status, PkiStatus::Failure);
        self.fail_info.expect("FAILURE has failInfo")
    }
}

impl Client {
    /// Signs with its key, as RSA with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256), message).unwrap()
    }

    /// A client with a key that no other client of this thread has, a self-signed certificate and a transactionID of its own.
    pub fn new() -> Self {
        let (signer, legacy_signer, decrypter) = keys::next();
        let identity = self_signed(signer.as_ref(), "CN=SCEP SIGNER");
        Self { transaction: transaction_of(signer.public_key()), signer, legacy_signer, decrypter, identity }
    }

    /// The same key with another certificate.
    #[must_use]
    pub fn with_identity(&self, identity: &Certificate) -> Self {
        Self { identity: identity.clone(), ..self.clone() }
    }

    /// The same client in another transaction.
    #[must_use]
    pub fn in_transaction(&self, transaction: &str) -> Self {
        Self { transaction: transaction.parse().unwrap(), ..self.clone() }
    }

    /// Its key.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// What signs for it.
    pub fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    /// A request for its own key.
    pub fn csr(&self, subject: &str, challenge: Option<&Secret>) -> Vec<u8> {
        self.csr_with(subject, &[], challenge)
    }

    /// A request with subjectAltNames.
    pub fn csr_with(&self, subject: &str, names: &[GeneralName], challenge: Option<&Secret>) -> Vec<u8> {
        request_for(self.signer.as_ref(), subject, names, challenge)
    }

    /// A pkiMessage to `recipient`.
    pub fn message(&self, recipient: &Certificate, options: &MessageOptions, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(payload, recipient, options);
        self.sign_message(options, envelope)
    }

    /// A pkiMessage with this content.
    pub fn sign_message(&self, options: &MessageOptions, content: Vec<u8>) -> Vec<u8> {
        if !options.digest.is_broken() {
            return sign_as(self.signer.as_ref(), &self.identity, &self.transaction, options, content);
        }
        let specification = request_spec(&self.identity, &self.transaction, options, content);
        let unsigned = specification.unsigned(SignatureAlgorithm::RsaPkcs1(options.digest)).unwrap();
        let signature = self.legacy_signer.sign_as_client(options.digest, unsigned.to_be_signed()).unwrap();
        unsigned.finish(&signature).unwrap()
    }

    /// Sends a payload and opens the answer.
    pub fn ask(
        &self,
        world: &World,
        profile: &str,
        options: impl Into<MessageOptions>,
        payload: &[u8],
    ) -> Answer {
        let message = self.message(&world.message_certificate(profile), &options.into(), payload);
        self.send(world, profile, &message)
    }

    /// PKCSReq.
    pub fn enrol(&self, world: &World, profile: &str, csr: &[u8]) -> Answer {
        self.ask(world, profile, MessageType::PkcsReq, csr)
    }

    /// RenewalReq.
    pub fn renew(&self, world: &World, profile: &str, csr: &[u8]) -> Answer {
        self.ask(world, profile, MessageType::RenewalReq, csr)
    }

    /// Sends a message and opens the answer, which must be a CertRep to this message.
    pub fn send(&self, world: &World, profile: &str, message: &[u8]) -> Answer {
        let rep = world.pki_operation(profile, message).expect("a CertRep");
        self.open(message, rep)
    }

    /// Opens an answer: its signature, its attributes (RFC 8894 §3.2.1) and, of a SUCCESS, its envelope.
    pub fn open(&self, request: &[u8], rep: CertRep) -> Answer {
        let request = PkiMessage::from_ber(request).unwrap();
        let message = PkiMessage::from_ber(&rep.body).expect("a pkiMessage");
        assert_eq!(message.message_type(), Some(MessageType::CertRep));
        assert_eq!(message.transaction_id(), request.transaction_id());
        assert_eq!(message.sender_nonce().len(), 16);
        // MD5 only in answer to MD5.
        let md5 = request.clone().verify_taking(true).is_ok_and(|it| it.digest() == DigestAlgorithm::Md5);
        let verified = message.verify_taking(md5).expect("a signed CertRep");
        let reply = verified.reply().expect("the attributes of a CertRep");
        assert_eq!(reply.recipient_nonce, request.sender_nonce());
        let mut answer = Answer {
            status: reply.status,
            fail_info: reply.fail_info,
            fail_info_text: reply.fail_info_text,
            signer: verified.signer().clone(),
            digest: verified.digest(),
            sender_nonce: verified.message().sender_nonce().to_vec(),
            cipher: None,
            transport: None,
            payload: Vec::new(),
            certificates: Vec::new(),
            crls: Vec::new(),
            rep,
        };
        if answer.status == PkiStatus::Success {
            let envelope = verified.envelope().expect("SUCCESS has an envelope");
            let recipient = envelope.recipient_for(&self.identity).expect("it is for us");
            let key = self.decrypter.decrypt(recipient.transport, &recipient.encrypted_key).unwrap();
            let payload = envelope.open(&key).unwrap();
            let degenerate = Degenerate::from_ber(payload.expose()).unwrap();
            answer.cipher = Some(envelope.cipher);
            answer.transport = Some(recipient.transport);
            answer.payload = payload.expose().to_vec();
            answer.certificates = degenerate.certificates;
            answer.crls = degenerate.crls;
        } else {
            // RFC 8894 §3.3.2.2, §3.3.2.3.
            assert!(verified.envelope().is_err(), "FAILURE and PENDING have no envelope");
        }
        answer
    }
}

/// A signer with a fresh key of this kind.
pub fn signer(algorithm: KeyAlgorithm) -> Arc<dyn Signer> {
    let pkcs8 = software::generate_pkcs8(algorithm).unwrap();
    Arc::new(software::SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap())
}

/// A certification request.
pub fn request_for(
    signer: &dyn Signer,
    subject: &str,
    names: &[GeneralName],
    challenge: Option<&Secret>,
) -> Vec<u8> {
    let specification = CsrSpec {
        subject: if subject.is_empty() { Name::default() } else { subject.parse().unwrap() },
        public_key: signer.public_key().clone(),
        subject_alt_names: names.to_vec(),
        challenge_password: challenge.cloned(),
    };
    let unsigned = specification.unsigned(signer.algorithm().signature(DigestAlgorithm::Sha256)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    unsigned.finish(&signature).unwrap()
}

/// A pkiMessage with this content, signed by whoever.
pub fn sign_as(
    signer: &dyn Signer,
    identity: &Certificate,
    transaction: &TransactionId,
    options: &MessageOptions,
    content: Vec<u8>,
) -> Vec<u8> {
    let specification = request_spec(identity, transaction, options, content);
    let unsigned = specification.unsigned(signer.algorithm().signature(options.digest)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    unsigned.finish(&signature).unwrap()
}

fn request_spec<'a>(
    identity: &'a Certificate,
    transaction: &'a TransactionId,
    options: &MessageOptions,
    content: Vec<u8>,
) -> RequestSpec<'a> {
    RequestSpec {
        message_type: options.kind,
        transaction_id: transaction,
        sender_nonce: random(),
        content,
        signer: identity,
        digest: options.digest,
    }
}

/// An EnvelopedData.
pub fn envelope(payload: &[u8], recipient: &Certificate, options: &MessageOptions) -> Vec<u8> {
    let content_key = random::<32>()[..options.cipher.key_len()].to_vec();
    let randomness = EnvelopeRandom { content_key: Secret::new(content_key), iv: random() };
    seal(payload, recipient, options.cipher, options.transport, &randomness).unwrap()
}

/// A self-signed certificate, valid from a day before the clock's start for ten years.
pub fn self_signed(signer: &dyn Signer, subject: &str) -> Certificate {
    let start: Timestamp = START.parse().unwrap();
    let specification = CertificateSpec::self_signed_requester(
        SerialNumber::from_random(random()),
        &subject.parse().unwrap(),
        Validity { not_before: start.minus(DAY), not_after: start.plus(DAY * 3650) },
        signer.public_key().clone(),
    );
    sign_certificate(signer, &specification)
}

/// A certificate with every name of `model` and its serial number, for and by another key.
pub fn self_signed_like(signer: &dyn Signer, model: &Certificate) -> Certificate {
    let specification = CertificateSpec {
        issuer: model.issuer().clone(),
        authority_key_identifier: model.authority_key_identifier().map(<[u8]>::to_vec),
        extended_key_usage: model.extended_key_usage().to_vec(),
        subject_alt_names: model.subject_alt_names().to_vec(),
        crl_urls: model.crl_urls(),
        ocsp_urls: model.ocsp_urls(),
        ca_issuers_urls: model.ca_issuers_urls(),
        ..CertificateSpec::self_signed_requester(
            model.serial().clone(),
            model.subject(),
            model.validity(),
            signer.public_key().clone(),
        )
    };
    sign_certificate(signer, &specification)
}

/// A certificate as it is specified, signed by whoever.
pub fn sign_certificate(signer: &dyn Signer, specification: &CertificateSpec) -> Certificate {
    let unsigned = specification.unsigned(signer.algorithm().signature(DigestAlgorithm::Sha256)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    Certificate::from_der(&unsigned.finish(&signature).unwrap()).unwrap()
}

/// As Apple and strongSwan derive it: the hexadecimal SHA-1 of the key.
fn transaction_of(key: &PublicKey) -> TransactionId {
    hex::encode_upper(key.key_identifier()).parse().unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandomSource::default().fill(&mut bytes);
    bytes
}
