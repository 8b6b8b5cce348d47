//! AlgorithmIdentifiers (RFC 5280 §4.1.1.2) of the digests and signatures that certgate speaks, to and from the closed sets
//! of [`crate::types`]. What only CMS has is in [`super::cms`].

use const_oid::{ObjectIdentifier, db::rfc5912};

use super::der::{
    BerError,
    reader::{Element, NULL, OBJECT_IDENTIFIER, Reader, SEQUENCE},
    writer,
};
use crate::types::{DigestAlgorithm, SignatureAlgorithm};

/// ecdsa-with-SHA1 (RFC 3279 §2.2.3).
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

const NULL_PARAMETERS: [u8; 2] = [NULL, 0];

const DIGESTS: [DigestAlgorithm; 4] =
    [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512];

/// `AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }`
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlgorithmIdentifier<'a> {
    /// Content octets of the object identifier.
    pub(crate) oid: &'a [u8],
    /// The parameters, if any.
    pub(crate) parameters: Option<Element<'a>>,
}

impl<'a> AlgorithmIdentifier<'a> {
    /// Reads the next element of `fields`.
    pub(crate) fn read(fields: &mut Reader<'a>) -> Result<Self, BerError> {
        Self::of(&fields.expect(SEQUENCE, "AlgorithmIdentifier")?)
    }

    /// Reads `element`.
    pub(crate) fn of(element: &Element<'a>) -> Result<Self, BerError> {
        let mut inner = element.tagged(SEQUENCE)?.open();
        let oid = inner.expect(OBJECT_IDENTIFIER, "algorithm")?.content;
        let parameters = if inner.is_empty() { None } else { Some(inner.any()?) };
        inner.end()?;
        Ok(Self { oid, parameters })
    }

    /// Whether it is the algorithm `oid`.
    pub(crate) fn is(&self, oid: ObjectIdentifier) -> bool {
        self.oid == oid.as_bytes()
    }

    /// Whether the parameters are NULL or absent.
    fn is_plain(&self) -> bool {
        self.parameters.is_none_or(|parameters| parameters.encoding == NULL_PARAMETERS)
    }

    /// For error texts: dotted decimal.
    pub(crate) fn text(&self) -> String {
        ObjectIdentifier::from_bytes(self.oid).map_or_else(|_| "unreadable".to_owned(), |oid| oid.to_string())
    }
}

/// AlgorithmIdentifier without parameters.
pub(crate) fn without_parameters(algorithm: ObjectIdentifier) -> Vec<u8> {
    writer::sequence(&[&writer::oid(algorithm)])
}

/// AlgorithmIdentifier with NULL for parameters.
pub(crate) fn with_null(algorithm: ObjectIdentifier) -> Vec<u8> {
    writer::sequence(&[&writer::oid(algorithm), &NULL_PARAMETERS])
}

/// The object identifier of a digest.
pub(crate) const fn digest_oid(digest: DigestAlgorithm) -> ObjectIdentifier {
    match digest {
        DigestAlgorithm::Sha1 => rfc5912::ID_SHA_1,
        DigestAlgorithm::Sha256 => rfc5912::ID_SHA_256,
        DigestAlgorithm::Sha384 => rfc5912::ID_SHA_384,
        DigestAlgorithm::Sha512 => rfc5912::ID_SHA_512,
    }
}

/// The object identifier of a signature algorithm.
pub(crate) const fn signature_oid(algorithm: SignatureAlgorithm) -> ObjectIdentifier {
    use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    use SignatureAlgorithm::{Ecdsa, RsaPkcs1};
    match algorithm {
        RsaPkcs1(Sha1) => rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha256) => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha384) => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha512) => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
        Ecdsa(Sha1) => ECDSA_WITH_SHA_1,
        Ecdsa(Sha256) => rfc5912::ECDSA_WITH_SHA_256,
        Ecdsa(Sha384) => rfc5912::ECDSA_WITH_SHA_384,
        Ecdsa(Sha512) => rfc5912::ECDSA_WITH_SHA_512,
    }
}

/// The digest that `oid` (content octets) names, if certgate knows it.
pub(crate) fn digest(oid: &[u8]) -> Option<DigestAlgorithm> {
    DIGESTS.into_iter().find(|digest| digest_oid(*digest).as_bytes() == oid)
}

/// The signature algorithm that `oid` (content octets) names, if certgate speaks it.
pub(crate) fn signature(oid: &[u8]) -> Option<SignatureAlgorithm> {
    let rsa = DIGESTS.into_iter().map(SignatureAlgorithm::RsaPkcs1);
    let mut all = rsa.chain(DIGESTS.into_iter().map(SignatureAlgorithm::Ecdsa));
    all.find(|algorithm| signature_oid(*algorithm).as_bytes() == oid)
}

/// The DER of a signature's AlgorithmIdentifier: NULL parameters for RSA (RFC 4055 §5), none for ECDSA (RFC 5758 §3.2).
pub(crate) fn signature_identifier(algorithm: SignatureAlgorithm) -> Vec<u8> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) => with_null(signature_oid(algorithm)),
        SignatureAlgorithm::Ecdsa(_) => without_parameters(signature_oid(algorithm)),
    }
}

/// The algorithm that an AlgorithmIdentifier names, if certgate speaks it; parameters must be NULL or absent.
pub(crate) fn signature_algorithm(identifier: &Element<'_>) -> Option<SignatureAlgorithm> {
    let identifier = AlgorithmIdentifier::of(identifier).ok().filter(AlgorithmIdentifier::is_plain)?;
    signature(identifier.oid)
}

/// The DER of a digest's AlgorithmIdentifier with NULL parameters, as OCSP clients write it.
pub(crate) fn digest_identifier(algorithm: DigestAlgorithm) -> Vec<u8> {
    with_null(digest_oid(algorithm))
}

/// The digest that an AlgorithmIdentifier names, if certgate knows it; parameters must be NULL or absent.
pub(crate) fn digest_algorithm(identifier: &Element<'_>) -> Option<DigestAlgorithm> {
    let identifier = AlgorithmIdentifier::of(identifier).ok().filter(AlgorithmIdentifier::is_plain)?;
    digest(identifier.oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back() {
        for digest in DIGESTS {
            for algorithm in [SignatureAlgorithm::RsaPkcs1(digest), SignatureAlgorithm::Ecdsa(digest)] {
                let encoded = signature_identifier(algorithm);
                assert_eq!(signature_algorithm(&Element::only(&encoded).unwrap()), Some(algorithm));
            }
            let encoded = digest_identifier(digest);
            assert_eq!(digest_algorithm(&Element::only(&encoded).unwrap()), Some(digest));
        }
    }

    #[test]
    fn refuses_unknown_algorithms_and_foreign_parameters() {
        let md5 = with_null(rfc5912::MD_5_WITH_RSA_ENCRYPTION);
        assert_eq!(signature_algorithm(&Element::only(&md5).unwrap()), None);
        let sha256 = writer::oid(rfc5912::SHA_256_WITH_RSA_ENCRYPTION);
        let odd = writer::sequence(&[&sha256, &writer::unsigned(1)]);
        assert_eq!(signature_algorithm(&Element::only(&odd).unwrap()), None);
    }
}
