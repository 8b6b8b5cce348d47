//! AlgorithmIdentifiers (RFC 5280 §4.1.1.2) of the signatures and digests that certgate speaks.

use const_oid::{ObjectIdentifier, db::rfc5912};

use super::tlv::{self, Element, NULL, Reason};
use crate::types::{DigestAlgorithm, SignatureAlgorithm};

/// ecdsa-with-SHA1 (RFC 3279 §2.2.3).
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

const NULL_PARAMETERS: [u8; 2] = [NULL, 0];

const SIGNATURES: [(SignatureAlgorithm, ObjectIdentifier); 8] = [
    (SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256), rfc5912::SHA_256_WITH_RSA_ENCRYPTION),
    (SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha256), rfc5912::ECDSA_WITH_SHA_256),
    (SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha384), rfc5912::SHA_384_WITH_RSA_ENCRYPTION),
    (SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha384), rfc5912::ECDSA_WITH_SHA_384),
    (SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha512), rfc5912::SHA_512_WITH_RSA_ENCRYPTION),
    (SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha512), rfc5912::ECDSA_WITH_SHA_512),
    (SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1), rfc5912::SHA_1_WITH_RSA_ENCRYPTION),
    (SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha1), ECDSA_WITH_SHA_1),
];

const DIGESTS: [(DigestAlgorithm, ObjectIdentifier); 4] = [
    (DigestAlgorithm::Sha1, rfc5912::ID_SHA_1),
    (DigestAlgorithm::Sha256, rfc5912::ID_SHA_256),
    (DigestAlgorithm::Sha384, rfc5912::ID_SHA_384),
    (DigestAlgorithm::Sha512, rfc5912::ID_SHA_512),
];

/// The DER of a signature's AlgorithmIdentifier: NULL parameters for RSA (RFC 4055 §5), none for ECDSA (RFC 5758 §3.2).
pub(in crate::wire) fn signature_identifier(algorithm: SignatureAlgorithm) -> Vec<u8> {
    let identifier = SIGNATURES.iter().find(|(known, _)| *known == algorithm).map(|(_, oid)| tlv::oid(*oid));
    let parameters: &[u8] = match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) => &NULL_PARAMETERS,
        SignatureAlgorithm::Ecdsa(_) => &[],
    };
    tlv::sequence(&[&identifier.unwrap_or_default(), parameters])
}

/// The algorithm that an AlgorithmIdentifier names, if certgate speaks it; parameters must be NULL or absent.
pub(in crate::wire) fn signature_algorithm(identifier: &Element<'_>) -> Option<SignatureAlgorithm> {
    lookup(&SIGNATURES, identifier)
}

/// The DER of a digest's AlgorithmIdentifier with NULL parameters, as OCSP clients write it.
pub(in crate::wire) fn digest_identifier(algorithm: DigestAlgorithm) -> Vec<u8> {
    let identifier = DIGESTS.iter().find(|(known, _)| *known == algorithm).map(|(_, oid)| tlv::oid(*oid));
    tlv::sequence(&[&identifier.unwrap_or_default(), &NULL_PARAMETERS])
}

/// The digest that an AlgorithmIdentifier names, if certgate knows it.
pub(in crate::wire) fn digest_algorithm(identifier: &Element<'_>) -> Option<DigestAlgorithm> {
    lookup(&DIGESTS, identifier)
}

fn lookup<T: Copy>(known: &[(T, ObjectIdentifier)], identifier: &Element<'_>) -> Option<T> {
    let (oid, parameters) = split(identifier).ok()?;
    if parameters.is_some_and(|parameters| parameters != NULL_PARAMETERS) {
        return None;
    }
    known.iter().find(|(_, candidate)| candidate.as_bytes() == oid).map(|(algorithm, _)| *algorithm)
}

/// The OID's content octets and the parameters' encoding.
pub(super) fn split<'a>(identifier: &Element<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Reason> {
    let mut fields = identifier.tagged(tlv::SEQUENCE)?.inside();
    let oid = fields.expect(tlv::OID)?.content;
    let parameters = if fields.is_finished() { None } else { Some(fields.next()?.encoding) };
    fields.finish()?;
    Ok((oid, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back() {
        for (algorithm, _) in SIGNATURES {
            let encoded = signature_identifier(algorithm);
            assert_eq!(signature_algorithm(&Element::only(&encoded).unwrap()), Some(algorithm));
        }
        for (algorithm, _) in DIGESTS {
            let encoded = digest_identifier(algorithm);
            assert_eq!(digest_algorithm(&Element::only(&encoded).unwrap()), Some(algorithm));
        }
    }

    #[test]
    fn refuses_unknown_algorithms_and_foreign_parameters() {
        let md5 = tlv::sequence(&[&tlv::oid(rfc5912::MD_5_WITH_RSA_ENCRYPTION), &NULL_PARAMETERS]);
        assert_eq!(signature_algorithm(&Element::only(&md5).unwrap()), None);
        let odd = tlv::sequence(&[&tlv::oid(rfc5912::SHA_256_WITH_RSA_ENCRYPTION), &tlv::unsigned(1)]);
        assert_eq!(signature_algorithm(&Element::only(&odd).unwrap()), None);
    }
}
