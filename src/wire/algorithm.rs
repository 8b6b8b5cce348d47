//! AlgorithmIdentifiers (RFC 5280 §4.1.1.2) of the digests and signatures that certgate speaks, to and from the closed sets
//! of [`crate::types`]. What only CMS has is in [`super::cms`].

use const_oid::{ObjectIdentifier, db::rfc5912};

use super::der::{
    BerError,
    reader::{Element, INTEGER, NULL, OBJECT_IDENTIFIER, Reader, SEQUENCE, context},
    writer,
};
use crate::types::{DigestAlgorithm, SignatureAlgorithm};

/// id-md5 (RFC 1321).
const MD5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");
/// ecdsa-with-Specified (ANSI X9.62): the only name that ECDSA with MD5 has. Not spoken.
const ECDSA_WITH_SPECIFIED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3");
/// ecdsa-with-SHA1 (RFC 3279 §2.2.3).
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

const NULL_PARAMETERS: [u8; 2] = [NULL, 0];

/// Those that anything but the request of an old client can be made with.
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
        DigestAlgorithm::Md5 => MD5,
        DigestAlgorithm::Sha1 => rfc5912::ID_SHA_1,
        DigestAlgorithm::Sha256 => rfc5912::ID_SHA_256,
        DigestAlgorithm::Sha384 => rfc5912::ID_SHA_384,
        DigestAlgorithm::Sha512 => rfc5912::ID_SHA_512,
    }
}

/// The object identifier of a signature algorithm.
pub(crate) const fn signature_oid(algorithm: SignatureAlgorithm) -> ObjectIdentifier {
    use DigestAlgorithm::{Md5, Sha1, Sha256, Sha384, Sha512};
    use SignatureAlgorithm::{Ecdsa, RsaPkcs1, RsaPss};
    match algorithm {
        RsaPkcs1(Md5) => rfc5912::MD_5_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha1) => rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha256) => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha384) => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
        RsaPkcs1(Sha512) => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
        Ecdsa(Md5) => ECDSA_WITH_SPECIFIED,
        Ecdsa(Sha1) => ECDSA_WITH_SHA_1,
        Ecdsa(Sha256) => rfc5912::ECDSA_WITH_SHA_256,
        Ecdsa(Sha384) => rfc5912::ECDSA_WITH_SHA_384,
        Ecdsa(Sha512) => rfc5912::ECDSA_WITH_SHA_512,
        RsaPss(_) => rfc5912::ID_RSASSA_PSS,
    }
}

/// The digest that `oid` (content octets) names, if certgate knows it.
pub(crate) fn digest(oid: &[u8]) -> Option<DigestAlgorithm> {
    let mut all = DIGESTS.into_iter().chain([DigestAlgorithm::Md5]);
    all.find(|digest| digest_oid(*digest).as_bytes() == oid)
}

/// The signature algorithm that `oid` (content octets) names by itself, if certgate speaks it.
pub(crate) fn signature(oid: &[u8]) -> Option<SignatureAlgorithm> {
    let rsa = DIGESTS.into_iter().chain([DigestAlgorithm::Md5]).map(SignatureAlgorithm::RsaPkcs1);
    let mut all = rsa.chain(DIGESTS.into_iter().map(SignatureAlgorithm::Ecdsa));
    all.find(|algorithm| signature_oid(*algorithm).as_bytes() == oid)
}

/// The DER of a signature's AlgorithmIdentifier: NULL parameters for RSA (RFC 4055 §5), none for ECDSA (RFC 5758 §3.2), digest, MGF1 and
/// length of the salt for RSASSA-PSS (RFC 4055 §3.1).
pub(crate) fn signature_identifier(algorithm: SignatureAlgorithm) -> Vec<u8> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) => with_null(signature_oid(algorithm)),
        SignatureAlgorithm::Ecdsa(_) => without_parameters(signature_oid(algorithm)),
        SignatureAlgorithm::RsaPss(digest) => {
            let hash = with_null(digest_oid(digest));
            let mask = writer::sequence(&[&writer::oid(rfc5912::ID_MGF_1), &hash]);
            let salt = writer::unsigned(u64::from(digest.output_len()));
            let fields = [(0, hash), (1, mask), (2, salt)];
            let fields = fields.map(|(tag, field)| writer::element(context(tag), &[&field]));
            writer::sequence(&[
                &writer::oid(signature_oid(algorithm)),
                &writer::sequence(&[&fields.concat()]),
            ])
        }
    }
}

/// The algorithm that an AlgorithmIdentifier names, if certgate speaks it; parameters must be NULL or absent, but for RSASSA-PSS.
pub(crate) fn signature_algorithm(identifier: &Element<'_>) -> Option<SignatureAlgorithm> {
    let identifier = AlgorithmIdentifier::of(identifier).ok()?;
    if identifier.is(rfc5912::ID_RSASSA_PSS) {
        return pss(identifier.parameters).ok().flatten();
    }
    Some(identifier).filter(AlgorithmIdentifier::is_plain).and_then(|identifier| signature(identifier.oid))
}

/// RSASSA-PSS-params (RFC 4055 §3.1): a SHA-2 digest, the same one for MGF1, a salt as long as it. What every default stands for
/// (SHA-1, 20 octets) is not spoken, nor are other lengths of the salt.
pub(crate) fn pss(parameters: Option<Element<'_>>) -> Result<Option<SignatureAlgorithm>, BerError> {
    let Some(parameters) = parameters.filter(|parameters| parameters.tag == SEQUENCE) else {
        return Ok(None);
    };
    let mut fields = parameters.open();
    let [hash, mask, salt, trailer] = [0, 1, 2, 3].map(|tag| fields.optional(context(tag)));
    fields.end()?;
    let (Some(hash), Some(mask), Some(salt)) = (hash?, mask?, salt?) else { return Ok(None) };
    let hash = digest(AlgorithmIdentifier::of(&hash.explicit()?)?.oid);
    let mask = mask_digest(AlgorithmIdentifier::of(&mask.explicit()?)?)?;
    let salt = salt.explicit()?.tagged(INTEGER)?.content;
    // trailerFieldBC is all there is (RFC 4055 §3.1).
    let trailer = trailer?.map(|trailer| trailer.explicit()).transpose()?;
    let usual_trailer = trailer.is_none_or(|trailer| trailer.tag == INTEGER && trailer.content == [1]);
    Ok(hash
        .filter(|hash| !hash.is_broken() && mask == Some(*hash))
        .filter(|hash| usual_trailer && salt == [hash.output_len()])
        .map(SignatureAlgorithm::RsaPss))
}

/// The digest of MGF1 (RFC 8017 B.2.1), in RSASSA-PSS and RSAES-OAEP.
pub(crate) fn mask_digest(mask: AlgorithmIdentifier<'_>) -> Result<Option<DigestAlgorithm>, BerError> {
    match mask.parameters {
        Some(hash) if mask.is(rfc5912::ID_MGF_1) => Ok(digest(AlgorithmIdentifier::of(&hash)?.oid)),
        _ => Ok(None),
    }
}

/// The DER of a digest's AlgorithmIdentifier with NULL parameters, as OCSP clients write it.
pub(crate) fn digest_identifier(algorithm: DigestAlgorithm) -> Vec<u8> {
    with_null(digest_oid(algorithm))
}

/// The digest that an AlgorithmIdentifier names, if certgate knows it, MD5 not among them; parameters must be NULL or absent.
pub(crate) fn digest_algorithm(identifier: &Element<'_>) -> Option<DigestAlgorithm> {
    let identifier = AlgorithmIdentifier::of(identifier).ok().filter(AlgorithmIdentifier::is_plain)?;
    digest(identifier.oid).filter(|digest| *digest != DigestAlgorithm::Md5)
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
            let pss = SignatureAlgorithm::RsaPss(digest);
            let read = signature_algorithm(&Element::only(&signature_identifier(pss)).unwrap());
            assert_eq!(read, Some(pss).filter(|_| digest != DigestAlgorithm::Sha1));
        }
    }

    #[test]
    fn md5_is_read_under_rsa_and_names_nothing_else() {
        let md5 = SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Md5);
        assert_eq!(signature_algorithm(&Element::only(&signature_identifier(md5)).unwrap()), Some(md5));
        let digest = digest_identifier(DigestAlgorithm::Md5);
        assert_eq!(digest_algorithm(&Element::only(&digest).unwrap()), None);
    }

    #[test]
    fn pss_is_spoken_with_one_sha2_digest_and_a_salt_of_its_length() {
        let hash = |digest| writer::element(context(0), &[&with_null(digest_oid(digest))]);
        let mask = |digest| {
            let mgf1 = writer::sequence(&[&writer::oid(rfc5912::ID_MGF_1), &with_null(digest_oid(digest))]);
            writer::element(context(1), &[&mgf1])
        };
        let number = |tag, value| writer::element(context(tag), &[&writer::unsigned(value)]);
        let read = |fields: &[Vec<u8>]| {
            let parameters = writer::sequence(&[&fields.concat()]);
            let identifier = writer::sequence(&[&writer::oid(rfc5912::ID_RSASSA_PSS), &parameters]);
            signature_algorithm(&Element::only(&identifier).unwrap())
        };
        let (sha256, sha512) = (DigestAlgorithm::Sha256, DigestAlgorithm::Sha512);
        let good = [hash(sha256), mask(sha256), number(2, 32)];
        let with = |index: usize, field: Vec<u8>| {
            let mut fields = good.to_vec();
            fields.splice(index..(index + 1).min(3), [field]);
            read(&fields)
        };
        assert_eq!(read(&good), Some(SignatureAlgorithm::RsaPss(sha256)));
        assert_eq!(with(3, number(3, 1)), Some(SignatureAlgorithm::RsaPss(sha256)));
        for (index, field) in [
            (0, hash(sha512)),
            (1, mask(sha512)),
            (2, number(2, 20)),
            (2, number(2, 32 + 256)),
            (3, number(3, 2)),
        ] {
            assert_eq!(with(index, field), None, "{index}");
        }
        for left_out in 0..3 {
            assert_eq!(with(left_out, Vec::new()), None, "{left_out}");
        }
        assert_eq!(read(&[]), None);
        let bare = without_parameters(rfc5912::ID_RSASSA_PSS);
        assert_eq!(signature_algorithm(&Element::only(&bare).unwrap()), None);
    }

    #[test]
    fn refuses_unknown_algorithms_and_foreign_parameters() {
        let md2 = with_null(rfc5912::MD_2_WITH_RSA_ENCRYPTION);
        assert_eq!(signature_algorithm(&Element::only(&md2).unwrap()), None);
        let ecdsa = without_parameters(signature_oid(SignatureAlgorithm::Ecdsa(DigestAlgorithm::Md5)));
        assert_eq!(signature_algorithm(&Element::only(&ecdsa).unwrap()), None);
        let sha256 = writer::oid(rfc5912::SHA_256_WITH_RSA_ENCRYPTION);
        let odd = writer::sequence(&[&sha256, &writer::unsigned(1)]);
        assert_eq!(signature_algorithm(&Element::only(&odd).unwrap()), None);
    }
}
