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
            duration, files,
            output::{self, Format},
        },
        client::{
            error::ClientError,
            key::ClientKey,
            scep::{Reply, Requester},
        },
        failure::{Failure, Outcome},
    },
    types::TransactionId,
    wire::x509::Certificate,
};

/// Between two polls.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct PollArgs {
    /// The file in which `enrol` or `renew` remembered the transaction
    #[arg(long, value_name = "FILE")]
    transaction: PathBuf,
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
    pub(super) transaction: TransactionId,
    pub(super) subject: String,
    /// PEM of the certificate that signed the request: only it may poll.
    pub(super) signer: String,
    pub(super) key: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) chain: Option<PathBuf>,
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

    fn load(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(Failure::while_doing(path.display()))?;
        serde_json::from_str(&text).map_err(Failure::while_doing(path.display()))
    }
}

/// `certgate scep poll`.
pub(super) fn poll(args: &PollArgs, format: Format) -> Outcome {
    let pending = PendingEnrolment::load(&args.transaction)?;
    let session = Session::new()?;
    let client = session.client(&pending.url);
    let pin =
        AuthorityArgs { url: pending.url.clone(), ca_fingerprint: Some(pending.ca_fingerprint.clone()) };
    let authority = discover(&client, &pin)?;
    let key = ClientKey::load(&pending.key)?;
    let signer = Certificate::from_pem(&pending.signer).map_err(Failure::error)?;
    let subject = pending.subject.parse().map_err(Failure::while_doing("subject"))?;
    let requester = Requester { key: &key, certificate: &signer };
    let ask = || client.poll(&authority, requester, &pending.transaction, &subject);
    let reply = match args.wait {
        Some(duration::Seconds(seconds)) => wait(seconds, ask)?,
        None => ask()?,
    };
    if let Reply::Pending = reply {
        return pending.remember(&args.transaction, format);
    }
    let places = Files { key: &pending.key, cert: &pending.cert, chain: pending.chain.as_ref() };
    deliver(reply.granted()?, &key, &authority, &places, format)?;
    std::fs::remove_file(&args.transaction).map_err(Failure::while_doing(args.transaction.display()))
}

/// Asks until there is a decision or `seconds` are over; gives the last answer.
pub(super) fn wait(seconds: u64, mut ask: impl FnMut() -> Result<Reply, ClientError>) -> Outcome<Reply> {
    let mut left = Duration::from_secs(seconds);
    output::note("waiting for an operator's approval");
    loop {
        let pause = INTERVAL.min(left);
        if pause.is_zero() {
            return Ok(Reply::Pending);
        }
        thread::sleep(pause);
        left -= pause;
        match ask()? {
            Reply::Pending => {}
            decided => return Ok(decided),
        }
    }
}
