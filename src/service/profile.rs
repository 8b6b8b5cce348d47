//! Profiles: the configuration's become versions in the store.

use super::{Ports, ServiceError, audit::Act};
use crate::{
    domain::{
        access::Actor,
        issuer::{Generation, Issuer, IssuerKind},
        profile::{Profile, ProfileSpec},
    },
    ports::{Tx, View},
    types::{ProfileName, RequestId, Timestamp},
};

/// A profile as the configuration has it.
#[derive(Clone, Debug)]
pub struct ConfiguredProfile {
    /// The NAME of `[profile.NAME]`.
    pub name: ProfileName,
    /// What stands under it.
    pub spec: ProfileSpec,
}

impl ConfiguredProfile {
    /// This profile as version `version`. Errors: its first fatal mistake.
    fn as_version(&self, version: u32, now: Timestamp) -> Result<Profile, ServiceError> {
        match self.spec.mistakes().into_iter().find(|mistake| mistake.fatal) {
            Some(mistake) => {
                Err(ServiceError::invalid(format!("profile.{}.{}", self.name, mistake.key), mistake.problem))
            }
            None => {
                Ok(Profile { name: self.name.clone(), version, created_at: now, spec: self.spec.clone() })
            }
        }
    }
}

/// Records a new version of each profile whose spec differs from its newest version. A profile that the configuration no
/// longer has stays in the store, for what the lifecycle of its certificates' devices does to them; nothing is issued under it.
///
/// Errors: the store has no issuer; a profile has a mistake or names an issuer that does not exist. Nothing is recorded then.
pub(crate) fn record(ports: &Ports, profiles: &[ConfiguredProfile]) -> Result<(), ServiceError> {
    // Most starts change nothing: those cost no write.
    let changed: bool = ports.store.read(|view| {
        let mut changed = false;
        for profile in profiles {
            changed |= next_version(view, profile)?.is_some();
        }
        if view.issuers()?.is_empty() { Err(ServiceError::NotInitialised) } else { Ok(changed) }
    })?;
    if !changed {
        return Ok(());
    }
    let now = ports.clock.now();
    let act = Act { actor: Actor::System, request: RequestId::from_random(ports.random.bytes()), at: now };
    ports.store.write(|tx| {
        for profile in profiles {
            if let Some(version) = next_version(tx.as_view(), profile)? {
                insert_version(tx, &profile.as_version(version, now)?, &act)?;
            }
        }
        Ok(())
    })
}

/// Records the first versions at initialisation, in the transaction that makes the issuers.
pub(super) fn first_versions(
    profiles: &[ConfiguredProfile],
    now: Timestamp,
) -> Result<Vec<Profile>, ServiceError> {
    profiles.iter().map(|profile| profile.as_version(1, now)).collect()
}

/// Adds one version with its audit fact. The issuer must be in the store.
pub(super) fn insert_version(tx: &mut dyn Tx, profile: &Profile, act: &Act) -> Result<(), ServiceError> {
    let wrong = |problem| Err(ServiceError::invalid(format!("profile.{}.issuer", profile.name), problem));
    match tx.issuer(&profile.spec.issuer)? {
        None => return wrong(format!("there is no issuer \"{}\"", profile.spec.issuer)),
        Some(Issuer { id, generation: Generation { line, number, .. }, .. }) if id != line => {
            return wrong(format!(
                "\"{id}\" is generation {number} of \"{line}\": name \"{line}\", which means its current one"
            ));
        }
        Some(Issuer { id, kind: IssuerKind::Root, .. }) => {
            return wrong(format!("\"{id}\" is a root, which certifies CAs alone: name one of those"));
        }
        Some(_) => {}
    }
    tx.insert_profile_version(profile)?;
    let version = [("version", profile.version.to_string())];
    Ok(tx.append_audit(&act.fact("profile.recorded", &profile.name, &version))?)
}

/// The number of the version to be recorded; none when the newest says the same already.
fn next_version(view: &dyn View, profile: &ConfiguredProfile) -> Result<Option<u32>, ServiceError> {
    Ok(match view.profile(&profile.name)? {
        None => Some(1),
        Some(newest) if newest.spec == profile.spec => None,
        Some(newest) => Some(newest.version.saturating_add(1)),
    })
}
