//! Where NDES would be: which profile a request means by the key usage that it asks for.

use std::iter;

use crate::{types::ProfileName, wire::x509::KeyUsage};

/// The profiles that stand where NDES has its SignatureTemplate, EncryptionTemplate and GeneralPurposeTemplate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    /// For keys that only sign.
    pub signature: ProfileName,
    /// For keys that only encipher or agree on keys.
    pub encryption: ProfileName,
    /// For keys that do both, and for requests that do not say.
    pub general_purpose: ProfileName,
}

impl Templates {
    /// The profile for a request that asks for this key usage.
    pub fn choose(&self, usage: Option<KeyUsage>) -> &ProfileName {
        let usage = usage.unwrap_or_default();
        let any = |of: &[KeyUsage]| of.iter().any(|one| usage.contains(*one));
        let signs = any(&[KeyUsage::DIGITAL_SIGNATURE, KeyUsage::NON_REPUDIATION]);
        let enciphers =
            any(&[KeyUsage::KEY_ENCIPHERMENT, KeyUsage::DATA_ENCIPHERMENT, KeyUsage::KEY_AGREEMENT]);
        match (signs, enciphers) {
            (true, false) => &self.signature,
            (false, true) => &self.encryption,
            (true, true) | (false, false) => &self.general_purpose,
        }
    }

    /// Each of them once, the one for general purposes first.
    pub fn all(&self) -> Vec<&ProfileName> {
        let mut all = Vec::new();
        for name in iter::once(&self.general_purpose).chain([&self.signature, &self.encryption]) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(signature: &str, encryption: &str) -> Templates {
        let name = |text: &str| text.parse().unwrap();
        Templates {
            signature: name(signature),
            encryption: name(encryption),
            general_purpose: name("general"),
        }
    }

    #[test]
    fn the_key_usage_chooses_as_ndes_does() {
        let templates = templates("sign", "encrypt");
        let both = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT);
        for (usage, wanted) in [
            (Some(KeyUsage::DIGITAL_SIGNATURE), "sign"),
            (Some(KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::NON_REPUDIATION)), "sign"),
            (Some(KeyUsage::KEY_ENCIPHERMENT), "encrypt"),
            (Some(KeyUsage::KEY_AGREEMENT), "encrypt"),
            (Some(both), "general"),
            (Some(KeyUsage::default()), "general"),
            (None, "general"),
        ] {
            assert_eq!(templates.choose(usage).as_str(), wanted, "{usage:?}");
        }
    }

    #[test]
    fn a_profile_in_two_places_is_one_profile() {
        let names = |templates: &Templates| -> Vec<String> {
            templates.all().into_iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&templates("general", "encrypt")), ["general", "encrypt"]);
        assert_eq!(names(&templates("sign", "encrypt")), ["general", "sign", "encrypt"]);
    }
}
