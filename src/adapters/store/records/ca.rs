//! Issuers, sealed keys, system certificates, profiles.

use super::{Records, conflict};
use crate::{
    adapters::store::{
        key::{self, Key},
        record,
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::{
        certificate::{Purpose, SystemCertificate},
        issuer::{ExternalIssuer, Issuer},
        key::SealedKey,
        profile::Profile,
    },
    ports::store::{
        Externals, ExternalsMut, Issuers, IssuersMut, Keys, KeysMut, Profiles, ProfilesMut, StoreResult,
    },
    types::{IssuerId, KeyId, ProfileName},
};

impl<R: Rows> Issuers for Records<R> {
    fn issuer(&self, id: &IssuerId) -> StoreResult<Option<Issuer>> {
        self.0.record(Table::Issuers, id.as_str().as_bytes())
    }

    fn issuers(&self) -> StoreResult<Vec<Issuer>> {
        self.0.records(Table::Issuers, &key::ALL, usize::MAX)
    }
}

impl IssuersMut for Records<WriteRows<'_>> {
    fn put_issuer(&mut self, issuer: &Issuer) -> StoreResult<()> {
        let key = issuer.id.as_str().as_bytes();
        if self.0.contains(Table::ExternalIssuers, key)? {
            return Err(conflict("issuer", &issuer.id, "has the name of an external issuer"));
        }
        self.0.put_record(Table::Issuers, key, issuer)
    }
}

impl<R: Rows> Externals for Records<R> {
    fn external_issuer(&self, id: &IssuerId) -> StoreResult<Option<ExternalIssuer>> {
        self.0.record(Table::ExternalIssuers, id.as_str().as_bytes())
    }

    fn external_issuers(&self) -> StoreResult<Vec<ExternalIssuer>> {
        self.0.records(Table::ExternalIssuers, &key::ALL, usize::MAX)
    }
}

impl ExternalsMut for Records<WriteRows<'_>> {
    fn put_external_issuer(&mut self, issuer: &ExternalIssuer) -> StoreResult<()> {
        let key = issuer.id.as_str().as_bytes();
        if self.0.contains(Table::Issuers, key)? {
            return Err(conflict("external issuer", &issuer.id, "has the name of an issuer"));
        }
        self.0.put_record(Table::ExternalIssuers, key, issuer)
    }
}

impl<R: Rows> Keys for Records<R> {
    fn key(&self, id: &KeyId) -> StoreResult<Option<SealedKey>> {
        self.0.record(Table::Keys, id.as_str().as_bytes())
    }

    fn system_certificates(
        &self,
        purpose: Purpose,
        issuer: &IssuerId,
    ) -> StoreResult<Vec<SystemCertificate>> {
        let range = key::starting_with(&key::system_certificates(purpose, issuer));
        let mut certificates = self.0.records(Table::SystemCertificates, &range, usize::MAX)?;
        certificates.reverse();
        Ok(certificates)
    }

    fn all_system_certificates(&self) -> StoreResult<Vec<SystemCertificate>> {
        self.0.records(Table::SystemCertificates, &key::ALL, usize::MAX)
    }
}

impl KeysMut for Records<WriteRows<'_>> {
    fn insert_key(&mut self, sealed: &SealedKey) -> StoreResult<()> {
        let key = sealed.id.as_str().as_bytes();
        if self.0.contains(Table::Keys, key)? {
            return Err(conflict("key", &sealed.id, "exists already"));
        }
        self.0.put_record(Table::Keys, key, sealed)
    }

    fn remove_key(&mut self, id: &KeyId) -> StoreResult<()> {
        self.0.remove(Table::Keys, id.as_str().as_bytes())
    }

    fn insert_system_certificate(&mut self, certificate: &SystemCertificate) -> StoreResult<()> {
        let key = system_certificate(certificate);
        if self.0.contains(Table::SystemCertificates, &key)? {
            return Err(conflict("system certificate", &certificate.certificate, "exists already"));
        }
        self.0.put_record(Table::SystemCertificates, &key, certificate)
    }

    fn remove_system_certificate(&mut self, certificate: &SystemCertificate) -> StoreResult<()> {
        self.0.remove(Table::SystemCertificates, &system_certificate(certificate))?;
        self.0.remove(Table::Keys, certificate.key.as_str().as_bytes())
    }
}

/// Sorted by the start of use within purpose and issuer.
fn system_certificate(certificate: &SystemCertificate) -> Vec<u8> {
    let id = &certificate.certificate;
    Key::default()
        .bytes(&key::system_certificates(certificate.purpose, &id.issuer))
        .number(certificate.since.unix())
        .serial(&id.serial)
        .done()
}

impl<R: Rows> Profiles for Records<R> {
    fn profile(&self, name: &ProfileName) -> StoreResult<Option<Profile>> {
        let range = key::starting_with(&versions(name));
        self.0.last(Table::Profiles, &range, |key, bytes| record::decode(Table::Profiles, key, bytes))
    }

    fn profile_version(&self, name: &ProfileName, version: u32) -> StoreResult<Option<Profile>> {
        self.0.record(Table::Profiles, &version_key(name, version))
    }

    fn profiles(&self) -> StoreResult<Vec<Profile>> {
        let mut newest = Vec::new();
        let mut range = key::ALL;
        while let Some(name) = self.first_profile_name(&range)? {
            newest.extend(self.profile(&name)?);
            range = key::beyond(&versions(&name));
        }
        Ok(newest)
    }
}

impl<R: Rows> Records<R> {
    fn first_profile_name(&self, range: &key::KeyRange) -> StoreResult<Option<ProfileName>> {
        let mut first = None;
        self.0.scan(Table::Profiles, range, |key, bytes| {
            first = Some(record::decode::<Profile>(Table::Profiles, key, bytes)?.name);
            Ok(Flow::Break(()))
        })?;
        Ok(first)
    }
}

impl ProfilesMut for Records<WriteRows<'_>> {
    fn insert_profile_version(&mut self, profile: &Profile) -> StoreResult<()> {
        let newest = self.profile(&profile.name)?.map_or(0, |newest| newest.version);
        if newest.checked_add(1) != Some(profile.version) {
            return Err(conflict("profile", &profile.name, "has another version as its newest"));
        }
        self.0.put_record(Table::Profiles, &version_key(&profile.name, profile.version), profile)
    }
}

/// The keys of a profile's versions start with this.
fn versions(name: &ProfileName) -> Vec<u8> {
    Key::default().text(name.as_str()).done()
}

fn version_key(name: &ProfileName, version: u32) -> Vec<u8> {
    Key::default().text(name.as_str()).number(u64::from(version)).done()
}
