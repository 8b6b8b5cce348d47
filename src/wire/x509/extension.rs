//! The extensions (RFC 5280 §4.2) that certgate reads, in certificates and in requests for them.

use const_oid::{ObjectIdentifier, db::rfc5280, db::rfc6960};

use super::{CaConstraint, GeneralName, KeyUsage, general_name};
use crate::wire::der::{
    BerError,
    reader::{
        BOOLEAN, Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, context, context_primitive,
    },
};

/// szOID_NTDS_CA_SECURITY_EXT and the otherName in it.
pub(super) const MICROSOFT_SID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.25.2");
pub(super) const MICROSOFT_OBJECT_SID: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.25.2.1");

/// Most extensions in one list. Certificates have about ten; looking for repetitions takes the square.
const MAX_EXTENSIONS: usize = 64;

/// One extension as it lies in the input.
pub(in crate::wire) struct Extension<'a> {
    /// Content octets of extnID.
    oid: &'a [u8],
    pub(in crate::wire) critical: bool,
    /// Content octets of extnValue.
    pub(in crate::wire) value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(in crate::wire) fn read(element: &Element<'a>) -> Result<Self, BerError> {
        let mut fields = element.tagged(SEQUENCE)?.open();
        let oid = fields.expect(OBJECT_IDENTIFIER, "extnID")?.content;
        let critical = match fields.optional(BOOLEAN)? {
            Some(critical) => critical.boolean()?,
            None => false,
        };
        let value = fields.expect(OCTET_STRING, "extnValue")?.content;
        fields.end()?;
        Ok(Self { oid, critical, value })
    }

    /// Reads Extensions, without repetitions (RFC 5280 §4.2).
    pub(in crate::wire) fn read_all(extensions: &Element<'a>) -> Result<Vec<Self>, BerError> {
        let mut list = extensions.tagged(SEQUENCE)?.open();
        let mut all = Vec::<Self>::new();
        while !list.is_empty() {
            let extension = Self::read(&list.any()?)?;
            if all.len() == MAX_EXTENSIONS {
                return Err("too many extensions".into());
            }
            if all.iter().any(|known| known.oid == extension.oid) {
                return Err("an extension comes twice".into());
            }
            all.push(extension);
        }
        Ok(all)
    }

    /// extnID, where it is readable.
    pub(in crate::wire) fn oid(&self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_bytes(self.oid).ok()
    }

    /// Whether the two are the same extension with different values.
    pub(in crate::wire) fn contradicts(&self, other: &Self) -> bool {
        self.oid == other.oid && self.value != other.value
    }

    pub(in crate::wire) fn is(&self, oid: ObjectIdentifier) -> bool {
        self.oid == oid.as_bytes()
    }
}

/// What the known extensions say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::wire) struct Extensions {
    pub(in crate::wire) subject_key_identifier: Option<Vec<u8>>,
    pub(in crate::wire) authority_key_identifier: Option<Vec<u8>>,
    pub(in crate::wire) key_usage: Option<KeyUsage>,
    pub(in crate::wire) ca: Option<CaConstraint>,
    pub(in crate::wire) extended_key_usage: Vec<ObjectIdentifier>,
    pub(in crate::wire) subject_alt_names: Vec<GeneralName>,
    pub(in crate::wire) crl_urls: Vec<String>,
    pub(in crate::wire) freshest_crl_urls: Vec<String>,
    pub(in crate::wire) ocsp_urls: Vec<String>,
    pub(in crate::wire) ca_issuers_urls: Vec<String>,
    pub(in crate::wire) ocsp_no_check: bool,
    pub(in crate::wire) microsoft_sid: Option<String>,
}

impl Extensions {
    /// Unknown extensions are read over, critical or not: whether a critical one matters is the relying party's concern.
    pub(in crate::wire) fn read(extensions: &[Extension<'_>]) -> Result<Self, BerError> {
        let mut all = Self::default();
        for extension in extensions {
            all.take(extension)?;
        }
        Ok(all)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), BerError> {
        if extension.is(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER) {
            let identifier = Element::only_tagged(extension.value, OCTET_STRING)?;
            self.subject_key_identifier = Some(identifier.content.to_vec());
        } else if extension.is(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_identifier = key_identifier(extension.value)?;
        } else if extension.is(rfc5280::ID_CE_KEY_USAGE) {
            self.key_usage = Some(KeyUsage::read(&Element::only(extension.value)?)?);
        } else if extension.is(rfc5280::ID_CE_BASIC_CONSTRAINTS) {
            self.ca = basic_constraints(extension.value)?;
        } else if extension.is(rfc5280::ID_CE_EXT_KEY_USAGE) {
            self.extended_key_usage = object_identifiers(extension.value)?;
        } else if extension.is(rfc5280::ID_CE_SUBJECT_ALT_NAME) {
            let names = Element::only_tagged(extension.value, SEQUENCE)?;
            self.subject_alt_names = general_name::read_all(names.open())?;
        } else if extension.is(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS) {
            self.crl_urls = distribution_points(extension.value)?;
        } else if extension.is(rfc5280::ID_CE_FRESHEST_CRL) {
            self.freshest_crl_urls = distribution_points(extension.value)?;
        } else if extension.is(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS) {
            self.ocsp_urls = access_locations(extension.value, rfc5280::ID_AD_OCSP)?;
            self.ca_issuers_urls = access_locations(extension.value, rfc5280::ID_AD_CA_ISSUERS)?;
        } else if extension.is(rfc6960::ID_PKIX_OCSP_NOCHECK) {
            self.ocsp_no_check = true;
        } else if extension.is(MICROSOFT_SID) {
            self.microsoft_sid = microsoft_sid(extension.value)?;
        }
        Ok(())
    }
}

/// keyIdentifier of an AuthorityKeyIdentifier (RFC 5280 §4.2.1.1).
pub(in crate::wire) fn key_identifier(value: &[u8]) -> Result<Option<Vec<u8>>, BerError> {
    let mut fields = Element::only_tagged(value, SEQUENCE)?.open();
    Ok(fields.optional(context_primitive(0))?.map(|identifier| identifier.content.to_vec()))
}

fn basic_constraints(value: &[u8]) -> Result<Option<CaConstraint>, BerError> {
    let mut fields = Element::only_tagged(value, SEQUENCE)?.open();
    let is_ca = fields.optional(BOOLEAN)?.map_or(Ok(false), |flag| flag.boolean())?;
    let path_len = fields.optional(INTEGER)?.map(|length| length.unsigned()).transpose()?;
    fields.end()?;
    let path_len = path_len.map(|length| u8::try_from(length).unwrap_or(u8::MAX));
    Ok(is_ca.then_some(CaConstraint { path_len }))
}

fn object_identifiers(value: &[u8]) -> Result<Vec<ObjectIdentifier>, BerError> {
    let mut list = Element::only_tagged(value, SEQUENCE)?.open();
    let mut all = Vec::new();
    while !list.is_empty() {
        all.push(list.any()?.oid()?);
    }
    Ok(all)
}

/// The URIs in the fullName of each distribution point (RFC 5280 §4.2.1.13).
pub(in crate::wire) fn distribution_points(value: &[u8]) -> Result<Vec<String>, BerError> {
    let mut points = Element::only_tagged(value, SEQUENCE)?.open();
    let mut urls = Vec::new();
    while !points.is_empty() {
        let point = points.expect(SEQUENCE, "DistributionPoint")?.open().optional(context(0))?;
        if let Some(name) = point {
            urls.extend(full_name(&name)?);
        }
    }
    Ok(urls)
}

/// The URIs in the fullName of a DistributionPointName.
pub(in crate::wire) fn full_name(name: &Element<'_>) -> Result<Vec<String>, BerError> {
    match name.open().optional(context(0))? {
        Some(names) => Ok(uris(general_name::read_all(names.open())?).collect()),
        None => Ok(Vec::new()),
    }
}

/// The URIs of one access method (RFC 5280 §4.2.2.1).
fn access_locations(value: &[u8], method: ObjectIdentifier) -> Result<Vec<String>, BerError> {
    let mut descriptions = Element::only_tagged(value, SEQUENCE)?.open();
    let mut urls = Vec::new();
    while !descriptions.is_empty() {
        let mut fields = descriptions.expect(SEQUENCE, "AccessDescription")?.open();
        if fields.expect(OBJECT_IDENTIFIER, "accessMethod")?.content == method.as_bytes() {
            urls.extend(uris(general_name::read_all(fields)?));
        }
    }
    Ok(urls)
}

fn uris(names: Vec<GeneralName>) -> impl Iterator<Item = String> {
    names.into_iter().filter_map(|name| if let GeneralName::Uri(uri) = name { Some(uri) } else { None })
}

/// `SEQUENCE { [0] { OID, [0] OCTET STRING } }`: an otherName in GeneralNames, with the SID as text.
fn microsoft_sid(value: &[u8]) -> Result<Option<String>, BerError> {
    let mut names = Element::only_tagged(value, SEQUENCE)?.open();
    while !names.is_empty() {
        let mut fields = names.expect(context(0), "otherName")?.open();
        if fields.expect(OBJECT_IDENTIFIER, "type-id")?.content == MICROSOFT_OBJECT_SID.as_bytes() {
            let sid = fields.expect(context(0), "value")?.explicit()?.tagged(OCTET_STRING)?;
            return Ok(String::from_utf8(sid.content.to_vec()).ok());
        }
    }
    Ok(None)
}
