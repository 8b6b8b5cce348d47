//! GetCACaps (RFC 8894 §3.5).

use crate::{types::ContentCipher, wire::scep::MessageType};

/// What the server says it can (RFC 8894 §3.5.2). Nothing said means the least: GET, triple DES, SHA-1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// One keyword per line.
    pub fn from_text(text: &str) -> Self {
        Self(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Whether `keyword` is advertised, itself or by SCEPStandard (RFC 8894 §3.5.2).
    pub fn has(&self, keyword: &str) -> bool {
        let standard = matches!(keyword, "AES" | "POSTPKIOperation" | "SHA-256");
        self.0.iter().any(|line| line == keyword || (standard && line == "SCEPStandard"))
    }

    /// What asks for a renewal. RFC 8894 §3.3.1.2: servers without "Renewal" take a PKCSReq that the present certificate signs.
    pub fn renewal_type(&self) -> MessageType {
        if self.has("Renewal") { MessageType::RenewalReq } else { MessageType::PkcsReq }
    }

    /// RFC 8894 §3.5.2: AES only where the server says so. Nothing weaker than triple DES is ever chosen.
    pub fn cipher(&self) -> ContentCipher {
        if self.has("AES") { ContentCipher::Aes128Cbc } else { ContentCipher::TripleDesCbc }
    }

    /// Whether messages travel by POST.
    pub fn takes_post(&self) -> bool {
        self.has("POSTPKIOperation")
    }

    /// The keywords.
    pub fn keywords(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scep_standard_means_aes_post_and_sha_256() {
        let capabilities = Capabilities::from_text("SCEPStandard\r\nRenewal\r\n");
        for keyword in ["AES", "POSTPKIOperation", "SHA-256", "Renewal"] {
            assert!(capabilities.has(keyword), "{keyword}");
        }
        assert!(!capabilities.has("GetNextCACert"));
        assert_eq!(capabilities.renewal_type(), MessageType::RenewalReq);
    }

    #[test]
    fn a_server_that_says_nothing_gets_the_least() {
        let none = Capabilities::from_text("");
        assert!(!none.takes_post());
        assert_eq!((none.cipher(), none.renewal_type()), (ContentCipher::TripleDesCbc, MessageType::PkcsReq));
    }

    #[test]
    fn keywords_are_compared_whole() {
        assert!(!Capabilities::from_text("AESCBC\nPOSTPKIOperationX").has("AES"));
    }
}
