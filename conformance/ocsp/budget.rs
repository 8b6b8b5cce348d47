//! Signatures for one client alone are bounded, and what many share is not.

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    domain::throttle::Pace,
    service::{GatewaySettings, OcspPolicy},
    types::DigestAlgorithm,
    wire::ocsp::{CertId, OcspRequest},
};

use super::{
    common::{World, WorldOptions},
    enrolled, question, world,
};

fn spent(world: &World, request: &[u8], times: usize) -> usize {
    let request = OcspRequest::from_der(request).unwrap();
    (0..times).filter(|_| world.gateway.ocsp_may_spend(&request)).count()
}

#[test]
fn a_budget_of_all_bounds_each_second() {
    let mut settings = GatewaySettings::default();
    settings.ocsp.single_use = Pace::per_second(5);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let serial = enrolled(&world, "SN1").1.serial().clone();
    let request = question(&world, DigestAlgorithm::Sha1, &serial, Some(&[7; 16]));
    assert_eq!(spent(&world, &request, 20), 5);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(spent(&world, &request, 20), 5);
}

#[test]
fn an_issuers_budget_leaves_the_others_alone() {
    let mut settings = GatewaySettings::default();
    let policy = OcspPolicy { single_use: Pace::per_second(2), ..OcspPolicy::default() };
    settings.ocsp.issuers = BTreeMap::from([("issuing".parse().unwrap(), policy)]);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let serial = enrolled(&world, "SN1").1.serial().clone();
    let issuings = question(&world, DigestAlgorithm::Sha1, &serial, Some(&[7; 16]));
    let id = CertId::new(DigestAlgorithm::Sha1, &world.issuer("root"), world.issuer("issuing").serial());
    let roots = OcspRequest::new(vec![id.unwrap()], Some(&[7; 16])).to_der().unwrap();
    assert_eq!((spent(&world, &issuings, 20), spent(&world, &roots, 20)), (2, 20));
}
