//! The personas. What has no comment is as RFC 8894 has it, or as the server offers.

use super::{Check, Persona, Renewal, SignerName, TransactionForm, Verb};
use crate::{
    app::client::http::Manner,
    types::{ContentCipher, DigestAlgorithm, KeyTransport},
    wire::scep::client::Spelling,
};

/// certgate's own client: RFC 8894 to the letter.
pub const CERTGATE: Persona = Persona {
    name: "certgate",
    client: "certgate",
    manner: Manner {
        old_http: false,
        host: true,
        accept: true,
        user_agent: Some(concat!("certgate/", env!("CARGO_PKG_VERSION"))),
        get_type: None,
    },
    path: "",
    ca_identifier: None,
    certificates_first: false,
    verb: Verb::AsOffered,
    spelling: Spelling::Escaped,
    post_type: Some("application/x-pki-message"),
    cipher: None,
    digest: DigestAlgorithm::Sha256,
    transport: KeyTransport::Pkcs1,
    indefinite: false,
    names_digest_in_signature: false,
    content_type_attribute: true,
    sorted_csr: true,
    transaction: TransactionForm::Sha256,
    signer: SignerName::Requested,
    renewal: Renewal::AsOffered,
    checks: &[],
};

const fn agent(user_agent: &'static str) -> Manner {
    Manner { user_agent: Some(user_agent), ..CERTGATE.manner }
}

/// GET alone, whatever is offered, by HTTP/1.0, `%0A` behind each 64 characters, `/pkiclient.exe`, `message` is the trustpoint's name
/// (smallstep/certificates#846, #916, #917). Triple DES; `hash sha256` under the trustpoint, since the old default MD5 (#2100) is taken by
/// no server that keeps to RFC 8894 §2.9 (`cisco-ios-12` has it). The answer must have the request's algorithms (Keyfactor/ejbca-ce#176); a
/// renewal is a PKCSReq under the old certificate (dogtag PR#3413).
const CISCO_IOS: Persona = Persona {
    name: "cisco-ios",
    client: "Cisco IOS and IOS-XE",
    manner: Manner {
        old_http: true,
        host: false,
        accept: false,
        ..agent("Mozilla/4.0 (compatible; MSIE 5.0; Cisco PKI)")
    },
    path: "/pkiclient.exe",
    ca_identifier: Some("trustpoint"),
    verb: Verb::Get,
    spelling: Spelling::Lines,
    cipher: Some(ContentCipher::TripleDesCbc),
    transaction: TransactionForm::Md5Upper,
    renewal: Renewal::PkcsReq,
    checks: &[Check::SameAlgorithms],
    ..CERTGATE
};

/// All of them, by name.
pub static PERSONAS: [Persona; 12] = [
    // SecSCEP.c (open source) and profiled: GetCACert comes first; the Content-Type is compared as a whole (error 22004); the RA is picked by
    // keyUsage (22003); the first certificate of the answer is the leaf (22008); always PKCSReq, also for a renewal, under a throw-away
    // certificate with a UUID for a name; the transactionID is the SHA-1 of the key in upper case; BER with indefinite lengths (micromdm/scep#79);
    // `message` is the payload's Name; `+` stays unescaped in GET (smallstep/certificates#1570).
    Persona {
        name: "apple",
        client: "Apple (iOS, iPadOS, macOS)",
        manner: agent("profiled/1.0 CFNetwork/1410.0.3 Darwin/22.6.0"),
        ca_identifier: Some("SCEP%20Authority"),
        certificates_first: true,
        spelling: Spelling::Raw,
        indefinite: true,
        transaction: TransactionForm::Sha1Upper,
        signer: SignerName::Uuid,
        renewal: Renewal::Anew,
        checks: &[Check::ExactCaType, Check::RaByKeyUsage, Check::FirstIsLeaf],
        ..CERTGATE
    },
    // The enrolment client's library: this User-Agent, `message=default`, `/pkiclient.exe`, a Content-Type with GET too. RSAES-OAEP in some
    // builds (bc-java#953, smallstep/certificates#1300). Without a known EKU on the RA certificate: 0x8010002c (Intune-Resource-Access#87);
    // without an attribute: "does not contain an expected authenticated attribute" (fleet#38341).
    Persona {
        name: "windows",
        client: "Windows (Intune, NDES client library)",
        manner: Manner {
            get_type: Some("application/x-pki-message"),
            ..agent("Mozilla/4.0 (compatible; Win32; NDES client)")
        },
        path: "/pkiclient.exe",
        ca_identifier: Some("default"),
        transport: KeyTransport::OaepSha1,
        checks: &[Check::RaExtendedKeyUsage, Check::SenderNonce, Check::ContentTypeAttribute],
        ..CERTGATE
    },
    // jscep with Bouncy Castle, as Intune and Fleet have it on Android: GetCACaps, then GetCACert with `message=ca`, indefinite lengths
    // (micromdm/scep#249, fleet#38579), Content-Type by its beginning, contentType wanted (openxpki#789).
    Persona {
        name: "android-jscep",
        client: "Android (jscep, Bouncy Castle)",
        manner: agent("Dalvik/2.1.0 (Linux; U; Android 14)"),
        ca_identifier: Some("ca"),
        indefinite: true,
        transaction: TransactionForm::Sha1,
        checks: &[Check::ReplyTypePrefix, Check::ContentTypeAttribute],
        ..CERTGATE
    },
    CISCO_IOS,
    // IOS 12 as it comes, without `hash`: MD5 and single DES (smallstep/certificates#2100, #916), and the same in the answer
    // (Keyfactor/ejbca-ce#176).
    Persona {
        name: "cisco-ios-12",
        client: "Cisco IOS 12",
        cipher: Some(ContentCipher::DesCbc),
        digest: DigestAlgorithm::Md5,
        ..CISCO_IOS
    },
    // Fortinet tips 262267, 420924: the transactionID is an MD5 in hexadecimal; of the attributes only transactionID, messageType and
    // senderNonce (and CMS's messageDigest) are sent.
    Persona {
        name: "fortigate",
        client: "FortiGate (FortiOS)",
        content_type_attribute: false,
        transaction: TransactionForm::Md5,
        renewal: Renewal::PkcsReq,
        ..CERTGATE
    },
    // `scep-encryption-algorithm des3` is the best that old Junos has; an answer with CA certificates beside the new one is refused (EJBCA's
    // documentation, "include CA certificate in response"). `scep-digest-algorithm` is MD5 or SHA-1.
    Persona {
        name: "juniper",
        client: "Juniper (Junos)",
        cipher: Some(ContentCipher::TripleDesCbc),
        digest: DigestAlgorithm::Sha1,
        transaction: TransactionForm::Sha1,
        checks: &[Check::LeafAlone],
        ..CERTGATE
    },
    // PAN-OS: the CA-IDENT of its SCEP profile is `message`.
    Persona {
        name: "paloalto",
        client: "Palo Alto Networks (PAN-OS)",
        ca_identifier: Some("CA-IDENT"),
        transaction: TransactionForm::Sha1,
        ..CERTGATE
    },
    // RouterOS: senderNonce must be in the answer (micromdm/scep#80, PR#104).
    Persona {
        name: "mikrotik",
        client: "MikroTik (RouterOS)",
        transaction: TransactionForm::Sha1,
        checks: &[Check::SenderNonce],
        ..CERTGATE
    },
    // sscep: no Content-Type with POST, `message=CAIdentifier`, the media type compared after cutting at the semicolon (sscep#126, #160), the
    // transactionID is the MD5 of the SubjectPublicKeyInfo in upper case (sscep.c, key_fingerprint).
    Persona {
        name: "sscep",
        client: "sscep",
        ca_identifier: Some("CAIdentifier"),
        post_type: None,
        transaction: TransactionForm::Md5Upper,
        checks: &[Check::CutCaType],
        ..CERTGATE
    },
    // scep-submit 0.79.17, as captured (fixtures/scep/certmonger.der): GET alone though POST is offered, `message=0`, AES-256, rsaEncryption, a
    // decimal transactionID; at most 1024 octets of capabilities; the answer's Content-Type to the letter; a renewal is a PKCSReq under the old
    // certificate.
    Persona {
        name: "certmonger",
        client: "certmonger (scep-submit 0.79)",
        ca_identifier: Some("0"),
        verb: Verb::Get,
        cipher: Some(ContentCipher::Aes256Cbc),
        transaction: TransactionForm::Decimal,
        renewal: Renewal::PkcsReq,
        checks: &[Check::CapsLength(1024), Check::ExactReplyType],
        ..CERTGATE
    },
    // pki --scep 5.9.8, as captured (fixtures/scep/strongswan-aes.der): no Content-Type with POST, no Host and Accept with GET,
    // sha256WithRSAEncryption, attributes of the request in no order. AES counts as offered only where SHA-384 is (strongswan#1607); the
    // answer's signatureAlgorithm must be rsaEncryption.
    Persona {
        name: "strongswan",
        client: "strongSwan (pki --scep 5.9)",
        manner: Manner { host: false, accept: false, user_agent: None, ..CERTGATE.manner },
        post_type: None,
        names_digest_in_signature: true,
        sorted_csr: false,
        transaction: TransactionForm::Sha1,
        checks: &[Check::Sha384Offered, Check::PlainRsaSignature],
        ..CERTGATE
    },
];
