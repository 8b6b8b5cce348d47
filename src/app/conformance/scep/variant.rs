//! The same request under other algorithms (RFC 8894 §2.9, §3.5.2) and encodings (RFC 5652): what clients of different make send.

use std::rc::Rc;

use super::{
    Applicant, Carrier, ScepSuite, Trial,
    craft::{self, Draft, cannot_make},
};
use crate::{
    app::{
        client::tree::{loose_envelope, loose_message},
        conformance::{
            Check, Checked,
            Level::{May, Must, Should},
            Remark, check, ensure,
        },
    },
    types::{ContentCipher, DigestAlgorithm, KeyTransport},
    wire::scep::{FailInfo, PkiStatus},
};

pub(super) fn checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check("8894-2.9-aes-192", May, "an envelope under AES-192 is read", |suite| {
            cipher(suite, ContentCipher::Aes192Cbc)
        }),
        check("8894-2.9-aes-256", Should, "an envelope under AES-256 is read", |suite| {
            cipher(suite, ContentCipher::Aes256Cbc)
        }),
        check("8894-3.5.2-des3", Should, "triple DES is read if, and only if, DES3 is offered", triple_des),
        check("8894-2.9-des", Must, "single DES is refused", single_des),
        check("8894-3.5.2-sha-512", Must, "signatures with SHA-512 are taken if SHA-512 is offered", sha_512),
        check("8017-7.1-oaep-sha-1", May, "a content key under RSAES-OAEP with SHA-1 is read", |suite| {
            transport(suite, KeyTransport::OaepSha1)
        }),
        check("8017-7.1-oaep-sha-256", May, "a content key under RSAES-OAEP with SHA-256 is read", |suite| {
            transport(suite, KeyTransport::OaepSha256)
        }),
        check("5652-5.1-ber", Should, "BER with indefinite lengths is read: Apple's clients send it", ber),
        check(
            "5652-5.4-attribute-order",
            May,
            "signed attributes in another order than DER's are taken",
            unsorted,
        ),
    ]
}

impl ScepSuite<'_> {
    /// A request that is granted again and again.
    fn carrier(&mut self) -> Checked<Carrier> {
        if self.carrier.is_none() {
            self.carrier = Some(self.find_carrier());
        }
        self.carrier.clone().unwrap_or_else(|| Err(Remark::skipped("nothing is granted")))
    }

    fn find_carrier(&mut self) -> Checked<Carrier> {
        let first = Rc::clone(&self.granted()?.trial.applicant);
        let (message, nonce) = self.usual_message(&first, "19")?;
        if self.trial(&first, message, nonce)?.answer.status() == Some(PkiStatus::Success) {
            return Ok(Carrier::Repeat(first));
        }
        if self.second()?.answer.status() == Some(PkiStatus::Success) {
            return Ok(Carrier::Another);
        }
        Err(Remark::skipped(
            "neither the first request is granted again nor the challenge taken twice: give one that can be used several times",
        ))
    }

    /// Sends a request that is granted but for the variation that `make` brings in.
    fn vary(
        &mut self,
        make: impl FnOnce(&mut Self, &Applicant) -> Checked<(Vec<u8>, [u8; 16])>,
    ) -> Checked<Rc<Trial>> {
        let applicant = match self.carrier()? {
            Carrier::Repeat(applicant) => applicant,
            Carrier::Another => Rc::new(self.applicant(self.options.challenge.clone().as_ref())?),
        };
        let (message, nonce) = make(self, &applicant)?;
        self.trial(&applicant, message, nonce)
    }

    fn vary_envelope(&mut self, cipher: ContentCipher, transport: KeyTransport) -> Checked<Rc<Trial>> {
        self.vary(|suite, applicant| {
            let envelope = suite.envelope(&applicant.csr, cipher, transport)?;
            suite.sign(applicant, "19", &envelope)
        })
    }

    fn vary_digest(&mut self, digest: DigestAlgorithm) -> Checked<Rc<Trial>> {
        self.vary(|suite, applicant| {
            let envelope = suite.usual_envelope(&applicant.csr)?;
            let transaction = &applicant.transaction;
            let draft = Draft { message_type: "19", transaction, nonce: suite.random.bytes(), digest };
            Ok((draft.sign(applicant.requester(), &envelope)?, draft.nonce))
        })
    }
}

fn is_granted(trial: &Trial) -> bool {
    trial.answer.status() == Some(PkiStatus::Success)
}

fn expect_granted(trial: &Trial) -> Checked {
    ensure(is_granted(trial), || trial.answer.to_string())
}

fn cipher(suite: &mut ScepSuite<'_>, cipher: ContentCipher) -> Checked {
    expect_granted(&*suite.vary_envelope(cipher, KeyTransport::Pkcs1)?)
}

fn transport(suite: &mut ScepSuite<'_>, transport: KeyTransport) -> Checked {
    expect_granted(&*suite.vary_envelope(ContentCipher::Aes128Cbc, transport)?)
}

fn triple_des(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.vary_envelope(ContentCipher::TripleDesCbc, KeyTransport::Pkcs1)?;
    if suite.offers("DES3") {
        return expect_granted(&trial);
    }
    if is_granted(&trial) {
        return Err(Remark::warning("GetCACaps does not offer DES3, but it is taken"));
    }
    trial.answer.expect_refusal(&[FailInfo::BadAlg])
}

/// Asked for by somebody new where nothing is granted twice: badAlg says enough.
fn single_des(suite: &mut ScepSuite<'_>) -> Checked {
    let applicant = match suite.carrier() {
        Ok(Carrier::Repeat(applicant)) => applicant,
        Ok(Carrier::Another) | Err(_) => suite.stranger()?,
    };
    let ca = suite.known_ca()?;
    let envelope = craft::des_envelope(suite.random, &ca.certificates.recipient, &applicant.csr)?;
    let answer = suite.try_content(&applicant, "19", &envelope)?;
    suite.refused(&answer, &[FailInfo::BadAlg])
}

fn sha_512(suite: &mut ScepSuite<'_>) -> Checked {
    if !suite.offers("SHA-512") {
        return Err(Remark::not_applicable("GetCACaps does not offer SHA-512"));
    }
    expect_granted(&*suite.vary_digest(DigestAlgorithm::Sha512)?)
}

fn ber(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.vary(|suite, applicant| {
        let envelope = loose_envelope(&suite.usual_envelope(&applicant.csr)?).map_err(cannot_make)?;
        let (message, nonce) = suite.sign(applicant, "19", &envelope)?;
        Ok((loose_message(&message).map_err(cannot_make)?, nonce))
    })?;
    expect_granted(&trial)
}

fn unsorted(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.vary(|suite, applicant| {
        let (message, nonce) = suite.usual_message(applicant, "19")?;
        Ok((craft::unsorted(&message, &applicant.key)?, nonce))
    })?;
    expect_granted(&trial)
}
