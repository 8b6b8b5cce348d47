//! Every check of both suites is seen to fail in a server that has the fault: a check that cannot fail says nothing.

use std::{collections::BTreeSet, fs};

use super::{
    CARELESS_RESPONDER, CARELESS_SERVER, challenge, conformance, meddled, report, server, verdicts,
    wrong::{Careless, Responder, Slip, Vice},
};
use crate::process::expect_success;

/// Faults of SCEP servers, one at a time beside the usual carelessness, and the check that is to see each.
const VICES: [(Vice, &str); 18] = [
    (Vice::Stale, "8894-4.2-valid"),
    (Vice::OtherStringType, "8894-3.2.1-attributes"),
    (Vice::ForItself, "8894-3.2.2-recipient"),
    (Vice::TripleDes, "8894-3.5.2-answer-algorithms"),
    (Vice::Content, "8894-3.4-answer"),
    (Vice::OtherKey, "8894-3.3.2.1-certificate"),
    (Vice::Pending, "8894-3.3.2.3-pending"),
    (Vice::Pending, "8894-3.2.1.4-signature"),
    (Vice::Pending, "8894-3.2.1.4-content"),
    (Vice::Pending, "8894-2.9-md5"),
    (Vice::EmptyPromise, "8894-3.5.2-des3"),
    (Vice::AnyCipher, "8894-3.2.1.4-unknown-cipher"),
    (Vice::Speechless, "8894-2.3-foreign-key"),
    (Vice::ModernHttp, "8894-4.1-http-1.0"),
    (Vice::NextUnsigned, "8894-4.7.1-signed"),
    (Vice::NextByItself, "8894-4.7.1-signed"),
    (Vice::NextBare, "8894-4.7.1-content"),
    (Vice::NextIsPresent, "8894-4.7.1-content"),
];

/// The one fault of an otherwise good responder, and the checks that are to see it.
const SLIPS: [(Slip, &[&str]); 36] = [
    (Slip::PostAlone, &["6960-A.1-get", "9110-9.3.2-head"]),
    (
        Slip::ToTheLetter,
        &[
            "6960-A.1-get-raw",
            "6960-A.1-get-line-end",
            "6960-A.1-get-base64url",
            "6960-A.1-get-unpadded",
            "6960-A.1-get-space",
            "6960-A.1-get-slashes",
        ],
    ),
    (Slip::ServerError, &["6960-A.1-post"]),
    (Slip::Typed, &["6960-A.1-post-media-type"]),
    (Slip::ModernHttp, &["6960-A.1-http-1.0", "6960-A.1-post-http-1.0"]),
    (Slip::NoExpectation, &["9110-10.1.1-continue"]),
    (Slip::AnyMethod, &["9110-15.5.6-method"]),
    (Slip::Sha1, &["9919-3.1.1-sha-256"]),
    (Slip::Sha256, &["6960-4.1.1-sha-1", "6960-2.2-good"]),
    (Slip::Rewritten, &["6960-4.2.1-cert-id"]),
    (Slip::NoExtensions, &["6960-4.4-unknown-extension"]),
    (Slip::NestedNonce, &["6960-4.4.1-bare-nonce"]),
    (Slip::NoNames, &["9919-3.1.2-requestor-name"]),
    (Slip::NoSignatures, &["9919-3.1.2-signed"]),
    (Slip::FewAlone, &["6960-2.1-many"]),
    (Slip::NothingIsSomething, &["6960-2.3-no-certificate"]),
    (Slip::Trailing, &["6960-2.3-trailing"]),
    (Slip::Huge, &["6960-2.3-oversize"]),
    (Slip::WordyErrors, &["6960-4.2.1-error-body"]),
    (Slip::Twice, &["9919-3.2.1-single"]),
    (Slip::OwnNonce, &["9919-3.2.1-extensions"]),
    (Slip::Tomorrow, &["6960-2.2-revocation-time"]),
    (Slip::RevokedNow, &["6960-2.2-extended-revoke"]),
    (Slip::RevokedUnmarked, &["6960-2.2-extended-revoke"]),
    (Slip::ExpiredDelegate, &["6960-4.2.2.2-valid"]),
    (Slip::PlainDelegate, &["6960-4.2.2.2.1-nocheck"]),
    (Slip::PointingDelegate, &["9919-3.2.2-delegate-pointers"]),
    (Slip::ByName, &["9919-3.2.2-by-key"]),
    (Slip::NoDate, &["9919-6-date"]),
    (Slip::NoDirectives, &["9919-6-directives"]),
    (Slip::NoStore, &["9919-7.2-no-store", "9919-6-cache-control"]),
    (Slip::Compressed, &["9110-8.4-encoding"]),
    (Slip::NoLength, &["9919-6-content-length"]),
    (Slip::NoCondition, &["9110-13.1.2-not-modified"]),
    (Slip::Nothing, &["6960-2.2-good"]),
    (Slip::OnceOfTwo, &["6960-2.1-several"]),
];

/// Those that fail in another test of this program.
const ELSEWHERE: [&str; 1] = ["8894-3.3.2.2-failure"];

/// Those that cannot fail, and why they are there.
const NEVER: [(&str, &str); 1] = [(
    "8894-3.3.2.1-subject",
    "a server may decide names (RFC 8894 section 2.4 leaves it free): a warning at most",
)];

fn scep_fault(vice: Vice, id: &str) -> Option<String> {
    let careless = Careless::with(vice);
    let output = conformance(&["scep", careless.url(), "--challenge-file", &challenge(), "--only", id]);
    unseen(&format!("{vice:?}"), &[id], &report(&output))
}

/// What is to be said where the checks did not fail.
fn unseen(fault: &str, ids: &[&str], report: &serde_json::Value) -> Option<String> {
    let verdicts = verdicts(report);
    let passed = ids.iter().map(|id| (id, &verdicts[*id]));
    let passed = passed.filter(|(_, (verdict, remark))| verdict != "fail" || remark.is_empty());
    let passed: Vec<_> = passed.map(|(id, (verdict, remark))| format!("{id}: {verdict} {remark}")).collect();
    (!passed.is_empty()).then(|| format!("{fault}: {}", passed.join(", ")))
}

/// Asks a responder, by its own certificates.
fn ask(responder: &Responder, name: &str, only: &[&str]) -> std::process::Output {
    let file = |certificate: &certgate::wire::x509::Certificate, what: &str| {
        let path = server().scratch().join(format!("{name}.{what}.pem"));
        fs::write(&path, certificate.to_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (issuer, good) = (file(&responder.issuer, "ca"), file(&responder.good, "good"));
    let revoked = file(&responder.revoked, "revoked");
    let whom = ["ocsp", responder.url(), "--issuer", &issuer, "--cert", &good, "--revoked-cert", &revoked];
    let only: Vec<&str> = only.iter().flat_map(|id| ["--only", id]).collect();
    conformance(&[&whom[..], &only].concat())
}

#[test]
fn each_vice_of_a_scep_server_is_seen() {
    let unseen: Vec<_> = VICES.iter().filter_map(|(vice, id)| scep_fault(*vice, id)).collect();
    assert!(unseen.is_empty(), "{unseen:#?}");
}

#[test]
fn each_slip_of_a_responder_is_seen() {
    let seen = SLIPS.iter().filter_map(|(slip, ids)| {
        let name = format!("{slip:?}");
        unseen(&name, ids, &report(&ask(&Responder::with(*slip), &name, ids)))
    });
    let unseen: Vec<_> = seen.collect();
    assert!(unseen.is_empty(), "{unseen:#?}");
}

#[test]
fn a_tidy_responder_passes_everything() {
    let output = ask(&Responder::with(Slip::None), "tidy", &[]);
    expect_success(&output, "conformance ocsp");
    let left: Vec<_> = super::not_passed(&report(&output));
    let expected = [("6960-2.2-extended-revoke", "n/a")];
    let left: Vec<_> = left.iter().map(|(id, (verdict, _))| (id.as_str(), verdict.as_str())).collect();
    assert_eq!(left, expected);
}

#[test]
fn no_check_is_one_that_cannot_fail() {
    let listed = |suite: &str| {
        let listed = server().json(&["conformance", suite, "--list"]);
        let items = listed["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let all: BTreeSet<String> = listed("scep").union(&listed("ocsp")).cloned().collect();
    let seen = VICES
        .iter()
        .map(|(_, id)| *id)
        .chain(SLIPS.iter().flat_map(|(_, ids)| ids.iter().copied()))
        .chain(meddled::FAULTS.iter().map(|(id, _)| *id))
        .chain(CARELESS_SERVER)
        .chain(CARELESS_RESPONDER)
        .chain(ELSEWHERE)
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    let excused: BTreeSet<String> = NEVER.iter().map(|(id, _)| (*id).to_owned()).collect();
    let never: Vec<_> = all.difference(&seen).filter(|id| !excused.contains(*id)).collect();
    assert!(never.is_empty(), "never seen to fail: {never:#?}");
    let stray: Vec<_> = seen.union(&excused).filter(|id| !all.contains(*id)).collect();
    assert!(stray.is_empty(), "no check is named {stray:#?}");
    assert!(excused.is_disjoint(&seen), "what was seen to fail needs no excuse");
}
