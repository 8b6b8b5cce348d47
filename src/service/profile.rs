//! Profiles: the configuration's become versions in the store.

use super::{Ports, ServiceError};
use crate::{domain::profile::ProfileSpec, types::ProfileName};

/// A profile as the configuration has it.
#[derive(Clone, Debug)]
pub struct ConfiguredProfile { pub name: ProfileName, pub spec: ProfileSpec }
/// Records a new version of each profile whose spec differs from its newest version.
pub(crate) fn record(_ports: &Ports, _profiles: &[ConfiguredProfile]) -> Result<(), ServiceError> { todo!() }
