//! `certgate import`: from OpenSSL's files to what `cert show` says, with and without a server.

use std::fs;

use crate::{
    FAST, code, enrol,
    process::{Server, expect_success, http_get},
    stderr, stdout,
};

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/x509/ca.der");
const CRL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/x509/entries.crl");

/// An index of the CA of the fixtures: one line of each kind, and two that are not understood.
fn index(server: &Server) -> String {
    let path = server.scratch().join("index.txt");
    let lines = [
        "V\t361121000000Z\t\t1000\tunknown\t/O=Lab/CN=good",
        "R\t361121000000Z\t260101000000Z,CAkeyTime,20251231000000Z\t1001\tunknown\t/O=Lab/CN=stolen",
        "R\t361121000000Z\t260101000000Z,holdInstruction,holdInstructionReject\t1002\tunknown\t/O=Lab/CN=held",
        "E\t100101000000Z\t\t1003\tunknown\t/O=Lab/CN=old",
        "X\t361121000000Z\t\t1004\tunknown\t/O=Lab/CN=odd",
        "not a line",
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_index_and_a_crl_are_taken_over_once() {
    let mut server = Server::started(FAST, "");
    let index = index(&server);
    let arguments = ["import", "--issuer-cert", CA, "--name", "old", "--index", &index];
    let output = server.run(&arguments);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("line 5: its status is \"X\"") && said.contains("line 6: it has 1 columns"),
        "{said}"
    );
    assert!(stdout(&output).contains("New:          4"), "{}", stdout(&output));
    let again = server.run(&[&arguments[..], &["-o", "json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(
        (&report["unchanged"], &report["added"], &report["refused"]),
        (&4.into(), &0.into(), &2.into())
    );

    let shown = |server: &Server, serial: &str| server.json(&["cert", "show", &format!("old/{serial}")]);
    let stolen = shown(&server, "1001");
    assert_eq!((&stolen["status"], &stolen["purpose"]), (&"revoked".into(), &"imported".into()));
    assert_eq!(stolen["revocation"]["reason"], "cACompromise");
    assert_eq!(stolen["revocation"]["invalidity_date"], "2025-12-31T00:00:00Z");
    assert_eq!(stolen["subject"], "CN=stolen,O=Lab");
    let statuses = ["1000", "1002", "1003"].map(|serial| shown(&server, serial)["status"].clone());
    assert_eq!(statuses, ["good", "hold", "expired"]);
    expect_success(&server.run(&["cert", "release", "old/1002"]), "release");
    let revoked = server.run(&["cert", "revoke", "old/1000", "--reason", "superseded", "-y"]);
    expect_success(&revoked, "revoke");
    assert!(stderr(&revoked).contains("nobody answers OCSP for old here"), "{}", stderr(&revoked));
    assert_eq!(shown(&server, "1000")["ocsp"], "none");

    // The CRL of the fixtures tells of others, and is served as it is.
    let crl = server.json(&["import", "--issuer-cert", CA, "--crl", CRL]);
    assert_eq!((&crl["added"], &crl["crl"]["published"]), (&3.into(), &true.into()), "{crl}");
    let fetched = http_get(server.device_address(), "/crl/old.crl").unwrap();
    assert_eq!(fetched.body, fs::read(CRL).unwrap());
    let refused = server.run(&["crl", "publish", "old"]);
    assert_eq!(code(&refused), 4);
    assert!(stderr(&refused).contains("the key of old is not here"), "{}", stderr(&refused));
    for (asked, words) in [
        (["crl", "show", "old"], "are made elsewhere"),
        (["ocsp", "presign", "old"], "nobody answers OCSP for old"),
    ] {
        let refused = server.run(&asked);
        assert_eq!(code(&refused), 4, "{}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
    let listed = stdout(&server.run(&["issuer", "list"]));
    assert!(listed.lines().any(|line| line.starts_with("old ") && line.contains("external")), "{listed}");
    assert_eq!(server.json(&["issuer", "show", "old"])["certificates"], 7);
    assert_eq!(code(&server.run(&["issuer", "show", "nobody"])), 3);

    server.kill();
    server.start();
    let statuses = ["1000", "1001", "1002"].map(|serial| shown(&server, serial)["status"].clone());
    assert_eq!(statuses, ["revoked", "revoked", "good"]);
    assert_eq!(http_get(server.device_address(), "/crl/old.crl").unwrap().body, fetched.body);
    assert!(stdout(&server.run(&["audit", "tail", "-n", "200"])).contains("certificates.imported"));
}

#[test]
fn without_a_server_the_store_itself_is_filled() {
    let mut server = Server::started(FAST, "");
    let index = index(&server);
    server.kill();
    let output = server.run(&["import", "--issuer-cert", CA, "--index", &index, "-o", "json"]);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let name = report["target"]["issuer"].as_str().unwrap().to_owned();
    server.start();
    assert_eq!(server.json(&["cert", "show", &format!("{name}/1001")])["status"], "revoked");
}

#[test]
fn a_certificate_that_comes_again_in_a_source_is_told_of_anew() {
    let server = Server::started(FAST, "");
    let path = |name: &str| server.scratch().join(name).to_str().unwrap().to_owned();
    let (index, crl) = (path("index.txt"), path("crl.txt"));
    // Last year's index with this year's behind it.
    let lines = [
        "V\t361121000000Z\t\t1000\tunknown\t/CN=a",
        "V\t361121000000Z\t\t1001\tunknown\t/CN=b",
        "V\t361121000000Z\t\t1000\tunknown\t/CN=a",
        "R\t361121000000Z\t260101000000Z,keyCompromise\t1001\tunknown\t/CN=b",
        "V\t371121000000Z\t\t1000\tunknown\t/CN=other",
    ];
    fs::write(&index, lines.join("\r\n")).unwrap();
    let output = server.run(&["import", "--issuer-cert", CA, "--name", "old", "--index", &index]);
    let (told, said) = (stdout(&output), stderr(&output));
    assert_eq!(code(&output), 5, "{told}{said}");
    assert!(told.contains("New:          2") && told.contains("Known before: 1"), "{told}");
    assert!(
        told.contains("Revoked:      1") && said.contains("line 5: it is known to expire"),
        "{told}{said}"
    );
    assert_eq!(server.json(&["cert", "show", "old/1001"])["status"], "revoked");

    // As `openssl crl -text` writes it.
    let text =
        der::pem::encode_string("X509 CRL", der::pem::LineEnding::LF, &fs::read(CRL).unwrap()).unwrap();
    fs::write(&crl, format!("Certificate Revocation List (CRL):\n    Version 2 (0x1)\n{text}")).unwrap();
    let imported = server.json(&["import", "--issuer-cert", CA, "--crl", &crl]);
    assert_eq!((&imported["added"], &imported["crl"]["published"]), (&3.into(), &true.into()), "{imported}");
}

#[test]
fn what_a_partition_lists_is_taken_over_and_the_partition_is_not_published() {
    let old = Server::started(FAST, "[crl]\npartitions = 2\n");
    expect_success(&enrol(&old, "device", "SN1", &[]), "enrol");
    let pem = old.scratch().join("SN1.pem").to_str().unwrap().to_owned();
    let report = old.json(&["cert", "check", "--cert", &pem]);
    let (serial, url) = (report["serial"].as_str().unwrap(), report["said"][2]["where"].as_str().unwrap());
    expect_success(&old.run(&["cert", "revoke", serial, "--reason", "superseded", "--yes"]), "revoke");
    expect_success(&old.run(&["crl", "publish", "issuing"]), "publish");
    let new = Server::started(FAST, "");
    let file = |name: &str, path: &str| {
        let file = new.scratch().join(name).to_str().unwrap().to_owned();
        fs::write(&file, http_get(old.device_address(), path).unwrap().body).unwrap();
        file
    };
    let ca = file("ca.cer", "/ca/issuing.cer");
    let partition = file("partition.crl", url.strip_prefix(&old.url()).unwrap());
    let imported = new.json(&["import", "--issuer-cert", &ca, "--name", "old", "--crl", &partition]);
    assert_eq!(
        (&imported["revoked"], &imported["crl"]["published"]),
        (&1.into(), &false.into()),
        "{imported}"
    );
    assert_eq!(new.json(&["cert", "show", &format!("old/{serial}")])["status"], "revoked");
    assert_eq!(http_get(new.device_address(), "/crl/old.crl").unwrap().status, 404);
}

#[test]
fn an_older_crl_of_the_ca_does_not_put_on_hold_again_what_was_released_since() {
    let old = Server::started(FAST, "");
    expect_success(&enrol(&old, "device", "SN1", &[]), "enrol");
    let serial =
        old.json(&["cert", "list", "--device", "SN1"])["items"][0]["serial"].as_str().unwrap().to_owned();
    let new = Server::started(FAST, "");
    let file = |name: &str, path: &str| {
        let file = new.scratch().join(name).to_str().unwrap().to_owned();
        fs::write(&file, http_get(old.device_address(), path).unwrap().body).unwrap();
        file
    };
    let published = |act: &str, name: &str| {
        expect_success(&old.run(&["cert", act, &format!("issuing/{serial}")]), act);
        expect_success(&old.run(&["crl", "publish", "issuing"]), "publish");
        file(name, "/crl/issuing.crl")
    };
    let ca = file("ca.cer", "/ca/issuing.cer");
    let crls = [published("hold", "held.crl"), published("release", "released.crl")];
    let import = |crl: &str| new.run(&["import", "--issuer-cert", &ca, "--name", "old", "--crl", crl]);
    for crl in &crls {
        expect_success(&import(crl), "import");
    }
    let shown = format!("old/{serial}");
    expect_success(&new.run(&["cert", "release", &shown]), "release");
    let again = import(&crls[0]);
    expect_success(&again, "import");
    assert!(stdout(&again).contains("Outdated:     1"), "{}", stdout(&again));
    assert!(stderr(&again).contains("1 that this one says are on hold were left as they are"), "{again:?}");
    assert_eq!(new.json(&["cert", "show", &shown])["status"], "good");
}

#[test]
fn what_is_no_ca_and_no_source_is_refused() {
    let server = Server::started(FAST, "");
    let run = |arguments: &[&str]| server.run(&[&["import", "--issuer-cert"][..], arguments].concat());
    let leaf = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/x509/device.pem");
    assert_eq!(code(&run(&[leaf, "--index", &index(&server)])), 2);
    assert_eq!(code(&run(&[CA, "--name", "issuing", "--index", &index(&server)])), 4, "the name is taken");
    assert_eq!(code(&run(&[CA, "--index", "/nonexistent"])), 1);
    assert_eq!(code(&run(&[CA])), 2);
    // Another CA's CRL.
    let own = server.scratch().join("issuing.crl");
    fs::write(&own, http_get(server.device_address(), "/crl/issuing.crl").unwrap().body).unwrap();
    let foreign = run(&[CA, "--crl", own.to_str().unwrap()]);
    assert_eq!(code(&foreign), 2);
    assert!(stderr(&foreign).contains("it is one of CN="), "{}", stderr(&foreign));
}
