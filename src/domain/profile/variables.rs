//! The values that templates are filled with.

use std::collections::BTreeMap;

use crate::{
    domain::{device::Device, user::User},
    types::Timestamp,
};

/// The values of template variables: upper-case name to value. Built from the device's and user's records and from random values.
pub type Variables = BTreeMap<String, String>;

/// What variables are built from.
#[derive(Clone, Copy, Debug)]
pub struct VariableFacts<'a> {
    /// The device.
    pub device: Option<&'a Device>,
    /// The user.
    pub user: Option<&'a User>,
    /// The name of this installation.
    pub realm: &'a str,
    /// The profile's UUID.
    pub config_uuid: &'a str,
    /// Fresh random bytes, for `RANDOM_16`, `RANDOM_32` and `RANDOM_64`.
    pub random: &'a [u8; 56],
    /// Now.
    pub now: Timestamp,
}

/// The variables; what is not known has no entry.
pub fn variables(facts: &VariableFacts<'_>) -> Variables {
    todo!("{facts:?}")
}
