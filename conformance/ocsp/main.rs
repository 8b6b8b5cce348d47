//! The OCSP responder at the edge and below it: HTTP as gear speaks it, what the cache costs, who signs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "in a test they are the assertion"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../process/mod.rs"]
mod process;

mod ahead;
mod budget;
mod cost;
mod http;
mod signer;

use certgate::{
    types::{DigestAlgorithm, SerialNumber},
    wire::{
        ocsp::{BasicResponse, CertId, ErrorStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};
use common::{Client, World, WorldOptions};

/// A world with one profile `device`.
fn world(options: WorldOptions) -> World {
    World::with(options, &[("device", "subject = \"CN=$DEVICE_ID$\"")])
}

/// Registers a device and enrols it.
fn enrolled(world: &World, name: &str) -> (Client, Certificate) {
    let device = world.register(name);
    let secret = world.ticket("device", &device);
    let client = Client::new();
    let certificate = client.enrol(world, "device", &client.csr("CN=x", Some(&secret))).certificate().clone();
    (client, certificate)
}

/// A request about a serial number of the issuing CA.
fn question(world: &World, digest: DigestAlgorithm, serial: &SerialNumber, nonce: Option<&[u8]>) -> Vec<u8> {
    let cert_id = CertId::new(digest, &world.issuer("issuing"), serial).unwrap();
    OcspRequest::new(vec![cert_id], nonce).to_der().unwrap()
}

/// What the gateway answers, its signature verified under the issuing CA.
fn answered(world: &World, request: &[u8]) -> Result<BasicResponse, ErrorStatus> {
    match OcspResponse::from_der(&world.gateway.ocsp(request).body).unwrap() {
        OcspResponse::Successful(response) => {
            response.verify(&world.issuer("issuing")).unwrap();
            Ok(response)
        }
        OcspResponse::Error(status) => Err(status),
    }
}

/// DER of one element of less than 64 KiB.
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, content].concat()
}
