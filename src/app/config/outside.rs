//! Other parties: how they are asked (Intune, the approval webhooks), and other CAs whose certificates renew here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::{number, texts};

/// `[outbound]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Outbound {
    /// Authorities to trust beside the system's: a PEM file, relative to the configuration file.
    pub ca_file: Option<PathBuf>,
    /// Whether the system's authorities are trusted.
    pub system_roots: bool,
    /// An HTTP proxy for everything but loopback addresses.
    pub proxy: Option<String>,
    /// Time for a connection.
    pub connect_timeout_seconds: u64,
    /// Time for a whole exchange.
    pub timeout_seconds: u64,
    /// Requests at a time to each party; 0 = half of the threads for enrolment.
    pub concurrent_requests: u64,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            ca_file: None,
            system_roots: true,
            proxy: None,
            connect_timeout_seconds: 5,
            timeout_seconds: 15,
            concurrent_requests: 0,
        }
    }
}

/// `[intune]`: used where `tenant` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Intune {
    /// The tenant: its id, or one of its domains.
    pub tenant: Option<String>,
    /// The registered application.
    pub client_id: Option<String>,
    /// Where its secret is: a file, relative to the configuration file, or `credential:NAME`.
    pub client_secret: Option<String>,
    /// In place of a secret, the application's certificate: a file (PEM or DER), relative to the configuration file.
    pub client_certificate: Option<PathBuf>,
    /// Where the certificate's key is: a file, relative to the configuration file, or `credential:NAME`.
    pub client_key: Option<String>,
    /// Entra ID.
    pub login_url: String,
    /// Microsoft Graph.
    pub graph_url: String,
    /// The resource that Intune's token is for.
    pub resource_url: String,
    /// Hosts at which Graph may say that Intune's services are.
    pub service_hosts: Vec<String>,
    /// Whether a certificate is handed out only after Intune was told of it.
    pub wait_for_success_notification: bool,
    /// When a certificate that could not be handed out for that is revoked.
    pub give_up_hours: u64,
    /// Between two looks at the revocation queue; 0 = never.
    pub poll_minutes: u64,
    /// Whether the queue is asked for the certificates of our issuers only.
    pub revocations_by_issuer: bool,
}

impl Default for Intune {
    fn default() -> Self {
        Self {
            tenant: None,
            client_id: None,
            client_secret: None,
            client_certificate: None,
            client_key: None,
            login_url: "https://login.microsoftonline.com".to_owned(),
            graph_url: "https://graph.microsoft.com".to_owned(),
            resource_url: "https://api.manage.microsoft.com".to_owned(),
            service_hosts: vec!["*.manage.microsoft.com".to_owned()],
            wait_for_success_notification: true,
            give_up_hours: 24,
            poll_minutes: 5,
            revocations_by_issuer: true,
        }
    }
}

/// `[profile.NAME] approval-webhook`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalWebhook {
    /// Who is asked.
    pub url: String,
    /// Files with the secret that signs requests.
    pub secret_files: Vec<String>,
    /// Time for the answer; none: `outbound.timeout-seconds`.
    pub timeout_seconds: Option<u64>,
    /// How long whoever was denied is not asked about again.
    pub denial_minutes: u64,
}

impl ApprovalWebhook {
    const KEYS: [&str; 4] = ["url", "secret-files", "timeout-seconds", "denial-minutes"];
    const DENIAL_MINUTES: u64 = 10;

    pub(super) fn read(value: &DeValue<'_>) -> Option<Self> {
        let table = value.as_table()?;
        let known = |key: &str| Self::KEYS.contains(&key);
        if !table.keys().all(|key| known(key.get_ref().as_ref())) {
            return None;
        }
        let number_of = |key| table.get(key).map(|value| number(value.get_ref()).ok_or(())).transpose().ok();
        Some(Self {
            url: table.get("url")?.get_ref().as_str()?.to_owned(),
            secret_files: texts(table.get("secret-files")?.get_ref())?,
            timeout_seconds: number_of("timeout-seconds")?,
            denial_minutes: number_of("denial-minutes")?.unwrap_or(Self::DENIAL_MINUTES),
        })
    }
}

/// `[profile.NAME] renewal-issuers`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalIssuers {
    /// Files with the certificates of the other CAs.
    pub files: Vec<String>,
    /// Files with their CRLs.
    pub crl_files: Vec<String>,
    /// How long after it expired a certificate of theirs still renews.
    pub grace_days: u64,
}

impl RenewalIssuers {
    pub(super) fn read(value: &DeValue<'_>) -> Option<Self> {
        const KEYS: [&str; 3] = ["files", "crl-files", "grace-days"];
        let table = value.as_table()?;
        if table.keys().any(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            return None;
        }
        let list = |key: &str| table.get(key).map_or(Some(Vec::new()), |value| texts(value.get_ref()));
        let grace_days = table.get("grace-days").map_or(Some(0), |value| number(value.get_ref()))?;
        Some(Self { files: list("files")?, crl_files: list("crl-files")?, grace_days })
    }
}
