//! After the commit of a change: OCSP follows, and how long that took is measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    service::{
        Gateway, ServiceError,
        metric::{self, label},
    },
    types::{CertificateId, IssuerId, SerialNumber},
};

/// When an event was taken that may move the status of certificates, by the clock that nobody sets. Whoever has committed one gives
/// this to [`Gateway::status_moved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Accepted(pub(in crate::service) Duration);

impl Gateway {
    /// After the commit: brings the snapshot up to date for these certificates and drops their cached OCSP answers; wakes the CRL
    /// worker.
    ///
    /// An error means that the change is committed but not readable: the certificates are answered with tryLater until it is.
    pub(crate) fn status_moved(
        &self,
        certificates: &[CertificateId],
        accepted: Accepted,
    ) -> Result<(), ServiceError> {
        let mut by_issuer: BTreeMap<&IssuerId, BTreeSet<SerialNumber>> = BTreeMap::new();
        for id in certificates {
            by_issuer.entry(&id.issuer).or_default().insert(id.serial.clone());
        }
        let mut outcomes = Vec::new();
        for (issuer, serials) in by_issuer {
            outcomes.push(self.status.settle(&self.ports, issuer, &serials, accepted));
            for serial in &serials {
                self.ocsp.forget(issuer, serial, self.now());
            }
        }
        let authorities = self.authorities();
        for authority in authorities.issuers() {
            if authority.lineage.iter().any(|own| certificates.contains(own)) {
                outcomes.push(self.issuer_moved(&authority.issuer.id, accepted));
            }
        }
        for external in self.externals_answered_with(certificates) {
            self.responders_moved(&external);
        }
        if !certificates.is_empty() {
            self.wake();
        }
        self.shown(outcomes)
    }

    /// The same for all certificates of an issuer that is new, once it is loaded: who changed the standing of a CA above it meanwhile did not
    /// know of it.
    pub(crate) fn issuer_added(&self, issuer: &IssuerId) -> Result<(), ServiceError> {
        self.issuer_moved(issuer, self.accepted()).map(drop)
    }

    /// The same for all certificates of an issuer, whose standing changed.
    fn issuer_moved(&self, issuer: &IssuerId, accepted: Accepted) -> Result<Option<Accepted>, ServiceError> {
        let outcome = self.status.settle_issuer(&self.ports, issuer, accepted);
        self.ocsp.forget_issuer(issuer, self.now());
        for external in self.authorities().trusting(issuer) {
            self.responders_moved(external);
        }
        outcome
    }

    /// OCSP gives out what moved: how long it waited for that is measured, once for each event.
    fn shown(&self, outcomes: Vec<Result<Option<Accepted>, ServiceError>>) -> Result<(), ServiceError> {
        let since = outcomes.iter().flatten().flatten().min();
        if let Some(Accepted(since)) = since {
            let took = self.ports.clock.elapsed().saturating_sub(*since);
            metrics::histogram!(metric::REVOCATION_PROPAGATION, label::TO => "ocsp").record(took);
        }
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    /// Reads again what could not be read after its commit.
    pub(crate) fn settle_status(&self) -> Result<(), ServiceError> {
        let accepted = self.accepted();
        let issuers = self.status.unsettled_issuers();
        let outcome = self.shown(issuers.iter().map(|issuer| self.issuer_moved(issuer, accepted)).collect());
        outcome.and(self.status_moved(&self.status.unsettled(), accepted))
    }
}
