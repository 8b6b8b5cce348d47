//! The page of `/certsrv/mscep_admin/`, read as MDM servers read it.

use std::{num::NonZeroUsize, time::Duration};

use certgate::{
    domain::{
        access::{Read, Role},
        binding::{Assurance, BoundObject},
    },
    http::forwarded::TrustedProxies,
    ports::store::Page,
    service::challenge::NdesSettings,
    types::Secret,
    wire::scep::{FailInfo, PkiStatus},
};

use super::{
    Answer, OPEN, basic, call, call_for, common::Client, router, router_behind, settings, token, world_with,
};

const PAGE: &str = "GET /certsrv/mscep_admin/";
const BOUND: &str = r#"subject = "CN=$DEVICE_ID$""#;

/// As Fleet decodes it: UTF-16LE, and what the byte order mark says goes before that.
fn decoded(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("text/html"));
    let units: Vec<u16> =
        answer.body.chunks(2).map(|pair| u16::from_le_bytes(pair.try_into().unwrap())).collect();
    assert_eq!(units[0], 0xfeff, "the byte order mark");
    String::from_utf16(&units[1..]).unwrap()
}

/// `(?i)The enrollment challenge password is: <B> (?P<password>\S*)`
fn as_fleet(page: &str) -> Option<String> {
    const BEFORE: &str = "the enrollment challenge password is: <b> ";
    let start = page.to_ascii_lowercase().find(BEFORE)? + BEFORE.len();
    let password = page[start..].split(char::is_whitespace).next()?;
    (!password.is_empty()).then(|| password.to_owned())
}

/// What is between the words that `ManageEngine` looks for.
fn as_manage_engine(page: &str) -> Option<String> {
    let start = page.find("The enrollment challenge password is: <B> ")?;
    let end = page.find(" </B> <P> This password can be used only once")?;
    page.get(start + "The enrollment challenge password is: <B> ".len()..end).map(str::to_owned)
}

/// The element behind the one that ends in the words, its mark-up stripped.
fn by_elements(page: &str) -> Option<String> {
    let mut elements = page.split('>');
    elements.find(|element| element.find("The enrollment challenge password is: <B") == Some(1))?;
    elements.next().map(|next| next.trim_end_matches("</B").trim().to_owned())
}

/// The password of a page that everybody can read.
#[track_caller]
fn password(answer: &Answer) -> Secret {
    assert_eq!(answer.status, 200);
    let page = decoded(answer);
    let fleet = as_fleet(&page).expect(&page);
    assert_eq!(as_manage_engine(&page).as_ref(), Some(&fleet), "{page}");
    assert_eq!(by_elements(&page).as_ref(), Some(&fleet), "{page}");
    Secret::from(fleet.as_str())
}

#[test]
fn the_page_shows_a_password_to_fleet_manage_engine_and_people() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN)]);
    let router = router(&world);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    for path in ["/certsrv/mscep_admin/", "/certsrv/mscep_admin", "/CertSrv/MSCEP_Admin/?keyUsage="] {
        let answer = call(&router, &format!("GET {path}"), Some(&credentials), "");
        let secret = String::from_utf8(password(&answer).expose().to_vec()).unwrap();
        assert_eq!(secret.len(), 16);
        assert!(secret.bytes().all(|digit| b"0123456789ABCDEF".contains(&digit)), "{secret}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some());
        let page = decoded(&answer);
        assert!(page.contains("This password can be used only once and will expire within 1440 minutes."));
        assert!(page.contains("The thumbprint (hash value) for the CA certificate is: <B> "));
        let sha256 = world.issuer("issuing").fingerprint().to_string().to_ascii_uppercase();
        assert!(page.contains(&sha256), "{page}");
    }
    let first = password(&call(&router, PAGE, Some(&credentials), ""));
    assert_ne!(first, password(&call(&router, PAGE, Some(&credentials), "")), "each page has its own");
}

#[test]
fn a_password_enrols_once_at_the_ndes_url_also_after_a_restart() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN)]);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    let secret = password(&call(&router(&world), PAGE, Some(&credentials), ""));
    world.register("SN1");
    let world = world.restarted(settings(NdesSettings::default()));

    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=SN1", Some(&secret)));
    let binding = world.bindings(answer.certificate()).remove(0);
    assert_eq!(binding.assurance, Assurance::Medium, "the password names nobody");

    let thief = Client::new();
    let answer = thief.enrol(&world, "device", &thief.csr("CN=SN1", Some(&secret)));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    let events = world.gateway.audit_tail(&world.authed::<Read>(), 50).unwrap().items;
    let minted = events.iter().find(|event| event.action == "ticket.created").unwrap();
    assert_eq!((minted.detail["origin"].as_str(), minted.actor.as_str()), ("ndes-page", "token mdm"));
}

#[test]
fn a_password_for_a_device_is_for_no_other() {
    let world = world_with(NdesSettings::default(), &[("device", BOUND)]);
    let router = router(&world);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    world.register("SN1");
    world.register("SN2");
    let refused = call(&router, PAGE, Some(&credentials), "");
    assert_eq!(refused.status, 400, "the profile takes no unbound ones");
    assert!(
        refused.text().contains("name it") && refused.text().contains("unbound-ticket"),
        "{}",
        refused.text()
    );
    assert_eq!(call(&router, &format!("{PAGE}?device=nobody"), Some(&credentials), "").status, 404);

    let secret = password(&call(&router, &format!("{PAGE}?device=SN1"), Some(&credentials), ""));
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=SN2", Some(&secret)));
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN1", "whatever the request says");
    let binding = world.bindings(answer.certificate()).remove(0);
    assert_eq!(binding.assurance, Assurance::High);
    assert!(matches!(binding.object, BoundObject::Device { id, .. } if id.as_str() == "SN1"));
}

#[test]
fn a_password_runs_out() {
    let ndes = NdesSettings { password_lifetime: Duration::from_secs(3600), ..NdesSettings::default() };
    let world = world_with(ndes, &[("device", OPEN)]);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    let answer = call(&router(&world), PAGE, Some(&credentials), "");
    assert!(decoded(&answer).contains("expire within 60 minutes."));
    world.register("SN1");
    world.clock.advance(Duration::from_secs(3600));
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=SN1", Some(&password(&answer))));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
}

#[test]
fn the_full_cache_is_said_in_ndes_words_until_a_place_is_free() {
    let five = NdesSettings {
        max_passwords: NonZeroUsize::new(5),
        password_lifetime: Duration::from_secs(3600),
        ..NdesSettings::default()
    };
    let world = world_with(five.clone(), &[("device", OPEN)]);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    let before = router(&world);
    let passwords: Vec<_> = (0..5).map(|_| password(&call(&before, PAGE, Some(&credentials), ""))).collect();
    world.register("SN1");

    // The open ones are counted again after a restart.
    let world = world.restarted(settings(five));
    let router = router(&world);
    let full = |router| {
        let answer = call(router, PAGE, Some(&credentials), "");
        assert_eq!(answer.status, 200, "Fleet reads the words of no other");
        let page = decoded(&answer);
        page.contains("The password cache is full.") && as_fleet(&page).is_none()
    };
    assert!(full(&router));
    let programs = call(&router, &format!("{PAGE}?operation=NDESGenerateChallenge"), Some(&credentials), "");
    assert_eq!((programs.status, programs.header("retry-after")), (503, Some("5")));

    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=SN1", Some(&passwords[0]))).certificate();
    assert!(!full(&router), "one was used");
    assert!(full(&router));
    world.clock.advance(Duration::from_secs(3600));
    assert!(!full(&router), "all ran out");
}

#[test]
fn who_may_not_ask_is_told_so_in_ndes_words() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN), ("other", OPEN)]);
    let router = router(&world);
    let nobody = call(&router, PAGE, None, "");
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.header("www-authenticate"), Some("Basic realm=\"certgate\", charset=\"UTF-8\""));
    assert_eq!(call(&router, PAGE, Some(&basic("cg_guess")), "").status, 401);
    assert_eq!(call(&router, PAGE, Some("NTLM TlRMTVNTUAABAAAA"), "").status, 401);

    for credentials in
        [basic(&token(&world, Role::Auditor, &[])), basic(&token(&world, Role::Challenger, &["other"]))]
    {
        let answer = call(&router, PAGE, Some(&credentials), "");
        assert_eq!(answer.status, 200, "Fleet reads the words of no other");
        let page = decoded(&answer);
        assert!(page.contains("You do not have sufficient permission to enroll with SCEP."), "{page}");
        assert_eq!(as_fleet(&page), None);
        let programs =
            call(&router, &format!("{PAGE}?operation=NDESGenerateChallenge"), Some(&credentials), "");
        assert_eq!(programs.status, 403);
    }
    let other = basic(&token(&world, Role::Challenger, &["other"]));
    password(&call(&router, &format!("{PAGE}?profile=other"), Some(&other), ""));
    assert_eq!(call(&router, "POST /certsrv/mscep_admin/", Some(&other), "").status, 405);
    assert_eq!(call(&router, "HEAD /certsrv/mscep_admin/", Some(&other), "").status, 405);
}

#[test]
fn an_address_that_guesses_is_turned_away_for_a_minute_and_a_right_token_is_not() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN)]);
    let router = router(&world);
    let right = basic(&token(&world, Role::Challenger, &[]));
    for number in 0..20 {
        assert_eq!(call(&router, PAGE, Some(&basic(&format!("cg_{number}"))), "").status, 401);
    }
    let wrong = || call(&router, PAGE, Some(&basic("cg_21")), "");
    assert_eq!((wrong().status, wrong().header("retry-after")), (429, Some("60")));
    password(&call(&router, PAGE, Some(&right), ""));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(wrong().status, 401);
}

#[test]
fn a_misspelt_or_repeated_parameter_gives_no_password_for_everybody_or_the_wrong_one() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN)]);
    world.register("SN1");
    world.register("SN2");
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    for (query, text) in [
        ("devise=SN1", "devise: is no parameter of this page"),
        ("device=SN1&device=SN2", "device: is given more than once"),
        ("operation=NDESGenerateChallenge&device=SN1&Device=SN1", "device: is given more than once"),
    ] {
        let answer = call(&router(&world), &format!("{PAGE}?{query}"), Some(&credentials), "");
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("text/plain")), "{query}");
        assert!(answer.text().starts_with(text), "{}", answer.text());
    }
    let unknown = call(&router(&world), &format!("{PAGE}?device=SN1&device=SN2"), None, "");
    assert_eq!(unknown.status, 401);
    let open = world.gateway.tickets(&world.authed::<Read>(), &Page::first(10)).unwrap();
    assert!(open.items.is_empty());
}

#[test]
fn who_guesses_behind_a_trusted_proxy_keeps_nobody_else_out() {
    let world = world_with(NdesSettings::default(), &[("device", OPEN)]);
    let wrong = basic("cg_wrong");
    let behind = |proxies: &[&str]| {
        let proxies = TrustedProxies(proxies.iter().map(|it| it.parse().unwrap()).collect());
        let router = router_behind(&world, proxies);
        let status = |credentials: &str, client: &str| {
            call_for(&router, PAGE, Some(credentials), "", Some(client)).status
        };
        (0..20).for_each(|_| assert_eq!(status(&wrong, "198.51.100.9"), 401));
        ["198.51.100.9", "198.51.100.10"].map(|client| status(&wrong, client))
    };
    assert_eq!(behind(&["192.0.2.0/24"]), [429, 401]);
    assert_eq!(behind(&[]), [429, 429], "nobody is believed unless he is trusted");
}

#[test]
fn programs_get_the_password_and_the_thumbprint_alone() {
    let world =
        world_with(NdesSettings { password_bytes: 16, ..NdesSettings::default() }, &[("device", OPEN)]);
    let router = router(&world);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    let ask =
        |query: &str| call(&router, &format!("GET /certsrv/mscep_admin?{query}"), Some(&credentials), "");
    let answer = ask("operation=NDESGenerateChallenge&keyUsage=0x00&Params=");
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.body.len()),
        (200, Some("text/plain"), 32)
    );
    world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=SN1", Some(&Secret::from(answer.text().as_str())));
    assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Success);
    let thumbprint = ask("operation=NDESGetCACertThumbprint").text();
    let sha1 = certgate::types::DigestAlgorithm::Sha1.digest(world.issuer("issuing").as_der());
    assert_eq!(thumbprint, hex::encode_upper(sha1));
    assert_eq!(ask("operation=Nonsense").status, 400);
    assert_eq!(ask("operation=NDESGenerateChallenge&keyUsage=80").status, 400);
    assert_eq!(ask("operation=NDESGenerateChallenge&devise=SN1").status, 400);
    assert_eq!(ask("operation=NDESGetCACertThumbprint&nocache=1").text(), thumbprint, "it gives no password");
}

#[test]
fn without_a_default_profile_there_is_no_password() {
    let world = super::World::new(&[("device", OPEN), ("other", OPEN)]);
    let credentials = basic(&token(&world, Role::Challenger, &[]));
    assert_eq!(call(&router(&world), PAGE, Some(&credentials), "").status, 409);
    let open = world.gateway.tickets(&world.authed::<Read>(), &Page::first(10)).unwrap();
    assert!(open.items.is_empty());
}
