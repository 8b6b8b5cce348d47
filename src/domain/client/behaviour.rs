//! What a profile's clients come to, together with the keys that say it themselves: those win.

use serde::{Deserialize, Serialize};

use super::{ClientFamily, quirk};
use crate::{
    domain::profile::{Legacy, ProfileSpec},
    types::ContentCipher,
};

/// Which certificates GetCACert shows (RFC 8894 §4.2). The message certificate is always the first: Apple takes the first with both
/// key usages, jscep the first that can encipher. The issuing CA's alone is no choice: its key opens no envelopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaBundle {
    /// The message certificate, the issuing CA and what is above it up to the root.
    #[default]
    Full,
    /// The message certificate and the issuing CA: for gear that has room for one CA.
    Short,
    /// The message certificate alone, as one certificate and not as a bundle: for gear that reads no bundle. Its CA must reach it in
    /// another way.
    Message,
}

/// With which cipher a CertRep is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyCipher {
    /// That of the request, but triple DES for single DES.
    #[default]
    Strong,
    /// Exactly that of the request.
    Request,
}

/// Old algorithms that a profile takes, when everything was considered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, one for each old algorithm")]
pub struct OldAlgorithms {
    /// Requests signed with SHA-1, and their answers.
    pub sha1: bool,
    /// Envelopes encrypted with triple DES.
    pub triple_des: bool,
    /// Envelopes encrypted with single DES.
    pub des: bool,
    /// Requests signed with MD5, and their answers.
    pub md5: bool,
}

/// How a profile's endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Behaviour {
    /// What GetCACert shows.
    pub ca_bundle: CaBundle,
    /// Whether SUCCESS carries the CA certificates beside the issued one.
    pub include_ca: bool,
    /// Cipher of CertReps.
    pub reply_cipher: ReplyCipher,
    /// Whether GetCACaps names SHA-1.
    pub sha1_keyword: bool,
    /// Whether GetCACaps names SHA-384.
    pub sha384_keyword: bool,
    /// Old algorithms.
    pub old_algorithms: OldAlgorithms,
}

impl Behaviour {
    /// What `spec` says, explicitly or by its clients.
    pub fn of(spec: &ProfileSpec) -> Self {
        let clients = &spec.client;
        let needs = |quirk: &quirk::Quirk| quirk.concerns(clients);
        let old_algorithms = OldAlgorithms::of(spec.legacy, clients.names(ClientFamily::Legacy));
        let mirrors = needs(&quirk::ANSWERED_IN_KIND);
        let reply = if mirrors { ReplyCipher::Request } else { ReplyCipher::Strong };
        Self {
            ca_bundle: spec.ca_bundle,
            include_ca: spec.include_ca.unwrap_or(needs(&quirk::CA_IN_SUCCESS)),
            reply_cipher: spec.reply_cipher.unwrap_or(reply),
            sha1_keyword: clients.is_any() || old_algorithms.sha1 || needs(&quirk::SHA1_KEYWORD),
            sha384_keyword: clients.is_any() || needs(&quirk::SHA384_KEYWORD),
            old_algorithms,
        }
    }

    /// The cipher of the answer to an envelope with this one. Single DES is answered with triple DES, which every client but the
    /// oldest gear reads.
    pub const fn cipher_of_reply(&self, request: ContentCipher) -> ContentCipher {
        let in_kind = matches!(self.reply_cipher, ReplyCipher::Request) && self.old_algorithms.des;
        match request {
            ContentCipher::DesCbc if in_kind => ContentCipher::DesCbc,
            ContentCipher::TripleDesCbc | ContentCipher::DesCbc => ContentCipher::TripleDesCbc,
            ContentCipher::Aes128Cbc => ContentCipher::Aes128Cbc,
            ContentCipher::Aes192Cbc => ContentCipher::Aes192Cbc,
            ContentCipher::Aes256Cbc => ContentCipher::Aes256Cbc,
        }
    }
}

impl OldAlgorithms {
    fn of(written: Legacy, legacy_client: bool) -> Self {
        Self {
            sha1: written.sha1.unwrap_or(legacy_client),
            triple_des: written.triple_des.unwrap_or(legacy_client),
            des: written.des.unwrap_or(legacy_client),
            md5: written.md5.unwrap_or(legacy_client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest: &str) -> Behaviour {
        Behaviour::of(&toml::from_str(&format!("subject = \"CN=x\"\n{rest}")).unwrap())
    }

    #[test]
    fn any_client_gets_what_works_for_all() {
        let any = of("");
        assert_eq!(any.ca_bundle, CaBundle::Full);
        assert!(!any.include_ca && any.sha1_keyword && any.sha384_keyword);
        assert_eq!(any.old_algorithms, OldAlgorithms::default());
        assert_eq!(any.cipher_of_reply(ContentCipher::DesCbc), ContentCipher::TripleDesCbc);
    }

    #[test]
    fn explicit_keys_win_over_the_client() {
        assert!(of("client = \"cisco-vpn\"").include_ca);
        assert!(!of("client = \"cisco-vpn\"\ninclude-ca = false").include_ca);
        assert!(of("client = \"juniper\"\ninclude-ca = true").include_ca);
        let strong = of("client = [\"cisco-ios\", \"legacy\"]\nreply-cipher = \"strong\"");
        assert_eq!(strong.cipher_of_reply(ContentCipher::DesCbc), ContentCipher::TripleDesCbc);
        let narrowed = of("client = \"legacy\"\nlegacy = { des = false }").old_algorithms;
        assert_eq!(narrowed, OldAlgorithms { sha1: true, triple_des: true, des: false, md5: true });
    }

    #[test]
    fn old_cisco_is_answered_in_des_only_where_the_profile_takes_des() {
        let closed = of("client = \"cisco-ios\"");
        assert_eq!(closed.old_algorithms, OldAlgorithms::default());
        assert_eq!(closed.cipher_of_reply(ContentCipher::DesCbc), ContentCipher::TripleDesCbc);
        let open = of("client = \"cisco-ios\"\nlegacy = { des = true }");
        assert_eq!(open.cipher_of_reply(ContentCipher::DesCbc), ContentCipher::DesCbc);
        assert_eq!(open.cipher_of_reply(ContentCipher::Aes256Cbc), ContentCipher::Aes256Cbc);
    }

    #[test]
    fn capability_lines_are_those_that_the_client_looks_for() {
        let apple = of("client = \"apple\"");
        assert!(apple.sha1_keyword && !apple.sha384_keyword);
        let strongswan = of("client = \"strongswan\"");
        assert!(!strongswan.sha1_keyword && strongswan.sha384_keyword);
    }
}
