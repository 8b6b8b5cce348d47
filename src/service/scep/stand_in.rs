//! What is read in place of a request that cannot be.
//!
//! Whoever changes an envelope that somebody else made, and signs the message himself, must not learn from the time of the answer
//! what came out of it: wrong padding, nothing readable, or a whole request whose own signature the change has broken. The last takes a
//! verification; so for every other one a request is read and verified that is like it.

use std::hint::black_box;

use super::{Endpoint, Stop};
use crate::{
    domain::exchange::Unreadable,
    service::ServiceError,
    types::{DigestAlgorithm, Secret, SignatureAlgorithm},
    wire::{
        csr::{Csr, CsrSpec},
        x509::{Certificate, KeyKind},
    },
};

/// As long as a one-time password usually is.
const CHALLENGE: [u8; 32] = [b'x'; 32];

/// A request with the key of `message`, a message certificate, and a signature that does not verify.
pub(in crate::service) fn stand_in(message: &Certificate) -> Result<Vec<u8>, ServiceError> {
    let public_key = message.public_key().clone();
    let KeyKind::Rsa { bits } = public_key.kind() else { return Ok(Vec::new()) };
    let specification = CsrSpec {
        subject: message.subject().clone(),
        public_key,
        subject_alt_names: Vec::new(),
        challenge_password: Some(Secret::new(CHALLENGE.to_vec())),
    };
    let unsigned = specification.unsigned(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256))?;
    // Less than any modulus of that length, so that it takes the whole computation to refuse it.
    Ok(unsigned.finish(&vec![0x5a; bits.div_ceil(8) as usize])?)
}

impl Endpoint {
    /// Reads a certification request out of an envelope.
    pub(in crate::service) fn request(&self, payload: &Secret) -> Result<Csr, Stop> {
        Csr::from_der(payload.expose()).map_err(|error| {
            black_box(Csr::from_der(&self.authority.stand_in).map(Csr::prove).is_ok());
            Unreadable::Request(error.to_string()).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_is_a_whole_request_that_does_not_verify() {
        let message = include_bytes!("../../../fixtures/x509/ca.der");
        let message = Certificate::from_der(message).unwrap();
        let csr = Csr::from_der(&stand_in(&message).unwrap()).unwrap();
        assert_eq!(csr.signature_algorithm(), Some(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256)));
        assert!(csr.prove().is_err());
    }
}
