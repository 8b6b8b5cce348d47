//! A profile that was checked: nothing in it needs parsing again, and nothing in it can be a mistake.

use std::{collections::HashSet, time::Duration};

use const_oid::{ObjectIdentifier, db::rfc4519};

use super::{
    KeyFamily, Profile, ProfileMistake, ProfileSpec,
    check::{Parts, check, possible_usage},
    san::SanTemplate,
    template::{Context, Template},
    variables::Variables,
};
use crate::{
    domain::{client::behaviour::Behaviour, digest::digest_of},
    types::{ProfileName, Timestamp, Validity},
    wire::x509::{GeneralName, KeyKind, KeyUsage, Name},
};

/// A profile version, parsed. Only [`Profile::checked`] makes one; services keep it.
#[derive(Clone, Debug)]
pub struct CheckedProfile {
    profile: Profile,
    subject: Template,
    alternatives: Vec<SanTemplate>,
    identify: Option<IdentityField>,
    key_usage: KeyUsage,
    extended_key_usage: Vec<ObjectIdentifier>,
    behaviour: Behaviour,
}

/// Where a request names its device or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// `subject.cn`.
    SubjectCn,
    /// `subject.serialnumber`.
    SubjectSerialNumber,
    /// `subject.ou`.
    SubjectOu,
    /// `san.email`.
    SanEmail,
    /// `san.dns`.
    SanDns,
    /// `san.uri`.
    SanUri,
    /// `san.upn`.
    SanUpn,
}

impl IdentityField {
    /// Every field with its name in the configuration.
    pub const ALL: [(&'static str, Self); 7] = [
        ("subject.cn", Self::SubjectCn),
        ("subject.serialnumber", Self::SubjectSerialNumber),
        ("subject.ou", Self::SubjectOu),
        ("san.email", Self::SanEmail),
        ("san.dns", Self::SanDns),
        ("san.uri", Self::SanUri),
        ("san.upn", Self::SanUpn),
    ];

    /// The field of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, field)| *field)
    }
}

impl Profile {
    /// The profile with everything parsed, or every mistake in it (warnings among them) if one is fatal.
    pub fn checked(&self) -> Result<CheckedProfile, Vec<ProfileMistake>> {
        let (parts, mistakes) = check(&self.spec);
        let Parts { subject: Some(subject), alternatives, identify, key_usage, extended_key_usage } = parts
        else {
            return Err(mistakes);
        };
        if mistakes.iter().any(|mistake| mistake.fatal) {
            return Err(mistakes);
        }
        Ok(CheckedProfile {
            profile: self.clone(),
            subject,
            alternatives,
            identify,
            key_usage,
            extended_key_usage,
            behaviour: Behaviour::of(&self.spec),
        })
    }
}

impl CheckedProfile {
    /// Its name.
    pub fn name(&self) -> &ProfileName {
        &self.profile.name
    }

    /// Which version.
    pub fn version(&self) -> u32 {
        self.profile.version
    }

    /// As it was written.
    pub fn spec(&self) -> &ProfileSpec {
        &self.profile.spec
    }

    /// The value of `CONFIG_UUID`: a UUID (RFC 9562 §5.8) made of the profile's name, so that it stays the
    /// same over its versions.
    pub fn uuid(&self) -> String {
        let digest = digest_of("certgate profile uuid 1", &[self.name().as_str().as_bytes()]);
        let mut digits: Vec<char> = digest.to_string().chars().take(32).collect();
        // Version 8, variant 10xx.
        for (index, digit) in [(12, '8'), (16, 'a')] {
            if let Some(place) = digits.get_mut(index) {
                *place = digit;
            }
        }
        for index in [20, 16, 12, 8] {
            digits.insert(index, '-');
        }
        digits.into_iter().collect()
    }

    /// How its endpoint behaves.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// extendedKeyUsage of the certificates.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.extended_key_usage
    }

    /// keyUsage of a certificate for a key of this kind: of what the profile says only what such a key can
    /// do. Empty for a kind of key that no profile takes.
    pub fn key_usage(&self, kind: KeyKind) -> KeyUsage {
        family(kind)
            .map_or_else(KeyUsage::default, |family| self.key_usage.intersection(possible_usage(family)))
    }

    /// From when on a certificate can be renewed.
    pub fn renewal_opens(&self, validity: &Validity) -> Timestamp {
        match self.spec().renewal_window_days {
            0 => validity.not_before,
            days => validity.not_after.minus(Duration::from_secs(u64::from(days) * 86_400)),
        }
    }

    /// Until when a certificate can be renewed.
    pub fn renewal_closes(&self, validity: &Validity) -> Timestamp {
        validity.not_after.plus(Duration::from_secs(u64::from(self.spec().renewal_grace_days) * 86_400))
    }

    /// The devices or users that a subject and its alternatives name in the place where the profile looks: to be looked up among ids
    /// and identities. Each once, and all of them: which one a relying party reads, the first or the last, nobody knows.
    pub fn claimed_identities(&self, subject: &Name, alternatives: &[GeneralName]) -> Vec<String> {
        let Some(field) = self.identify else { return Vec::new() };
        let subject = |attribute| subject.values(attribute);
        let alternative = |pick: fn(&GeneralName) -> Option<&String>| {
            alternatives.iter().filter_map(pick).cloned().collect::<Vec<_>>()
        };
        let claimed = match field {
            IdentityField::SubjectCn => subject(rfc4519::CN),
            IdentityField::SubjectSerialNumber => subject(rfc4519::SERIAL_NUMBER),
            IdentityField::SubjectOu => subject(rfc4519::OU),
            IdentityField::SanEmail => alternative(|name| match name {
                GeneralName::Email(text) => Some(text),
                _ => None,
            }),
            IdentityField::SanDns => alternative(|name| match name {
                GeneralName::Dns(text) => Some(text),
                _ => None,
            }),
            IdentityField::SanUri => alternative(|name| match name {
                GeneralName::Uri(text) => Some(text),
                _ => None,
            }),
            IdentityField::SanUpn => alternative(|name| match name {
                GeneralName::Upn(text) => Some(text),
                _ => None,
            }),
        };
        let mut seen = HashSet::new();
        let named =
            claimed.iter().map(|text| text.trim()).filter(|text| !text.is_empty() && seen.insert(*text));
        named.map(str::to_owned).collect()
    }

    /// The subject that the template gives. The error names the variable without a value, or what the value
    /// breaks.
    pub(in crate::domain) fn subject(&self, variables: &Variables) -> Result<Name, String> {
        let value = |name: &str| variables.get(name).map(String::as_str);
        let text = self
            .subject
            .fill(Context::DistinguishedName, value)
            .map_err(|error| format!("subject: {error}"))?;
        text.parse::<Name>().map_err(|error| format!("subject: {error}"))
    }

    /// The subjectAltNames that the templates give; one whose variables have no value is left out.
    pub(in crate::domain) fn subject_alt_names(
        &self,
        variables: &Variables,
    ) -> Result<Vec<GeneralName>, String> {
        let mut names = Vec::new();
        for (index, template) in self.alternatives.iter().enumerate() {
            let name =
                template.fill(variables).map_err(|error| format!("subject-alt-names[{index}]: {error}"))?;
            names.extend(name.filter(|name| !names.contains(name)));
        }
        Ok(names)
    }
}

/// The family of a key that certgate certifies.
pub(in crate::domain) fn family(kind: KeyKind) -> Option<KeyFamily> {
    match kind {
        KeyKind::Rsa { .. } => Some(KeyFamily::Rsa),
        KeyKind::P256 | KeyKind::P384 => Some(KeyFamily::Ec),
        KeyKind::Other => None,
    }
}
