//! Use cases: load, decide, write in one transaction, answer. Synchronous; no HTTP, no SQL.
//!
//! Everything hangs on [`Gateway`]. Each file adds the use cases of one subject to it:
//!
//! | file | use cases |
//! |---|---|
//! | [`bootstrap`] | make a new gateway: root, issuing CA, keys, first profile, owner token |
//! | [`authority`] | the issuers with their open keys, held in memory |
//! | [`system`] | certgate's own certificates: SCEP message key, OCSP signers, TLS; made and renewed |
//! | [`profile`] | profiles from the configuration, recorded as versions |
//! | [`scep`], [`enrol`], [`issue`] | the SCEP responder; authorise, sign, commit |
//! | [`exchange`] | the trace of SCEP requests: did it arrive, and why was it refused? |
//! | [`status`] | causes written, the revocation snapshot, what follows a change |
//! | [`challenge`] | tickets as NDES and as challenge webhooks give them to MDM servers |
//! | [`ocsp`], [`crl`] | the two ways in which status is published |
//! | [`directory`] | CRLs and CA certificates in directory servers |
//! | [`certificate`], [`device`], [`user`], [`ticket`], [`queue`], [`token`], [`audit`] | what operators do and see |
//! | [`source`] | where device records come from, and the syncs that bring them |
//! | [`import`], [`responder`] | certificates and revocations of another CA, taken over; who signs OCSP answers about them |
//! | [`backup`], [`restore`], [`checkpoint`] | a copy of everything, what a copy must not undo, and how an old one is found out |
//! | [`guard`], [`alarm`] | who asks too often, and who guesses challenges; signs of a breach |
//! | `outside` | what waits for other parties: telling them of certificates, revocations that they ask for |
//! | `retention` | what is over goes |
//! | [`maintain`], `timer`, [`clock`] | what time brings: jobs, renewals, new CRLs; registrations that ran out, certificates superseded; and by which time |
//! | [`rollover`] | the next generation of a CA |
//! | [`issuer`], [`health`] | what there is, and whether it works |
//! | `listing`, [`metric`] | a page of anything; the names of what is counted |

pub mod alarm;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod bootstrap;
pub mod certificate;
pub mod challenge;
pub mod checkpoint;
pub mod clock;
pub mod crl;
pub mod device;
pub mod directory;
pub mod enrol;
mod error;
pub mod exchange;
pub mod guard;
pub mod health;
pub mod import;
pub mod issue;
pub mod issuer;
mod listing;
pub mod maintain;
pub mod metric;
pub mod ocsp;
pub mod outside;
pub mod profile;
pub mod queue;
pub mod responder;
pub mod restore;
mod retention;
pub mod rollover;
pub mod scep;
pub mod source;
pub mod status;
pub mod system;
pub mod ticket;
mod timer;
pub mod token;
pub mod user;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

pub use enrol::ApprovalWebhook;
pub use error::ServiceError;
pub use listing::Listing;

use crate::{
    domain::{alternate::AlternateIssuers, directory::DirectoryPolicy, retention::Retention, throttle::Pace},
    ports::{CheckpointFile, Clock, CrlSource, Directories, Keyring, Outbound, Random, Store, Vouchers},
    types::{DirectoryName, IssuerId, KeyAlgorithm, ProfileName, RequestId, Secret, Timestamp},
    wire::x509::Certificate,
};

/// The ports that a gateway stands on.
#[derive(Clone)]
pub struct Ports {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Private keys.
    pub keyring: Arc<dyn Keyring>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Other parties.
    pub outbound: Arc<dyn Outbound>,
    /// Those who vouch for requests.
    pub vouchers: Vouchers,
    /// Where the checkpoint is kept.
    pub checkpoint: Arc<dyn CheckpointFile>,
    /// CRLs of other CAs.
    pub crls: Arc<dyn CrlSource>,
    /// Where our own are published besides.
    pub directories: Directories,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// What the use cases need to know of the configuration.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// The base of the URLs in certificates, as the configuration has it; none where it says nothing. Certificates have that of when their
    /// issuer was made.
    pub public_url: Option<String>,
    /// Value of the template variable `REALM`.
    pub realm: String,
    /// The profile of the NDES-compatible URLs, which name none.
    pub default_profile: Option<ProfileName>,
    /// Static challenges: at most two valid ones per profile, newest first.
    pub static_challenges: BTreeMap<ProfileName, Vec<Secret>>,
    /// What GetCACert shows behind the message certificate, for the profiles that do not show their issuer's own chain.
    pub ca_certificates: BTreeMap<ProfileName, Vec<Certificate>>,
    /// Validity of OCSP answers.
    pub ocsp: OcspSettings,
    /// How long certgate's own certificates live.
    pub system: SystemSettings,
    /// How long a repeated request is answered with the certificate of the first (RFC 8894 §5.2).
    pub repeat_window: Duration,
    /// What is kept of SCEP exchanges.
    pub trace: TraceSettings,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Host names and addresses in the TLS certificate.
    pub server_names: Vec<String>,
    /// The NDES-compatible URLs.
    pub ndes: challenge::NdesSettings,
    /// The challenge webhook.
    pub challenge_webhook: challenge::WebhookSettings,
    /// Who is asked before certificates of a profile are issued.
    pub approval_webhooks: BTreeMap<ProfileName, ApprovalWebhook>,
    /// Other CAs with whose certificates devices renew under a profile.
    pub renewal_issuers: BTreeMap<ProfileName, AlternateIssuers>,
    /// The key-encryption key lies beside the store: whoever copies the one has the other.
    pub key_beside_store: bool,
    /// How much of what is allowed.
    pub guard: guard::GuardSettings,
    /// How CRLs are published.
    pub crl: crl::CrlSettings,
    /// What is published in each of [`Ports::directories`].
    pub directories: BTreeMap<DirectoryName, DirectoryPolicy>,
}

/// How OCSP is answered.
#[derive(Clone, Debug)]
pub struct OcspSettings {
    /// nextUpdate minus thisUpdate of good and unknown answers.
    pub good: Duration,
    /// The same for certificateHold.
    pub hold: Duration,
    /// The same for revoked.
    pub revoked: Duration,
    /// How many answers are kept.
    pub cache_entries: usize,
    /// How many signatures may be spent on answers that one client alone can use; none: any number.
    pub single_use: Option<Pace>,
    /// What becomes of a nonce where no signature can be spent on it.
    pub over_budget: OverBudget,
    /// What is different with some issuers, by the name of their line.
    pub issuers: BTreeMap<IssuerId, OcspPolicy>,
}

/// What becomes of a request with a nonce where no signature can be spent on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverBudget {
    /// tryLater.
    #[default]
    TryLater,
    /// The answer that everybody gets, without a nonce.
    IgnoreNonce,
}

/// How OCSP is answered for the generations of a CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OcspPolicy {
    /// As [`OcspSettings::single_use`], for these alone.
    pub single_use: Option<Pace>,
    /// Whether requests have to be signed (RFC 6960 §2.3, sigRequired).
    pub signed_requests: bool,
    /// Whether the answers for all of their certificates are signed ahead, always.
    pub presign: bool,
}

/// What is kept of SCEP exchanges, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TraceSettings {
    /// How long an exchange is kept; zero: none is.
    pub keep: Duration,
    /// How long its transcript is kept; zero: none is.
    pub keep_transcripts: Duration,
    /// How many exchanges are kept.
    pub entries: usize,
}

impl TraceSettings {
    /// Whether anything is kept.
    pub const fn is_on(&self) -> bool {
        !self.keep.is_zero() && self.entries > 0
    }
}

/// Lifetimes of certgate's own certificates. Each is renewed when a third of its life is left; message keys stay usable for opening until they expire.
#[derive(Clone, Debug)]
pub struct SystemSettings {
    /// SCEP message certificate.
    pub message: Duration,
    /// OCSP signer.
    pub ocsp_signer: Duration,
    /// Trusted responder, for certificates of external issuers.
    pub trusted_responder: Duration,
    /// Server TLS.
    pub server_tls: Duration,
    /// What signs OCSP answers, by the name of the issuer's line, where it is not a delegate like the issuer.
    pub ocsp_signers: BTreeMap<IssuerId, OcspSigner>,
}

impl SystemSettings {
    /// What signs the OCSP answers of the generations of a CA.
    pub fn ocsp_signer_of(&self, line: &IssuerId) -> OcspSigner {
        self.ocsp_signers.get(line).copied().unwrap_or_default()
    }
}

/// What signs OCSP answers (RFC 6960 §4.2.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OcspSigner {
    /// A delegate whose key is like the issuer's: RSA-2048 under RSA, P-256 under EC.
    #[default]
    Delegate,
    /// A delegate with a key of this kind.
    DelegateWith(KeyAlgorithm),
    /// The issuer's own key.
    Ca,
}

impl std::fmt::Display for OcspSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Delegate => f.write_str("delegate"),
            Self::DelegateWith(key) => write!(f, "delegate ({key})"),
            Self::Ca => f.write_str("ca"),
        }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            public_url: None,
            realm: String::new(),
            default_profile: None,
            static_challenges: BTreeMap::new(),
            ca_certificates: BTreeMap::new(),
            ocsp: OcspSettings {
                good: Duration::from_secs(600),
                hold: Duration::from_secs(300),
                revoked: Duration::from_secs(DAY),
                cache_entries: 100_000,
                single_use: None,
                over_budget: OverBudget::default(),
                issuers: BTreeMap::new(),
            },
            system: SystemSettings {
                message: Duration::from_secs(365 * DAY),
                ocsp_signer: Duration::from_secs(7 * DAY),
                trusted_responder: Duration::from_secs(1095 * DAY),
                server_tls: Duration::from_secs(90 * DAY),
                ocsp_signers: BTreeMap::new(),
            },
            repeat_window: Duration::from_secs(DAY),
            trace: TraceSettings {
                keep: Duration::from_secs(14 * DAY),
                keep_transcripts: Duration::from_secs(3 * DAY),
                entries: 50_000,
            },
            retention: Retention {
                enrolments: Duration::from_secs(90 * DAY),
                refused: Duration::from_secs(30 * DAY),
                tickets: Duration::from_secs(30 * DAY),
                jobs: Duration::from_secs(30 * DAY),
            },
            server_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            ndes: challenge::NdesSettings::default(),
            challenge_webhook: challenge::WebhookSettings::default(),
            approval_webhooks: BTreeMap::new(),
            renewal_issuers: BTreeMap::new(),
            key_beside_store: false,
            guard: guard::GuardSettings::default(),
            crl: crl::CrlSettings::default(),
            directories: BTreeMap::new(),
        }
    }
}

/// The gateway: every use case is a method of it. Share it by `Arc`.
#[derive(Debug)]
pub struct Gateway {
    ports: Ports,
    settings: GatewaySettings,
    /// Names of the profiles in the configuration: the store has those that once were there, too.
    profiles: BTreeSet<ProfileName>,
    authorities: ArcSwap<authority::Authorities>,
    /// Held while they are read and exchanged. True: they changed and could not be read.
    reloading: Mutex<bool>,
    status: status::StatusBoard,
    restore_guard: checkpoint::RestoreGuard,
    watched_clock: clock::WatchedClock,
    ocsp: ocsp::AnswerCache,
    ocsp_budget: ocsp::SigningBudget,
    ocsp_complaints: ocsp::Complaints,
    ocsp_refreshing: ocsp::Refreshing,
    ocsp_presigning: ocsp::Presigning,
    crls: crl::PublishedCrls,
    directories: directory::Publishing,
    work: maintain::WorkSignal,
    outside: outside::Outside,
    refusals: enrol::RefusalMeter,
    denials: enrol::Denials,
    arrivals: AtomicU32,
    guard: guard::Guard,
    traces: exchange::TraceBuffer,
    /// When traces were pruned last, in seconds since 1970.
    pruned_at: AtomicU64,
    pruning: retention::Pass,
    backup_runs: Arc<AtomicBool>,
    syncs: source::RunningSyncs,
    passwords: challenge::PasswordCache,
    sealed_answers: scep::SealedAnswers,
}

impl Gateway {
    /// Opens an initialised store: loads issuers and keys, records changed profiles, rebuilds the revocation snapshot, loads the published CRLs.
    ///
    /// Errors: not initialised, a key does not open, the store is damaged. Nothing is answered by a gateway that is not whole.
    pub fn open(
        ports: Ports,
        settings: GatewaySettings,
        profiles: &[profile::ConfiguredProfile],
    ) -> Result<Self, ServiceError> {
        profile::record(&ports, profiles)?;
        crl::record(&ports, &settings.crl)?;
        // What a process had begun that was killed must not wait until its lease is over.
        ports.store.write(|tx| tx.end_leases())?;
        let profiles = profiles.iter().map(|profile| profile.name.clone()).collect();
        metric::begin_alarms(&profiles);
        let authorities = authority::Authorities::load(&ports, &profiles)?;
        let status = status::StatusBoard::load(&ports)?;
        let restore_guard = checkpoint::RestoreGuard::open(&ports)?;
        let watched_clock = clock::WatchedClock::open(&ports)?;
        let crls = crl::PublishedCrls::load(&ports)?;
        let ocsp = ocsp::AnswerCache::new(settings.ocsp.cache_entries);
        let guard = guard::Guard::new(settings.guard.clone());
        let refusals = enrol::RefusalMeter::new(settings.guard.refusals);
        let directories = directory::Publishing::new(ports.directories.0.keys());
        let gateway = Self {
            ports,
            settings,
            profiles,
            authorities: ArcSwap::from_pointee(authorities),
            reloading: Mutex::default(),
            status,
            restore_guard,
            watched_clock,
            ocsp,
            ocsp_budget: ocsp::SigningBudget::default(),
            ocsp_complaints: ocsp::Complaints::default(),
            ocsp_refreshing: ocsp::Refreshing::default(),
            ocsp_presigning: ocsp::Presigning::default(),
            crls,
            directories,
            work: maintain::WorkSignal::default(),
            outside: outside::Outside::default(),
            refusals,
            denials: enrol::Denials::default(),
            arrivals: AtomicU32::new(0),
            guard,
            traces: exchange::TraceBuffer::default(),
            pruned_at: AtomicU64::new(0),
            pruning: retention::Pass::default(),
            backup_runs: Arc::default(),
            syncs: source::RunningSyncs::default(),
            passwords: challenge::PasswordCache::default(),
            sealed_answers: scep::SealedAnswers::default(),
        };
        if let Some(behind) = gateway.behind() {
            gateway.status.distrust();
            gateway.crls.withhold_all_but(&behind.published);
        } else {
            gateway.note_unpublished();
            queue::refuse_left_waiting(&gateway.ports)?;
        }
        Ok(gateway)
    }

    /// Reads issuers, keys and profiles again, after one of them changed. One after another: whoever read before a change must not have the
    /// last word after it.
    ///
    /// An error means that the change is committed and not in force yet; the worker tries again.
    pub(crate) fn reload_authorities(&self) -> Result<(), ServiceError> {
        let mut unread = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        *unread = true;
        self.authorities.store(Arc::new(authority::Authorities::load(&self.ports, &self.profiles)?));
        *unread = false;
        Ok(())
    }

    /// [`Gateway::reload_authorities`] where the last one failed.
    pub(crate) fn reload_unread_authorities(&self) -> Result<(), ServiceError> {
        if !*self.reloading.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        self.reload_authorities()?;
        let authorities = self.authorities();
        authorities.externals().for_each(|external| self.responders_moved(&external.issuer.id));
        // Whether it is new, or has another signer, nobody remembers.
        authorities.issuers().try_for_each(|authority| self.issuer_added(&authority.issuer.id))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// An event that may move the status of certificates is taken now.
    pub(crate) fn accepted(&self) -> status::Accepted {
        status::Accepted(self.ports.clock.elapsed())
    }

    /// A fresh request id; later ones sort after it.
    pub fn new_request(&self) -> RequestId {
        let count = self.arrivals.fetch_add(1, Ordering::Relaxed);
        RequestId::from_arrival(self.now(), count, self.ports.random.bytes())
    }
}
