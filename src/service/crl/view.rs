//! CRLs as operators see them, and how large they will be.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::PublishedCrl;
use crate::{
    domain::{
        access::{Authed, Read},
        crl::{CrlScope, Forecast, Forecaster},
    },
    service::{Gateway, Listing, ServiceError, authority::Authority, directory::DirectoryView},
    types::{DirectoryName, IssuerId, Timestamp},
};

/// A CRL as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlView {
    /// Whose.
    pub issuer: IssuerId,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// Length of the DER in bytes.
    pub size: usize,
    /// How many it will list in a year, if that is like the last one.
    pub predicted_entries: u64,
    /// How long it will be then, in bytes.
    pub predicted_size: u64,
    /// Hex SHA-256 of the DER.
    pub sha256: String,
    /// Where it is published.
    pub urls: Vec<String>,
    /// The directories that it is published to, besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryView>,
    /// Those of them that do not have the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind_in: Vec<DirectoryName>,
    /// The delta to it, and the partitions; absent where there are none, and in listings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<CrlPartView>,
    /// The CRL as PEM text; absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

/// A CRL that stands beside the full one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlPartView {
    /// `delta`, or `3 of 16`.
    pub scope: String,
    /// cRLNumber.
    pub number: u64,
    /// Of a delta the number of the full CRL that it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_number: Option<u64>,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// Length of the DER in bytes.
    pub size: usize,
    /// Hex SHA-256 of the DER.
    pub sha256: String,
    /// Where it is published.
    pub urls: Vec<String>,
}

/// Forecasts by issuer.
pub(super) type Forecasts = BTreeMap<IssuerId, KnownForecast>;

/// A forecast, with what it was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownForecast {
    /// Changes of the snapshot.
    changes: u64,
    /// cRLNumber.
    number: u64,
    at: Timestamp,
    forecast: Forecast,
}

/// A list with more entries takes long to go through: what it will be like in a year is not made again with each change.
const LONG: u64 = 10_000;
/// How long the forecast of a long list holds, in seconds.
const FORECAST_AGE: u64 = 3_600;

impl KnownForecast {
    fn holds(&self, changes: u64, crl: &PublishedCrl, now: Timestamp) -> bool {
        let same = self.changes == changes && self.number == crl.number;
        let recent = self.at <= now && now.since(self.at).as_secs() < FORECAST_AGE;
        same || (crl.entries > LONG && recent)
    }
}

impl Gateway {
    /// The newest CRL of every issuer.
    pub fn crls(&self, _authed: &Authed<Read>) -> Result<Listing<CrlView>, ServiceError> {
        let authorities = self.authorities();
        let view = |authority: &Arc<Authority>| {
            self.crl(&authority.issuer.id).map(|crl| self.crl_as_listed(authority, &crl))
        };
        Ok(Listing::whole(authorities.issuers().filter_map(view).collect::<Result<_, _>>()?))
    }

    /// The newest CRL of an issuer, with the CRL itself and what stands beside it.
    pub fn show_crl(&self, _authed: &Authed<Read>, issuer: &IssuerId) -> Result<CrlView, ServiceError> {
        self.crl_view(issuer)
    }

    pub(super) fn crl_view(&self, issuer: &IssuerId) -> Result<CrlView, ServiceError> {
        let authorities = self.authorities();
        let authority =
            authorities.issuer(issuer).ok_or_else(|| match authorities.external(issuer) {
                Some(_) => ServiceError::Refused(format!(
                    "the key of {issuer} is not here, and its CRLs are made elsewhere: `certgate issuer show {issuer}` says what was imported"
                )),
                None => ServiceError::not_found("issuer", issuer),
            })?;
        let crl = self.crl(issuer).ok_or_else(|| match self.behind() {
            Some(_) => ServiceError::Refused(format!(
                "what is here of {issuer} may be older than the last that was published, and is not served: see certgate doctor"
            )),
            None => ServiceError::not_found("CRL of issuer", issuer),
        })?;
        let pem = crl.to_pem()?;
        let parts = self.crls_of(issuer).into_iter().filter(|part| part.scope != CrlScope::Full);
        Ok(CrlView {
            parts: parts.map(|part| part_of(authority, &part)).collect(),
            pem: Some(String::from_utf8_lossy(&pem).into_owned()),
            ..self.crl_as_listed(authority, &crl)?
        })
    }

    fn crl_as_listed(&self, authority: &Authority, crl: &PublishedCrl) -> Result<CrlView, ServiceError> {
        let forecast = self.crl_forecast(authority, crl);
        let directories = self.directories_of(&authority.issuer.id)?;
        let behind = directories.iter().filter(|directory| directory.behind_since.is_some());
        Ok(CrlView {
            issuer: authority.issuer.id.clone(),
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            entries: crl.entries,
            size: crl.der.len(),
            predicted_entries: forecast.entries,
            predicted_size: forecast.bytes,
            sha256: crl.sha256().to_owned(),
            urls: authority.issuer.urls_of(CrlScope::Full),
            behind_in: behind.map(|directory| directory.directory.clone()).collect(),
            directories,
            parts: Vec::new(),
            pem: None,
        })
    }

    /// What the full CRL will be like in a year: see [`crate::domain::crl::Forecaster`]. Of a CA that is revoked or on hold it is
    /// what it is now, for that lists everything.
    pub(in crate::service) fn crl_forecast(&self, authority: &Authority, crl: &PublishedCrl) -> Forecast {
        let (id, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        let present = Forecast { entries: crl.entries, bytes: crl.der.len() as u64 };
        let seen = self.status.with_snapshot(id, |snapshot| {
            (snapshot.changes, snapshot.inherited.is_none().then(|| snapshot.listed.clone()))
        });
        let Some((changes, Some(listed))) = seen else { return present };
        let now = self.now();
        let forecasts = || self.crls.forecasts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = forecasts().get(id).filter(|known| known.holds(changes, crl, now)).copied();
        if let Some(known) = known {
            return known.forecast;
        }
        let mut forecaster = Forecaster::new(policy, authority.issuer.created_at, now);
        for entry in listed.iter() {
            let at = entry.revocation().map_or(entry.not_after, |revocation| revocation.at);
            forecaster.see(at, entry.not_after, entry.der.len());
        }
        let forecast = forecaster.finish();
        let known = KnownForecast { changes, number: crl.number, at: now, forecast };
        forecasts().insert(id.clone(), known);
        forecast
    }
}

fn part_of(authority: &Authority, crl: &PublishedCrl) -> CrlPartView {
    CrlPartView {
        scope: crl.scope.label(),
        number: crl.number,
        base_number: crl.base_number,
        this_update: crl.this_update,
        next_update: crl.next_update,
        entries: crl.entries,
        size: crl.der.len(),
        sha256: crl.sha256().to_owned(),
        urls: authority.issuer.urls_of(crl.scope),
    }
}
