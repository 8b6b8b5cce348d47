//! AlgorithmIdentifier (RFC 5280 §4.1.1.2) to and from the closed sets of [`crate::types`].

use const_oid::{ObjectIdentifier, db::rfc5912 as oid};

use crate::{
    types::{ContentCipher, DigestAlgorithm, KeyTransport, SignatureAlgorithm},
    wire::der::{
        BerError,
        reader::{Element, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context},
        writer,
    },
};

/// des-ede3-cbc (RFC 3370 §5.1).
const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
/// desCBC (OIW security SIG): what old Cisco IOS and micromdm's scepclient 2.1.0 encrypt with.
const DES_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.7");
const AES128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
const ECDSA_WITH_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

const DIGESTS: [(DigestAlgorithm, ObjectIdentifier); 4] = [
    (DigestAlgorithm::Sha1, oid::ID_SHA_1),
    (DigestAlgorithm::Sha256, oid::ID_SHA_256),
    (DigestAlgorithm::Sha384, oid::ID_SHA_384),
    (DigestAlgorithm::Sha512, oid::ID_SHA_512),
];
const RSA_SIGNATURES: [(DigestAlgorithm, ObjectIdentifier); 4] = [
    (DigestAlgorithm::Sha1, oid::SHA_1_WITH_RSA_ENCRYPTION),
    (DigestAlgorithm::Sha256, oid::SHA_256_WITH_RSA_ENCRYPTION),
    (DigestAlgorithm::Sha384, oid::SHA_384_WITH_RSA_ENCRYPTION),
    (DigestAlgorithm::Sha512, oid::SHA_512_WITH_RSA_ENCRYPTION),
];
const ECDSA_SIGNATURES: [(DigestAlgorithm, ObjectIdentifier); 4] = [
    (DigestAlgorithm::Sha1, ECDSA_WITH_SHA1),
    (DigestAlgorithm::Sha256, oid::ECDSA_WITH_SHA_256),
    (DigestAlgorithm::Sha384, oid::ECDSA_WITH_SHA_384),
    (DigestAlgorithm::Sha512, oid::ECDSA_WITH_SHA_512),
];
const CIPHERS: [(ContentCipher, ObjectIdentifier); 5] = [
    (ContentCipher::Aes128Cbc, AES128_CBC),
    (ContentCipher::Aes192Cbc, AES192_CBC),
    (ContentCipher::Aes256Cbc, AES256_CBC),
    (ContentCipher::TripleDesCbc, DES_EDE3_CBC),
    (ContentCipher::DesCbc, DES_CBC),
];

/// The value that `oid` (content octets) stands for in `table`.
fn value<T: Copy>(table: &[(T, ObjectIdentifier)], oid: &[u8]) -> Option<T> {
    table.iter().find(|(_, known)| known.as_bytes() == oid).map(|(value, _)| *value)
}

/// The object identifier of `value` in `table`.
fn name<T: Copy + PartialEq>(table: &[(T, ObjectIdentifier)], value: T) -> Option<ObjectIdentifier> {
    table.iter().find(|(known, _)| *known == value).map(|(_, oid)| *oid)
}

/// `AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }`
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlgorithmIdentifier<'a> {
    /// Content octets of the object identifier.
    pub(crate) oid: &'a [u8],
    /// The parameters, if any.
    pub(crate) parameters: Option<Element<'a>>,
}

impl<'a> AlgorithmIdentifier<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, BerError> {
        let mut inner = reader.expect(SEQUENCE, "AlgorithmIdentifier")?.open();
        let oid = inner.expect(OBJECT_IDENTIFIER, "algorithm")?.content;
        let parameters = if inner.is_empty() { None } else { Some(inner.any()?) };
        inner.end()?;
        Ok(Self { oid, parameters })
    }

    /// For error texts: dotted decimal.
    pub(crate) fn text(&self) -> String {
        ObjectIdentifier::from_bytes(self.oid).map_or_else(|_| "unreadable".to_owned(), |oid| oid.to_string())
    }
}

/// The digest that `oid` names.
pub(crate) fn digest(oid: &[u8]) -> Option<DigestAlgorithm> {
    value(&DIGESTS, oid)
}

/// The object identifier of a digest.
pub(crate) fn digest_oid(digest: DigestAlgorithm) -> ObjectIdentifier {
    name(&DIGESTS, digest).unwrap_or(oid::ID_SHA_256)
}

/// The signature algorithm that `oid` names in a SignerInfo whose digestAlgorithm is `digest`. `rsaEncryption` says nothing
/// of the digest (RFC 3370 §3.2).
pub(crate) fn signature(oid: &[u8], digest: DigestAlgorithm) -> Option<SignatureAlgorithm> {
    if oid == self::oid::RSA_ENCRYPTION.as_bytes() {
        return Some(SignatureAlgorithm::RsaPkcs1(digest));
    }
    let rsa = value(&RSA_SIGNATURES, oid).map(SignatureAlgorithm::RsaPkcs1);
    rsa.or_else(|| value(&ECDSA_SIGNATURES, oid).map(SignatureAlgorithm::Ecdsa))
}

/// The AlgorithmIdentifier that a SignerInfo declares.
///
/// For RSA it is `rsaEncryption`: strongSwan 5.9.8 refuses `shaXXXWithRSA` there, and every other client takes both.
pub(crate) fn signer_info_signature(algorithm: SignatureAlgorithm) -> Vec<u8> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) => writer::algorithm_null(oid::RSA_ENCRYPTION),
        SignatureAlgorithm::Ecdsa(digest) => {
            writer::algorithm(name(&ECDSA_SIGNATURES, digest).unwrap_or(oid::ECDSA_WITH_SHA_256))
        }
    }
}

/// The cipher that `oid` names.
pub(crate) fn cipher(oid: &[u8]) -> Option<ContentCipher> {
    value(&CIPHERS, oid)
}

/// The AlgorithmIdentifier of `cipher` with its initialisation vector.
pub(crate) fn cipher_identifier(cipher: ContentCipher, iv: &[u8]) -> Vec<u8> {
    let oid = name(&CIPHERS, cipher).unwrap_or(AES128_CBC);
    writer::sequence(&[&writer::oid(oid), &writer::octets(iv)])
}

/// The key transport that an AlgorithmIdentifier names, if it is one that certgate speaks.
pub(crate) fn key_transport(algorithm: &AlgorithmIdentifier<'_>) -> Result<Option<KeyTransport>, BerError> {
    if algorithm.oid == oid::RSA_ENCRYPTION.as_bytes() {
        Ok(Some(KeyTransport::Pkcs1))
    } else if algorithm.oid == oid::ID_RSAES_OAEP.as_bytes() {
        oaep(algorithm.parameters)
    } else {
        Ok(None)
    }
}

/// RSAES-OAEP-params (RFC 4055 §4.1): every field has a default, SHA-1 and the empty label.
fn oaep(parameters: Option<Element<'_>>) -> Result<Option<KeyTransport>, BerError> {
    let Some(parameters) = parameters else { return Ok(Some(KeyTransport::OaepSha1)) };
    if parameters.tag != SEQUENCE {
        return Ok(None);
    }
    let mut fields = parameters.open();
    let hash = match fields.optional(context(0))? {
        Some(field) => digest(AlgorithmIdentifier::read(&mut field.open())?.oid),
        None => Some(DigestAlgorithm::Sha1),
    };
    let mask = match fields.optional(context(1))? {
        Some(field) => mask_digest(AlgorithmIdentifier::read(&mut field.open())?)?,
        None => Some(DigestAlgorithm::Sha1),
    };
    let label_is_empty = match fields.optional(context(2))? {
        Some(field) => is_empty_label(AlgorithmIdentifier::read(&mut field.open())?),
        None => true,
    };
    fields.end()?;
    Ok(match (hash, mask, label_is_empty) {
        (Some(DigestAlgorithm::Sha1), Some(DigestAlgorithm::Sha1), true) => Some(KeyTransport::OaepSha1),
        (Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Sha256), true) => {
            Some(KeyTransport::OaepSha256)
        }
        _ => None,
    })
}

fn mask_digest(mask: AlgorithmIdentifier<'_>) -> Result<Option<DigestAlgorithm>, BerError> {
    match mask.parameters {
        Some(hash) if mask.oid == oid::ID_MGF_1.as_bytes() => {
            Ok(digest(AlgorithmIdentifier::read(&mut Reader::new(hash.raw))?.oid))
        }
        _ => Ok(None),
    }
}

fn is_empty_label(source: AlgorithmIdentifier<'_>) -> bool {
    source.oid == oid::ID_P_SPECIFIED.as_bytes()
        && source.parameters.is_some_and(|label| label.tag == OCTET_STRING && label.content.is_empty())
}

/// The AlgorithmIdentifier of `transport`.
pub(crate) fn key_transport_identifier(transport: KeyTransport) -> Vec<u8> {
    match transport {
        KeyTransport::Pkcs1 => writer::algorithm_null(oid::RSA_ENCRYPTION),
        // Every field has its default value, so DER leaves all of them out.
        KeyTransport::OaepSha1 => {
            writer::sequence(&[&writer::oid(oid::ID_RSAES_OAEP), &writer::sequence(&[])])
        }
        KeyTransport::OaepSha256 => {
            let hash = writer::algorithm_null(oid::ID_SHA_256);
            let mask = writer::sequence(&[&writer::oid(oid::ID_MGF_1), &hash]);
            let parameters = writer::sequence(&[
                &writer::element(context(0), &[&hash]),
                &writer::element(context(1), &[&mask]),
            ]);
            writer::sequence(&[&writer::oid(oid::ID_RSAES_OAEP), &parameters])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_transport(der: &[u8]) -> Option<KeyTransport> {
        key_transport(&AlgorithmIdentifier::read(&mut Reader::new(der)).unwrap()).unwrap()
    }

    #[test]
    fn key_transports_read_what_they_write() {
        for transport in [KeyTransport::Pkcs1, KeyTransport::OaepSha1, KeyTransport::OaepSha256] {
            assert_eq!(read_transport(&key_transport_identifier(transport)), Some(transport));
        }
    }

    #[test]
    fn oaep_without_parameters_means_sha1() {
        assert_eq!(read_transport(&writer::algorithm(oid::ID_RSAES_OAEP)), Some(KeyTransport::OaepSha1));
    }

    #[test]
    fn refuses_oaep_with_two_digests_or_a_label() {
        let oaep = |parameters: &[u8]| writer::sequence(&[&writer::oid(oid::ID_RSAES_OAEP), parameters]);
        let hash = writer::element(context(0), &[&writer::algorithm(oid::ID_SHA_256)]);
        assert_eq!(read_transport(&oaep(&writer::sequence(&[&hash]))), None);
        let label = writer::sequence(&[&writer::oid(oid::ID_P_SPECIFIED), &writer::octets(b"label")]);
        let label = writer::element(context(2), &[&label]);
        assert_eq!(read_transport(&oaep(&writer::sequence(&[&label]))), None);
        let empty = writer::sequence(&[&writer::oid(oid::ID_P_SPECIFIED), &writer::octets(b"")]);
        let empty = writer::element(context(2), &[&empty]);
        assert_eq!(read_transport(&oaep(&writer::sequence(&[&empty]))), Some(KeyTransport::OaepSha1));
    }

    #[test]
    fn the_name_of_a_signature_algorithm_may_leave_the_digest_open() {
        let digest = DigestAlgorithm::Sha384;
        assert_eq!(
            signature(oid::RSA_ENCRYPTION.as_bytes(), digest),
            Some(SignatureAlgorithm::RsaPkcs1(digest))
        );
        assert_eq!(
            signature(oid::SHA_1_WITH_RSA_ENCRYPTION.as_bytes(), digest),
            Some(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1))
        );
        assert_eq!(signature(oid::MD_5_WITH_RSA_ENCRYPTION.as_bytes(), digest), None);
        assert_eq!(signature(oid::ID_RSASSA_PSS.as_bytes(), digest), None);
    }
}
