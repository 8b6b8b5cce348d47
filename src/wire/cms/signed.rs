//! SignedData (RFC 5652 §5).

use const_oid::{
    ObjectIdentifier,
    db::{rfc5911, rfc5912},
};

use super::algorithm::{signature, signer_info_signature};
use crate::{
    types::{DigestAlgorithm, SerialNumber, SignatureAlgorithm, Timestamp},
    wire::{
        EncodeError, Unsigned,
        algorithm::{self, AlgorithmIdentifier},
        der::{
            BerError,
            reader::{
                Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET, context,
                context_primitive,
            },
            writer,
        },
        x509::{Certificate, Name, PublicKey},
    },
};

/// The content of a ContentInfo (RFC 5652 §3) whose contentType is `content_type`.
pub(crate) fn content_info<'a>(
    der: &'a [u8],
    content_type: ObjectIdentifier,
    wanted: &'static str,
) -> Result<Element<'a>, BerError> {
    let mut fields = Element::only_tagged(der, SEQUENCE)?.open();
    let oid = fields.expect(OBJECT_IDENTIFIER, "contentType")?;
    if oid.content != content_type.as_bytes() {
        return Err(BerError::Unexpected { wanted });
    }
    let content = fields.expect(context(0), "content")?;
    fields.end()?;
    let mut inner = content.open();
    let content = inner.expect(SEQUENCE, wanted)?;
    inner.end()?;
    Ok(content)
}

/// Puts `content` into a ContentInfo.
pub(crate) fn in_content_info(content_type: ObjectIdentifier, content: &[u8]) -> Vec<u8> {
    writer::sequence(&[&writer::oid(content_type), &writer::element(context(0), &[content])])
}

/// A SignedData as it is on the wire; nothing is checked but its shape.
#[derive(Clone, Debug)]
pub(crate) struct SignedData<'a> {
    /// eContentType: content octets of the object identifier.
    pub(crate) content_type: &'a [u8],
    /// The octets of eContent; `None` when the field is absent.
    pub(crate) content: Option<&'a [u8]>,
    /// DER of each member of `certificates` that is an X.509 certificate.
    pub(crate) certificates: Vec<&'a [u8]>,
    /// DER of each member of `crls` that is a CertificateList.
    pub(crate) crls: Vec<&'a [u8]>,
    /// signerInfos.
    pub(crate) signers: Vec<SignerInfo<'a>>,
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo with a SignedData. `der` is normalised.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = content_info(der, rfc5911::ID_SIGNED_DATA, "SignedData")?.open();
        fields.expect(INTEGER, "version")?;
        fields.expect(SET, "digestAlgorithms")?;
        let (content_type, content) = encapsulated(fields.expect(SEQUENCE, "encapContentInfo")?)?;
        let certificates = members(fields.optional(context(0))?)?;
        let crls = members(fields.optional(context(1))?)?;
        let mut infos = fields.expect(SET, "signerInfos")?.open();
        fields.end()?;
        let mut signers = Vec::new();
        while let Some(info) = infos.optional(SEQUENCE)? {
            signers.push(SignerInfo::read(info)?);
        }
        infos.end()?;
        Ok(Self { content_type, content, certificates, crls, signers })
    }
}

fn encapsulated(info: Element<'_>) -> Result<(&[u8], Option<&[u8]>), BerError> {
    let mut fields = info.open();
    let content_type = fields.expect(OBJECT_IDENTIFIER, "eContentType")?.content;
    let Some(explicit) = fields.optional(context(0))? else {
        return fields.end().map(|()| (content_type, None));
    };
    fields.end()?;
    let mut inner = explicit.open();
    let content = inner.expect(OCTET_STRING, "eContent")?.content;
    inner.end()?;
    Ok((content_type, Some(content)))
}

/// The SEQUENCEs of a `[n] IMPLICIT SET OF CHOICE`: certificates and CRLs; the other choices are of no use to SCEP.
fn members(set: Option<Element<'_>>) -> Result<Vec<&[u8]>, BerError> {
    let Some(set) = set else { return Ok(Vec::new()) };
    let members = set.open().filter(|member| member.as_ref().map_or(true, |member| member.tag == SEQUENCE));
    members.map(|member| member.map(|member| member.encoding)).collect()
}

/// SignerInfo (RFC 5652 §5.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignerInfo<'a> {
    id: SignerId<'a>,
    digest_algorithm: AlgorithmIdentifier<'a>,
    /// Content octets of signedAttrs.
    attributes: Option<&'a [u8]>,
    signature_algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum SignerId<'a> {
    IssuerAndSerialNumber { issuer: &'a [u8], serial: &'a [u8] },
    SubjectKeyIdentifier(&'a [u8]),
}

impl<'a> SignerInfo<'a> {
    fn read(info: Element<'a>) -> Result<Self, BerError> {
        let mut fields = info.open();
        fields.expect(INTEGER, "version")?;
        let id = match fields.optional(context_primitive(0))? {
            Some(identifier) => SignerId::SubjectKeyIdentifier(identifier.content),
            None => issuer_and_serial(fields.expect(SEQUENCE, "issuerAndSerialNumber")?)?,
        };
        let digest_algorithm = AlgorithmIdentifier::read(&mut fields)?;
        let attributes = fields.optional(context(0))?.map(|attributes| attributes.content);
        let signature_algorithm = AlgorithmIdentifier::read(&mut fields)?;
        let signature = fields.expect(OCTET_STRING, "signature")?.content;
        fields.optional(context(1))?;
        fields.end()?;
        Ok(Self { id, digest_algorithm, attributes, signature_algorithm, signature })
    }

    /// Whether it says that this certificate's key signed it.
    pub(crate) fn names(&self, certificate: &Certificate) -> bool {
        self.id.names(certificate)
    }

    /// The signer's certificate: by issuer (compared as RFC 5280 §7.1 says: some clients re-encode it) and serial, by key
    /// identifier, or the only one there is. That it is the right one shows when the signature verifies.
    pub(crate) fn certificate<'c>(&self, certificates: &'c [Certificate]) -> Option<&'c Certificate> {
        let named = certificates.iter().find(|certificate| self.id.names(certificate));
        match certificates {
            [only] => Some(named.unwrap_or(only)),
            _ => named,
        }
    }
}

fn issuer_and_serial(element: Element<'_>) -> Result<SignerId<'_>, BerError> {
    let mut fields = element.open();
    let issuer = fields.expect(SEQUENCE, "issuer")?.encoding;
    let serial = fields.expect(INTEGER, "serialNumber")?.content;
    fields.end()?;
    Ok(SignerId::IssuerAndSerialNumber { issuer, serial })
}

impl SignerId<'_> {
    fn names(&self, certificate: &Certificate) -> bool {
        match *self {
            Self::IssuerAndSerialNumber { issuer, serial } => {
                SerialNumber::from_der_integer(serial).is_ok_and(|serial| serial == *certificate.serial())
                    && Name::from_der(issuer).is_ok_and(|issuer| issuer.matches(certificate.issuer()))
            }
            Self::SubjectKeyIdentifier(identifier) => has_key_identifier(certificate, identifier),
        }
    }
}

/// Whether `identifier` is the certificate's key identifier, as it says itself or else as RFC 5280 §4.2.1.2 computes it.
pub(crate) fn has_key_identifier(certificate: &Certificate, identifier: &[u8]) -> bool {
    match certificate.subject_key_identifier() {
        Some(own) => own == identifier,
        None => certificate.public_key().key_identifier() == identifier,
    }
}

/// Signed attributes: content octets of the SET.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

/// Why an attribute cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    /// Not the shape of an attribute.
    #[error(transparent)]
    Malformed(#[from] BerError),
    /// RFC 5652 §5.3: at most one instance with one value.
    #[error("an attribute with several values")]
    Several,
}

impl<'a> Attributes<'a> {
    /// The value of the attribute `oid`. Absent: `None`.
    pub(crate) fn value(&self, oid: ObjectIdentifier) -> Result<Option<Element<'a>>, AttributeError> {
        let mut found = None;
        for attribute in Reader::new(self.0) {
            let mut fields = attribute?.open();
            if fields.expect(OBJECT_IDENTIFIER, "attrType")?.content != oid.as_bytes() {
                continue;
            }
            let mut values = fields.expect(SET, "attrValues")?.open();
            let value = values.any()?;
            if !values.is_empty() || found.replace(value).is_some() {
                return Err(AttributeError::Several);
            }
        }
        Ok(found)
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureError {
    /// It was checked and does not hold.
    Invalid(&'static str),
    /// Its algorithm is not spoken here.
    Algorithm(&'static str),
    /// It is made with MD5, which was not asked for.
    Md5,
}

/// One signature with everything that it covers.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    content_type: Vec<u8>,
    content: Option<Vec<u8>>,
    attributes: Vec<u8>,
    /// digestAlgorithm, if it is spoken.
    digest: Option<DigestAlgorithm>,
    /// signatureAlgorithm, if it is spoken.
    algorithm: Option<SignatureAlgorithm>,
    value: Vec<u8>,
}

impl Signature {
    /// Takes what `signer` signed out of `data`. `None`: there are no signed attributes.
    pub(crate) fn of(data: &SignedData<'_>, signer: &SignerInfo<'_>) -> Option<Self> {
        let digest = algorithm::digest(signer.digest_algorithm.oid);
        Some(Self {
            content_type: data.content_type.to_vec(),
            content: data.content.map(<[u8]>::to_vec),
            attributes: signer.attributes?.to_vec(),
            digest,
            algorithm: digest.and_then(|digest| signature(&signer.signature_algorithm, digest)),
            value: signer.signature.to_vec(),
        })
    }

    /// The octets of eContent; `None` when the field is absent.
    pub(crate) fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// The signed attributes.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes(&self.attributes)
    }

    /// The two algorithms, if they are known and agree on the digest. A SHA-256 content digest under a SHA-1 signature would
    /// slip past a policy that looks at one of them. MD5 counts if `md5` says so.
    pub(crate) fn algorithms(
        &self,
        md5: bool,
    ) -> Result<(DigestAlgorithm, SignatureAlgorithm), SignatureError> {
        let digest = self.digest.ok_or(SignatureError::Algorithm("the digest algorithm is not spoken"))?;
        let signature =
            self.algorithm.ok_or(SignatureError::Algorithm("the signature algorithm is not spoken"))?;
        match digest {
            _ if signature.digest() != digest => {
                Err(SignatureError::Algorithm("digest and signature algorithm disagree"))
            }
            DigestAlgorithm::Md5 if !md5 => Err(SignatureError::Md5),
            _ => Ok((digest, signature)),
        }
    }

    /// Checks the attributes against the content (RFC 5652 §5.4, §11) and the signature against `key`. MD5 does not count.
    pub(crate) fn check(&self, key: &PublicKey) -> Result<DigestAlgorithm, SignatureError> {
        self.check_taking(key, false)
    }

    /// [`Signature::check`], where MD5 counts if `md5` says so.
    pub(crate) fn check_taking(&self, key: &PublicKey, md5: bool) -> Result<DigestAlgorithm, SignatureError> {
        let (digest, algorithm) = self.algorithms(md5)?;
        self.check_content_type()?;
        self.check_message_digest(digest)?;
        self.check_value(algorithm, key)?;
        Ok(digest)
    }

    /// RFC 5652 §11.1. FortiGate and other old clients send no contentType at all.
    fn check_content_type(&self) -> Result<(), SignatureError> {
        match self.attributes().value(rfc5911::ID_CONTENT_TYPE) {
            Ok(None) => Ok(()),
            Ok(Some(value)) if value.tag == OBJECT_IDENTIFIER && value.content == self.content_type => Ok(()),
            _ => Err(SignatureError::Invalid("contentType does not name the content")),
        }
    }

    /// RFC 5652 §11.2.
    fn check_message_digest(&self, digest: DigestAlgorithm) -> Result<(), SignatureError> {
        let value = self.attributes().value(rfc5911::ID_MESSAGE_DIGEST);
        let Ok(Some(Element { tag: OCTET_STRING, content, .. })) = value else {
            return Err(SignatureError::Invalid("messageDigest is missing"));
        };
        if digest.digest(self.content().unwrap_or_default()) == content {
            Ok(())
        } else {
            Err(SignatureError::Invalid("messageDigest is not the digest of the content"))
        }
    }

    /// RFC 5652 §5.4: the signature covers the attributes under the tag of a SET OF, in DER. Old signers signed them in the
    /// order in which they sent them, and some sent them in another order than they signed: the octets as received come
    /// first, then the order of DER.
    fn check_value(&self, algorithm: SignatureAlgorithm, key: &PublicKey) -> Result<(), SignatureError> {
        let received = writer::element(SET, &[&self.attributes]);
        if key.verify(algorithm, &received, &self.value).is_ok() {
            return Ok(());
        }
        let sorted = self.sorted_attributes();
        if sorted.as_ref().is_some_and(|sorted| key.verify(algorithm, sorted, &self.value).is_ok()) {
            return Ok(());
        }
        Err(SignatureError::Invalid("the signature does not verify"))
    }

    /// The attributes as DER would order them; `None` when they are in that order.
    fn sorted_attributes(&self) -> Option<Vec<u8>> {
        let members: Vec<_> = Reader::new(&self.attributes)
            .map(|member| member.map(|member| member.encoding.to_vec()))
            .collect::<Result<_, _>>()
            .ok()?;
        (!members.is_sorted()).then(|| writer::set_of(members))
    }

    /// The signingTime attribute (RFC 5652 §11.3). Nothing rests on it but a policy, so an unreadable one counts as absent.
    pub(crate) fn signing_time(&self) -> Option<Timestamp> {
        let value = self.attributes().value(rfc5911::ID_SIGNING_TIME).ok()??;
        value.time().ok()
    }
}

/// Whether the signature is by plain rsaEncryption, which does not name the digest.
pub(crate) fn names_plain_rsa(signer: &SignerInfo<'_>) -> bool {
    signer.signature_algorithm.oid == rfc5912::RSA_ENCRYPTION.as_bytes()
}

/// `Attribute ::= SEQUENCE { attrType OBJECT IDENTIFIER, attrValues SET OF ANY }` with one value.
pub(crate) fn attribute(oid: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    writer::sequence(&[&writer::oid(oid), &writer::element(SET, &[value])])
}

/// The signingTime attribute: UTCTime until 2049, then GeneralizedTime (RFC 5652 §11.3).
pub(crate) fn signing_time(time: Timestamp) -> Vec<u8> {
    attribute(rfc5911::ID_SIGNING_TIME, &writer::time(time))
}

/// A SignedData to be signed by one signer, whose certificate it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedDataSpec<'a> {
    /// eContent; `None` leaves the field out.
    pub(crate) content: Option<&'a [u8]>,
    /// Whose key signs.
    pub(crate) signer: &'a Certificate,
    /// For messageDigest and the signature.
    pub(crate) digest: DigestAlgorithm,
}

impl SignedDataSpec<'_> {
    /// `attributes` are the DER of what is signed besides contentType and messageDigest.
    pub(crate) fn unsigned(
        &self,
        attributes: Vec<Vec<u8>>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Unsigned, EncodeError> {
        let info = SignerSpec { signer: self.signer, digest: self.digest };
        let info = info.unsigned(self.content, attributes, algorithm)?;
        let before = before_signers(self.content, &[self.digest], &[self.signer.as_der()]);
        Ok(info.within(move |info| complete(&before, vec![info])))
    }
}

/// One SignerInfo to be signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignerSpec<'a> {
    /// Whose key signs.
    pub(crate) signer: &'a Certificate,
    /// For messageDigest and the signature.
    pub(crate) digest: DigestAlgorithm,
}

impl SignerSpec<'_> {
    /// The SignerInfo but for its signature. `attributes` are the DER of what is signed besides contentType and messageDigest.
    pub(crate) fn unsigned(
        &self,
        content: Option<&[u8]>,
        mut attributes: Vec<Vec<u8>>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Unsigned, EncodeError> {
        if algorithm.digest() != self.digest {
            let reason = format!("messageDigest is {}, the signature {}", self.digest, algorithm.digest());
            return Err(EncodeError { what: "SignerInfo", reason });
        }
        let message_digest = self.digest.digest(content.unwrap_or_default());
        attributes.push(attribute(rfc5911::ID_CONTENT_TYPE, &writer::oid(rfc5911::ID_DATA)));
        attributes.push(attribute(rfc5911::ID_MESSAGE_DIGEST, &writer::octets(&message_digest)));
        let to_be_signed = writer::set_of(attributes);
        let signer_info = self.signer_info(&to_be_signed, algorithm);
        Ok(Unsigned::new(to_be_signed, algorithm, move |signature| {
            Ok(writer::sequence(&[&signer_info, &writer::octets(signature)]))
        }))
    }

    /// Everything of the SignerInfo that comes before the signature.
    fn signer_info(&self, attributes: &[u8], algorithm: SignatureAlgorithm) -> Vec<u8> {
        // RFC 5652 §5.3: in the message the SET OF has the tag [0].
        let mut implicit = attributes.to_vec();
        if let Some(tag) = implicit.first_mut() {
            *tag = context(0);
        }
        [
            writer::unsigned(1),
            issuer_and_serial_number(self.signer.issuer(), self.signer.serial()),
            digest_algorithm(self.digest),
            implicit,
            signer_info_signature(algorithm),
        ]
        .concat()
    }
}

/// A SignedData with these SignerInfos, made with these digests. `certificates` stay in their order.
pub(crate) fn signed_data(
    content: Option<&[u8]>,
    digests: &[DigestAlgorithm],
    certificates: &[&[u8]],
    signer_infos: Vec<Vec<u8>>,
) -> Vec<u8> {
    complete(&before_signers(content, digests, certificates), signer_infos)
}

/// Everything of a SignedData that comes before signerInfos.
fn before_signers(content: Option<&[u8]>, digests: &[DigestAlgorithm], certificates: &[&[u8]]) -> Vec<u8> {
    let mut algorithms: Vec<_> = digests.iter().map(|digest| digest_algorithm(*digest)).collect();
    algorithms.sort();
    algorithms.dedup();
    [
        writer::unsigned(1),
        writer::set_of(algorithms),
        encap_content_info(content),
        writer::element(context(0), certificates),
    ]
    .concat()
}

fn complete(before: &[u8], signer_infos: Vec<Vec<u8>>) -> Vec<u8> {
    let signed_data = writer::sequence(&[before, &writer::set_of(signer_infos)]);
    in_content_info(rfc5911::ID_SIGNED_DATA, &signed_data)
}

/// RFC 5754 §2: without parameters.
fn digest_algorithm(digest: DigestAlgorithm) -> Vec<u8> {
    algorithm::without_parameters(algorithm::digest_oid(digest))
}

/// IssuerAndSerialNumber (RFC 5652 §10.2.4).
pub(crate) fn issuer_and_serial_number(issuer: &Name, serial: &SerialNumber) -> Vec<u8> {
    writer::sequence(&[issuer.as_der(), &writer::element(INTEGER, &[&serial.to_der_integer()])])
}

/// EncapsulatedContentInfo (RFC 5652 §5.2) with eContentType id-data.
pub(crate) fn encap_content_info(content: Option<&[u8]>) -> Vec<u8> {
    let explicit = content.map(|content| writer::element(context(0), &[&writer::octets(content)]));
    writer::sequence(&[&writer::oid(rfc5911::ID_DATA), &explicit.unwrap_or_default()])
}
