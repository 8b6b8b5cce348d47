//! The CertRep (RFC 8894 §3.3.2), fitted to what the request showed that the client can read.

use super::{
    Endpoint, Origin, ScepError,
    operation::{Answer, tell_of_legacy},
    sealed::SealKey,
};
use crate::{
    service::{Gateway, ServiceError, authority::MessageKey},
    types::{ContentCipher, DigestAlgorithm, KeyTransport, ProfileName, Secret, TransactionId},
    wire::{
        scep::{
            CertRepSpec, EnvelopeRandom, Outcome, PasswordRandom, PkiMessage, SealError, seal,
            seal_with_password,
        },
        x509::Certificate,
    },
};

/// How to answer, learnt step by step while the request is checked.
pub(in crate::service) struct Reply {
    transaction_id: TransactionId,
    pub(super) recipient_nonce: Vec<u8>,
    pub(super) sender_nonce: [u8; 16],
    /// SHA-256 until the request's is known and allowed; then that, for who signs with a digest can check it.
    pub(super) digest: DigestAlgorithm,
    /// Signs: the newest until the request names another. Apple compares the signer of the answer byte for byte with the
    /// certificate that it encrypted to.
    pub(super) message_key: MessageKey,
    /// How to encrypt; known only once the signature is checked.
    pub(super) seal: Option<Seal>,
}

/// How to encrypt the certificates of a SUCCESS.
pub(super) struct Seal {
    pub(super) cipher: ContentCipher,
    pub(super) lock: Lock,
}

/// Who can open it.
pub(super) enum Lock {
    /// RFC 8894 §2.3: the certificate that signed the request; at a renewal the old one.
    Key(Certificate, KeyTransport),
    /// RFC 8894 §3.1: who knows the password, where that certificate's key cannot encrypt.
    Password(Secret),
}

impl Reply {
    pub(super) fn to(
        message: &PkiMessage,
        endpoint: &Endpoint,
        sender_nonce: [u8; 16],
    ) -> Result<Self, ScepError> {
        Ok(Self {
            transaction_id: message.transaction_id().clone(),
            recipient_nonce: message.sender_nonce().to_vec(),
            sender_nonce,
            digest: DigestAlgorithm::Sha256,
            message_key: endpoint.authority.message_keys.first().ok_or(ScepError::Unavailable)?.clone(),
            seal: None,
        })
    }
}

impl Gateway {
    /// The CertRep. `profile` is the one that serves the request.
    pub(in crate::service) fn sign_reply(
        &self,
        reply: &Reply,
        answer: Answer,
        profile: &ProfileName,
        origin: &Origin,
    ) -> Result<Vec<u8>, ServiceError> {
        let outcome = match answer {
            Answer::Granted(payload) => Outcome::Success(self.seal(reply, &payload)?),
            Answer::Made(body) => return Ok(body),
            Answer::Pending => Outcome::Pending,
            Answer::Refused(refused) => {
                let (info, text) = refused.answer();
                Outcome::Failure { info, text: Some(text.to_owned()) }
            }
        };
        let specification = CertRepSpec {
            outcome,
            transaction_id: &reply.transaction_id,
            recipient_nonce: &reply.recipient_nonce,
            sender_nonce: reply.sender_nonce,
            signer: &reply.message_key.certificate,
            digest: reply.digest,
            // Not asked for by RFC 8894 §3.2, and devices without a clock have refused it.
            signing_time: None,
        };
        // MD5 or SHA-1, and the attributes in a safe order: what the requester chose comes behind a nonce of ours (see `wire::scep::write`).
        if let Some(unsigned) = specification.legacy()? {
            let algorithm = if reply.digest == DigestAlgorithm::Md5 { "md5-answer" } else { "sha1-answer" };
            tell_of_legacy(algorithm, profile, origin);
            let signature = reply.message_key.legacy_signer(&*self.ports.keyring)?.sign(&unsigned)?;
            return Ok(unsigned.finish(&signature)?);
        }
        let digest = if reply.digest.is_broken() { DigestAlgorithm::Sha256 } else { reply.digest };
        let signer = &reply.message_key.signer;
        let specification = CertRepSpec { digest, ..specification };
        let unsigned = specification.unsigned(signer.algorithm().signature(digest))?;
        let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed())?;
        Ok(unsigned.finish(&signature)?)
    }

    fn seal(&self, reply: &Reply, payload: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let how = reply
            .seal
            .as_ref()
            .ok_or_else(|| ServiceError::Internal("granted before the request was checked".to_owned()))?;
        // RFC 3211 wraps no key with single DES.
        let cipher = match (how.cipher, &how.lock) {
            (ContentCipher::DesCbc, Lock::Password(_)) => ContentCipher::TripleDesCbc,
            (cipher, _) => cipher,
        };
        let mut content_key = vec![0; cipher.key_len()];
        self.ports.random.fill(&mut content_key);
        let random = EnvelopeRandom { content_key: Secret::new(content_key), iv: self.ports.random.bytes() };
        match &how.lock {
            Lock::Key(recipient, transport) => {
                seal(payload, recipient, cipher, *transport, &random).map_err(|error| match error {
                    SealError::Recipient(error) => ServiceError::Internal(error.to_string()),
                    SealError::Encode(error) => error.into(),
                })
            }
            Lock::Password(password) => {
                let key = SealKey::of(payload, password, cipher);
                let window = self.settings.repeat_window;
                self.sealed_answers.get_or_seal(key, self.now(), window, || {
                    let [salt, iv, padding] = std::array::from_fn(|_| self.ports.random.bytes());
                    let password_random = PasswordRandom { salt, iv, padding };
                    Ok(seal_with_password(payload, password, cipher, &random, &password_random)?)
                })
            }
        }
    }
}
