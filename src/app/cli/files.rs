//! Files that client commands read and write: certificates for everybody, keys and challenges for nobody else.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::output::{self, Format};
use crate::{
    adapters::keys::secret_file,
    app::failure::{Failure, Outcome},
    types::Secret,
    wire::x509::Certificate,
};

/// Longest challenge that is read from standard input.
const MAX_CHALLENGE: u64 = 4096;

/// Reads a certificate: PEM (the first of several) or DER.
pub fn read_certificate(path: &Path) -> Outcome<Certificate> {
    let bytes = std::fs::read(path).map_err(Failure::while_doing(path.display()))?;
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Certificate::from_pem(first_block(text)),
        _ => Certificate::from_der(&bytes),
    };
    parsed.map_err(Failure::while_doing(path.display()))
}

/// Reads every certificate of a file: several as PEM, or one as DER.
pub fn read_certificates(path: &Path) -> Outcome<Vec<Certificate>> {
    let bytes = std::fs::read(path).map_err(Failure::while_doing(path.display()))?;
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Certificate::all_from_pem(text),
        _ => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    };
    parsed.map_err(Failure::while_doing(path.display()))
}

/// Reads the DER of a CRL of any scope: from PEM or DER.
pub fn read_list(path: &Path) -> Outcome<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(Failure::while_doing(path.display()))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => {
            Ok(der::pem::decode_vec(text.trim().as_bytes()).map_err(Failure::while_doing(path.display()))?.1)
        }
        _ => Ok(bytes),
    }
}

/// The first PEM block of a file with several.
fn first_block(text: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    let start = text.find("-----BEGIN").unwrap_or(0);
    let rest = text.get(start..).unwrap_or_default();
    rest.find(END).and_then(|end| rest.get(..end + END.len())).unwrap_or(rest)
}

/// Writes certificates as PEM, replacing the file in one step, so that a reader never sees half of it.
pub fn write_certificates(path: &Path, certificates: &[&Certificate]) -> Outcome {
    let pem: String = certificates.iter().map(|certificate| with_line_end(certificate.to_pem())).collect();
    replace(path, pem.as_bytes())
}

fn with_line_end(pem: String) -> String {
    if pem.ends_with('\n') { pem } else { pem + "\n" }
}

/// Looks whether [`replace`] can write to `path`, by trying the file that it would move there.
pub(super) fn writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let trial = beside(path);
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&trial) {
        Ok(_) => std::fs::remove_file(&trial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a file is written before it takes the place of `path`.
fn beside(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    temporary.into()
}

/// Replaces a file in one step.
pub fn replace(path: &Path, content: &[u8]) -> Outcome {
    let temporary = beside(path);
    let write = || {
        std::fs::write(&temporary, content)?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(Failure::while_doing(path.display()))
}

/// Reads a challenge from a file, or from standard input where `path` is `-`.
pub fn read_challenge(path: &Path) -> Outcome<Secret> {
    let secret = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(MAX_CHALLENGE).read_to_end(&mut bytes).map_err(Failure::error)?;
        Secret::new(bytes)
    } else {
        secret_file::read(path).map_err(Failure::error)?.0
    };
    let challenge = Secret::new(secret_file::without_line_end(&secret).to_vec());
    if challenge.expose().is_empty() {
        return Err(Failure::usage("the challenge is empty"));
    }
    Ok(challenge)
}

/// Looks whether a new file can be made there, before a secret is made that is shown only once.
pub(super) fn place_for_secret(out: Option<&Path>) -> Outcome {
    let Some(path) = out else { return Ok(()) };
    if path.symlink_metadata().is_ok() {
        return Err(Failure::error(format_args!("{} is there already", path.display()))
            .hint("nothing was made: name another file, or remove that one"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::read_dir(directory).map(drop).map_err(Failure::while_doing(directory.display()))
}

/// Hands over the secret in a server's answer, which is shown this once: to a new file with mode 0600, or alone on standard
/// output. Gives the answer; without the secret where that went to a file. `lost`: what to do when the file cannot be made.
pub(super) fn hand_over(format: Format, mut made: Value, out: Option<&Path>, lost: &str) -> Outcome<Value> {
    let secret = made.get("secret").and_then(Value::as_str).map(str::to_owned);
    let secret = secret.ok_or_else(|| Failure::error("the server's answer holds no secret"))?;
    if let Some(path) = out {
        secret_file::create(path, secret.as_bytes()).map_err(|error| Failure::error(error).hint(lost))?;
        if let Some(made) = made.as_object_mut() {
            made.remove("secret");
        }
    }
    match format {
        Format::Json => output::json(&made),
        Format::Table if out.is_none() => output::line(&secret),
        Format::Table => {}
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::client::key::ClientKey,
        types::{KeyAlgorithm, Timestamp},
    };

    #[test]
    fn certificates_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let key = ClientKey::generate(KeyAlgorithm::Rsa2048).unwrap();
        let now = Timestamp::from_unix(1_800_000_000);
        let first = key.self_signed(&"CN=one".parse().unwrap(), [1; 16], now).unwrap();
        let second = key.self_signed(&"CN=two".parse().unwrap(), [2; 16], now).unwrap();
        let pem = dir.path().join("chain.pem");
        write_certificates(&pem, &[&first, &second]).unwrap();
        assert_eq!(read_certificate(&pem).unwrap(), first, "the first of several");
        let der = dir.path().join("two.der");
        std::fs::write(&der, second.as_der()).unwrap();
        assert_eq!(read_certificate(&der).unwrap(), second);
    }

    #[test]
    fn a_secret_that_went_to_a_file_is_not_in_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let answer = serde_json::json!({"id": "1", "secret": "s3cret"});
        let rest = hand_over(Format::Json, answer.clone(), Some(&path), "mint another").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"s3cret");
        assert_eq!(rest, serde_json::json!({"id": "1"}));
        let failure = hand_over(Format::Json, answer, Some(&path), "mint another").unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("mint another"), "the file is there already");
    }

    #[test]
    fn a_secret_is_made_only_where_its_file_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        place_for_secret(None).unwrap();
        place_for_secret(Some(&path)).unwrap();
        place_for_secret(Some(Path::new("no-such-file-here"))).unwrap();
        assert!(place_for_secret(Some(&path.join("below"))).is_err(), "no such directory");
        std::fs::write(&path, "x").unwrap();
        assert!(place_for_secret(Some(&path)).unwrap_err().hint.unwrap().contains("nothing was made"));
    }

    #[test]
    fn a_challenge_ends_before_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("challenge");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(read_challenge(&path).unwrap().expose(), b"s3cret");
        std::fs::write(&path, "\n").unwrap();
        assert!(read_challenge(&path).is_err());
    }
}
