//! CRLs to be signed.

use const_oid::db::rfc5280;

use super::EXPIRED_CERTS_ON_CRL;
use crate::{
    types::{SignatureAlgorithm, Timestamp},
    wire::{
        EncodeError, Unsigned, algorithm,
        der::{
            reader::{SEQUENCE, context},
            writer,
        },
        x509::{Name, authority_key_identifier, distribution_point, distribution_point_name, extension},
    },
};

/// Room for AlgorithmIdentifier and signature, so that a large list is not moved to a larger buffer for them.
const ROOM_FOR_SIGNATURE: usize = 1024;
/// How long these are about, for the length of the header before everything.
const USUAL_SIGNATURE: usize = 300;

/// What a CRL to be signed says beside its entries.
#[derive(Clone, Debug)]
pub struct CrlSpec<'a> {
    /// The issuer's subject, byte for byte.
    pub issuer: &'a Name,
    /// The issuer's subjectKeyIdentifier.
    pub authority_key_identifier: &'a [u8],
    /// cRLNumber: greater than that of every CRL before.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// expiredCertsOnCRL (X.509 §9.5.2.8): certificates that expired since then are listed, too.
    pub expired_since: Option<Timestamp>,
    /// BaseCRLNumber of deltaCRLIndicator, critical (RFC 5280 §5.2.4): the full CRL that this one changes.
    pub base_number: Option<u64>,
    /// fullName of issuingDistributionPoint, critical (RFC 5280 §5.2.5): URLs of the certificates that this CRL is about, byte for
    /// byte as in their cRLDistributionPoints. Empty: no such extension.
    pub distribution_point: &'a [String],
    /// fullName of freshestCRL (RFC 5280 §5.2.6): where the delta to this CRL is. Empty: no such extension.
    pub freshest: &'a [String],
}

impl<'a> CrlSpec<'a> {
    /// A full CRL without extensions but authorityKeyIdentifier and cRLNumber: what a CRL says beyond that is set on top of this.
    pub const fn new(
        issuer: &'a Name,
        authority_key_identifier: &'a [u8],
        number: u64,
        this_update: Timestamp,
        next_update: Timestamp,
    ) -> Self {
        Self {
            issuer,
            authority_key_identifier,
            number,
            this_update,
            next_update,
            expired_since: None,
            base_number: None,
            distribution_point: &[],
            freshest: &[],
        }
    }

    /// The version 2 CRL, to be signed by the issuer under `algorithm`. `entries` are the DER of [`super::CrlEntry::to_der`] or
    /// [`super::DeltaEntry::to_der`], one or many in each piece, in ascending order of the serial; none: the list is absent (RFC 5280
    /// §5.1.2.6).
    ///
    /// The pieces are gone through twice and copied once, into a buffer that also has room for the header and the signature: nothing
    /// of a large CRL is copied or moved again.
    pub fn unsigned<'e>(
        &self,
        algorithm: SignatureAlgorithm,
        entries: impl Iterator<Item = &'e [u8]> + Clone,
    ) -> Result<Unsigned, EncodeError> {
        let before = [
            &writer::unsigned(1),
            algorithm::signature_identifier(algorithm).as_slice(),
            self.issuer.as_der(),
            &writer::time(self.this_update),
            &writer::time(self.next_update),
        ]
        .concat();
        let after = writer::element(context(0), &[&writer::sequence(&[&self.extensions()?])]);
        let entries_len: usize = entries.clone().map(<[u8]>::len).sum();
        let list_len = if entries_len == 0 { 0 } else { writer::header_len(entries_len) + entries_len };
        let content_len = before.len() + list_len + after.len();
        let signed_len = writer::header_len(content_len) + content_len;

        let room = writer::header_len(signed_len + USUAL_SIGNATURE);
        let mut buffer = Vec::with_capacity(room + signed_len + ROOM_FOR_SIGNATURE);
        buffer.resize(room, 0);
        writer::push_header(&mut buffer, SEQUENCE, content_len);
        buffer.extend_from_slice(&before);
        if entries_len > 0 {
            writer::push_header(&mut buffer, SEQUENCE, entries_len);
            entries.for_each(|piece| buffer.extend_from_slice(piece));
        }
        buffer.extend_from_slice(&after);
        Ok(Unsigned::signed_behind(room, buffer, algorithm))
    }

    fn extensions(&self) -> Result<Vec<u8>, EncodeError> {
        let key = authority_key_identifier(self.authority_key_identifier);
        let mut all = extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &key);
        all.extend(extension(rfc5280::ID_CE_CRL_NUMBER, false, &writer::unsigned(self.number)));
        if let Some(base) = self.base_number {
            all.extend(extension(rfc5280::ID_CE_DELTA_CRL_INDICATOR, true, &writer::unsigned(base)));
        }
        if !self.distribution_point.is_empty() {
            let point = writer::sequence(&[&distribution_point_name(self.distribution_point)?]);
            all.extend(extension(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT, true, &point));
        }
        if !self.freshest.is_empty() {
            all.extend(extension(rfc5280::ID_CE_FRESHEST_CRL, false, &distribution_point(self.freshest)?));
        }
        if let Some(since) = self.expired_since {
            all.extend(extension(EXPIRED_CERTS_ON_CRL, false, &writer::generalized_time(since)));
        }
        Ok(all)
    }
}
