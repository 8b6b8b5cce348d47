//! The values that templates are filled with.

use std::collections::BTreeMap;

use crate::{
    domain::{
        device::{Device, IdentityKind},
        user::User,
    },
    types::Timestamp,
};

/// The values of template variables: upper-case name to value. Built from the device's and user's records and
/// from random values.
pub type Variables = BTreeMap<String, String>;

/// Every variable but the attributes.
const NAMES: [&str; 30] = [
    "EMAIL",
    "EMAIL_LOCAL",
    "EMAIL_DOMAIN",
    "USERID",
    "FIRST_NAME",
    "LAST_NAME",
    "DISPLAY_NAME",
    "USER_DN",
    "USER_SID",
    "USER_UPN",
    "USER_LOCALE",
    "SAM_ACCOUNT_NAME",
    "DEVICE_ID",
    "DEVICE_NAME",
    "DEVICE_UUID",
    "DEVICE_UUID_NO_DASHES",
    "DEVICE_UDID",
    "DEVICE_IMSI",
    "DEVICE_IMEI",
    "DEVICE_SN",
    "DEVICE_MAC",
    "DEVICE_INVENTORY_MAC",
    "DEVICE_CLIENT_ID",
    "MODEL",
    "REALM",
    "TIMESTAMP_MS",
    "RANDOM_16",
    "RANDOM_32",
    "RANDOM_64",
    "CONFIG_UUID",
];

/// Other spellings. The last three are Intune's.
const ALIASES: [(&str, &str); 7] = [
    ("USER_CUSTOM1", "USER.ATTR.CUSTOM1"),
    ("USER_CUSTOM2", "USER.ATTR.CUSTOM2"),
    ("USER_CUSTOM3", "USER.ATTR.CUSTOM3"),
    ("USER_CUSTOM4", "USER.ATTR.CUSTOM4"),
    ("DEVICEID", "DEVICE_ID"),
    ("AAD_DEVICE_ID", "DEVICE_UUID"),
    ("USERPRINCIPALNAME", "USER_UPN"),
];

const USER_ATTRIBUTE: &str = "USER.ATTR.";
const DEVICE_ATTRIBUTE: &str = "DEVICE.ATTR.";

/// The key of a variable in [`Variables`], from any of its spellings; nothing for a name that is no variable.
pub(super) fn canonical_name(name: &str) -> Option<String> {
    let name = name.trim().to_ascii_uppercase();
    if let Some((_, target)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some((*target).to_owned());
    }
    let is_attribute = [USER_ATTRIBUTE, DEVICE_ATTRIBUTE]
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|attribute| !attribute.is_empty()));
    (is_attribute || NAMES.contains(&name.as_str())).then_some(name)
}

/// What variables are built from.
#[derive(Clone, Copy, Debug)]
pub struct VariableFacts<'a> {
    /// The device.
    pub device: Option<&'a Device>,
    /// The user.
    pub user: Option<&'a User>,
    /// The name of this installation.
    pub realm: &'a str,
    /// The profile's UUID: [`super::CheckedProfile::uuid`].
    pub config_uuid: &'a str,
    /// Fresh random bytes, for `RANDOM_16`, `RANDOM_32` and `RANDOM_64`: hexadecimal texts of 16, 32 and 64
    /// digits.
    pub random: &'a [u8; 56],
    /// Now.
    pub now: Timestamp,
}

/// The variables; what is not known has no entry.
pub fn variables(facts: &VariableFacts<'_>) -> Variables {
    let mut all = Variables::new();
    if let Some(device) = facts.device {
        put_device(&mut all, device);
    }
    if let Some(user) = facts.user {
        put_user(&mut all, user);
    }
    put(&mut all, "REALM", facts.realm);
    put(&mut all, "CONFIG_UUID", facts.config_uuid);
    put(&mut all, "TIMESTAMP_MS", &facts.now.unix().saturating_mul(1000).to_string());
    let (random_16, rest) = facts.random.split_at(8);
    let (random_32, random_64) = rest.split_at(16);
    put(&mut all, "RANDOM_16", &hex::encode(random_16));
    put(&mut all, "RANDOM_32", &hex::encode(random_32));
    put(&mut all, "RANDOM_64", &hex::encode(random_64));
    all
}

fn put_device(all: &mut Variables, device: &Device) {
    put(all, "DEVICE_ID", device.id.as_str());
    put(all, "DEVICE_NAME", &device.name);
    put(all, "MODEL", &device.model);
    if let Some(user) = &device.user {
        put(all, "USERID", user.as_str());
    }
    for (kind, value) in &device.identities {
        for name in identity_variables(*kind) {
            put(all, name, value);
        }
    }
    if let Some(uuid) = device.identities.get(&IdentityKind::Uuid) {
        put(all, "DEVICE_UUID_NO_DASHES", &uuid.replace('-', ""));
    }
    for (name, value) in &device.attributes {
        put(all, &format!("{DEVICE_ATTRIBUTE}{}", name.to_ascii_uppercase()), value);
    }
}

fn identity_variables(kind: IdentityKind) -> &'static [&'static str] {
    match kind {
        IdentityKind::Serial => &["DEVICE_SN"],
        IdentityKind::Udid => &["DEVICE_UDID"],
        IdentityKind::Uuid => &["DEVICE_UUID"],
        IdentityKind::Imei => &["DEVICE_IMEI"],
        IdentityKind::Imsi => &["DEVICE_IMSI"],
        IdentityKind::Mac => &["DEVICE_MAC", "DEVICE_INVENTORY_MAC"],
        IdentityKind::ClientId => &["DEVICE_CLIENT_ID"],
    }
}

fn put_user(all: &mut Variables, user: &User) {
    put(all, "USERID", user.id.as_str());
    put(all, "EMAIL", &user.details.email);
    if let Some((local, domain)) = user.details.email.split_once('@') {
        put(all, "EMAIL_LOCAL", local);
        put(all, "EMAIL_DOMAIN", domain);
    }
    put(all, "FIRST_NAME", &user.details.first_name);
    put(all, "LAST_NAME", &user.details.last_name);
    put(all, "DISPLAY_NAME", &user.details.display_name);
    put(all, "USER_DN", &user.details.dn);
    put(all, "USER_SID", user.details.sid.as_deref().unwrap_or_default());
    put(all, "USER_UPN", &user.details.upn);
    put(all, "USER_LOCALE", &user.details.locale);
    for (name, value) in &user.details.attributes {
        put(all, &format!("{USER_ATTRIBUTE}{}", name.to_ascii_uppercase()), value);
    }
    if let Some(account) = user.details.attributes.get("sam-account-name") {
        put(all, "SAM_ACCOUNT_NAME", account);
    }
}

fn put(all: &mut Variables, name: &str, value: &str) {
    if !value.is_empty() {
        all.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{device::Registration, user::UserDetails};

    #[test]
    fn every_record_field_has_its_variable() {
        let now = Timestamp::from_unix(1_800_000_000);
        let identities = IdentityKind::ALL.map(|kind| (kind, format!("{kind}-1"))).into();
        let attributes = BTreeMap::from([("Rack".to_owned(), "7".to_owned())]);
        let registration =
            Registration { identities, attributes, model: "M1".to_owned(), ..Registration::default() };
        let device = Device::new("SN1".parse().unwrap(), registration, now).unwrap();
        let text = |text: &str| text.to_owned();
        let details = UserDetails {
            upn: text("ada@lab.example"),
            email: text("a.l@mail.example"),
            first_name: text("Ada"),
            last_name: text("L"),
            display_name: text("Ada L"),
            dn: text("CN=Ada"),
            sid: Some(text("S-1-5-21-1-2-3-4")),
            locale: text("en"),
            attributes: BTreeMap::from([
                (text("custom1"), text("c1")),
                (text("sam-account-name"), text("adal")),
            ]),
        };
        let user = User::new("ada".parse().unwrap(), details, now).unwrap();
        let facts = VariableFacts {
            device: Some(&device),
            user: Some(&user),
            realm: "lab",
            config_uuid: "0f0e",
            random: &[0xab; 56],
            now,
        };
        let all = variables(&facts);
        for name in NAMES.iter().copied().chain(["USER.ATTR.CUSTOM1", "DEVICE.ATTR.RACK"]) {
            assert!(all.contains_key(name), "{name}");
        }
        assert_eq!(all["DEVICE_UUID_NO_DASHES"], "uuid1");
        assert_eq!((all["EMAIL_LOCAL"].as_str(), all["EMAIL_DOMAIN"].as_str()), ("a.l", "mail.example"));
        assert_eq!(all["TIMESTAMP_MS"], "1800000000000");
        assert_eq!([16, 32, 64].map(|n: usize| all[&format!("RANDOM_{n}")].len()), [16, 32, 64]);
    }

    /// Who writes a template finds the names there.
    #[test]
    fn the_configuration_reference_has_every_name() {
        let reference = include_str!("../../app/example.toml").to_ascii_uppercase();
        let words: std::collections::BTreeSet<_> =
            reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let aliases =
            ALIASES.iter().map(|(alias, _)| *alias).filter(|alias| !alias.starts_with("USER_CUSTOM"));
        for name in NAMES.into_iter().chain(aliases).chain(["USER_CUSTOM1", "USER_CUSTOM4"]) {
            assert!(words.contains(name), "{name}");
        }
        assert!(reference.contains("DEVICE.ATTR.NAME") && reference.contains("USER.ATTR.NAME"));
    }

    #[test]
    fn every_listed_name_is_its_own_canonical_name() {
        for name in NAMES {
            assert_eq!(canonical_name(&name.to_ascii_lowercase()).as_deref(), Some(name));
        }
        assert_eq!(canonical_name("$user_custom3$".trim_matches('$')).as_deref(), Some("USER.ATTR.CUSTOM3"));
        assert_eq!(canonical_name("user.attr."), None);
        assert_eq!(canonical_name(""), None);
    }
}
