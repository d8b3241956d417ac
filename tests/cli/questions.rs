//! What somebody at a terminal is asked, and what comes of each answer.

use std::io::{BufRead, BufReader};

use crate::relay::Relay;
use crate::sender::bytes;
use crate::server::{Server, Store, signal};
use crate::user::{User, ended, out};

pub(crate) const RECEIVE: &str = "Receive it? [Y/n] ";
const OVERWRITE: &str = "Overwrite it? [y/N] ";
/// Ctrl-D.
const END: &str = "\x04";
/// Ctrl-C.
const INTERRUPT: &str = "\x03";

#[test]
fn a_password_that_is_interrupted_sends_nothing() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    // Two threads learn of it, and either may be the quicker one.
    for _ in 0..40 {
        let output = user.at_terminal(&[("Password: ", INTERRUPT)], &["send", "--password", "a.txt"]).output().unwrap();
        ended(&output, 130);
        assert!(out(&output).contains("onetimeshare: stopped"), "{}", out(&output));
    }
    assert!(server.blobs().is_empty());
}

#[test]
fn whoever_does_not_agree_takes_nothing() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    for answer in ["n\n", "what\n", END] {
        let answers = [(RECEIVE, answer), (RECEIVE, END)];
        let output = user.at_terminal(&answers, &["receive", "-o", "in", &sent.link]).output().unwrap();
        ended(&output, 1);
        assert!(out(&output).contains("\nonetimeshare: left where it is: nothing was taken"), "{}", out(&output));
        assert!(!user.at("in").exists() && user.kept().is_empty());
    }
    assert!(out(&user.run(&["receipt", &sent.receipt])).starts_with("ready: "));
}

#[test]
fn an_empty_line_takes_it() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt", "--note", "for you"]);
    let output = user.at_terminal(&[(RECEIVE, "\n")], &["receive", "-o", "in", &sent.link]).output().unwrap();
    ended(&output, 0);
    assert!(out(&output).contains("a.txt  1 B") && out(&output).contains("Note: for you"), "{}", out(&output));
    user.assert_has("in/a.txt", b"a");
}

#[test]
fn what_is_there_is_replaced_by_those_alone_who_say_so() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"new");
    user.file("in/a.txt", b"mine");
    let sent = user.send(&["a.txt"]);
    let receive = ["receive", "--yes", "-o", "in", &sent.link];
    for answer in ["\n", "n\n", END] {
        let output = user.at_terminal(&[(OVERWRITE, answer)], &receive).output().unwrap();
        ended(&output, 1);
        assert!(out(&output).contains("in/a.txt was left as it is"), "{}", out(&output));
        user.assert_has("in/a.txt", b"mine");
        assert_eq!(user.listed("in"), ["a.txt"]);
    }
    ended(&user.at_terminal(&[(OVERWRITE, "y\n")], &receive).output().unwrap(), 0);
    user.assert_has("in/a.txt", b"new");
}

#[test]
fn what_was_agreed_of_one_folder_is_not_agreed_of_another() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let content = bytes(2_000_000);
    user.file("a.bin", &content);
    user.file("one/a.bin", b"mine");
    user.file("two/a.bin", b"mine");
    let sent = user.send(&["a.bin"]);
    let stop = relay.received() + 1_000_000;
    relay.down_to(stop);
    let mut typing = user.at_terminal(&[(OVERWRITE, "y\n")], &["receive", "--yes", "-o", "one", &sent.link]);
    let mut typing = typing.spawn().unwrap();
    let (mut shown, mut number) = (BufReader::new(typing.stdout.take().unwrap()), String::new());
    shown.read_line(&mut number).unwrap();
    relay.until_received(stop - 16 * 1024);
    signal("KILL", number.trim().parse().unwrap());
    typing.wait().unwrap();
    relay.open();

    let said = ended(&user.run(&["receive", "--yes", "-o", "two", &sent.link]), 1);
    assert!(said.contains("two/a.bin is already there"), "{said}");
    user.assert_has("two/a.bin", b"mine");
    ended(&user.run(&["receive", "--yes", "-o", "one", &sent.link]), 0);
    user.assert_has("one/a.bin", &content);
}
