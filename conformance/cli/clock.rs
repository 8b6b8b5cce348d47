//! A clock that is not believed, as the operator sees it.

use certgate::{adapters::store::RedbStore, ports::Store, types::Timestamp};

use crate::{
    FAST, code,
    process::{Server, expect_success},
    stderr, stdout,
};

/// As after a backup of last year was restored.
fn note_an_old_time(server: &Server) {
    let store: &dyn Store = &RedbStore::open(&server.data().join("certgate.redb")).unwrap();
    store.write(|tx| tx.put_believed_time(Timestamp::from_unix(1_700_000_000))).unwrap();
}

#[test]
fn a_clock_that_is_right_is_accepted_by_one_command() {
    let mut server = Server::started(FAST, "");
    let accept = ["doctor", "--accept-clock", "--yes"];
    let refused = server.run(&accept);
    assert_eq!(code(&refused), 4);
    assert!(stderr(&refused).contains("the clock is believed: there is nothing to accept"), "{refused:?}");
    server.kill();
    note_an_old_time(&server);

    server.start();
    let doctor = server.run(&["doctor"]);
    expect_success(&doctor, "doctor");
    assert!(stdout(&doctor).contains("certgate doctor --accept-clock"), "{}", stdout(&doctor));
    let unasked = server.run(&["doctor", "--accept-clock"]);
    assert_eq!(code(&unasked), 2);
    assert!(stderr(&unasked).contains("The gateway's clock shows 20"), "{unasked:?}");
    let accepted = server.run(&accept);
    expect_success(&accepted, "accept");
    assert!(stdout(&accepted).contains("2023-11-14T22:13:20Z"), "{}", stdout(&accepted));
    server.kill();
    server.start();
    let checks = server.json(&["doctor"])["checks"].clone();
    assert!(checks.as_array().unwrap().iter().all(|check| check["name"] != "clock"), "{checks}");
    let events = server.json(&["audit", "tail", "-n", "20"])["items"].clone();
    assert!(events.as_array().unwrap().iter().any(|event| event["action"] == "clock.accepted"), "{events}");
}
