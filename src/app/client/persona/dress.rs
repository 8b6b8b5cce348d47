//! Messages as a persona writes them: certgate's own writer makes DER; this changes what differs, and signs again where that is signed.

use const_oid::db::{rfc5911, rfc5912};

use super::Persona;
use crate::{
    app::{
        client::{
            key::ClientKey,
            tree::{Misshapen, Node, changed, loose_envelope, loose_message, place, resigned, set},
        },
        failure::{Failure, Outcome},
    },
    types::DigestAlgorithm,
    wire::{Unsigned, der::writer},
};

/// A PKCS#10.
pub(in crate::app::client) fn csr_as(persona: &Persona, key: &ClientKey, csr: Vec<u8>) -> Outcome<Vec<u8>> {
    if persona.sorted_csr {
        return Ok(csr);
    }
    let mut request = Node::read(&csr).map_err(Failure::error)?;
    let info = request.at(&[0]).ok_or(Misshapen).map_err(Failure::error)?;
    if let Some(attributes) = info.at(&[3]).and_then(Node::members) {
        attributes.reverse();
    }
    key.finish(Unsigned::signed(info.write(), key.signature_with(persona.digest)))
}

/// An EnvelopedData.
pub(in crate::app::client) fn envelope_as(persona: &Persona, envelope: Vec<u8>) -> Outcome<Vec<u8>> {
    if persona.indefinite { loose_envelope(&envelope).map_err(Failure::error) } else { Ok(envelope) }
}

/// A pkiMessage.
pub(in crate::app::client) fn message_as(
    persona: &Persona,
    key: &ClientKey,
    mut message: Vec<u8>,
) -> Outcome<Vec<u8>> {
    if !persona.content_type_attribute {
        let content_type = writer::oid(rfc5911::ID_CONTENT_TYPE);
        message = resigned(&message, key, persona.digest, |attributes| {
            attributes.retain(|attribute| !holds(attribute, &content_type));
        })?;
    }
    if persona.names_digest_in_signature {
        let oid = match persona.digest {
            DigestAlgorithm::Md5 => rfc5912::MD_5_WITH_RSA_ENCRYPTION,
            DigestAlgorithm::Sha1 => rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
            DigestAlgorithm::Sha256 => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
            DigestAlgorithm::Sha384 => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
            DigestAlgorithm::Sha512 => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
        };
        message = changed(&message, |tree| set(tree, place::SIGNATURE_OID, oid.as_bytes()))
            .map_err(Failure::error)?;
    }
    if persona.indefinite { loose_message(&message).map_err(Failure::error) } else { Ok(message) }
}

/// Whether the attribute's type is `oid`, encoded.
fn holds(attribute: &Node, oid: &[u8]) -> bool {
    attribute.write().windows(oid.len()).any(|window| window == oid)
}
