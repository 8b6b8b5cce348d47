//! Challenges for MDM servers: `[ndes]` and `[challenge-webhook]`.

use std::num::NonZeroUsize;

use super::check::Checker;
use crate::{
    app::config::{self, Config},
    service::challenge::{NdesSettings, WebhookSettings},
    types::ProfileName,
};

const MINUTE: u64 = 60;

/// As long as a ticket may last: 30 days.
const MAX_MINUTES: u64 = 43_200;

impl Checker<'_> {
    pub(super) fn ndes(&mut self, config: &Config) -> NdesSettings {
        let ndes = &config.ndes;
        let max = self.size("ndes.max-passwords", ndes.max_passwords, 0..=10_000);
        NdesSettings {
            signature: self.template(config, "ndes.signature-profile", ndes.signature_profile.as_ref()),
            encryption: self.template(config, "ndes.encryption-profile", ndes.encryption_profile.as_ref()),
            password_bytes: self.size("ndes.password-bytes", ndes.password_bytes, 8..=32),
            password_lifetime: self.duration(
                "ndes.password-minutes",
                ndes.password_minutes,
                1..=MAX_MINUTES,
                MINUTE,
            ),
            max_passwords: NonZeroUsize::new(max),
        }
    }

    pub(super) fn challenge_webhook(&mut self, webhook: &config::ChallengeWebhook) -> WebhookSettings {
        let minutes = webhook.ticket_minutes;
        WebhookSettings {
            ticket_lifetime: self.duration(
                "challenge-webhook.ticket-minutes",
                minutes,
                1..=MAX_MINUTES,
                MINUTE,
            ),
            register_devices: webhook.register_devices,
        }
    }

    /// A profile that the key usage can choose: there, and of the default profile's issuer, for the envelope is opened before
    /// the key usage can be read.
    fn template(&mut self, config: &Config, key: &str, named: Option<&ProfileName>) -> Option<ProfileName> {
        let named = named?;
        if !self.is_profile(named) {
            self.mistake(key, format_args!("there is no profile \"{named}\""));
        }
        let Some(default) = &config.scep.default_profile else {
            self.mistake(key, "needs scep.default-profile, for requests with another key usage");
            return Some(named.clone());
        };
        let issuer = |name| config.profile.get(name).map(|spec| &spec.issuer);
        if let (Some(of_named), Some(of_default)) = (issuer(named), issuer(default))
            && of_named != of_default
        {
            let problem = format_args!(
                "\"{named}\" has the issuer \"{of_named}\", and \"{default}\" has \"{of_default}\""
            );
            self.mistake(key, problem);
        }
        Some(named.clone())
    }
}
