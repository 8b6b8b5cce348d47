//! The page of `/certsrv/mscep_admin/`: UTF-16LE, in the words that MDM servers look for in NDES's.
//!
//! Fleet: `(?i)The enrollment challenge password is: <B> (?P<password>\S*)`; "The password cache is full."; "You do not have
//! sufficient permission to enroll with SCEP.", all in answers with status 200. ManageEngine: what is between
//! `The enrollment challenge password is: <B> ` and ` </B> <P> This password can be used only once`; it too reads an error from
//! a page. NDES itself marks the encoding by a byte order mark, which older Fleet servers, Java and .NET need.

use axum::{
    body::Body,
    http::{
        HeaderValue, Response, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
};

use crate::service::challenge::{Password, Thumbprints};

const HEAD: &str = "<HTML><HEAD><TITLE>certgate: SCEP challenge</TITLE></HEAD><BODY>";
const TAIL: &str = "</BODY></HTML>";

/// What NDES says to who may not have a password.
pub(super) const NOT_PERMITTED: &str = "You do not have sufficient permission to enroll with SCEP.";
/// What NDES says when as many passwords are open as may be.
pub(super) const CACHE_FULL: &str = "The password cache is full.";

/// The page with a password.
pub(super) fn password(password: &Password) -> Response<Body> {
    let Password { secret, lifetime, thumbprints } = password;
    let minutes = lifetime.as_secs() / 60;
    let secret = String::from_utf8_lossy(secret.expose());
    utf16(
        StatusCode::OK,
        &format!(
            "{HEAD}<P> The thumbprint (hash value) for the CA certificate is: <B> {} </B> <P> The enrollment challenge \
             password is: <B> {secret} </B> <P> This password can be used only once and will expire within {minutes} minutes. \
             <P> SHA-256 of the CA certificate: {} <P> Each request needs a password of its own: load this page again for \
             another. {TAIL}",
            grouped(&thumbprints.sha1),
            thumbprints.sha256,
        ),
    )
}

/// A page that says why there is no password.
pub(super) fn denied(status: StatusCode, phrase: &str, detail: &str) -> Response<Body> {
    utf16(status, &format!("{HEAD}<P> {phrase} <P> {} {TAIL}", escaped(detail)))
}

/// An answer for programs.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    finished(status, "text/plain", text.as_bytes().to_vec())
}

/// The thumbprint as the query form gives it.
pub(super) fn thumbprint(thumbprints: &Thumbprints) -> Response<Body> {
    plain(StatusCode::OK, &thumbprints.sha1)
}

fn utf16(status: StatusCode, text: &str) -> Response<Body> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    // Without a charset, as NDES: the byte order mark says it, and nobody decodes it twice.
    finished(status, "text/html", [0xff, 0xfe].into_iter().chain(units).collect())
}

fn finished(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// In groups of eight digits, as Windows shows them.
fn grouped(digits: &str) -> String {
    let groups: Vec<_> = digits.as_bytes().chunks(8).map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_wrote_is_no_markup() {
        assert_eq!(escaped("no device \"<B> 1 </B>\" & Co"), "no device \"&lt;B&gt; 1 &lt;/B&gt;\" &amp; Co");
    }

    #[test]
    fn a_thumbprint_is_shown_in_groups() {
        assert_eq!(grouped("0011223344556677889900"), "00112233 44556677 889900");
    }
}
