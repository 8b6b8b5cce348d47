//! HTTP: headers that let others keep answers (RFC 9919 §6), conditional requests (RFC 9110 §13), old gear.

use std::time::{Duration, UNIX_EPOCH};

use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, DATE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, PRAGMA,
};

use super::{OcspSuite, Told};
use crate::{
    app::{
        client::http::Response,
        conformance::{
            Check, Checked,
            Level::{May, Should},
            Remark, check, ensure,
        },
    },
    types::Timestamp,
};

/// The answer is some seconds older than its headers say, and clocks differ.
const TOLERANCE: Duration = Duration::from_secs(60);

pub(super) fn checks<'a>() -> Vec<Check<OcspSuite<'a>>> {
    vec![
        check("9919-6-cache-control", Should, "by GET, max-age ends before nextUpdate", cache_control),
        check(
            "9919-6-directives",
            Should,
            "by GET, Cache-Control has public, no-transform and must-revalidate",
            directives,
        ),
        check("9919-7.2-no-store", Should, "an answer without a nonce may be cached", may_be_kept),
        check("9919-6-date", Should, "by GET, Date is there and now", date_is_now),
        check(
            "9110-8.4-encoding",
            Should,
            "by GET, the answer is not compressed: nobody asked for it",
            plain,
        ),
        check("9919-6-expires", Should, "by GET, Expires is not after nextUpdate", expires),
        check("9919-6-last-modified", Should, "by GET, Last-Modified is not after now", last_modified),
        check("9919-6-etag", Should, "by GET, there is an entity tag, the same for the same answer", etag),
        check("9919-6-content-length", May, "by GET, Content-Length is there", content_length),
        check(
            "9110-13.1.2-not-modified",
            Should,
            "If-None-Match with that tag is answered with 304",
            not_modified,
        ),
        check("9919-7.2-nonce-caching", Should, "an answer with a nonce is not to be cached", nonce_caching),
        check(
            "6960-A.1-http-1.0",
            May,
            "HTTP/1.0 without Host is answered: old network gear sends it",
            old_http,
        ),
    ]
}

/// `max-age` of Cache-Control, in seconds.
pub(super) fn max_age(response: &Response) -> Option<u64> {
    let mut directives = response.header(CACHE_CONTROL)?.split(',');
    directives.find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())
}

/// A header that is a date.
fn date(told: &Told, name: &HeaderName) -> Checked<Timestamp> {
    let text = told.response.header(name.clone());
    let text = text.ok_or_else(|| Remark::failed(format_args!("there is no {name}")))?;
    let time = httpdate::parse_http_date(text).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.map(|since| Timestamp::from_unix(since.as_secs()))
        .ok_or_else(|| Remark::failed(format_args!("{name} is no date: \"{text}\"")))
}

fn next_update(suite: &OcspSuite<'_>, told: &Told) -> Checked<Timestamp> {
    let next = told.of(&suite.usual_id()?)?.next_update;
    next.ok_or_else(|| Remark::skipped("the answer has no nextUpdate"))
}

fn cache_control(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let age = max_age(&told.response);
    let age = age.ok_or_else(|| {
        Remark::failed("no Cache-Control with max-age: every question comes to the responder")
    })?;
    let (end, next) = (suite.now().plus(Duration::from_secs(age)), next_update(suite, &told)?);
    ensure(end <= next.plus(TOLERANCE), || {
        format!("max-age={age} lets caches keep the answer until {end}, beyond its nextUpdate {next}")
    })
}

fn cache_directives(response: &Response) -> Vec<String> {
    let text = response.header(CACHE_CONTROL).unwrap_or_default();
    text.split(',').map(|directive| directive.trim().to_ascii_lowercase()).collect()
}

fn directives(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let given = cache_directives(&told.response);
    let missing: Vec<_> = ["public", "no-transform", "must-revalidate"]
        .into_iter()
        .filter(|wanted| !given.iter().any(|directive| directive == wanted))
        .collect();
    ensure(missing.is_empty(), || format!("missing: {}", missing.join(", ")))
}

fn may_be_kept(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let given = cache_directives(&told.response);
    let forbids = given.iter().find(|directive| matches!(directive.as_str(), "no-store" | "no-cache"));
    ensure(forbids.is_none() && told.response.header(PRAGMA).is_none(), || {
        "no-store, no-cache or Pragma: every question comes to the responder".to_owned()
    })
}

fn date_is_now(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let (at, now) = (date(&told, &DATE)?, suite.now());
    let apart = at.since(now).max(now.since(at));
    ensure(apart <= 5 * TOLERANCE, || format!("Date {at}; now is {now}"))
}

fn plain(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let encoding = told.response.header(CONTENT_ENCODING).unwrap_or("identity");
    ensure(encoding.eq_ignore_ascii_case("identity"), || format!("Content-Encoding {encoding}"))
}

fn expires(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let (expires, next) = (date(&told, &EXPIRES)?, next_update(suite, &told)?);
    ensure(expires <= next, || format!("Expires {expires}, nextUpdate {next}"))
}

fn last_modified(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let (at, now) = (date(&told, &LAST_MODIFIED)?, suite.now());
    ensure(at <= now.plus(TOLERANCE), || format!("Last-Modified {at}; now is {now}"))
}

fn entity_tag(told: &Told) -> Checked<&str> {
    told.response.header(ETAG).ok_or_else(|| Remark::failed("there is no ETag"))
}

fn etag(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let tag = entity_tag(&told)?;
    let url = suite.get_url(&suite.request(None)?);
    let again = suite.get(&url)?;
    let other = again.header(ETAG).unwrap_or_default();
    ensure((tag == other) == (told.response.body == again.body), || {
        format!("{tag}, then {other}: tags and answers do not change together")
    })
}

fn content_length(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    ensure(told.response.header(CONTENT_LENGTH).is_some(), || "it is missing".to_owned())
}

fn not_modified(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_by_get()?;
    let tag = entity_tag(&told).map_err(|_| Remark::skipped("there is no ETag"))?.to_owned();
    let url = suite.get_url(&suite.request(None)?);
    let response = suite.line.exchange(|http| http.get_unless(&url, &tag))?;
    let status = response.status.as_u16();
    // The answer may have been renewed in between.
    let changed = response.header(ETAG).is_some_and(|now| now != tag);
    ensure(status == 304 || changed, || format!("HTTP {status}"))?;
    ensure(status != 304 || response.body.is_empty(), || "304 with a body".to_owned())
}

fn nonce_caching(suite: &mut OcspSuite<'_>) -> Checked {
    let request = suite.request(Some(&suite.random.bytes::<32>()))?;
    let url = suite.get_url(&request);
    let told = Told::read(suite.get(&url)?)?;
    if told.basic.nonce.is_none() {
        return Err(Remark::skipped("the nonce is ignored"));
    }
    let age = max_age(&told.response);
    ensure(age.unwrap_or(0) == 0, || format!("max-age={}", age.unwrap_or(0)))
}

fn old_http(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.get_url(&suite.request(None)?);
    let told = Told::read(suite.line.exchange(|http| http.get_as_old_gear(&url))?)?;
    told.of(&suite.usual_id()?).map(drop)
}
