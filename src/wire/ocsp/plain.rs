//! What nearly every request is: one CertID, with a nonce or without.
//!
//! It is read where it lies, without allocating, because most of these are answered from memory. Whatever has more to it (several CertIDs,
//! a signature, a name, other extensions) or is wrong is left to [`OcspRequest`].

use const_oid::db::rfc6960;

use super::{
    CertIdRef, GetBuffer, OcspRequest, get,
    request::{MAX_NONCE_LEN, nonce_len},
};
use crate::wire::{
    der::{
        BerError,
        reader::{Element, Reader, SEQUENCE, context},
    },
    x509::Extension,
};

/// Longer requests are not plain: SHA-512, a serial number of 32 bytes and a nonce of 128 make 361.
pub(super) const MAX_LEN: usize = 384;

/// A request for one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRequest<'a> {
    /// Whose status is asked for.
    pub cert_id: CertIdRef<'a>,
    /// Raw extnValue content octets.
    pub nonce: Option<&'a [u8]>,
}

impl<'a> PlainRequest<'a> {
    /// None: there is more to it, or it is no request.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        if der.len() > MAX_LEN { None } else { Self::parse(der).ok().flatten() }
    }

    /// Decodes what comes after the responder's URL in a GET, as [`OcspRequest::decode_get`] does. None: it is longer than a plain
    /// request, or slashes are to be repaired.
    pub fn decode_get<'b>(path: &str, buffer: &'b mut GetBuffer) -> Option<&'b [u8]> {
        get::decode_plain(path, buffer)
    }

    fn parse(der: &'a [u8]) -> Result<Option<Self>, BerError> {
        let mut fields = sole(Element::only_tagged(der, SEQUENCE)?.open())?.tagged(SEQUENCE)?.open();
        let list = fields.expect(SEQUENCE, "requestList")?.open();
        let cert_id = CertIdRef::read(&sole(sole(list)?.tagged(SEQUENCE)?.open())?)?;
        let extensions = fields.optional(context(2))?;
        fields.end()?;
        let nonce = match extensions {
            Some(extensions) => match nonce(&extensions)? {
                Some(nonce) => Some(nonce),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self { cert_id, nonce }))
    }
}

/// The one element that is there.
fn sole(mut reader: Reader<'_>) -> Result<Element<'_>, BerError> {
    let element = reader.any()?;
    reader.end()?;
    Ok(element)
}

/// The nonce, if there is no other extension and its length is one of RFC 9654 §2.1.
fn nonce<'a>(extensions: &Element<'a>) -> Result<Option<&'a [u8]>, BerError> {
    let extension = Extension::read(&sole(extensions.explicit()?.tagged(SEQUENCE)?.open())?)?;
    let fits = extension.is(rfc6960::ID_PKIX_OCSP_NONCE)
        && (1..=MAX_NONCE_LEN).contains(&nonce_len(extension.value));
    Ok(fits.then_some(extension.value))
}

impl From<PlainRequest<'_>> for OcspRequest {
    fn from(plain: PlainRequest<'_>) -> Self {
        Self {
            cert_ids: vec![plain.cert_id.into()],
            nonce: plain.nonce.map(<[u8]>::to_vec),
            preferred_signatures: Vec::new(),
            signature: None,
        }
    }
}
