//! The algorithms that only CMS has: content encryption, key transport, and the ways to name a signature in a SignerInfo.

use const_oid::{ObjectIdentifier, db::rfc5912 as oid};

use crate::{
    types::{ContentCipher, DigestAlgorithm, KeyTransport, SignatureAlgorithm},
    wire::{
        algorithm::{self, AlgorithmIdentifier, digest, mask_digest, pss},
        der::{
            BerError,
            reader::{Element, OCTET_STRING, SEQUENCE, context},
            writer,
        },
    },
};

/// des-ede3-cbc (RFC 3370 §5.1).
const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
/// desCBC (OIW security SIG): what old Cisco IOS and micromdm's scepclient 2.1.0 encrypt with.
const DES_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.7");
const AES128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

const CIPHERS: [ContentCipher; 5] = [
    ContentCipher::Aes128Cbc,
    ContentCipher::Aes192Cbc,
    ContentCipher::Aes256Cbc,
    ContentCipher::TripleDesCbc,
    ContentCipher::DesCbc,
];

/// The signature algorithm that `identifier` names in a SignerInfo whose digestAlgorithm is `digest`. `rsaEncryption` says nothing
/// of the digest (RFC 3370 §3.2). Parameters are looked at only where they mean something.
pub(crate) fn signature(
    identifier: &AlgorithmIdentifier<'_>,
    digest: DigestAlgorithm,
) -> Option<SignatureAlgorithm> {
    if identifier.is(oid::RSA_ENCRYPTION) {
        Some(SignatureAlgorithm::RsaPkcs1(digest))
    } else if identifier.is(oid::ID_RSASSA_PSS) {
        pss(identifier.parameters).ok().flatten()
    } else {
        algorithm::signature(identifier.oid)
    }
}

/// The AlgorithmIdentifier that a SignerInfo declares.
///
/// For RSA it is `rsaEncryption`: strongSwan 5.9.8 refuses `sha256WithRSAEncryption` and its like there, and every other client takes both.
pub(crate) fn signer_info_signature(algorithm: SignatureAlgorithm) -> Vec<u8> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) => algorithm::with_null(oid::RSA_ENCRYPTION),
        SignatureAlgorithm::Ecdsa(_) | SignatureAlgorithm::RsaPss(_) => {
            algorithm::signature_identifier(algorithm)
        }
    }
}

/// The cipher that `oid` names.
pub(crate) fn cipher(oid: &[u8]) -> Option<ContentCipher> {
    CIPHERS.into_iter().find(|cipher| cipher_oid(*cipher).as_bytes() == oid)
}

/// The AlgorithmIdentifier of `cipher` with its initialisation vector.
pub(crate) fn cipher_identifier(cipher: ContentCipher, iv: &[u8]) -> Vec<u8> {
    writer::sequence(&[&writer::oid(cipher_oid(cipher)), &writer::octets(iv)])
}

const fn cipher_oid(cipher: ContentCipher) -> ObjectIdentifier {
    match cipher {
        ContentCipher::Aes128Cbc => AES128_CBC,
        ContentCipher::Aes192Cbc => AES192_CBC,
        ContentCipher::Aes256Cbc => AES256_CBC,
        ContentCipher::TripleDesCbc => DES_EDE3_CBC,
        ContentCipher::DesCbc => DES_CBC,
    }
}

/// The key transport that an AlgorithmIdentifier names, if it is one that certgate speaks.
pub(crate) fn key_transport(algorithm: &AlgorithmIdentifier<'_>) -> Result<Option<KeyTransport>, BerError> {
    if algorithm.is(oid::RSA_ENCRYPTION) {
        Ok(Some(KeyTransport::Pkcs1))
    } else if algorithm.is(oid::ID_RSAES_OAEP) {
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

fn is_empty_label(source: AlgorithmIdentifier<'_>) -> bool {
    source.is(oid::ID_P_SPECIFIED)
        && source.parameters.is_some_and(|label| label.tag == OCTET_STRING && label.content.is_empty())
}

/// The AlgorithmIdentifier of `transport`.
pub(crate) fn key_transport_identifier(transport: KeyTransport) -> Vec<u8> {
    match transport {
        KeyTransport::Pkcs1 => algorithm::with_null(oid::RSA_ENCRYPTION),
        // Every field has its default value, so DER leaves all of them out.
        KeyTransport::OaepSha1 => {
            writer::sequence(&[&writer::oid(oid::ID_RSAES_OAEP), &writer::sequence(&[])])
        }
        KeyTransport::OaepSha256 => {
            let hash = algorithm::with_null(oid::ID_SHA_256);
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
        key_transport(&AlgorithmIdentifier::of(&Element::only(der).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn key_transports_read_what_they_write() {
        for transport in [KeyTransport::Pkcs1, KeyTransport::OaepSha1, KeyTransport::OaepSha256] {
            assert_eq!(read_transport(&key_transport_identifier(transport)), Some(transport));
        }
    }

    #[test]
    fn oaep_without_parameters_means_sha1() {
        assert_eq!(
            read_transport(&algorithm::without_parameters(oid::ID_RSAES_OAEP)),
            Some(KeyTransport::OaepSha1)
        );
    }

    #[test]
    fn refuses_oaep_with_two_digests_or_a_label() {
        let oaep = |parameters: &[u8]| writer::sequence(&[&writer::oid(oid::ID_RSAES_OAEP), parameters]);
        let hash = writer::element(context(0), &[&algorithm::without_parameters(oid::ID_SHA_256)]);
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
        let named = |oid: ObjectIdentifier| {
            signature(&AlgorithmIdentifier { oid: oid.as_bytes(), parameters: None }, digest)
        };
        assert_eq!(named(oid::RSA_ENCRYPTION), Some(SignatureAlgorithm::RsaPkcs1(digest)));
        let sha1 = SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1);
        assert_eq!(named(oid::SHA_1_WITH_RSA_ENCRYPTION), Some(sha1));
        assert_eq!(named(oid::MD_2_WITH_RSA_ENCRYPTION), None);
        assert_eq!(named(oid::ID_RSASSA_PSS), None);
    }
}
