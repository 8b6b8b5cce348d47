//! The answer to GetNextCACert (RFC 8894 §4.7.1): a degenerate SignedData with the next CA certificates, inside a SignedData that the
//! current CA signed.

use crate::{
    types::{DigestAlgorithm, SignatureAlgorithm},
    wire::{
        EncodeError, Unsigned,
        cms::signed::{SignerSpec, signed_data},
        x509::Certificate,
    },
};

/// An answer to be put together.
#[derive(Clone, Copy, Debug)]
pub struct NextCaSpec<'a> {
    /// The degenerate SignedData.
    pub content: &'a [u8],
    /// What goes into `certificates`: the signers', and whatever clients look for there.
    pub certificates: &'a [&'a [u8]],
}

impl NextCaSpec<'_> {
    /// One SignerInfo over `content`; its finished form is for [`NextCaSpec::to_der`].
    pub fn signer_info(
        content: &[u8],
        signer: &Certificate,
        algorithm: SignatureAlgorithm,
    ) -> Result<Unsigned, EncodeError> {
        SignerSpec { signer, digest: algorithm.digest() }.unsigned(Some(content), Vec::new(), algorithm)
    }

    /// The answer with these SignerInfos, each with its digest.
    pub fn to_der(&self, signer_infos: Vec<(DigestAlgorithm, Vec<u8>)>) -> Vec<u8> {
        let (digests, infos): (Vec<_>, Vec<_>) = signer_infos.into_iter().unzip();
        signed_data(Some(self.content), &digests, self.certificates, infos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::{
            scep::{
                Degenerate,
                client::{AnswerError, CaCertificates, next_ca},
            },
            x509::testing::Authority,
        },
    };

    fn ca(name: &str) -> Authority {
        Authority::new(KeyAlgorithm::Rsa2048, name)
    }

    fn present(ca: &Authority) -> CaCertificates {
        CaCertificates::new(vec![ca.certificate.clone()]).unwrap()
    }

    fn announced(by: &[&Authority], next: &Authority) -> Vec<u8> {
        let content = Degenerate::to_der(&[next.certificate.as_der()], &[]).unwrap();
        let infos = by.iter().map(|ca| {
            let algorithm = ca.key.algorithm();
            let unsigned = NextCaSpec::signer_info(&content, &ca.certificate, algorithm).unwrap();
            (algorithm.digest(), ca.key.finish(unsigned))
        });
        let certificates: Vec<_> = by.iter().map(|ca| ca.certificate.as_der()).collect();
        NextCaSpec { content: &content, certificates: &certificates }.to_der(infos.collect())
    }

    #[test]
    fn either_signer_vouches_and_nobody_else() {
        // The next one has the name of the present one: names alone say nothing.
        let [old, message, next] = ["CN=CA", "CN=Message", "CN=CA"].map(ca);
        let answer = announced(&[&old, &message], &next);
        for signer in [&old, &message] {
            let found = next_ca(&answer, &present(signer)).unwrap();
            assert_eq!(found.all, std::slice::from_ref(&next.certificate));
        }
        assert!(next_ca(&answer, &present(&next)).is_err());
        assert!(next_ca(&announced(&[], &next), &present(&old)).is_err());
    }

    #[test]
    fn a_changed_content_is_not_taken() {
        let [old, next] = ["CN=Old", "CN=Next"].map(ca);
        let mut answer = announced(&[&old], &next);
        let at = answer.windows(4).position(|bytes| bytes == b"Next").unwrap();
        answer[at] = b'M';
        assert!(matches!(next_ca(&answer, &present(&old)), Err(AnswerError::Signature(_))));
    }
}
