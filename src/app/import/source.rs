//! What is imported from: an index of `openssl ca`, a CRL, a directory of certificates; each read in parts.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read as _},
    mem::take,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{Part, Refusal};
use crate::{
    app::{
        cli::files::read_list,
        failure::{Failure, Outcome},
    },
    domain::import::SourceCrl,
    service::{
        certificate::RevocationView,
        import::{CheckedCrl, ImportBatch, ImportLine},
    },
    types::SerialNumber,
    wire::{
        ca_index::{IndexError, IndexLine, MAX_LINE},
        crl::{CrlEntry, CrlHead},
        x509::Certificate,
    },
};

/// Certificates in one part.
const MOST_LINES: usize = 1_000;

/// Text in one part, in bytes: what the server takes with room for the names of its fields.
const MOST_TEXT: usize = 256 * 1024;

/// Largest file that is looked into for certificates.
const MAX_FILE: u64 = 1024 * 1024;

/// What is imported from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The database of `openssl ca`.
    Index(PathBuf),
    /// A CRL, DER or PEM.
    Crl(PathBuf),
    /// A directory of certificates, DER or PEM.
    Certificates(PathBuf),
}

/// A source that can be read.
pub(super) enum Reading {
    Index { path: PathBuf, length: u64 },
    Crl { path: PathBuf, der: Vec<u8>, entries: u64, which: SourceCrl },
    Certificates { path: PathBuf, files: u64 },
}

/// Takes a part.
type Sink<'a> = dyn FnMut(Part) -> Outcome + 'a;

impl Source {
    /// What it has many of.
    pub(super) const fn unit(&self) -> &'static str {
        match self {
            Self::Index(_) => "line",
            Self::Crl(_) => "entry",
            Self::Certificates(_) => "file",
        }
    }

    /// Opens it, and makes sure as far as it can be told beforehand that it is the CA's.
    pub(super) fn open(&self, ca: &Certificate) -> Outcome<Reading> {
        match self {
            Self::Index(path) => {
                let length = fs::metadata(path).map_err(Failure::while_doing(path.display()))?.len();
                Ok(Reading::Index { path: path.clone(), length })
            }
            Self::Crl(path) => {
                let der = read_list(path)?;
                let wrong = |error| Failure::usage(format_args!("{}: {error}", path.display()));
                let crl = CheckedCrl::scan(&der, ca, drop).map_err(wrong)?;
                let (entries, which) = (crl.entries(), crl.source());
                Ok(Reading::Crl { path: path.clone(), der, entries, which })
            }
            Self::Certificates(path) => {
                let files = entries(path)?.count() as u64;
                Ok(Reading::Certificates { path: path.clone(), files })
            }
        }
    }
}

impl Reading {
    /// The CRL, where it is one.
    pub(super) fn crl(&self) -> Option<&[u8]> {
        match self {
            Self::Crl { der, .. } => Some(der),
            Self::Index { .. } | Self::Certificates { .. } => None,
        }
    }

    /// Hands every part to `sink`, until one fails.
    pub(super) fn for_each_part(&self, sink: &mut Sink<'_>) -> Outcome {
        let which = match self {
            Self::Crl { which, .. } => Some(*which),
            Self::Index { .. } | Self::Certificates { .. } => None,
        };
        let mut parts = Parts::new(self.path(), self.length(), which, sink);
        match self {
            Self::Index { path, .. } => read_index(path, &mut parts)?,
            Self::Crl { der, .. } => read_entries(der, &mut parts)?,
            Self::Certificates { path, .. } => read_directory(path, &mut parts)?,
        }
        parts.hand_over()
    }

    fn path(&self) -> &Path {
        match self {
            Self::Index { path, .. } | Self::Crl { path, .. } | Self::Certificates { path, .. } => path,
        }
    }

    const fn length(&self) -> u64 {
        match self {
            Self::Index { length, .. } => *length,
            Self::Crl { entries, .. } => *entries,
            Self::Certificates { files, .. } => *files,
        }
    }
}

/// Gathers lines into parts.
struct Parts<'s, 'f> {
    source: String,
    crl: Option<SourceCrl>,
    of: u64,
    done: u64,
    text: usize,
    /// Those of `lines`. One that comes again is in the next part, as if it were in a newer file.
    serials: BTreeSet<SerialNumber>,
    lines: Vec<ImportLine>,
    places: Vec<String>,
    unreadable: Vec<Refusal>,
    sink: &'s mut Sink<'f>,
}

impl<'s, 'f> Parts<'s, 'f> {
    fn new(path: &Path, of: u64, crl: Option<SourceCrl>, sink: &'s mut Sink<'f>) -> Self {
        let (lines, places, unreadable) = (Vec::new(), Vec::new(), Vec::new());
        let (source, serials) = (path.display().to_string(), BTreeSet::new());
        Self { source, crl, of, done: 0, text: 0, serials, lines, places, unreadable, sink }
    }

    /// One more that can be told of, with this serial number; `place` where its number says too little.
    fn push(&mut self, serial: SerialNumber, line: ImportLine, place: Option<String>) -> Outcome {
        if self.serials.contains(&serial) {
            self.hand_over()?;
        }
        self.serials.insert(serial);
        self.text += line.certificate.as_ref().map_or(0, String::len);
        self.text += line.subject.as_ref().map_or(0, String::len);
        self.lines.push(line);
        self.places.extend(place);
        if self.lines.len() >= MOST_LINES || self.text >= MOST_TEXT { self.hand_over() } else { Ok(()) }
    }

    /// One that cannot.
    fn refuse(&mut self, place: String, problem: &impl ToString) -> Outcome {
        self.unreadable.push(Refusal { place, problem: problem.to_string() });
        if self.unreadable.len() >= MOST_LINES { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Outcome {
        self.text = 0;
        self.serials.clear();
        (self.sink)(Part {
            batch: ImportBatch {
                source: self.source.clone(),
                certificates: take(&mut self.lines),
                bind: None,
                crl: self.crl,
            },
            places: take(&mut self.places),
            unreadable: take(&mut self.unreadable),
            done: self.done,
            of: self.of,
        })
    }
}

fn read_index(path: &Path, parts: &mut Parts<'_, '_>) -> Outcome {
    let failed = |error| Failure::while_doing(path.display())(error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        // One byte more than a line may have; the rest of one that is longer is passed over.
        let read = file.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
        if read == 0 {
            break;
        }
        parts.done += read as u64;
        let place = || format!("line {number}");
        if read > MAX_LINE && bytes.last() != Some(&b'\n') {
            parts.done += file.skip_until(b'\n').map_err(failed)? as u64;
            parts.refuse(place(), &IndexError::TooLong)?;
            continue;
        }
        match IndexLine::read(&bytes) {
            Ok(None) => {}
            Ok(Some(line)) => parts.push(line.serial.clone(), line_of(line, number), None)?,
            Err(problem) => parts.refuse(place(), &problem)?,
        }
    }
    Ok(())
}

fn line_of(line: IndexLine, number: u64) -> ImportLine {
    let revocation = line.revocation.map(|it| RevocationView {
        reason: it.reason,
        at: it.at,
        invalidity_date: it.invalidity_date,
    });
    ImportLine {
        line: number,
        serial: Some(line.serial),
        certificate: None,
        not_after: Some(line.not_after),
        subject: line.subject,
        good: revocation.is_none(),
        revocation,
    }
}

/// The CRL was checked when it was opened.
fn read_entries(der: &[u8], parts: &mut Parts<'_, '_>) -> Outcome {
    let mut outcome = Ok(());
    let scanned = CrlHead::scan_part(der, |entry| {
        if outcome.is_ok() {
            parts.done += 1;
            outcome = parts.push(entry.serial.clone(), entry_of(entry, parts.done), None);
        }
    });
    scanned.map_err(Failure::error)?;
    outcome
}

fn entry_of(entry: CrlEntry, number: u64) -> ImportLine {
    let CrlEntry { serial, revoked_at, reason, invalidity_date } = entry;
    let revocation = Some(RevocationView { reason, at: revoked_at, invalidity_date });
    ImportLine { line: number, serial: Some(serial), revocation, ..ImportLine::default() }
}

/// The files of a directory, in no order: there may be a million.
fn entries(path: &Path) -> Outcome<impl Iterator<Item = std::io::Result<fs::DirEntry>>> {
    let is_file =
        |entry: &std::io::Result<fs::DirEntry>| entry.as_ref().map_or(true, |entry| entry.path().is_file());
    Ok(fs::read_dir(path).map_err(Failure::while_doing(path.display()))?.filter(is_file))
}

fn read_directory(path: &Path, parts: &mut Parts<'_, '_>) -> Outcome {
    let mut number = 0;
    for entry in entries(path)? {
        let entry = entry.map_err(Failure::while_doing(path.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        parts.done += 1;
        match certificates_of(&entry.path()) {
            Err(problem) => parts.refuse(name, &problem)?,
            Ok(certificates) => {
                for certificate in certificates {
                    number += 1;
                    let text = Some(BASE64_STANDARD.encode(certificate.as_der()));
                    let line = ImportLine { line: number, certificate: text, ..ImportLine::default() };
                    parts.push(certificate.serial().clone(), line, Some(name.clone()))?;
                }
            }
        }
    }
    Ok(())
}

fn certificates_of(path: &Path) -> Result<Vec<Certificate>, String> {
    let read = fs::metadata(path)
        .and_then(|it| if it.len() > MAX_FILE { Ok(None) } else { fs::read(path).map(Some) });
    let bytes = read.map_err(|error| error.to_string())?.ok_or("it is larger than 1 MiB")?;
    let certificates = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Certificate::all_from_pem(text),
        _ => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    };
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}
