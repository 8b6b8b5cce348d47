//! `certgate scep getcert`, `getcrl` and `getca`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{AuthorityArgs, Session, describe, discover, vouched_for};
use crate::{
    app::{
        cli::{
            files::{read_certificate, read_certificates, replace, write_certificates},
            output::{self, Field, Format},
        },
        client::{
            key::ClientKey,
            scep::{Requester, ScepClient, granted},
        },
        failure::{Failure, Outcome},
    },
    types::{KeyAlgorithm, SerialNumber},
    wire::{
        scep::{MessageType, client::Authority},
        x509::Certificate,
    },
};

/// Who asks. Servers differ in whom they answer: certgate answers anybody who can name the certificate.
#[derive(Args, Debug)]
struct RequesterArgs {
    /// Certificate in use, to ask with [default: a self-signed one, made for this]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct GetCertArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    requester: RequesterArgs,
    /// Serial number of the certificate to fetch, in hexadecimal
    #[arg(long, value_name = "HEX")]
    serial: SerialNumber,
    /// Where to write it (PEM)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct GetCrlArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    requester: RequesterArgs,
    /// Serial number of a certificate whose CRL it is [default: that of --cert]
    #[arg(long, value_name = "HEX", required_unless_present = "cert")]
    serial: Option<SerialNumber>,
    /// CA certificate that signs the CRL too, where the server shows that of a successor by now
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    /// Where to write it (DER)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct GetCaArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Where to write all of them (PEM)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl GetCaArgs {
    /// The same of the announced successor.
    pub(super) fn of_the_next(self) -> Self {
        Self { authority: AuthorityArgs { next: true, ..self.authority }, ..self }
    }
}

const CERTIFICATE: &[Field] = &[
    ("Subject", "/subject"),
    ("Issuer", "/issuer"),
    ("Serial", "/serial"),
    ("Valid from", "/not_before"),
    ("Valid until", "/not_after"),
    ("Role", "/role"),
    ("SHA-256", "/sha256"),
    ("SHA-1", "/sha1"),
    ("MD5 (old gear)", "/md5"),
];

const CRL: &[Field] = &[
    ("Issuer", "/issuer"),
    ("Number", "/number"),
    ("This update", "/this_update"),
    ("Next update", "/next_update"),
    ("Entries", "/entries"),
];

/// `certgate scep getcert`.
pub(super) fn get_cert(args: &GetCertArgs, format: Format) -> Outcome {
    let session = Session::new()?;
    let client = session.client(&args.authority);
    let authority = discover(&client, &args.authority)?;
    let (key, certificate) = requester(&client, &args.requester)?;
    let requester = Requester { key: &key, certificate: &certificate };
    let content = granted(client.fetch(&authority, MessageType::GetCert, requester, &args.serial)?)?;
    let found = content.certificates.iter().find(|certificate| *certificate.serial() == args.serial);
    let found = found.ok_or_else(|| Failure::error("the answer holds another certificate"))?;
    if let Some(out) = &args.out {
        write_certificates(out, &[found])?;
    }
    output::object(format, &describe(found), CERTIFICATE);
    Ok(())
}

/// `certgate scep getcrl`.
pub(super) fn get_crl(args: &GetCrlArgs, format: Format) -> Outcome {
    let session = Session::new()?;
    let client = session.client(&args.authority);
    let authority = discover(&client, &args.authority)?;
    let (key, certificate) = requester(&client, &args.requester)?;
    let serial = args.serial.as_ref().unwrap_or_else(|| certificate.serial());
    let requester = Requester { key: &key, certificate: &certificate };
    let content = granted(client.fetch(&authority, MessageType::GetCrl, requester, serial)?)?;
    let crl = content.crls.first().ok_or_else(|| Failure::error("the answer holds no CRL"))?;
    let given = args.issuer.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
    let signed = authority.ca.all.iter().chain(&given).any(|ca| ca.is_ca() && crl.verify(ca).is_ok());
    if !signed {
        return Err(Failure::error("the CRL is signed by none of the server's CA certificates")
            .hint("if the CA was replaced since, give its certificate with --issuer"));
    }
    if let Some(out) = &args.out {
        replace(out, crl.as_der())?;
    }
    let told = json!({
        "issuer": crl.issuer().to_string(),
        "number": crl.number(),
        "this_update": crl.this_update().to_string(),
        "next_update": crl.next_update().map(|time| time.to_string()),
        "entries": crl.entries().len(),
    });
    output::object(format, &told, CRL);
    Ok(())
}

/// `certgate scep getca`.
pub(super) fn get_ca(args: &GetCaArgs, format: Format) -> Outcome {
    let session = Session::new()?;
    let client = session.client(&args.authority);
    let mut authority = client.discover()?;
    if let Some(pin) = &args.authority.ca_fingerprint {
        authority.ca = vouched_for(&authority.ca, pin)?.ok_or_else(|| {
            Failure::refused(format_args!("none of the CA certificates has the fingerprint {pin}"))
        })?;
    }
    if args.authority.next {
        authority.ca = client.next_ca(&authority.ca)?;
    }
    if let Some(out) = &args.out {
        write_certificates(out, &authority.ca.all.iter().collect::<Vec<_>>())?;
    }
    let told: Vec<Value> =
        authority.ca.all.iter().map(|certificate| with_role(&authority, certificate)).collect();
    match format {
        Format::Json => output::json(&json!({
            "capabilities": authority.capabilities.keywords(),
            "certificates": told,
        })),
        Format::Table => {
            output::line(&format!("Capabilities: {}", authority.capabilities.keywords().join(", ")));
            for certificate in &told {
                output::line("");
                output::object(format, certificate, CERTIFICATE);
            }
        }
    }
    Ok(())
}

fn with_role(authority: &Authority, certificate: &Certificate) -> Value {
    let mut told = describe(certificate);
    let role = if certificate == &authority.ca.recipient { "requests are encrypted to it" } else { "CA" };
    if let Some(told) = told.as_object_mut() {
        told.insert("role".to_owned(), role.into());
    }
    told
}

fn requester(client: &ScepClient<'_>, args: &RequesterArgs) -> Outcome<(ClientKey, Certificate)> {
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        return Ok((ClientKey::load(key)?, read_certificate(cert)?));
    }
    let key = ClientKey::generate(KeyAlgorithm::Rsa2048)?;
    let name = "CN=certgate scep client"
        .parse()
        .map_err(|error: crate::wire::x509::NameError| Failure::error(error))?;
    let certificate = key.self_signed(&name, client.random(), client.now())?;
    Ok((key, certificate))
}
