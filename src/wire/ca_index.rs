//! The database of `openssl ca` (`index.txt`), which easy-rsa and many scripts keep, too: one certificate a line.
//!
//! ```text
//! V <TAB> 270115080000Z <TAB>                              <TAB> 4F00AB <TAB> unknown <TAB> /C=DE/O=Lab/CN=host
//! R <TAB> 270115080000Z <TAB> 260301120000Z,keyCompromise  <TAB> 4F00AC <TAB> unknown <TAB> /C=DE/O=Lab/CN=other
//! ```
//!
//! Status (V valid, R revoked, E expired), notAfter, revocation date with its reason, serial number, file, subject. Source:
//! `apps/ca.c` (`make_revocation_str`, `unpack_revinfo`), `crypto/txt_db/txt_db.c`, `crypto/x509/x509_obj.c` of OpenSSL 3.

use der::DateTime;

use super::x509::escaped;
use crate::types::{RevocationReason, SerialNumber, Timestamp};

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// What one line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexLine {
    /// The serial number.
    pub serial: SerialNumber,
    /// When the certificate expires.
    pub not_after: Timestamp,
    /// The subject, in the order and with the escapes of RFC 4514; none where the line has none.
    pub subject: Option<String>,
    /// How it was revoked or put on hold; none of one that is valid or expired.
    pub revocation: Option<IndexRevocation>,
}

/// How a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRevocation {
    /// When.
    pub at: Timestamp,
    /// Why; a hold instruction is certificateHold, a time of compromise is the compromise.
    pub reason: RevocationReason,
    /// When the key was lost, where the line has a `keyTime` or `CAkeyTime`.
    pub invalidity_date: Option<Timestamp>,
}

/// Why a line is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Bytes that are no text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Too long for a certificate's line.
    #[error("it is longer than {MAX_LINE} bytes")]
    TooLong,
    /// Not six columns.
    #[error("it has {0} columns separated by tabs, not 6")]
    Columns(usize),
    /// Not V, R or E.
    #[error("its status is \"{0}\", not V, R or E")]
    Status(String),
    /// A time that is none.
    #[error("its {what} \"{text}\" is no time in the form YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ")]
    Time {
        /// Which.
        what: &'static str,
        /// As written.
        text: String,
    },
    /// A time that is one, and that certgate does not have.
    #[error(
        "its {what} \"{text}\" is before 1970 (two-digit years from 50 on are of the last century): correct it in the index"
    )]
    Before1970 {
        /// Which.
        what: &'static str,
        /// As written.
        text: String,
    },
    /// A revoked certificate without the time, or a valid one with it.
    #[error("its status is {status}, and it has {} revocation date", if *dated { "a" } else { "no" })]
    Revocation {
        /// V, R or E.
        status: char,
        /// Whether there is a date.
        dated: bool,
    },
    /// A reason that `openssl ca` does not write.
    #[error("its revocation reason \"{0}\" is not known")]
    Reason(String),
    /// No serial number.
    #[error("its serial number \"{0}\" is none that a certificate can have")]
    Serial(String),
}

impl IndexLine {
    /// Reads a line, without or with its end. None: it is empty, or a comment.
    pub fn read(line: &[u8]) -> Result<Option<Self>, IndexError> {
        if line.len() > MAX_LINE {
            return Err(IndexError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| IndexError::NotText)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let columns = columns(text);
        let [status, not_after, revoked, serial, _file, subject] = columns.as_slice() else {
            return Err(IndexError::Columns(columns.len()));
        };
        let not_after = time("expiry", not_after)?;
        let revocation = match (status.as_str(), revoked.is_empty()) {
            ("V" | "E", true) => None,
            ("R", false) => revocation(revoked)?,
            ("V" | "R" | "E", empty) => {
                let status = status.chars().next().unwrap_or_default();
                return Err(IndexError::Revocation { status, dated: !empty });
            }
            _ => return Err(IndexError::Status(shortened(status))),
        };
        let serial = serial.parse().map_err(|_| IndexError::Serial(shortened(serial)))?;
        Ok(Some(Self { serial, not_after, subject: subject_of(subject), revocation }))
    }
}

/// Splits at tabs; a backslash before a tab makes it part of the column.
fn columns(text: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut last = None;
    for character in text.chars() {
        let column = columns.last_mut();
        match (character, last, column) {
            ('\t', Some('\\'), Some(column)) => {
                column.pop();
                column.push('\t');
            }
            ('\t', ..) => columns.push(String::new()),
            (other, _, Some(column)) => column.push(other),
            (_, _, None) => {}
        }
        last = Some(character);
    }
    columns
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// UTCTime or GeneralizedTime in UTC; two-digit years as RFC 5280 §4.1.2.5.1 has them.
fn time(what: &'static str, text: &str) -> Result<Timestamp, IndexError> {
    let wrong = || IndexError::Time { what, text: shortened(text) };
    match date(text) {
        None => Err(wrong()),
        Some([year, ..]) if year < 1970 => Err(IndexError::Before1970 { what, text: shortened(text) }),
        Some([year, month, day, hour, minute, second]) => {
            let [month, day, hour, minute, second] =
                [month, day, hour, minute, second].map(|it| u8::try_from(it).unwrap_or(u8::MAX));
            DateTime::new(year, month, day, hour, minute, second).map(Timestamp::from).map_err(|_| wrong())
        }
    }
}

/// Year, month, day, hour, minute, second; whether there is such a day is not looked at.
fn date(text: &str) -> Option<[u16; 6]> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u16>().ok();
    let (year, rest) = match digits.len() {
        12 => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        14 => (number(0, 4)?, 4),
        _ => return None,
    };
    let [month, day, hour, minute, second] =
        [0, 2, 4, 6, 8].map(|offset| number(rest + offset, rest + offset + 2));
    Some([year, month?, day?, hour?, minute?, second?])
}

/// `TIME[,REASON[,ARGUMENT]]`. None: removeFromCRL, which says that it is no longer on hold.
fn revocation(text: &str) -> Result<Option<IndexRevocation>, IndexError> {
    let mut parts = text.splitn(3, ',');
    let at = time("revocation date", parts.next().unwrap_or_default())?;
    let (name, argument) = (parts.next().unwrap_or("unspecified"), parts.next());
    let since = || argument.map(|text| time("time of compromise", text)).transpose();
    let (reason, invalidity_date) = match name.to_ascii_lowercase().as_str() {
        "removefromcrl" => return Ok(None),
        "holdinstruction" => (RevocationReason::CertificateHold, None),
        "keytime" => (RevocationReason::KeyCompromise, since()?),
        "cakeytime" => (RevocationReason::CaCompromise, since()?),
        lower => {
            let known = RevocationReason::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(lower));
            (known.ok_or_else(|| IndexError::Reason(shortened(name)))?, None)
        }
    };
    Ok(Some(IndexRevocation { at, reason, invalidity_date }))
}

/// `/C=DE/O=Lab/CN=x` as `CN=x,O=Lab,C=DE`. A text that is not of that form stays as it is.
fn subject_of(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let mut attributes: Vec<(&str, String)> = Vec::new();
    for part in text.strip_prefix('/')?.split('/') {
        match (part.split_once('='), attributes.last_mut()) {
            (Some((keyword, value)), _) if is_keyword(keyword) => {
                attributes.push((keyword, unescaped(value)));
            }
            // A solidus in a value is not escaped.
            (_, Some((_, value))) => value.extend(["/", &unescaped(part)]),
            (_, None) => return Some(text.to_owned()),
        }
    }
    let written = attributes.iter().rev().map(|(keyword, value)| format!("{keyword}={}", escaped(value)));
    Some(written.collect::<Vec<_>>().join(","))
}

fn is_keyword(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

/// `\xC3\xA4` are the bytes of what is not printable ASCII.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.extend(hex::decode([*high, *low]).unwrap_or_default());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> IndexLine {
        IndexLine::read(line.as_bytes()).unwrap().unwrap()
    }

    fn refused(line: &str) -> String {
        IndexLine::read(line.as_bytes()).unwrap_err().to_string()
    }

    fn revoked(text: &str) -> Option<(String, RevocationReason, Option<String>)> {
        let line = read(&format!("R\t301231235959Z\t{text}\t0A\tunknown\t/CN=x"));
        line.revocation
            .map(|it| (it.at.to_string(), it.reason, it.invalidity_date.map(|date| date.to_string())))
    }

    #[test]
    fn a_valid_line_says_what_the_certificate_is() {
        let line = read("V\t301231235959Z\t\t4F00AB\tunknown\t/C=DE/O=Lab, Inc./CN=host\r\n");
        assert_eq!(line.serial.to_string(), "4f00ab");
        assert_eq!(line.not_after.to_string(), "2030-12-31T23:59:59Z");
        assert_eq!(line.subject.as_deref(), Some("CN=host,O=Lab\\, Inc.,C=DE"));
        assert_eq!(line.revocation, None);
        assert_eq!(read("E\t000101000000Z\t\t01\tunknown\t").subject, None);
    }

    #[test]
    fn years_have_two_digits_or_four() {
        let end = |text: &str| read(&format!("V\t{text}\t\t01\tunknown\t/CN=x")).not_after.to_string();
        assert_eq!(end("491231235959Z"), "2049-12-31T23:59:59Z");
        assert_eq!(end("700101000000Z"), "1970-01-01T00:00:00Z");
        assert_eq!(end("20500101000000Z"), "2050-01-01T00:00:00Z");
        for early in ["500101000000Z", "691231235959Z", "19691231235959Z"] {
            let words = refused(&format!("V\t{early}\t\t01\tunknown\t/CN=x"));
            assert!(words.contains(&format!("its expiry \"{early}\" is before 1970")), "{words}");
        }
        for bad in ["301331235959Z", "3012312359Z", "30123123595Z", "301231235959+0100", "30123123595éZ", ""]
        {
            assert!(refused(&format!("V\t{bad}\t\t01\tunknown\t/CN=x")).contains("no time"), "{bad}");
        }
    }

    #[test]
    fn every_reason_of_openssl_is_known() {
        use RevocationReason as Reason;
        let at = "2026-03-01T12:00:00Z".to_owned();
        for (name, reason) in [
            ("", Reason::Unspecified),
            (",unspecified", Reason::Unspecified),
            (",keyCompromise", Reason::KeyCompromise),
            (",CACompromise", Reason::CaCompromise),
            (",affiliationChanged", Reason::AffiliationChanged),
            (",superseded", Reason::Superseded),
            (",cessationOfOperation", Reason::CessationOfOperation),
            (",certificateHold", Reason::CertificateHold),
            (",holdInstruction,holdInstructionReject", Reason::CertificateHold),
        ] {
            assert_eq!(revoked(&format!("260301120000Z{name}")), Some((at.clone(), reason, None)), "{name}");
        }
        let lost = Some("2026-02-27T03:00:00Z".to_owned());
        let key = (at.clone(), Reason::KeyCompromise, lost.clone());
        assert_eq!(revoked("260301120000Z,keyTime,20260227030000Z"), Some(key));
        assert_eq!(
            revoked("260301120000Z,CAkeyTime,20260227030000Z"),
            Some((at, Reason::CaCompromise, lost))
        );
        assert_eq!(revoked("260301120000Z,removeFromCRL"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, words) in [
            ("V\t301231235959Z\t01\tunknown\t/CN=x", "5 columns"),
            ("X\t301231235959Z\t\t01\tunknown\t/CN=x", "status is \"X\""),
            ("V\t301231235959Z\t260301120000Z\t01\tunknown\t/CN=x", "is V, and it has a revocation"),
            ("R\t301231235959Z\t\t01\tunknown\t/CN=x", "is R, and it has no revocation"),
            ("R\t301231235959Z\t260301120000Z,whim\t01\tunknown\t/CN=x", "\"whim\""),
            ("V\t301231235959Z\t\t-01\tunknown\t/CN=x", "serial number"),
            ("V\t301231235959Z\t\t00\tunknown\t/CN=x", "serial number"),
            ("V\t301231235959Z\t\t\tunknown\t/CN=x", "serial number"),
        ] {
            assert!(refused(line).contains(words), "{line}: {}", refused(line));
        }
        assert_eq!(IndexLine::read(b"V\t\xff"), Err(IndexError::NotText));
        assert_eq!(IndexLine::read(&vec![b'x'; MAX_LINE + 1]), Err(IndexError::TooLong));
        for nothing in ["", "\n", "# made by hand\n"] {
            assert_eq!(IndexLine::read(nothing.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn subjects_are_written_as_everywhere_else() {
        let subject = |text: &str| read(&format!("V\t301231235959Z\t\t01\tunknown\t{text}")).subject.unwrap();
        assert_eq!(subject("/CN=https://host/path/O=Lab"), "O=Lab,CN=https://host/path");
        assert_eq!(subject("/O=K\\xC3\\xA4se/CN=a+UID=b"), "CN=a\\+UID=b,O=Käse");
        assert_eq!(subject("/CN=tab\\\tinside"), "CN=tab\\09inside");
        assert_eq!(subject("/odd"), "/odd");
    }
}
