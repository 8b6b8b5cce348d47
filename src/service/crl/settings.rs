//! How CRLs are published: what the configuration says, taken over by the issuers at each start.

use std::collections::BTreeMap;

use super::super::{Ports, ServiceError, audit::Act};
use crate::{
    domain::{
        access::Actor,
        crl::{CrlMirror, CrlPolicy},
        issuer::{Issuer, IssuerKind},
        queue::JobKind,
    },
    ports::{Tx, View},
    types::{IssuerId, RequestId},
};

/// How CRLs are published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrlSettings {
    /// By the issuers that have no policy of their own.
    pub general: CrlPolicy,
    /// By these, and the generations after them.
    pub issuers: BTreeMap<IssuerId, CrlPolicy>,
    /// A second place of all CRLs.
    pub mirror: Option<CrlMirror>,
}

impl CrlSettings {
    /// Whether every policy can work.
    pub fn check(&self) -> Result<(), ServiceError> {
        let wrong = |error| ServiceError::invalid("crl", error);
        std::iter::once(&self.general)
            .chain(self.issuers.values())
            .try_for_each(|it| it.check().map_err(wrong))
    }

    /// A root has no partitions unless it is said of it: what it signs is a handful of CAs.
    fn policy_of(&self, issuer: &Issuer) -> CrlPolicy {
        let own = self.issuers.get(&issuer.id).or_else(|| self.issuers.get(&issuer.generation.line));
        own.copied().unwrap_or(match issuer.kind {
            IssuerKind::Root => CrlPolicy { partitions: None, ..self.general },
            IssuerKind::Subordinate => self.general,
        })
    }

    /// The issuer as these settings want it.
    pub(in crate::service) fn applied_to(&self, issuer: Issuer) -> Issuer {
        let crl_policy = self.policy_of(&issuer);
        let mut partitionings = issuer.partitionings;
        partitionings.extend(crl_policy.partitions.filter(|number| !partitionings.contains(number)));
        Issuer { crl_policy, crl_mirror: self.mirror.clone(), partitionings, ..issuer }
    }
}

/// Lets the issuers take the settings over, each change with its audit fact and a job for the CRL that follows from it. Most starts
/// change nothing: those cost no write.
///
/// Errors: a policy that cannot work, or one for an issuer that does not exist.
pub(crate) fn record(ports: &Ports, settings: &CrlSettings) -> Result<(), ServiceError> {
    settings.check()?;
    if ports.store.read(|view| changed(view, settings))?.is_empty() {
        return Ok(());
    }
    let now = ports.clock.now();
    let act = Act { actor: Actor::System, request: RequestId::from_random(ports.random.bytes()), at: now };
    ports.store.write(|tx| {
        let changed = changed(tx.as_view(), settings)?;
        changed.iter().try_for_each(|issuer| put(tx, issuer, &act))
    })
}

fn changed(view: &dyn View, settings: &CrlSettings) -> Result<Vec<Issuer>, ServiceError> {
    let issuers = view.issuers()?;
    if let Some(unknown) = settings.issuers.keys().find(|id| !issuers.iter().any(|issuer| issuer.id == **id))
    {
        return Err(ServiceError::invalid(format!("crl.issuer.{unknown}"), "there is no such issuer"));
    }
    let wanted = issuers.into_iter().map(|issuer| (settings.applied_to(issuer.clone()), issuer));
    Ok(wanted.filter(|(wanted, issuer)| wanted != issuer).map(|(wanted, _)| wanted).collect())
}

fn put(tx: &mut dyn Tx, issuer: &Issuer, act: &Act) -> Result<(), ServiceError> {
    tx.put_issuer(issuer)?;
    tx.enqueue(&JobKind::BuildCrl { issuer: issuer.id.clone() }, act.at)?;
    let CrlPolicy { lifetime, period, debounce, keep_expired, delta, partitions } = issuer.crl_policy;
    let or_none = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let mirror = issuer.crl_mirror.as_ref();
    let detail = [
        ("lifetime", lifetime.to_string()),
        ("period", period.to_string()),
        ("debounce", debounce.to_string()),
        ("keep-expired", keep_expired.map_or_else(|| "for ever".to_owned(), |seconds| seconds.to_string())),
        ("delta", or_none(delta)),
        ("partitions", or_none(partitions.map(u64::from))),
        ("mirror", mirror.map_or_else(|| "none".to_owned(), |mirror| mirror.base.clone())),
    ];
    Ok(tx.append_audit(&act.fact("issuer.crl-settings", &issuer.id, &detail))?)
}
