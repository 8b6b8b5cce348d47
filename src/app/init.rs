//! Making a new data directory: whole or not at all.
//!
//! Everything is made in a stage inside the directory and moved up when it is complete; the configuration file, by which an initialised
//! directory is recognised, comes last.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    config::Starter,
    failure::{Failure, Outcome},
    serve::STORE_FILE,
    settings::{ConfigErrors, Settings},
};
use crate::{
    adapters::{
        keys::{KekSource, SoftwareKeyring, secret_file},
        store::RedbStore,
        system::{SystemClock, SystemRandomSource},
    },
    ports::{Directories, NoCheckpoint, NoCrls, NoOutbound, Vouchers},
    service::{
        Ports, ServiceError,
        bootstrap::{self, Made, Plan},
    },
    types::{DigestAlgorithm, KeyAlgorithm},
};

/// The configuration file in a data directory.
pub const CONFIG_FILE: &str = "certgate.toml";

/// The owner's API token in a new data directory.
const TOKEN_FILE: &str = "owner.token";

/// Where everything is made before it is moved up.
const STAGE: &str = ".certgate-init";

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryState {
    /// Nothing, or it does not exist, or only what an interrupted init left behind.
    Empty,
    /// A gateway.
    Initialised,
    /// Something else: one of the names.
    Foreign(String),
}

/// Looks at `data` without changing it.
pub fn inspect(data: &Path) -> Outcome<DirectoryState> {
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DirectoryState::Empty),
        entries => entries.map_err(Failure::while_doing(data.display()))?,
    };
    let mut foreign = None;
    let (mut config, mut store) = (false, false);
    for entry in entries {
        let name = entry.map_err(Failure::while_doing(data.display()))?.file_name();
        config |= name == CONFIG_FILE;
        store |= name == STORE_FILE;
        if name != STAGE {
            foreign.get_or_insert_with(|| name.to_string_lossy().into_owned());
        }
    }
    Ok(match foreign {
        _ if config && store => DirectoryState::Initialised,
        Some(name) => DirectoryState::Foreign(name),
        None => DirectoryState::Empty,
    })
}

/// What the CAs shall be.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Name of the organisation, for the CAs' names.
    pub organisation: String,
    /// The root's kind of key.
    pub root_key: KeyAlgorithm,
    /// The issuing CA's kind of key.
    pub issuing_key: KeyAlgorithm,
    /// The digest of their signatures.
    pub digest: DigestAlgorithm,
    /// The root's life; the issuing CA has the same.
    pub years: u32,
}

/// A new data directory with its own configuration file.
#[derive(Clone, Debug)]
pub struct Request {
    /// The directory.
    pub data: PathBuf,
    /// The CAs.
    pub authorities: Authorities,
    /// What devices and gear reach; default `http://` and `device`.
    pub public_url: Option<String>,
    /// Plain HTTP for devices.
    pub device: SocketAddr,
    /// HTTPS for operators.
    pub admin: SocketAddr,
    /// Metrics and health.
    pub ops: SocketAddr,
    /// Where the key-encryption key comes from; default `kek.key` in the directory.
    pub kek: Option<KekSource>,
    /// Host names and addresses in the TLS certificate, beside 127.0.0.1; none: `localhost`.
    pub server_names: Vec<String>,
}

/// What there is now.
#[derive(Debug)]
pub struct Initialised {
    /// The configuration file.
    pub config: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// The owner's API token.
    pub token: PathBuf,
    /// Base of the URLs in certificates.
    pub public_url: String,
    /// The key-encryption key is in the data directory too.
    pub key_beside_store: bool,
    /// Fingerprints.
    pub made: Made,
}

/// Makes a data directory with everything in it.
pub fn create(request: &Request) -> Outcome<Initialised> {
    let stage = Stage::begin(&request.data)?;
    let config = stage.path.join(CONFIG_FILE);
    fs::write(&config, configuration(request)?).map_err(Failure::while_doing(config.display()))?;
    let (settings, _) = Settings::load(&config).map_err(|errors| unusable(&errors))?;
    let made = populate(&stage, &settings, &request.authorities)?;
    stage.commit()?;
    Ok(Initialised {
        config: request.data.join(CONFIG_FILE),
        data: request.data.clone(),
        token: request.data.join(TOKEN_FILE),
        public_url: settings.public_url,
        key_beside_store: request.kek.is_none(),
        made,
    })
}

/// The file is gone with the stage, and nobody wrote its lines: only the keys say something.
fn unusable(errors: &ConfigErrors) -> Failure {
    let mistakes = errors.mistakes.iter().map(|mistake| format!("{}: {}", mistake.key, mistake.problem));
    Failure::usage(mistakes.collect::<Vec<_>>().join("\n"))
}

/// Fills the data directory of a configuration file that exists already.
pub fn create_configured(config: &Path, authorities: &Authorities) -> Outcome<Initialised> {
    let (settings, _) = Settings::load(config).map_err(Failure::usage)?;
    let stage = Stage::begin(&settings.data)?;
    let made = populate(&stage, &settings, authorities)?;
    stage.commit()?;
    Ok(Initialised {
        config: config.to_owned(),
        token: settings.data.join(TOKEN_FILE),
        data: settings.data,
        public_url: settings.public_url,
        key_beside_store: settings.gateway.key_beside_store,
        made,
    })
}

fn populate(stage: &Stage, settings: &Settings, authorities: &Authorities) -> Outcome<Made> {
    let kek = settings.kek.create(&stage.path).map_err(Failure::error)?;
    let store = RedbStore::open(&stage.path.join(STORE_FILE)).map_err(Failure::error)?;
    let ports = Ports {
        store: std::sync::Arc::new(store),
        keyring: std::sync::Arc::new(SoftwareKeyring::new(kek)),
        clock: std::sync::Arc::new(SystemClock),
        random: std::sync::Arc::new(SystemRandomSource::default()),
        outbound: std::sync::Arc::new(NoOutbound),
        vouchers: Vouchers::default(),
        checkpoint: std::sync::Arc::new(NoCheckpoint),
        crls: std::sync::Arc::new(NoCrls),
        directories: Directories::default(),
    };
    let made = bootstrap::initialise(&ports, &plan(settings, authorities)?).map_err(refused)?;
    secret_file::create(&stage.path.join(TOKEN_FILE), made.owner_token.expose()).map_err(Failure::error)?;
    Ok(made)
}

fn refused(error: ServiceError) -> Failure {
    match error {
        ServiceError::Invalid { .. } => Failure::usage(error),
        other => Failure::error(other),
    }
}

fn plan(settings: &Settings, authorities: &Authorities) -> Outcome<Plan> {
    let organisation = escaped(&authorities.organisation)?;
    Ok(Plan {
        root_name: format!("CN={organisation} Root CA,O={organisation}"),
        issuing_name: format!("CN={organisation} Issuing CA,O={organisation}"),
        root_key: authorities.root_key,
        issuing_key: authorities.issuing_key,
        digest: authorities.digest,
        root_years: authorities.years,
        issuing_years: authorities.years,
        public_url: settings.public_url.clone(),
        crl: settings.gateway.crl.clone(),
        system: settings.gateway.system.clone(),
        server_names: settings.gateway.server_names.clone(),
        profiles: settings.profiles.clone(),
    })
}

/// `name` as the value of an RFC 4514 attribute. Errors: it would not fit a certificate, or would be a template.
fn escaped(name: &str) -> Outcome<String> {
    // O and CN have at most 64 characters (RFC 5280 A.1); " Issuing CA" needs 11 of them.
    let fits = (1..=53).contains(&name.chars().count()) && name.trim() == name;
    if !fits || name.chars().any(|c| c.is_control() || "${}".contains(c)) {
        return Err(Failure::usage(
            "the organisation's name has 1 to 53 characters, without $ { } and outer spaces",
        ));
    }
    let special = |c: char| "\\\"+,;<>=#".contains(c);
    Ok(name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect())
}

fn configuration(request: &Request) -> Outcome<String> {
    let organisation = escaped(&request.authorities.organisation)?;
    let public_url = request.public_url.clone().unwrap_or_else(|| format!("http://{}", request.device));
    let starter = Starter {
        data: Path::new("."),
        public_url: &public_url,
        device: request.device,
        admin: request.admin,
        ops: request.ops,
        subject: &format!("CN=$DEVICE_ID$,O={organisation}"),
    };
    let mut text = starter.render();
    let quoted = |text: &str| toml::Value::from(text).to_string();
    if !request.server_names.is_empty() {
        // The loopback address stays, for the default listener is there.
        let names = request.server_names.iter().map(String::as_str).chain(["127.0.0.1"]);
        let names: Vec<_> = names.map(quoted).collect();
        text.extend(["\n[tls]\nnames = [", &names.join(", "), "]\n"]);
    }
    if let Some(kek) = &request.kek {
        let (kind, value) = match kek {
            KekSource::File(path) => ("file", path.display().to_string()),
            KekSource::Credential(name) => ("credential", name.clone()),
            KekSource::PassphraseFile(path) => ("passphrase-file", path.display().to_string()),
            KekSource::PassphraseCredential(name) => ("passphrase-credential", name.clone()),
        };
        text.extend(["\n[keys]\nkek = { ", kind, " = ", &quoted(&value), " }\n"]);
    }
    Ok(text)
}

/// The stage. Dropped without [`Stage::commit`], it takes everything away again.
pub(super) struct Stage {
    data: PathBuf,
    /// What is to be moved up lies here.
    pub(super) path: PathBuf,
    made_data: bool,
    committed: bool,
}

impl Stage {
    /// Begins in an empty directory, or makes one.
    pub(super) fn begin(data: &Path) -> Outcome<Self> {
        match inspect(data)? {
            DirectoryState::Empty => {}
            DirectoryState::Initialised => {
                return Err(Failure::refused(format_args!("{} holds a gateway already", data.display()))
                    .hint("run it with `certgate serve`, or choose another directory"));
            }
            DirectoryState::Foreign(name) => {
                return Err(Failure::refused(format_args!(
                    "{} is not empty: it holds \"{name}\"",
                    data.display()
                ))
                .hint("certgate starts in an empty directory, or makes one: choose another"));
            }
        }
        let path = data.join(STAGE);
        let make = || {
            let made_data = !data.exists();
            if made_data {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(data)?;
            } else {
                fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
            }
            // What an interrupted init left behind was never used.
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            Ok(made_data)
        };
        let made_data = make().map_err(Failure::while_doing(data.display()))?;
        Ok(Self { data: data.to_owned(), path, made_data, committed: false })
    }

    /// Moves everything up, the configuration file last.
    pub(super) fn commit(mut self) -> Outcome {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(Failure::while_doing(self.path.display()))?
            .into_iter()
            .map(|entry| entry.file_name())
            .collect();
        names.sort_by_key(|name| name == CONFIG_FILE);
        self.committed = true;
        let move_up = || {
            for name in &names {
                fs::rename(self.path.join(name), self.data.join(name))?;
            }
            fs::remove_dir(&self.path)?;
            fs::File::open(&self.data)?.sync_all()
        };
        move_up().map_err(Failure::while_doing(self.data.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // The failure that led here is what the operator should read; these could only hide it.
        let _ = fs::remove_dir_all(&self.path);
        if self.made_data {
            let _ = fs::remove_dir(&self.data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(data: &Path) -> Request {
        Request {
            data: data.to_owned(),
            authorities: Authorities {
                organisation: "Lab, \"West\"".to_owned(),
                root_key: KeyAlgorithm::P256,
                issuing_key: KeyAlgorithm::P256,
                digest: DigestAlgorithm::Sha256,
                years: 10,
            },
            public_url: Some("http://pki.lab.example".to_owned()),
            device: "127.0.0.1:8080".parse().unwrap(),
            admin: "127.0.0.1:8443".parse().unwrap(),
            ops: "127.0.0.1:9090".parse().unwrap(),
            kek: None,
            server_names: vec!["pki.lab.example".to_owned()],
        }
    }

    #[test]
    fn a_new_directory_is_private_and_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("lab");
        let made = create(&request(&data)).unwrap();
        let permissions = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(permissions(&data), 0o700);
        for secret in [&made.token, &data.join("kek.key"), &data.join(STORE_FILE)] {
            assert_eq!(permissions(secret), 0o600, "{}", secret.display());
        }
        assert_eq!(inspect(&data).unwrap(), DirectoryState::Initialised);
        assert!(!data.join(STAGE).exists());
        let (settings, _) = Settings::load(&made.config).unwrap();
        assert_eq!(settings.public_url, "http://pki.lab.example");
        assert!(create(&request(&data)).unwrap_err().message.contains("holds a gateway already"));
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
        let failure = create(&request(dir.path())).unwrap_err();
        assert!(failure.message.contains("thesis.tex"), "{failure}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_init_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("lab");
        let mut wrong = request(&data);
        wrong.authorities.years = 99;
        assert_eq!(create(&wrong).unwrap_err().kind, crate::app::failure::FailureKind::Usage);
        assert!(!data.exists());
    }

    #[test]
    fn an_interrupted_init_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join(STAGE);
        fs::create_dir(&stage).unwrap();
        fs::write(stage.join(STORE_FILE), "half").unwrap();
        assert_eq!(inspect(dir.path()).unwrap(), DirectoryState::Empty);
        create(&request(dir.path())).unwrap();
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("A, B = \"C\"").unwrap(), "A\\, B \\= \\\"C\\\"");
        for wrong in ["", " a", "a$b", "{{X}}", &"x".repeat(54)] {
            assert!(escaped(wrong).is_err(), "{wrong}");
        }
    }
}
