//! A server behind TLS, whose certificate only its own authority vouches for.

use std::fs;

use crate::sender::bytes;
use crate::server::{Server, Store};
use crate::terminator::Terminator;
use crate::user::{Sent, User, ended, out};

#[test]
fn an_authority_that_is_named_is_believed() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let user = User::new(&door.origin());
    let content = bytes(5_000_000);
    user.file("a.bin", &content);
    let ca = door.authority().display().to_string();
    let sent = user.send(&["--ca", &ca, "a.bin"]);
    assert!(sent.link.starts_with(&door.origin()), "{}", sent.link);
    ended(&user.run(&["receive", "--yes", "-o", "in", "--ca", &ca, &sent.link]), 0);
    user.assert_has("in/a.bin", &content);
    assert!(out(&user.run(&["receipt", "--ca", &ca, &sent.receipt])).starts_with("finished: "));
}

#[test]
fn an_authority_may_be_set_for_all_commands() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let user = User::new(&door.origin());
    user.file("a.txt", b"a");
    let mut by_variable = user.command(&["send", "a.txt"]);
    Sent::of(&by_variable.env("SSL_CERT_FILE", door.authority()).output().unwrap());

    let folder = user.home().join(".config/onetimeshare");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), serde_json::json!({ "ca": door.authority() }).to_string()).unwrap();
    let sent = user.send(&["a.txt"]);
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.txt", b"a");
}

#[test]
fn an_authority_that_is_not_known_is_told_with_what_to_do() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let user = User::new(&door.origin());
    user.file("a.txt", b"a");
    let ca = door.authority().display().to_string();
    let sent = user.send(&["--ca", &ca, "a.txt"]);
    for command in [&["send", "a.txt"][..], &["receive", "--yes", &sent.link], &["receipt", &sent.receipt]] {
        let said = ended(&user.run(command), 5);
        assert!(said.starts_with(&format!("onetimeshare: can't reach {}: ", door.origin())), "{said}");
        assert!(said.contains("certificate") && said.contains("--ca") && said.lines().count() == 1, "{said}");
    }
    // Nothing was taken.
    ended(&user.run(&["receive", "--yes", "-o", "in", "--ca", &ca, &sent.link]), 0);
}

#[test]
fn a_certificate_for_another_name_is_refused_whoever_vouches_for_it() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let user = User::new(&format!("https://localhost:{}", door.address.port()));
    user.file("a.txt", b"a");
    let said = ended(&user.run(&["send", "--ca", &door.authority().display().to_string(), "a.txt"]), 5);
    assert!(said.contains("not valid for name") && !said.contains("--ca"), "{said}");
}

#[test]
fn a_file_that_holds_no_authority_is_told() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    for (file, code) in [("missing.pem", 1), ("a.txt", 2)] {
        let said = ended(&user.run(&["send", "--ca", file, "a.txt"]), code);
        assert!(said.contains(file) && said.lines().count() == 1, "{said}");
    }
}
