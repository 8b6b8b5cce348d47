//! `certgate scep enrol` and `renew`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    AuthorityArgs, ISSUED, Session, describe, discover,
    pending::{self, PendingEnrolment},
    places::{self, Place},
    shown,
};
use crate::{
    app::{
        cli::{
            duration,
            files::{read_certificate, read_challenge, write_certificates},
            output::{self, Format},
        },
        client::{
            key::ClientKey,
            persona::{self, CERTGATE, Persona},
            scep::{CertificateRequest, Requester, ScepClient, conduct, granted},
        },
        failure::{Failure, Outcome},
    },
    types::{KeyAlgorithm, TransactionId},
    wire::{
        scep::{
            Degenerate, MessageType,
            client::{Authority, Enrolment, Reply, issued_to},
        },
        x509::{Certificate, GeneralName, Name},
    },
};

#[derive(Args, Debug)]
pub(super) struct EnrolArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Name to ask for, as CN=SN123,O=Lab
    #[arg(long, value_name = "DN")]
    subject: Name,
    /// Further name to ask for: dns:, email:, uri:, ip:, upn: or dirname: and the value; may be repeated
    #[arg(long = "san", value_name = "TYPE:VALUE", value_parser = general_name)]
    subject_alt_names: Vec<GeneralName>,
    /// File with the challenge, or - for standard input; without it, only an operator can approve
    #[arg(long, value_name = "FILE")]
    challenge_file: Option<PathBuf>,
    /// Private key (PEM, PKCS#8); made with mode 0600 if it is not there
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Kind of key to make: rsa-2048, rsa-3072, rsa-4096, p-256 or p-384. The answer to a key on a curve is sealed under the
    /// challenge, which must have 16 characters then
    #[arg(long, value_name = "KIND", default_value = "rsa-2048")]
    key_type: KeyAlgorithm,
    #[command(flatten)]
    speak: Speak,
    #[command(flatten)]
    delivery: Delivery,
}

#[derive(Args, Debug)]
pub(super) struct RenewArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The present certificate's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Change to a new key, made in this file with mode 0600; without it the key stays
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Kind of key to make: rsa-2048, rsa-3072, rsa-4096, p-256 or p-384. The answer to a key on a curve is sealed under the
    /// challenge, which must have 16 characters then
    #[arg(long, value_name = "KIND", default_value = "rsa-2048")]
    key_type: KeyAlgorithm,
    /// Write the next certificate here instead of in the place of the present one
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    speak: Speak,
    #[command(flatten)]
    delivery: Delivery,
}

/// Like whom to speak.
#[derive(Args, Clone, Debug)]
struct Speak {
    /// Speak on the wire as this client does, and refuse what it would refuse: apple, windows, android-jscep, cisco-ios, cisco-ios-12,
    /// fortigate, juniper, paloalto, mikrotik, sscep, certmonger or strongswan
    #[arg(long = "as", value_name = "CLIENT", value_parser = persona::named)]
    speak_as: Option<&'static Persona>,
}

impl Speak {
    fn persona(&self) -> &'static Persona {
        self.speak_as.unwrap_or(&CERTGATE)
    }

    fn announce(&self, authority: &Authority) {
        if let Some(persona) = self.speak_as {
            output::note(&persona.describe(&authority.capabilities));
        }
    }
}

/// Where the certificate goes, and what happens until there is one.
#[derive(Args, Clone, Debug)]
pub(super) struct Delivery {
    /// The certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) cert: PathBuf,
    /// Also write the CA certificates here (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) chain: Option<PathBuf>,
    /// Where to remember a transaction that waits for an operator [default: CERT.pending]
    #[arg(long, value_name = "FILE")]
    pub(super) transaction: Option<PathBuf>,
    /// Poll this long for an operator's decision, as 90s, 15m or 12h [default: do not wait]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(super) wait: Option<duration::Seconds>,
}

impl Delivery {
    fn transaction_path(&self) -> PathBuf {
        self.transaction.clone().unwrap_or_else(|| {
            let mut path = self.cert.as_os_str().to_owned();
            path.push(".pending");
            path.into()
        })
    }

    /// Looks whether everything can be written, the certificate to `cert` as the option `cert_option` says. `keys`: what must stay.
    fn check(&self, (cert_option, cert): Place<'_>, keys: &[Place<'_>]) -> Outcome {
        let transaction = self.transaction_path();
        let mut written = vec![(cert_option, cert), ("--transaction", transaction.as_path())];
        written.extend(self.chain.as_deref().map(|chain| ("--chain", chain)));
        places::check(&written, keys)
    }
}

/// `certgate scep enrol`.
pub(super) fn enrol(args: &EnrolArgs, format: Format) -> Outcome {
    let mut keys = vec![("--key", args.key.as_path())];
    let challenge_file = args.challenge_file.as_deref().filter(|path| *path != Path::new("-"));
    keys.extend(challenge_file.map(|path| ("--challenge-file", path)));
    args.delivery.check(("--cert", &args.delivery.cert), &keys)?;
    let session = Session::new()?;
    let client = session.client(&args.authority).speaking_as(args.speak.persona());
    let authority = discover(&client, &args.authority)?;
    args.speak.announce(&authority);
    let challenge = args.challenge_file.as_deref().map(read_challenge).transpose()?;
    let key = load_or_create(&args.key, args.key_type)?;
    let signer = client.throw_away(&key, &args.subject)?;
    let request = CertificateRequest {
        subject: args.subject.clone(),
        subject_alt_names: args.subject_alt_names.clone(),
        challenge,
    };
    let exchange = Exchange {
        client: &client,
        authority: &authority,
        requester: Requester { key: &key, certificate: &signer },
        requester_key_path: &args.key,
        subject_key: &key,
        key_path: &args.key,
        delivery: &args.delivery,
        cert: &args.delivery.cert,
        challenge_file: args.challenge_file.as_deref(),
    };
    let transaction = client.transaction_of(&key);
    exchange.run(MessageType::PkcsReq, &args.authority, &transaction, &request, format)
}

/// `certgate scep renew`.
pub(super) fn renew(args: &RenewArgs, format: Format) -> Outcome {
    let mut keys = vec![("--key", args.key.as_path())];
    keys.extend(args.new_key.as_deref().map(|path| ("--new-key", path)));
    let place = args.out.as_deref().map_or(("--cert", args.delivery.cert.as_path()), |out| ("--out", out));
    args.delivery.check(place, &keys)?;
    let session = Session::new()?;
    let client = session.client(&args.authority).speaking_as(args.speak.persona());
    let authority = discover(&client, &args.authority)?;
    args.speak.announce(&authority);
    let present = read_certificate(&args.delivery.cert)?;
    let key = ClientKey::load(&args.key)?;
    if present.public_key() != key.public_key() {
        return Err(Failure::usage(format_args!(
            "{} is not the key of {}",
            args.key.display(),
            args.delivery.cert.display()
        )));
    }
    let new_key = args.new_key.as_deref().map(|path| load_or_create(path, args.key_type)).transpose()?;
    let request = CertificateRequest::renewal_of(&present);
    let message_type = client.persona().renewal_type(&authority.capabilities)?;
    let subject_key = new_key.as_ref().unwrap_or(&key);
    let exchange = Exchange {
        client: &client,
        authority: &authority,
        requester: Requester { key: &key, certificate: &present },
        requester_key_path: &args.key,
        subject_key,
        key_path: args.new_key.as_ref().unwrap_or(&args.key),
        delivery: &args.delivery,
        cert: args.out.as_ref().unwrap_or(&args.delivery.cert),
        challenge_file: None,
    };
    // Not the key's hash: the same key may be renewed again, and that is another transaction.
    let transaction = client.fresh_transaction();
    exchange.run(message_type, &args.authority, &transaction, &request, format)
}

/// One enrolment or renewal, from its first answer to the certificate.
struct Exchange<'a> {
    client: &'a ScepClient<'a>,
    authority: &'a Authority,
    requester: Requester<'a>,
    requester_key_path: &'a PathBuf,
    subject_key: &'a ClientKey,
    key_path: &'a PathBuf,
    delivery: &'a Delivery,
    cert: &'a PathBuf,
    challenge_file: Option<&'a Path>,
}

impl Exchange<'_> {
    /// Where a poll finds the key that signs, if that is not the one that is to be certified.
    fn other_signer(&self) -> Option<Outcome<PathBuf>> {
        (self.requester_key_path != self.key_path).then(|| absolute(self.requester_key_path))
    }

    /// Where a poll finds the challenge again, if the answer will be sealed under it; what came by standard input is gone.
    fn remembered_challenge(&self) -> Option<Outcome<PathBuf>> {
        let sealed = self.requester.key.decrypter().is_none();
        let file = self.challenge_file.filter(|path| sealed && *path != Path::new("-"))?;
        Some(absolute(file))
    }

    /// What a poll recognises the CA by. It may have a successor until an operator decides: so what the operator of the client said, or the
    /// CA above all. A request to the announced successor is for that one.
    fn lasting_pin(&self, args: &AuthorityArgs) -> String {
        let ca = &self.authority.ca;
        match &args.ca_fingerprint {
            _ if args.next => ca.issuer.fingerprint().to_string(),
            Some(pin) => pin.clone(),
            None => ca.top().fingerprint().to_string(),
        }
    }

    fn run(
        &self,
        first: MessageType,
        args: &AuthorityArgs,
        transaction: &TransactionId,
        request: &CertificateRequest,
        format: Format,
    ) -> Outcome {
        let subject = &request.subject;
        let request = &self.client.with_password(self.requester, request);
        let password = request.challenge.as_ref();
        let send = |kind| match kind {
            MessageType::CertPoll => {
                self.client.poll(self.authority, self.requester, transaction, subject, password)
            }
            kind => self.client.request(
                self.authority,
                kind,
                self.requester,
                self.subject_key,
                transaction,
                request,
            ),
        };
        let mut enrolment = Enrolment::new(first, pending::pace(self.delivery.wait));
        let reply = conduct(&mut enrolment, send, pending::rest)?;
        if let Reply::Pending = reply {
            let pending = PendingEnrolment {
                url: args.url.clone(),
                ca_identifier: args.ca_identifier.clone(),
                ca_fingerprint: self.lasting_pin(args),
                authorities: self
                    .authority
                    .ca
                    .all
                    .iter()
                    .filter(|it| it.is_ca())
                    .map(Certificate::to_pem)
                    .collect(),
                transaction: transaction.clone(),
                subject: subject.to_string(),
                signer: self.requester.certificate.to_pem(),
                signer_key: self.other_signer().transpose()?,
                key: absolute(self.key_path)?,
                cert: absolute(self.cert)?,
                chain: self.delivery.chain.as_ref().map(|path| absolute(path)).transpose()?,
                speak_as: Some(self.client.persona().name.to_owned()).filter(|name| name != CERTGATE.name),
                challenge_file: self.remembered_challenge().transpose()?,
            };
            return pending.remember(&self.delivery.transaction_path(), format);
        }
        deliver(
            granted(reply)?,
            self.subject_key,
            &[&self.authority.ca.all],
            &Files { key: self.key_path, cert: self.cert, chain: self.delivery.chain.as_ref() },
            format,
        )
    }
}

/// Where an issued certificate goes.
pub(super) struct Files<'a> {
    pub(super) key: &'a PathBuf,
    pub(super) cert: &'a PathBuf,
    pub(super) chain: Option<&'a PathBuf>,
}

/// Checks, writes and shows what was issued. `authorities`: the CA certificates that are shown now, and those that were; one of them has to
/// have signed it. If none did it is put aside: the challenge is spent, and there may be no other.
pub(super) fn deliver(
    content: Degenerate,
    key: &ClientKey,
    authorities: &[&[Certificate]],
    files: &Files<'_>,
    format: Format,
) -> Outcome {
    let (certificate, _) = issued_to(key.public_key(), content)?;
    let has_signed = |ca: &Certificate| ca.is_ca() && certificate.is_signed_by(ca).is_ok();
    let Some(authorities) = authorities.iter().find(|all| all.iter().any(has_signed)) else {
        let mut aside = files.cert.clone().into_os_string();
        aside.push(".unverified");
        let aside = PathBuf::from(aside);
        write_certificates(&aside, &[&certificate])?;
        return Err(Failure::error(format_args!(
            "the certificate names the issuer \"{}\", which signed it with none of the server's CA certificates",
            certificate.issuer()
        ))
        .hint(format_args!("it is in {}: compare it with the CA's certificate before you use it", aside.display())));
    };
    write_certificates(files.cert, &[&certificate])?;
    if let Some(chain) = files.chain {
        let cas: Vec<&Certificate> = authorities.iter().filter(|ca| ca.is_ca()).collect();
        write_certificates(chain, &cas)?;
    }
    let result = json!({
        "status": "issued",
        "certificate": describe(&certificate),
        "cert": shown(Some(files.cert)),
        "chain": shown(files.chain),
        "key": shown(Some(files.key)),
    });
    output::object(format, &result, ISSUED);
    Ok(())
}

fn load_or_create(path: &Path, algorithm: KeyAlgorithm) -> Outcome<ClientKey> {
    if path.exists() {
        return ClientKey::load(path);
    }
    output::note(&format!("making a key ({algorithm}) in {}", path.display()));
    ClientKey::create(path, algorithm)
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path).map_err(Failure::while_doing(path.display()))
}

/// Reads `dns:host.example` and its like.
fn general_name(text: &str) -> Result<GeneralName, Failure> {
    let (kind, value) = text.split_once(':').ok_or_else(|| Failure::usage("expected TYPE:VALUE"))?;
    let value = value.to_owned();
    Ok(match kind {
        "dns" => GeneralName::Dns(value),
        "email" => GeneralName::Email(value),
        "uri" => GeneralName::Uri(value),
        "upn" => GeneralName::Upn(value),
        "ip" => GeneralName::Ip(value.parse::<IpAddr>().map_err(Failure::usage)?),
        "dirname" => GeneralName::DirName(value.parse().map_err(Failure::usage)?),
        other => {
            return Err(Failure::usage(format_args!(
                "\"{other}\" is no kind of name: use dns, email, uri, ip, upn or dirname"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_kind() {
        assert_eq!(general_name("dns:a.example").unwrap(), GeneralName::Dns("a.example".to_owned()));
        assert_eq!(general_name("uri:urn:x:y").unwrap(), GeneralName::Uri("urn:x:y".to_owned()));
        assert_eq!(general_name("ip:2001:db8::1").unwrap(), GeneralName::Ip("2001:db8::1".parse().unwrap()));
        for wrong in ["a.example", "host:a", "ip:a.example", "dirname:nonsense"] {
            assert!(general_name(wrong).is_err(), "{wrong}");
        }
    }
}
