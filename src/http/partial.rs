//! Parts of a body (RFC 9110 §14): a large CRL over a bad line is not begun again from the start.

use std::ops::Range;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_RANGE, HeaderName, HeaderValue, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    },
};

use super::{device::plain, ocsp::insert};
use crate::types::Timestamp;

/// What tells one state of a body from another.
pub(super) struct Validators<'a> {
    /// Strong, in quotes.
    pub(super) etag: &'a str,
    /// Last-Modified; none where no date tells it from what was there before.
    pub(super) last_modified: Option<Timestamp>,
}

/// Which part of a body is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<usize>),
    Unsatisfiable,
}

/// Whether the client wants the body only if it is still the one that it knows (RFC 9110 §13.1.1, §13.1.4), and it is not.
pub(super) fn precondition_fails(headers: &HeaderMap, validators: &Validators<'_>) -> bool {
    if let Some(known) = text(headers, &IF_MATCH) {
        return !known.split(',').map(str::trim).any(|one| one == "*" || one == validators.etag);
    }
    let since = text(headers, &IF_UNMODIFIED_SINCE).and_then(seconds);
    since.is_some_and(|since| validators.last_modified.is_none_or(|modified| modified.unix() > since))
}

/// 412, for [`precondition_fails`].
pub(super) fn precondition_failed() -> Response<Full<Bytes>> {
    plain(StatusCode::PRECONDITION_FAILED, "it is another one now")
}

/// Makes of the 200 with all of `body` what the request's Range wants: 206 with that part, 416 where there is none, or what it is.
pub(super) fn partial(
    method: &Method,
    headers: &HeaderMap,
    validators: &Validators<'_>,
    mut whole: Response<Full<Bytes>>,
    body: &Bytes,
) -> Response<Full<Bytes>> {
    whole.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match wanted(method, headers, validators, body.len()) {
        Part::Whole => whole,
        Part::Bytes(range) => {
            let sent = format!("bytes {}-{}/{}", range.start, range.end - 1, body.len());
            insert(whole.headers_mut(), CONTENT_RANGE, sent);
            *whole.status_mut() = StatusCode::PARTIAL_CONTENT;
            *whole.body_mut() = Full::new(body.slice(range));
            whole
        }
        Part::Unsatisfiable => {
            let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "it is shorter than that");
            insert(answer.headers_mut(), CONTENT_RANGE, format!("bytes */{}", body.len()));
            answer
        }
    }
}

/// RFC 9110 §14.2: of GET only; what cannot be read, and several ranges at once, are as if they were not there.
fn wanted(method: &Method, headers: &HeaderMap, validators: &Validators<'_>, length: usize) -> Part {
    let range = text(headers, &RANGE).filter(|_| *method == Method::GET && still(headers, validators));
    range.and_then(|range| one_range(range, length)).unwrap_or(Part::Whole)
}

/// RFC 9110 §13.1.5: a part of what it is now would not fit to a part of what it was.
fn still(headers: &HeaderMap, validators: &Validators<'_>) -> bool {
    let Some(known) = headers.get(IF_RANGE) else { return true };
    known.to_str().is_ok_and(|known| {
        let same_date = |modified: Timestamp| seconds(known) == Some(modified.unix());
        known == validators.etag || validators.last_modified.is_some_and(same_date)
    })
}

fn one_range(range: &str, length: usize) -> Option<Part> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let number = |text: &str| -> Option<Option<usize>> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            "" => Some(None),
            // One that does not fit is greater than any length.
            _ if digits => Some(Some(text.parse().unwrap_or(usize::MAX))),
            _ => None,
        }
    };
    let range = match (number(first)?, number(last)?) {
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
        (None, Some(suffix)) => length.saturating_sub(suffix)..length,
        (None, None) => return None,
    };
    Some(if range.is_empty() { Part::Unsatisfiable } else { Part::Bytes(range) })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDATORS: Validators<'_> =
        Validators { etag: "\"a\"", last_modified: Some(Timestamp::from_unix(1_767_225_600)) };
    const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

    fn part(method: &Method, headers: &[(HeaderName, &str)]) -> Part {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        wanted(method, &map, &VALIDATORS, 1000)
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        for (range, expected) in [
            ("bytes=0-499", Part::Bytes(0..500)),
            ("bytes=500-", Part::Bytes(500..1000)),
            ("bytes=999-99999999999999999999999", Part::Bytes(999..1000)),
            ("Bytes = -1", Part::Bytes(999..1000)),
            ("bytes=-2000", Part::Bytes(0..1000)),
            ("bytes=1000-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("nonsense", Part::Whole),
        ] {
            assert_eq!(part(&Method::GET, &[(RANGE, range)]), expected, "{range}");
        }
        assert_eq!(part(&Method::HEAD, &[(RANGE, "bytes=0-1")]), Part::Whole);
    }

    #[test]
    fn a_part_is_sent_of_what_the_client_has_a_part_of() {
        let with = |known: &str| part(&Method::GET, &[(RANGE, "bytes=5-"), (IF_RANGE, known)]);
        assert_eq!(with("\"a\""), Part::Bytes(5..1000));
        assert_eq!(with(DATE), Part::Bytes(5..1000));
        for other in ["\"b\"", "W/\"a\"", "Thu, 01 Jan 2026 00:00:01 GMT", "nonsense"] {
            assert_eq!(with(other), Part::Whole, "{other}");
        }
    }

    #[test]
    fn a_date_that_two_states_share_is_of_neither() {
        let validators = Validators { last_modified: None, ..VALIDATORS };
        let headers = |name: HeaderName| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, "bytes=5-".parse().unwrap());
            headers.insert(name, DATE.parse().unwrap());
            headers
        };
        assert_eq!(wanted(&Method::GET, &headers(IF_RANGE), &validators, 1000), Part::Whole);
        assert!(precondition_fails(&headers(IF_UNMODIFIED_SINCE), &validators));
    }

    #[test]
    fn preconditions_hold_for_the_same_state_only() {
        let fails = |name: &HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            precondition_fails(&headers, &VALIDATORS)
        };
        assert!(!fails(&IF_MATCH, "\"x\", \"a\"") && !fails(&IF_MATCH, "*"));
        assert!(fails(&IF_MATCH, "\"x\"") && fails(&IF_MATCH, "W/\"a\""));
        assert!(!fails(&IF_UNMODIFIED_SINCE, DATE) && !fails(&IF_UNMODIFIED_SINCE, "nonsense"));
        assert!(fails(&IF_UNMODIFIED_SINCE, "Wed, 31 Dec 2025 23:59:59 GMT"));
    }
}
