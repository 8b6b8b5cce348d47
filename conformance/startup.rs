//! What the real program says when it cannot start on its data directory.

mod process;

use process::Server;
use redb::{Database, TableDefinition};

/// Writes the schema version as a later certgate would.
fn put_schema(server: &Server, version: u8) {
    let database = Database::create(server.data().join("certgate.redb")).unwrap();
    let meta: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
    let transaction = database.begin_write().unwrap();
    // The first byte is the version of the record's own form.
    transaction.open_table(meta).unwrap().insert(b"schema".as_slice(), [1, version].as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_a_newer_certgate_is_refused_in_plain_words_and_left_alone() {
    let mut server = Server::initialise(
        &["--key", "p-256", "--issuing-key", "p-256"],
        "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n",
    );
    put_schema(&server, 2);
    let config = server.data().join("certgate.toml");
    let output = server.command().args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("schema version 2") && said.contains("use the newer certgate"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    // Nothing was written: with the version put back it serves as before.
    put_schema(&server, 1);
    server.start();
}
