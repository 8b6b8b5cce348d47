//! Status, from the act to what the world sees of it: OCSP responses and CRLs are parsed and their signatures verified.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "in a test they are the assertion"
)]

#[path = "../common/mod.rs"]
mod common;

mod api;
mod checkpoint;
mod clock;
mod crl;
mod crl_policy;
mod crl_scopes;
mod device;
mod directory;
#[path = "../drive.rs"]
#[allow(dead_code, reason = "each test target uses its own part of it")]
mod drive;
mod import;
mod issuer;
mod meanwhile;
mod ocsp;
mod operate;
mod propagation;
mod responder;
mod restore;
mod source;
mod timer;
mod user;

use certgate::{
    domain::access::Operate,
    service::certificate::RevokeRequest,
    types::{CertificateId, DigestAlgorithm, IssuerId, RevocationReason, SerialNumber},
    wire::{
        crl::{Crl, CrlEntry},
        ocsp::{BasicResponse, CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};
use common::{Client, World};

/// A world with one profile `device`.
fn world() -> World {
    World::new(&[("device", r#"subject = "CN=$DEVICE_ID$,O=Test""#)])
}

fn issuing() -> IssuerId {
    "issuing".parse().unwrap()
}

/// Registers a device and enrols it.
fn enrolled(world: &World, name: &str) -> Certificate {
    let device = world.register(name);
    let secret = world.ticket("device", &device);
    let client = Client::new();
    client.enrol(world, "device", &client.csr("CN=x", Some(&secret))).certificate().clone()
}

fn id_of(certificate: &Certificate) -> CertificateId {
    CertificateId { issuer: issuing(), serial: certificate.serial().clone() }
}

/// A request about one serial of the issuing CA.
fn request(world: &World, serial: &SerialNumber, digest: DigestAlgorithm, nonce: Option<&[u8]>) -> Vec<u8> {
    let cert_id = CertId::new(digest, &world.issuer("issuing"), serial).unwrap();
    OcspRequest::new(vec![cert_id], nonce).to_der().unwrap()
}

fn plain_request(world: &World, serial: &SerialNumber) -> Vec<u8> {
    request(world, serial, DigestAlgorithm::Sha1, None)
}

/// The signed answer to a request, its signature verified under the issuing CA.
fn answered(world: &World, request: &[u8]) -> BasicResponse {
    let body = world.gateway.ocsp(request).body;
    let OcspResponse::Successful(response) = OcspResponse::from_der(&body).unwrap() else {
        panic!("an error: {body:02x?}");
    };
    response.verify(&world.issuer("issuing")).unwrap();
    response
}

/// What OCSP says of a serial.
fn ocsp_status(world: &World, serial: &SerialNumber) -> CertStatus {
    let response = answered(world, &plain_request(world, serial));
    assert_eq!(response.responses.len(), 1);
    response.responses[0].status
}

/// Publishes a CRL and gives what it says of a serial.
fn crl_entry(world: &World, serial: &SerialNumber) -> Option<CrlEntry> {
    let published = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    let crl = Crl::from_der(&published.der).unwrap();
    crl.verify(&world.issuer("issuing")).unwrap();
    crl.entries().iter().find(|entry| entry.serial == *serial).cloned()
}

fn because(reason: RevocationReason) -> RevokeRequest {
    RevokeRequest { reason, note: "test".to_owned(), invalidity_date: None }
}

fn revoke(world: &World, certificate: &Certificate, reason: RevocationReason) {
    let authed = world.authed::<Operate>();
    world.gateway.revoke_certificate(&authed, &id_of(certificate), &because(reason)).unwrap();
}
