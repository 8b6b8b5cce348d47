//! Signatures for one client alone are bounded, and what many share is not.

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    domain::throttle::Pace,
    service::{GatewaySettings, OcspPolicy, OverBudget},
    types::{DigestAlgorithm, SignatureAlgorithm},
    wire::ocsp::{CertId, OcspRequest},
};

use super::{
    common::{World, WorldOptions},
    enrolled, question, world,
};

fn spent(world: &World, request: &[u8], times: usize) -> usize {
    spent_by(world, "192.0.2.1", request, times)
}

fn spent_by(world: &World, client: &str, request: &[u8], times: usize) -> usize {
    let (request, client) = (OcspRequest::from_der(request).unwrap(), client.parse().unwrap());
    (0..times).filter(|_| world.gateway.ocsp_may_spend(&request, client)).count()
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

#[test]
fn one_address_cannot_use_it_up_for_the_others() {
    let mut settings = GatewaySettings::default();
    settings.ocsp.single_use = Pace::per_second(50);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let serial = enrolled(&world, "SN1").1.serial().clone();
    let request = question(&world, DigestAlgorithm::Sha1, &serial, Some(&[7; 16]));
    let (greedy, modest) = ("192.0.2.1", "2001:db8::1");
    assert_eq!(spent_by(&world, greedy, &request, 500), 50);
    assert_eq!(spent_by(&world, modest, &request, 5), 0, "nobody knew of it");
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(spent_by(&world, greedy, &request, 500), 45);
        assert_eq!(spent_by(&world, modest, &request, 5), 5);
    }
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(spent_by(&world, greedy, &request, 45), 45);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(spent_by(&world, greedy, &request, 60), 50, "alone it has everything");
}

#[test]
fn what_may_be_left_out_is_where_no_signature_is_left() {
    let one = |settings| {
        let world = super::world(WorldOptions { settings, ..WorldOptions::default() });
        let serial = enrolled(&world, "SN1").1.serial().clone();
        let request = question(&world, DigestAlgorithm::Sha1, &serial, Some(&[7; 16]));
        let request = OcspRequest::from_der(&request).unwrap();
        let two = OcspRequest {
            cert_ids: [request.cert_ids.clone(), request.cert_ids.clone()].concat(),
            ..request.clone()
        };
        (world.gateway.ocsp_made_shared(&request), world.gateway.ocsp_made_shared(&two))
    };
    assert_eq!(one(GatewaySettings::default()), (None, None));
    let world = world(WorldOptions::default());
    let serial = enrolled(&world, "SN1").1.serial().clone();
    let plain = question(&world, DigestAlgorithm::Sha1, &serial, None);
    let plain = OcspRequest::from_der(&plain).unwrap();
    let preferred_signatures = vec![SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha512)];
    let preferring = OcspRequest { preferred_signatures, ..plain.clone() };
    assert_eq!(
        world.gateway.ocsp_made_shared(&preferring),
        Some(plain),
        "a preference is never worth tryLater"
    );
    let mut settings = GatewaySettings::default();
    settings.ocsp.over_budget = OverBudget::IgnoreNonce;
    let (shared, two) = one(settings);
    assert_eq!((shared.map(|it| it.nonce), two), (Some(None), None));
}
