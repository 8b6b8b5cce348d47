//! Transactions that wait for an operator: the file that remembers one, polling, and `certgate scep poll`.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    AuthorityArgs, ISSUED, Session, discover,
    enrol::{Files, deliver},
    shown,
};
use crate::{
    app::{
        cli::{
            duration,
            files::{self, read_challenge},
            output::{self, Format},
        },
        client::{
            key::ClientKey,
            persona::{self, CERTGATE, Persona},
            scep::{Requester, conduct, granted},
        },
        failure::{Failure, Outcome},
    },
    types::{Secret, TransactionId},
    wire::{
        scep::{
            MessageType,
            client::{Enrolment, Pace, Reply},
        },
        x509::Certificate,
    },
};

/// Between two polls.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct PollArgs {
    /// The file in which `enrol` or `renew` remembered the transaction
    #[arg(long, value_name = "FILE")]
    transaction: PathBuf,
    /// SHA-256 or SHA-1 fingerprint of one of the server's CA certificates, if the one that was remembered is there no more
    #[arg(long, value_name = "HEX")]
    ca_fingerprint: Option<String>,
    /// File with the challenge of the request, or - for standard input: the answer to a key on a curve is sealed under it [default:
    /// the file that `enrol` read]
    #[arg(long, value_name = "FILE")]
    challenge_file: Option<PathBuf>,
    /// Poll this long for a decision, as 90s, 15m or 12h [default: ask once]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    wait: Option<duration::Seconds>,
}

/// What is needed to ask again. Holds no secret: the key stays in its own file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PendingEnrolment {
    pub(super) url: String,
    pub(super) ca_fingerprint: String,
    /// PEM of the CA certificates that the server showed: what was issued before a successor took over is signed by one of these.
    #[serde(default)]
    pub(super) authorities: String,
    #[serde(default)]
    pub(super) ca_identifier: Option<String>,
    pub(super) transaction: TransactionId,
    pub(super) subject: String,
    /// PEM of the certificate that signed the request: only it may poll.
    pub(super) signer: String,
    /// Its key, where that is another one: at a renewal with a change of the key.
    #[serde(default)]
    pub(super) signer_key: Option<PathBuf>,
    /// The key that is to be certified.
    pub(super) key: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) chain: Option<PathBuf>,
    /// Like whom `enrol` spoke.
    #[serde(default, rename = "as")]
    pub(super) speak_as: Option<String>,
    /// Where the challenge of the request was read from.
    #[serde(default)]
    pub(super) challenge_file: Option<PathBuf>,
}

impl PendingEnrolment {
    /// Writes the file and says so. Errors: always, as partial: a script must not go on without a certificate.
    pub(super) fn remember(&self, path: &Path, format: Format) -> Outcome {
        let text = serde_json::to_string_pretty(self).map_err(Failure::error)?;
        files::replace(path, text.as_bytes())?;
        let result = json!({
            "status": "pending",
            "transaction": shown(Some(&path.to_owned())),
            "key": shown(Some(&self.key)),
            "next": format!("certgate scep poll --transaction {}", path.display()),
        });
        output::object(format, &result, ISSUED);
        Err(Failure::partial("no certificate yet: the request waits for an operator's approval"))
    }

    /// Signs polls, and opens their answers.
    fn signer_key(&self) -> Outcome<ClientKey> {
        ClientKey::load(self.signer_key.as_ref().unwrap_or(&self.key))
    }

    fn persona(&self) -> Outcome<&'static Persona> {
        self.speak_as.as_deref().map_or(Ok(&CERTGATE), persona::named)
    }

    /// The challenge that the answer will be sealed under; none where the key opens it.
    fn password(&self, key: &ClientKey, written: Option<&PathBuf>) -> Outcome<Option<Secret>> {
        if key.decrypter().is_some() {
            return Ok(None);
        }
        let file = written.or(self.challenge_file.as_ref()).ok_or_else(|| {
            Failure::usage("the key cannot decrypt: the answer is sealed under the challenge of the request")
                .hint("say where that is with --challenge-file")
        })?;
        read_challenge(file).map(Some)
    }

    fn load(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(Failure::while_doing(path.display()))?;
        let what = format!("{} is no transaction that `enrol` or `renew` remembered", path.display());
        serde_json::from_str(&text).map_err(Failure::while_doing(what))
    }
}

/// `certgate scep poll`.
pub(super) fn poll(args: &PollArgs, format: Format) -> Outcome {
    let pending = PendingEnrolment::load(&args.transaction)?;
    let session = Session::new()?;
    let pin = AuthorityArgs {
        url: pending.url.clone(),
        ca_fingerprint: args.ca_fingerprint.clone().or_else(|| Some(pending.ca_fingerprint.clone())),
        ca_identifier: pending.ca_identifier.clone(),
        next: false,
    };
    let persona = pending.persona()?;
    let (key, signer_key) = (ClientKey::load(&pending.key)?, pending.signer_key()?);
    let password = pending.password(&signer_key, args.challenge_file.as_ref())?;
    let client = session.client(&pin).speaking_as(persona);
    let authority = discover(&client, &pin)?;
    let signer = Certificate::from_pem(&pending.signer).map_err(Failure::error)?;
    let subject = pending.subject.parse().map_err(Failure::while_doing("subject"))?;
    let requester = Requester { key: &signer_key, certificate: &signer };
    let mut enrolment = Enrolment::new(MessageType::CertPoll, pace(args.wait));
    let ask = |_| client.poll(&authority, requester, &pending.transaction, &subject, password.as_ref());
    let reply = conduct(&mut enrolment, ask, rest)?;
    if let Reply::Pending = reply {
        return pending.remember(&args.transaction, format);
    }
    let places = Files { key: &pending.key, cert: &pending.cert, chain: pending.chain.as_ref() };
    let before =
        Certificate::all_from_pem(&pending.authorities).map_err(Failure::while_doing("authorities"))?;
    deliver(granted(reply)?, &key, &[&authority.ca.all, &before], &places, format)?;
    std::fs::remove_file(&args.transaction).map_err(Failure::while_doing(args.transaction.display()))
}

/// How long `--wait` goes on asking.
pub(super) fn pace(wait: Option<duration::Seconds>) -> Pace {
    Pace { interval: INTERVAL, patience: Duration::from_secs(wait.map_or(0, |wait| wait.0)) }
}

/// Stays away until the next poll.
pub(super) fn rest(pause: Duration) {
    output::note(&format!("waiting for an operator's approval; asking again in {} seconds", pause.as_secs()));
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyAlgorithm;

    #[test]
    fn a_renewal_for_a_new_key_is_polled_for_with_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old.key", "new.key"].map(|name| dir.path().join(name));
        let [of_old, of_new] = [&old, &new].map(|path| ClientKey::create(path, KeyAlgorithm::P256).unwrap());
        let remembered = |signer_key: Option<&PathBuf>| {
            let text = json!({
                "url": "http://pki.example/scep/x", "ca-fingerprint": "00", "transaction": "1", "subject": "CN=x",
                "signer": "", "key": new, "cert": "x.pem", "chain": null, "signer-key": signer_key,
            });
            serde_json::from_value::<PendingEnrolment>(text).unwrap()
        };
        assert_eq!(remembered(Some(&old)).signer_key().unwrap().public_key(), of_old.public_key());
        assert_eq!(remembered(None).signer_key().unwrap().public_key(), of_new.public_key());
    }
}
