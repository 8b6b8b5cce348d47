//! `certgate cert check`: what the store, the OCSP responder and the CRL say of one certificate, side by side; the latter two asked over the network
//! as gear asks them. Of a certificate that another CA issued, also what that CA itself says (upstream): gear that asks there hears no other.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{find, told};
use crate::{
    adapters::system::SystemClock,
    app::{
        cli::{
            admin::{AdminClient, ServerArgs, segment},
            files::read_certificate,
            output::{self, Field, Format},
            url,
        },
        client::{
            crl::{self, first_over_http},
            http::HttpClient,
            ocsp::{self, Question},
        },
        failure::{Failure, FailureKind, Outcome},
    },
    ports::Clock,
    types::{DigestAlgorithm, RevocationReason, Timestamp},
    wire::{ocsp::CertStatus, x509::Certificate},
};

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// ISSUER/SERIAL, serial number or SHA-256 fingerprint
    #[arg(required_unless_present = "cert")]
    certificate: Option<String>,
    /// The certificate itself, PEM or DER
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    cert: Option<PathBuf>,
    /// Certificate of the CA that issued it, where that is not this gateway: OCSP and CRL alone are compared
    #[arg(long, value_name = "FILE", requires = "cert")]
    issuer: Option<PathBuf>,
    /// Ask this responder [default: the one that the certificate names; of an imported certificate: this gateway]
    #[arg(long, value_name = "URL", value_parser = url::http)]
    ocsp_url: Option<String>,
    /// Fetch the CRL here [default: where the certificate says; of an imported certificate: this gateway]
    #[arg(long, value_name = "URL", value_parser = url::http)]
    crl_url: Option<String>,
}

/// What somebody says of a certificate: see [`Word::agrees`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Good,
    Revoked {
        reason: RevocationReason,
        at: Timestamp,
        /// When the key was probably lost (RFC 5280 §5.3.2). Not everybody says it.
        invalidity_date: Option<Timestamp>,
    },
    Unknown,
    /// A CRL need not list what has expired (RFC 5280 §3.3): that says nothing.
    NoLongerListed,
}

impl Word {
    /// Whether two say the same: the time of a compromise where both say one.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Revoked { reason, at, invalidity_date: Some(date) },
                Self::Revoked { reason: other_reason, at: other_at, invalidity_date: Some(other_date) },
            ) => (reason, at, date) == (other_reason, other_at, other_date),
            (Self::Revoked { reason, at, .. }, Self::Revoked { reason: other_reason, at: other_at, .. }) => {
                (reason, at) == (other_reason, other_at)
            }
            _ => self == other,
        }
    }

    /// [`Word::name`] with what else is compared.
    fn told(&self) -> String {
        let Self::Revoked { reason, at, invalidity_date } = self else { return self.name().to_owned() };
        let lost = invalidity_date.map_or_else(String::new, |date| format!(", key probably lost {date}"));
        format!("{} ({reason} since {at}{lost})", self.name())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked { reason: RevocationReason::CertificateHold, .. } => "hold",
            Self::Revoked { .. } => "revoked",
            Self::Unknown => "unknown",
            Self::NoLongerListed => "not listed",
        }
    }
}

/// What the CA that issued an imported certificate says itself, where the certificate names a place.
const UPSTREAM_OCSP: &str = "upstream OCSP";
const UPSTREAM_CRL: &str = "upstream CRL";

/// One of those who were asked.
#[derive(Debug)]
struct Voice {
    who: &'static str,
    place: String,
    said: Result<Word, String>,
    /// When that was known to be right.
    as_of: Option<Timestamp>,
}

/// What there is to ask about, and what the store knows.
struct Subject {
    certificate: Certificate,
    issuer: Certificate,
    /// Where this gateway tells of it, if another CA issued it.
    imported: Option<Imported>,
    /// The record as the API gives it.
    record: Option<Value>,
}

/// Where this gateway tells of the certificates of another CA.
struct Imported {
    /// None: it does not answer for that CA.
    ocsp_url: Option<String>,
    /// Of the CA's own CRL, which was imported.
    crl_url: Option<String>,
    /// Responders that answer for it and that the CA did not delegate to.
    trusted: Vec<Certificate>,
}

const COLUMNS: &[Field] = &[
    ("WHO", "/who"),
    ("SAYS", "/status"),
    ("REASON", "/reason"),
    ("SINCE", "/since"),
    ("KEY LOST", "/invalidity_date"),
    ("AS OF", "/as_of"),
    ("WHERE", "/where"),
];

/// Runs `certgate cert check`.
pub(super) fn run(server: &ServerArgs, args: &CheckArgs, format: Format) -> Outcome {
    let subject = subject(server, args)?;
    let voices = voices(&subject, args)?;
    let agreement = agreement(&voices);
    match format {
        Format::Json => output::json(&report(&subject, &voices, agreement)),
        Format::Table => show(&subject, &voices),
    }
    conclude(&subject, &voices, agreement)
}

fn subject(server: &ServerArgs, args: &CheckArgs) -> Outcome<Subject> {
    let certificate = args.cert.as_deref().map(read_certificate).transpose()?;
    if let (Some(certificate), Some(path)) = (&certificate, &args.issuer) {
        let issuer = read_certificate(path)?;
        if certificate.is_signed_by(&issuer).is_err() {
            let failure = Failure::usage(format_args!("{} did not sign that certificate", path.display()));
            return Err(failure.hint(format_args!("its issuer is \"{}\"", certificate.issuer())));
        }
        return Ok(Subject { certificate: certificate.clone(), issuer, imported: None, record: None });
    }
    let client = server.connect()?;
    let name = match (&certificate, &args.certificate) {
        (Some(certificate), _) => certificate.fingerprint().to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => {
            return Err(Failure::usage("which certificate? Say its serial number or --cert FILE"));
        }
    };
    let record = match find(&client, &name)?.as_slice() {
        [only] => only.clone(),
        several => {
            let ids: Vec<&str> = several.iter().filter_map(|one| one.get("id")?.as_str()).collect();
            return Err(Failure::usage(format_args!("{name} could be any of {}", ids.join(", ")))
                .hint("name it as ISSUER/SERIAL"));
        }
    };
    let (issuer, imported) = issuer_of(&client, &record)?;
    Ok(Subject { certificate: pem_of(&record)?, issuer, imported, record: Some(record) })
}

/// The first certificate in `pem` of an object of the API.
fn pem_of(object: &Value) -> Outcome<Certificate> {
    let pem = object.get("pem").and_then(Value::as_str).unwrap_or_default();
    let all = Certificate::all_from_pem(pem).map_err(Failure::error)?;
    all.into_iter().next().ok_or_else(|| {
        Failure::error("the certificate itself is not here: only a list told of it")
            .hint("import it with certgate import --certs DIR, or give it with --cert FILE --issuer CA")
    })
}

/// Its issuer's certificate and, of an external one, where this gateway tells of what that issued.
fn issuer_of(client: &AdminClient, record: &Value) -> Outcome<(Certificate, Option<Imported>)> {
    let name = record.get("issuer").and_then(Value::as_str).unwrap_or_default();
    match client.get(&format!("/issuers/{}", segment(name))) {
        Err(failure) if failure.kind == FailureKind::NotFound => {
            let external = format!("/external-issuers/{}", segment(name));
            let certificate = pem_of(&client.get(&external)?)?;
            let responder = client.get(&format!("{external}/responder"))?;
            Ok((certificate, Some(imported(client, name, &responder)?)))
        }
        answer => Ok((pem_of(&answer?)?, None)),
    }
}

fn imported(client: &AdminClient, issuer: &str, responder: &Value) -> Outcome<Imported> {
    let mode = responder.get("mode").and_then(Value::as_str).unwrap_or_default();
    let trusted = match mode {
        "trusted" => responder.get("certificates").and_then(Value::as_array),
        _ => None,
    };
    let trusted = trusted.into_iter().flatten().map(pem_of).collect::<Outcome<_>>()?;
    let ocsp_url = own_responder(&client.get("/issuers")?);
    let base = ocsp_url.as_deref().and_then(|url| url.strip_suffix("/ocsp"));
    let crl_url = base.map(|base| format!("{base}/crl/{issuer}.crl"));
    Ok(Imported { ocsp_url: ocsp_url.filter(|_| mode != "none"), crl_url, trusted })
}

/// Where this gateway answers: the first responder that certificates of its own issuers name.
fn own_responder(issuers: &Value) -> Option<String> {
    let issuers = issuers.get("items")?.as_array()?;
    let urls = issuers.iter().filter_map(|issuer| issuer.get("ocsp_urls")?.as_array()?.first()?.as_str());
    urls.map(str::to_owned).next()
}

/// Asks all; who cannot be asked says so.
fn voices(subject: &Subject, args: &CheckArgs) -> Outcome<Vec<Voice>> {
    let (http, now) = (HttpClient::new().map_err(Failure::error)?, SystemClock.now());
    let responder = first_over_http(&subject.certificate.ocsp_urls()).cloned();
    let list = first_over_http(&subject.certificate.crl_urls()).cloned();
    let mut voices: Vec<Voice> = subject.record.iter().map(|record| store(record, now)).collect();
    let Some(imported) = &subject.imported else {
        voices.push(match args.ocsp_url.clone().or(responder) {
            Some(url) => ask_responder(&http, subject, "OCSP", &[], url, now),
            None => silent("OCSP", "the certificate names no responder: see --ocsp-url"),
        });
        voices.push(match args.crl_url.clone().or(list) {
            Some(url) => ask_crl(&http, subject, "CRL", url, now),
            None => silent("CRL", "the certificate names no CRL: see --crl-url"),
        });
        return Ok(voices);
    };
    voices.push(match args.ocsp_url.clone().or_else(|| imported.ocsp_url.clone()) {
        Some(url) => ask_responder(&http, subject, "OCSP", &imported.trusted, url, now),
        None => silent("OCSP", "certgate does not answer for that CA: see certgate responder"),
    });
    voices.push(match args.crl_url.clone().or_else(|| imported.crl_url.clone()) {
        Some(url) => ask_crl(&http, subject, "CRL", url, now),
        None => silent("CRL", "no place is known for it: see --crl-url"),
    });
    voices.extend(responder.map(|url| ask_responder(&http, subject, UPSTREAM_OCSP, &[], url, now)));
    voices.extend(list.map(|url| ask_crl(&http, subject, UPSTREAM_CRL, url, now)));
    Ok(voices)
}

fn silent(who: &'static str, why: &str) -> Voice {
    Voice { who, place: String::new(), said: Err(why.to_owned()), as_of: None }
}

fn store(record: &Value, now: Timestamp) -> Voice {
    let said = match record.get("revocation").filter(|revocation| !revocation.is_null()) {
        None => Ok(Word::Good),
        Some(revocation) => {
            let text = |key| revocation.get(key).and_then(Value::as_str).unwrap_or_default();
            match (text("reason").parse(), text("at").parse()) {
                (Ok(reason), Ok(at)) => {
                    Ok(Word::Revoked { reason, at, invalidity_date: text("invalidity_date").parse().ok() })
                }
                _ => Err("the record cannot be read".to_owned()),
            }
        }
    };
    let id = record.get("id").and_then(Value::as_str).unwrap_or_default();
    Voice { who: "store", place: id.to_owned(), said, as_of: Some(now) }
}

fn ask_responder(
    http: &HttpClient,
    subject: &Subject,
    who: &'static str,
    trusted: &[Certificate],
    url: String,
    now: Timestamp,
) -> Voice {
    let question = Question {
        url: &url,
        issuer: &subject.issuer,
        serial: subject.certificate.serial(),
        trusted,
        hash: DigestAlgorithm::Sha1,
        // As gear asks: what is in caches counts.
        nonce: None,
        get: true,
    };
    let (said, as_of) = match ocsp::ask(http, &question, now) {
        Ok(answer) => {
            let word = match answer.status {
                CertStatus::Good => Word::Good,
                CertStatus::Revoked { at, reason } => {
                    Word::Revoked { reason, at, invalidity_date: answer.invalidity_date }
                }
                CertStatus::Unknown => Word::Unknown,
            };
            (Ok(word), Some(answer.this_update))
        }
        Err(error) => (Err(error.to_string()), None),
    };
    Voice { who, place: url, said, as_of }
}

fn ask_crl(http: &HttpClient, subject: &Subject, who: &'static str, url: String, now: Timestamp) -> Voice {
    let certificate = &subject.certificate;
    match crl::look_up(http, &url, certificate, &subject.issuer, now) {
        Ok(listing) => {
            let word = match listing.entry {
                Some(entry) => Word::Revoked {
                    reason: entry.reason,
                    at: entry.revoked_at,
                    invalidity_date: entry.invalidity_date,
                },
                None if certificate.validity().not_after < now => Word::NoLongerListed,
                None => Word::Good,
            };
            let place = [Some(url), listing.delta_url].into_iter().flatten().collect::<Vec<_>>().join(" + ");
            Voice { who, place, said: Ok(word), as_of: Some(listing.this_update) }
        }
        Err(error) => Voice { who, place: url, said: Err(error.to_string()), as_of: None },
    }
}

/// What the words of all come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    /// All say the same.
    Agree,
    /// Two say different things.
    Differ,
    /// Not all could be asked; the others say the same.
    Partial,
}

fn agreement(voices: &[Voice]) -> Agreement {
    let words = voices.iter().filter_map(|voice| voice.said.as_ref().ok());
    let words: Vec<&Word> = words.filter(|word| **word != Word::NoLongerListed).collect();
    if !all_agree(&words) {
        Agreement::Differ
    } else if voices.iter().any(|voice| voice.said.is_err()) {
        Agreement::Partial
    } else {
        Agreement::Agree
    }
}

/// Each with each: one that does not say the time of a compromise agrees with two that say different ones.
fn all_agree(words: &[&Word]) -> bool {
    words.iter().enumerate().all(|(place, one)| words.iter().skip(place + 1).all(|other| one.agrees(other)))
}

fn row(voice: &Voice) -> Value {
    let (status, reason, since, lost) = match &voice.said {
        Ok(word @ Word::Revoked { reason, at, invalidity_date }) => {
            (word.name(), Some(reason.to_string()), Some(at.to_string()), *invalidity_date)
        }
        Ok(word) => (word.name(), None, None, None),
        Err(why) => ("no answer", Some(why.clone()), None, None),
    };
    json!({
        "who": voice.who,
        "status": status,
        "reason": reason,
        "since": since,
        "invalidity_date": lost.map(|at| at.to_string()),
        "as_of": voice.as_of.map(|at| at.to_string()),
        "where": voice.place,
    })
}

fn report(subject: &Subject, voices: &[Voice], agreement: Agreement) -> Value {
    let causes = subject.record.as_ref().and_then(|record| record.get("causes")).cloned();
    json!({
        "serial": subject.certificate.serial().to_string(),
        "subject": subject.certificate.subject().to_string(),
        "agreement": match agreement {
            Agreement::Agree => "agree",
            Agreement::Differ => "differ",
            Agreement::Partial => "partial",
        },
        "said": voices.iter().map(row).collect::<Vec<_>>(),
        "causes": causes.unwrap_or_else(|| json!([])),
    })
}

const CAUSES: &[Field] =
    &[("Certificate", "/id"), ("Subject", "/subject"), ("Status", "/status"), ("Causes", "/causes")];

fn show(subject: &Subject, voices: &[Voice]) {
    if let Some(record) = &subject.record {
        output::line(output::record(&told(record), CAUSES).trim_end());
        output::line("");
    }
    let rows: Vec<Value> = voices.iter().map(row).collect();
    let somebody_says_when = rows.iter().any(|row| !row["invalidity_date"].is_null());
    let columns = COLUMNS.iter().filter(|column| somebody_says_when || column.1 != "/invalidity_date");
    output::line(output::table(&rows, &columns.copied().collect::<Vec<_>>()).trim_end());
}

/// What it means for the exit code.
fn conclude(subject: &Subject, voices: &[Voice], agreement: Agreement) -> Outcome {
    match agreement {
        Agreement::Agree => Ok(()),
        Agreement::Partial => {
            let silent: Vec<_> =
                voices.iter().filter(|voice| voice.said.is_err()).map(|voice| voice.who).collect();
            Err(Failure::partial(format_args!("no answer from {}; the others agree", silent.join(" and "))))
        }
        Agreement::Differ => {
            let said = || voices.iter().filter_map(|voice| Some((voice.who, voice.said.as_ref().ok()?)));
            let names: BTreeSet<_> = said().map(|(_, word)| word.name()).collect();
            let words = said().map(|(who, word)| {
                // Where all say the one word it is reason or time that they differ in.
                let word = if names.len() == 1 { word.told() } else { word.name().to_owned() };
                format!("{who} says {word}")
            });
            let failure =
                Failure::error(format_args!("they differ: {}", words.collect::<Vec<_>>().join(", ")));
            Err(match later_than_the_crl(voices) {
                _ if differs_from_its_ca(subject, voices) => failure.hint(
                    "what is done here that CA does not hear: revoke it there too, or have the gear ask certgate (certgate responder)",
                ),
                Some(since) => failure.hint(format_args!(
                    "the CRL is older than the change of {since}: the next one comes within a minute, or now by `certgate crl publish {}`",
                    issuer_name(subject)
                )),
                None => failure.hint("a cache on the way may give old answers: ask again with --ocsp-url and --crl-url of the gateway itself"),
            })
        }
    }
}

fn issuer_name(subject: &Subject) -> &str {
    subject.record.as_ref().and_then(|record| record.get("issuer")?.as_str()).unwrap_or("ISSUER")
}

/// Whether it is the CA alone, of an imported certificate, that says something else: the CRL is its own, too.
fn differs_from_its_ca(subject: &Subject, voices: &[Voice]) -> bool {
    let ours = voices.iter().filter(|voice| ["store", "OCSP"].contains(&voice.who));
    let words: Vec<&Word> = ours.filter_map(|voice| voice.said.as_ref().ok()).collect();
    subject.imported.is_some() && all_agree(&words)
}

/// The time of a revocation that came after the CRL was made.
fn later_than_the_crl(voices: &[Voice]) -> Option<Timestamp> {
    let made = voices.iter().find(|voice| voice.who == "CRL")?.as_of?;
    voices.iter().find_map(|voice| match voice.said {
        Ok(Word::Revoked { at, .. }) if at >= made => Some(at),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(who: &'static str, said: Result<Word, &str>) -> Voice {
        Voice { who, place: String::new(), said: said.map_err(str::to_owned), as_of: None }
    }

    fn of(words: [Result<Word, &str>; 3]) -> Agreement {
        let [store, ocsp, crl] = words;
        agreement(&[voice("store", store), voice("OCSP", ocsp), voice("CRL", crl)])
    }

    #[test]
    fn they_agree_in_status_reason_and_time_or_differ() {
        let at = Timestamp::from_unix(1_800_000_000);
        let revoked = |reason, at| Ok(Word::Revoked { reason, at, invalidity_date: None });
        let hold = revoked(RevocationReason::CertificateHold, at);
        let key = revoked(RevocationReason::KeyCompromise, at);
        assert_eq!(of([Ok(Word::Good), Ok(Word::Good), Ok(Word::Good)]), Agreement::Agree);
        assert_eq!(of([key, key, key]), Agreement::Agree);
        assert_eq!(of([key, key, hold]), Agreement::Differ);
        let later = revoked(RevocationReason::KeyCompromise, at.plus(std::time::Duration::from_secs(1)));
        assert_eq!(of([key, later, key]), Agreement::Differ);
        assert_eq!(of([Ok(Word::Good), Ok(Word::Unknown), Ok(Word::Good)]), Agreement::Differ);
        assert_eq!(of([key, Err("away"), key]), Agreement::Partial);
        assert_eq!(of([key, Err("away"), Ok(Word::Good)]), Agreement::Differ, "silence hides no difference");
        assert_eq!(of([key, key, Ok(Word::NoLongerListed)]), Agreement::Agree, "it has expired");
    }

    #[test]
    fn the_time_of_the_compromise_is_compared_where_two_say_it() {
        let at = Timestamp::from_unix(1_800_000_000);
        let lost = |hours: u64| Word::Revoked {
            reason: RevocationReason::KeyCompromise,
            at,
            invalidity_date: Some(at.minus(std::time::Duration::from_secs(3_600 * hours))),
        };
        let untold = Word::Revoked { reason: RevocationReason::KeyCompromise, at, invalidity_date: None };
        assert_eq!(of([Ok(lost(2)), Ok(lost(2)), Ok(lost(2))]), Agreement::Agree);
        assert_eq!(of([Ok(lost(2)), Ok(untold), Ok(lost(2))]), Agreement::Agree, "silence is no other word");
        assert_eq!(of([Ok(lost(2)), Ok(untold), Ok(lost(3))]), Agreement::Differ);
        let told = row(&voice("CRL", Ok(lost(2))));
        assert_eq!(told["invalidity_date"], "2027-01-15T06:00:00Z", "{told}");
    }
}
