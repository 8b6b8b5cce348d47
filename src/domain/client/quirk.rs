//! The table of peculiarities. Each is a fact about named clients with its source, what is done about it, and the fixture or test
//! that shows it.
//!
//! A source `owner/name#N` is an issue or pull request on GitHub.

use super::{ClientFamily, Clients};
use ClientFamily::{
    AndroidJscep, Apple, Certmonger, CiscoIos, CiscoVpn, Fortigate, Juniper, Legacy, Mikrotik, Paloalto,
    Sscep, Strongswan, Windows,
};

/// One peculiarity.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub clients: &'static [ClientFamily],
    /// Whether it is served whatever `client` says, because it harms no other client.
    pub always: bool,
    /// What the client does or wants, and what is done about it.
    pub says: &'static str,
    /// Where the fact comes from.
    pub source: &'static str,
    /// The file, from the top of the repository, that shows it.
    pub proof: &'static str,
}

impl Quirk {
    /// Whether it is one of these clients.
    pub fn concerns(&self, clients: &Clients) -> bool {
        self.clients.iter().any(|family| clients.names(*family))
    }
}

/// The CA certificates beside the issued one in SUCCESS: Cisco's VPN clients want them.
pub const CA_IN_SUCCESS: Quirk = Quirk {
    name: "ca-in-success",
    clients: &[CiscoVpn],
    always: false,
    says: "wants the CA certificates in SUCCESS beside its own",
    source: "EJBCA documentation, SCEP alias \"Include CA certificate in response\"",
    proof: "conformance/scep/client.rs",
};

/// The issued certificate alone in SUCCESS: Juniper refuses company, iOS takes whichever comes first after sorting.
pub const LEAF_ALONE: Quirk = Quirk {
    name: "leaf-alone",
    clients: &[Juniper, Apple],
    always: false,
    says: "takes SUCCESS only with the issued certificate alone in it",
    source: "EJBCA documentation (Juniper); NeySlim/ultimate-ca-manager#228 (iOS error 22008)",
    proof: "conformance/scep/client.rs",
};

/// Answers in the request's own cipher: old IOS reports `E_ENCRYPT_ALG_NOT_SUPPORTED` for another. Only where the profile takes that
/// cipher at all.
pub const ANSWERED_IN_KIND: Quirk = Quirk {
    name: "answered-in-kind",
    clients: &[CiscoIos, Juniper, Legacy],
    always: false,
    says: "reads an answer only in the cipher that it asked in: single DES too, where the profile takes it",
    source: "Keyfactor/ejbca-ce#176; seize-the-dave/jscep#97; Junos scep-encryption-algorithm des|des3",
    proof: "conformance/scep/client.rs",
};

/// GetCACaps names SHA-1: iOS 10 and later was seen to miss it. Whether a request may use it is another matter.
pub const SHA1_KEYWORD: Quirk = Quirk {
    name: "sha-1-keyword",
    clients: &[Apple],
    always: false,
    says: "misses the capability SHA-1 where it is not named",
    source: "micromdm/scep#23; smallstep/certificates#2406",
    proof: "conformance/scep/client.rs",
};

/// GetCACaps names SHA-384, which is no keyword of RFC 8894: strongSwan 5.9 takes AES as supported only beside it.
pub const SHA384_KEYWORD: Quirk = Quirk {
    name: "sha-384-keyword",
    clients: &[Strongswan],
    always: false,
    says: "takes AES as supported only where SHA-384 is named too",
    source: "strongswan/strongswan#1607 (5.9)",
    proof: "conformance/clients/strongswan.rs",
};

/// Answers signed with the request's own digest. Only where the profile takes that at all.
const SIGNED_IN_KIND: Quirk = Quirk {
    name: "signed-in-kind",
    clients: &[CiscoIos, Juniper, Legacy],
    always: true,
    says: "checks an answer only with the digest that it signed with: SHA-1 and MD5 too, where the profile takes them",
    source: "Keyfactor/ejbca-ce#176; smallstep/certificates#2100; Junos scep-digest-algorithm md5|sha-1",
    proof: "conformance/scep/old_digest.rs",
};

/// Old algorithms: single DES, triple DES, SHA-1, MD5.
const OLD_ALGORITHMS: Quirk = Quirk {
    name: "old-algorithms",
    clients: &[Legacy],
    always: false,
    says: "knows nothing better than SHA-1 or MD5 and single DES: all are taken, and each use is a warning",
    source: "smallstep/certificates#916, #2100; micromdm/scep#211",
    proof: "conformance/scep/captured.rs",
};

/// The message certificate is the first of the bundle and has both key usages.
const RA_FIRST: Quirk = Quirk {
    name: "ra-first",
    clients: &[Apple, AndroidJscep],
    always: true,
    says: "picks the certificate to encrypt to by its key usage: the message certificate comes first, with both",
    source: "Apple SecSCEP.c; jscep CertStoreInspector; openxpki/openxpki-config#14",
    proof: "conformance/scep/s2_operation.rs",
};

/// The message certificate has an extendedKeyUsage that the Windows client looks for.
const RA_PURPOSE: Quirk = Quirk {
    name: "ra-purpose",
    clients: &[Windows],
    always: true,
    says: "refuses a message certificate that is not for certificate requests (0x8010002c): it is",
    source: "microsoft/Intune-Resource-Access#87",
    proof: "conformance/scep/system.rs",
};

/// Indefinite lengths and strings in segments, at every level.
const INDEFINITE_LENGTHS: Quirk = Quirk {
    name: "indefinite-lengths",
    clients: &[Apple, AndroidJscep],
    always: true,
    says: "sends BER with indefinite lengths and strings in segments: read, within limits",
    source: "micromdm/scep#79, #249; seize-the-dave/jscep#35",
    proof: "conformance/scep/captured.rs",
};

/// A CA identifier that means nothing here.
const MEANINGLESS_IDENTIFIER: Quirk = Quirk {
    name: "meaningless-ca-identifier",
    clients: &[Windows, AndroidJscep, Sscep, CiscoIos, Apple],
    always: true,
    says: "names a CA as it likes (default, ca, CAIdentifier, a trustpoint): the profile of the URL answers",
    source: "fleetdm/fleet#53703; certnanny/sscep#160; micromdm/scep#241",
    proof: "conformance/http.rs",
};

/// Base64 with line ends, bare plus signs and without padding, over HTTP/1.0 without Host.
const LOOSE_GET: Quirk = Quirk {
    name: "loose-get",
    clients: &[CiscoIos, Apple, Certmonger],
    always: true,
    says: "sends its message by GET, over HTTP/1.0, with line ends or bare + in the base64: read",
    source: "smallstep/certificates#916, #917, #1570",
    proof: "conformance/http.rs",
};

/// PKCSReq, signed with the certificate that is to be renewed.
const RENEWAL_BY_PKCSREQ: Quirk = Quirk {
    name: "renewal-by-pkcsreq",
    clients: &[CiscoIos, Certmonger],
    always: true,
    says: "renews with messageType 19 under its old certificate: taken as a renewal",
    source: "dogtagpki/pki#3413",
    proof: "conformance/scep/renewal.rs",
};

/// The spent password of the first enrolment comes along with every renewal.
const RESENT_PASSWORD: Quirk = Quirk {
    name: "resent-password",
    clients: &[Fortigate],
    always: true,
    says: "sends its first, spent password again at renewal: the certificate that signs counts",
    source: "Fortinet technical tips 262267, 420924",
    proof: "conformance/scep/renewal.rs",
};

/// Signed attributes without contentType.
const NO_CONTENT_TYPE: Quirk = Quirk {
    name: "no-content-type",
    clients: &[Fortigate],
    always: true,
    says: "signs no contentType attribute: not missed",
    source: "FortiOS captures in openxpki/openxpki#789",
    proof: "conformance/scep/captured.rs",
};

/// Signed attributes in another order than DER's.
const UNSORTED_ATTRIBUTES: Quirk = Quirk {
    name: "unsorted-attributes",
    clients: &[Legacy, CiscoIos],
    always: true,
    says: "signs its attributes in the order in which it sends them: checked so, then sorted",
    source: "smallstep/certificates#1723, #2776",
    proof: "conformance/scep/captured.rs",
};

/// A short nonce or none, messageType as INTEGER.
const OLD_ATTRIBUTES: Quirk = Quirk {
    name: "old-attributes",
    clients: &[Legacy],
    always: true,
    says: "sends a nonce of 8 bytes or none, or its messageType as INTEGER: read",
    source: "NeySlim/ultimate-ca-manager, changes after 2.200",
    proof: "conformance/scep/captured.rs",
};

/// RSAES-OAEP with SHA-1 or SHA-256.
const OAEP: Quirk = Quirk {
    name: "oaep",
    clients: &[Windows],
    always: true,
    says: "wraps its content key with OAEP in some builds: opened, and answered with OAEP",
    source: "bcgit/bc-java#953; smallstep/certificates#1300",
    proof: "conformance/scep/captured.rs",
};

/// rsaEncryption as signatureAlgorithm of the answer's `SignerInfo`.
const RSA_ENCRYPTION: Quirk = Quirk {
    name: "rsa-encryption",
    clients: &[Strongswan, Legacy],
    always: true,
    says: "checks an answer only when its signatureAlgorithm is rsaEncryption: it is",
    source: "strongSwan 5.9.8; smallstep/certificates#2776",
    proof: "conformance/clients/strongswan.rs",
};

/// A senderNonce in every CertRep.
const NONCE_IN_ANSWERS: Quirk = Quirk {
    name: "nonce-in-answers",
    clients: &[Mikrotik, Windows],
    always: true,
    says: "refuses a CertRep without senderNonce, or without any other attribute of RFC 8894: all are there",
    source: "micromdm/scep#80, #104; fleetdm/fleet#38341",
    proof: "conformance/scep/s3_messages.rs",
};

/// Exact media types without parameters.
const BARE_MEDIA_TYPES: Quirk = Quirk {
    name: "bare-media-types",
    clients: &[Apple, Sscep, Certmonger],
    always: true,
    says: "compares Content-Type as a whole: no charset follows it",
    source: "Apple SecSCEP.c (error 22004); certnanny/sscep#126; micromdm/scep#80",
    proof: "conformance/http.rs",
};

/// The challenge is read off an NDES page.
const SCRAPED_CHALLENGE: Quirk = Quirk {
    name: "scraped-challenge",
    clients: &[Paloalto],
    always: true,
    says: "sends a fixed password, or one that it reads off an NDES page: a static challenge or a ticket",
    source: "PAN-OS documentation, SCEP profile, challenge Fixed and Dynamic",
    proof: "conformance/scep/ticket.rs",
};

/// Every entry, those that `client` decides first.
pub const ALL: [&Quirk; 22] = [
    &CA_IN_SUCCESS,
    &LEAF_ALONE,
    &ANSWERED_IN_KIND,
    &SHA1_KEYWORD,
    &SHA384_KEYWORD,
    &OLD_ALGORITHMS,
    &SIGNED_IN_KIND,
    &RA_FIRST,
    &RA_PURPOSE,
    &INDEFINITE_LENGTHS,
    &MEANINGLESS_IDENTIFIER,
    &LOOSE_GET,
    &RENEWAL_BY_PKCSREQ,
    &RESENT_PASSWORD,
    &NO_CONTENT_TYPE,
    &UNSORTED_ATTRIBUTES,
    &OLD_ATTRIBUTES,
    &OAEP,
    &RSA_ENCRYPTION,
    &NONCE_IN_ANSWERS,
    &BARE_MEDIA_TYPES,
    &SCRAPED_CHALLENGE,
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn every_family_is_in_the_table() {
        for (name, family) in ClientFamily::ALL {
            assert!(ALL.iter().any(|quirk| quirk.clients.contains(&family)), "{name}");
        }
    }

    #[test]
    fn every_quirk_has_a_name_of_its_own_a_source_and_a_proof_that_exists() {
        let names: BTreeSet<_> = ALL.iter().map(|quirk| quirk.name).collect();
        assert_eq!(names.len(), ALL.len());
        for quirk in ALL {
            assert!(!quirk.clients.is_empty() && !quirk.source.is_empty(), "{}", quirk.name);
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(quirk.proof).is_file(), "{}", quirk.name);
        }
    }
}
