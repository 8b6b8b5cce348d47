//! What requests and answers carry inside (RFC 8894 §3.3, §3.4).

use const_oid::db::rfc5911;

use crate::{
    types::SerialNumber,
    wire::{
        EncodeError,
        cms::signed::{SignedData, encap_content_info, in_content_info, issuer_and_serial_number},
        crl::Crl,
        der::{
            normalise,
            reader::{Element, INTEGER, SEQUENCE, SET, context},
            writer,
        },
        x509::{Certificate, DecodeError, Name},
    },
};

/// IssuerAndSubject: the payload of CertPoll (RFC 8894 §3.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerAndSubject {
    /// The CA's subject.
    pub issuer: Name,
    /// The subject of the request that waits.
    pub subject: Name,
}

impl IssuerAndSubject {
    /// BER or DER.
    pub fn from_ber(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::of("IssuerAndSubject");
        let der = normalise(bytes).map_err(&malformed)?;
        let mut fields = Element::only_tagged(&der, SEQUENCE).map_err(&malformed)?.open();
        let issuer = Name::from_der(fields.expect(SEQUENCE, "issuer").map_err(&malformed)?.encoding)?;
        let subject = Name::from_der(fields.expect(SEQUENCE, "subject").map_err(&malformed)?.encoding)?;
        fields.end().map_err(&malformed)?;
        Ok(Self { issuer, subject })
    }

    /// DER.
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(writer::sequence(&[self.issuer.as_der(), self.subject.as_der()]))
    }
}

/// IssuerAndSerialNumber: the payload of GetCert and GetCRL (RFC 8894 §3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerAndSerialNumber {
    /// The certificate's issuer.
    pub issuer: Name,
    /// The certificate's serial number.
    pub serial: SerialNumber,
}

impl IssuerAndSerialNumber {
    /// BER or DER.
    pub fn from_ber(bytes: &[u8]) -> Result<Self, DecodeError> {
        let what = "IssuerAndSerialNumber";
        let malformed = DecodeError::of(what);
        let der = normalise(bytes).map_err(&malformed)?;
        let mut fields = Element::only_tagged(&der, SEQUENCE).map_err(&malformed)?.open();
        let issuer = Name::from_der(fields.expect(SEQUENCE, "issuer").map_err(&malformed)?.encoding)?;
        let serial = fields.expect(INTEGER, "serialNumber").map_err(&malformed)?.content;
        fields.end().map_err(&malformed)?;
        let serial = SerialNumber::from_der_integer(serial);
        let serial = serial.map_err(|error| DecodeError { what, reason: error.to_string() })?;
        Ok(Self { issuer, serial })
    }

    /// DER.
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(issuer_and_serial_number(&self.issuer, &self.serial))
    }
}

/// The certificates and CRLs of a degenerate SignedData (RFC 8894 §3.4).
#[derive(Clone, Debug, Default)]
pub struct Degenerate {
    /// `certificates`, in the order of the message.
    pub certificates: Vec<Certificate>,
    /// `crls`, in the order of the message.
    pub crls: Vec<Crl>,
}

impl Degenerate {
    /// Certificates in the order given (the first is the leaf for Apple; SET OF order is given up on purpose),
    /// encapContentInfo content omitted.
    pub fn to_der(certificates: &[&[u8]], crls: &[&[u8]]) -> Result<Vec<u8>, EncodeError> {
        let set = |number, members: &[&[u8]]| match members {
            [] => Vec::new(),
            members => writer::element(context(number), members),
        };
        let signed_data = writer::sequence(&[
            &writer::unsigned(1),
            &writer::element(SET, &[]),
            &encap_content_info(None),
            &set(0, certificates),
            &set(1, crls),
            &writer::element(SET, &[]),
        ]);
        Ok(in_content_info(rfc5911::ID_SIGNED_DATA, &signed_data))
    }

    /// BER or DER. Content and signatures, which a degenerate SignedData does not have, are not looked at.
    pub fn from_ber(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::of("degenerate SignedData");
        let der = normalise(bytes).map_err(&malformed)?;
        let data = SignedData::read(&der).map_err(&malformed)?;
        Ok(Self {
            certificates: data
                .certificates
                .into_iter()
                .map(Certificate::from_der)
                .collect::<Result<_, _>>()?,
            crls: data.crls.into_iter().map(Crl::from_der).collect::<Result<_, _>>()?,
        })
    }
}
