//! Conditional requests (RFC 9110 §13).

use hyper::{
    HeaderMap, Method,
    header::{HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH},
};

use crate::types::Timestamp;

/// Whether the client has what it asks for, so that 304 is the answer: If-None-Match decides where it is present, else
/// If-Modified-Since (RFC 9110 §13.2.2), but for a date in the future: it is of a clock that was wrong. `modified`: none where no date tells it
/// from what was there before. Only GET and HEAD ask so.
pub(super) fn is_known(
    method: &Method,
    headers: &HeaderMap,
    etag: &[u8],
    modified: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        let mut lists = headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
        return lists.any(|list| names(list, etag));
    }
    let since = headers
        .get(IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.map(|since| Timestamp::from_unix(since.as_secs())).filter(|since| *since <= now);
    modified.zip(since).is_some_and(|(modified, since)| modified <= since)
}

/// Whether a list of entity tags has this one; weak ones do, too (RFC 9110 §8.8.3.2). Tags of ours have no comma in them.
fn names(list: &[u8], etag: &[u8]) -> bool {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|one| {
        let strong = one.strip_prefix(b"W/").unwrap_or(one);
        one == b"*" || strong == etag
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    const DATE: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    const MODIFIED: Timestamp = Timestamp::from_unix(784_887_151);
    const NOW: Timestamp = Timestamp::from_unix(784_887_161);

    fn known(method: &Method, headers: &[(HeaderName, &'static str)]) -> bool {
        known_of(method, headers, Some(MODIFIED))
    }

    fn known_of(
        method: &Method,
        headers: &[(HeaderName, &'static str)],
        modified: Option<Timestamp>,
    ) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        is_known(method, &map, b"\"abc\"", modified, NOW)
    }

    #[test]
    fn a_tag_is_found_in_every_form_of_the_list() {
        for list in ["\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\"", "\"x\",W/\"abc\" ,\"y\""] {
            assert!(known(&Method::GET, &[(IF_NONE_MATCH, list)]), "{list}");
        }
        for list in ["\"abcd\"", "abc", "", "\"x\", \"y\""] {
            assert!(!known(&Method::HEAD, &[(IF_NONE_MATCH, list)]), "{list}");
        }
        assert!(known(&Method::GET, &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"abc\"")]));
    }

    #[test]
    fn the_date_counts_where_no_tag_is_named() {
        assert!(known(&Method::GET, &[(IF_MODIFIED_SINCE, DATE)]));
        assert!(known(&Method::HEAD, &[(IF_MODIFIED_SINCE, "Tue, 15 Nov 1994 08:12:32 GMT")]));
        assert!(!known(&Method::GET, &[(IF_MODIFIED_SINCE, "Tue, 15 Nov 1994 08:12:30 GMT")]));
        assert!(!known(&Method::GET, &[(IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!known(&Method::GET, &[(IF_MODIFIED_SINCE, DATE), (IF_NONE_MATCH, "\"x\"")]));
    }

    #[test]
    fn a_date_that_tells_nothing_does_not_count() {
        let later = (IF_MODIFIED_SINCE, "Tue, 15 Nov 1994 08:12:42 GMT");
        assert!(!known(&Method::GET, &[later]), "it is in the future");
        assert!(!known_of(&Method::GET, &[(IF_MODIFIED_SINCE, DATE)], None), "two were made in this second");
        assert!(known_of(&Method::GET, &[(IF_NONE_MATCH, "\"abc\"")], None));
    }

    #[test]
    fn a_post_has_no_condition() {
        assert!(!known(&Method::POST, &[(IF_NONE_MATCH, "\"abc\"")]));
        assert!(!known(&Method::POST, &[(IF_MODIFIED_SINCE, DATE)]));
    }
}
