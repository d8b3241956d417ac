//! What the sender is told.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;

use crate::server::{Server, signal, until};
use crate::user::{Sent, User, ended, err, out};

on_both_stores! {
    fn a_receipt_is_followed_to_the_end(store) {
        let server = Server::start(store);
        let user = User::new(&server.origin());
        user.file("a.txt", b"a");
        let sent = user.send(&["a.txt"]);
        let mut following = user.start(&["receipt", "--follow", "--json", &sent.receipt]);
        let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(|line| {
            serde_json::from_str::<Value>(&line.unwrap()).unwrap()["state"].as_str().unwrap().to_owned()
        });
        assert_eq!(lines.next().as_deref(), Some("ready"));
        ended(&user.receive(&sent.link), 0);
        assert_eq!(lines.last().as_deref(), Some("finished"));
        ended(&following.wait_with_output().unwrap(), 0);
    }

    fn a_sender_who_waits_hears_of_it(store) {
        let server = Server::start(store);
        let user = User::new(&server.origin());
        user.file("a.txt", b"a");
        for (arrives, code) in [(true, 0), (false, 8)] {
            let mut sending = user.start(&["send", "--wait", "--json", "a.txt"]);
            let mut line = String::new();
            BufReader::new(sending.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let share: Value = serde_json::from_str(&line).unwrap();
            assert!(sending.try_wait().unwrap().is_none(), "it waits");
            if arrives {
                ended(&user.receive(share["link"].as_str().unwrap()), 0);
            } else {
                let revoked = user.run(&["receipt", "--revoke", share["receipt"].as_str().unwrap()]);
                ended(&revoked, 0);
                assert!(out(&revoked).starts_with("revoked: "), "{}", out(&revoked));
            }
            let ended = ended(&sending.wait_with_output().unwrap(), code);
            assert!(ended.contains(if arrives { "finished: " } else { "revoked: " }), "{ended}");
        }
    }
}

#[test]
fn a_sender_who_revokes_and_follows_got_what_was_asked_for() {
    let server = Server::start(crate::server::Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    let revoked = user.run(&["receipt", "--revoke", "--follow", &sent.receipt]);
    ended(&revoked, 0);
    assert!(out(&revoked).starts_with("revoked: "), "{}", out(&revoked));
    ended(&user.run(&["receipt", "--follow", &sent.receipt]), 8);
}

#[test]
fn a_receipt_tells_what_happened() {
    let server = Server::start(crate::server::Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = Sent::of(&user.fed(&["send", "--password-stdin", "a.txt"], b"pw\n"));
    server.get(&format!("/s/{}", sent.id())).send().is(200);
    ended(&user.fed(&["receive", "--yes", "--password-stdin", &sent.link], b"no\n"), 4);
    ended(&user.fed(&["receive", "--yes", "--password-stdin", "-o", "in", &sent.link], b"pw\n"), 0);
    let receipt = out(&user.run(&["receipt", &sent.receipt.replace('#', "/")]));
    for said in ["finished: ", "its page was opened once", "a wrong password was tried once", "taken at 20"] {
        assert!(receipt.contains(said), "{said} in {receipt}");
    }
    let revoked = user.run(&["receipt", "--revoke", &sent.receipt]);
    assert_ne!(revoked.status.code(), Some(0), "{}", err(&revoked));
}

#[test]
fn a_server_that_starts_again_is_followed_on() {
    let mut server = Server::start(crate::server::Store::Embedded);
    let relay = crate::relay::Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    let mut following = user.start(&["receipt", "--follow", &sent.receipt]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("ready: "));
    let seen = relay.received();
    server.crash();
    relay.lead_to(server.address);
    until("it asks again", Duration::from_secs(60), || relay.received() > seen);
    ended(&user.receive(&sent.link), 0);
    let told: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(told.iter().any(|line| line.starts_with("finished: ")), "{told:?}");
    ended(&following.wait_with_output().unwrap(), 0);
}

#[test]
fn whoever_stops_waiting_is_told_that_the_share_stays() {
    let server = Server::start(crate::server::Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let mut sending = user.start(&["send", "--wait", "--json", "a.txt"]);
    let mut line = String::new();
    BufReader::new(sending.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let share: Value = serde_json::from_str(&line).unwrap();
    let receipt = share["receipt"].as_str().unwrap();
    let mut said = BufReader::new(sending.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("ready: ")), "it waits");
    signal("INT", sending.id());
    let told: Vec<String> = said.collect();
    ended(&sending.wait_with_output().unwrap(), 130);
    assert!(told.iter().any(|line| line.contains("the share stays: onetimeshare receipt --follow")), "{told:?}");
    assert!(user.kept().is_empty());

    let mut following = user.start(&["receipt", "--follow", receipt]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("ready: ")));
    signal("INT", following.id());
    let said = ended(&following.wait_with_output().unwrap(), 130);
    assert!(said.contains("nothing changes for the share"), "{said}");
    ended(&user.receive(share["link"].as_str().unwrap()), 0);
}
