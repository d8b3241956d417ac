//! A download that goes on in another folder than it began in: what was true of the one is not taken for true of the other.

use std::fs;
use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::client::Request;
use crate::interrupted::killed_after;
use crate::relay::Relay;
use crate::sender::bytes;
use crate::server::{Server, Store};
use crate::user::{Sent, User, ended, out};

/// A share of `a.bin` that came whole into the folder `one`, where something else has its name.
struct Blocked {
    server: Server,
    user: User,
    sent: Sent,
    content: Vec<u8>,
}

impl Blocked {
    fn new() -> Self {
        let server = Server::start(Store::Embedded);
        let relay = Relay::before(server.address);
        let user = User::new(&relay.origin());
        let content = bytes(2_000_000);
        user.file("a.bin", &content);
        let sent = user.send(&["a.bin"]);
        let stop = relay.received() + 1_000_000;
        relay.down_to(stop);
        let receiving = user.start(&["receive", "--yes", "-o", "one", &sent.link]);
        relay.until_received(stop - 16 * 1024);
        user.file("one/a.bin", b"mine");
        relay.open();
        let output = receiving.wait_with_output().unwrap();
        assert!(ended(&output, 1).contains("something of that name came meanwhile"), "{}", ended(&output, 1));
        Self { server, user, sent, content }
    }

    fn receive(&self, target: &str) -> std::process::Output {
        self.user.run(&["receive", "--yes", "-o", target, &self.sent.link])
    }

    fn claim(&self, method: &str) -> u16 {
        let kept = fs::read_to_string(&self.user.kept()[0]).unwrap();
        let last: Value = serde_json::from_str(kept.lines().last().unwrap()).unwrap();
        let claim = last["claim"].as_str().unwrap();
        let path = format!("/api/v1/shares/{}/claims/{claim}", self.sent.id());
        Request::new(self.server.address, method, &path).send().status
    }

    fn state(&self) -> Value {
        let receipt = self.user.run(&["receipt", "--json", &self.sent.receipt]);
        serde_json::from_str::<Value>(&out(&receipt)).unwrap()["state"].clone()
    }
}

#[test]
fn what_a_power_cut_took_in_one_folder_is_not_believed_after_another() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let content = bytes(100 << 20);
    user.file("a.bin", &content);
    let sent = user.send(&["a.bin"]);
    killed_after(5 << 20, &user, &relay, &sent, "one");
    // The power was cut: what came is noise, and this is another start of the machine.
    let kept = fs::read_to_string(&user.kept()[0]).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(&user.kept()[0], kept.replace(boot.trim(), "another")).unwrap();
    let part = user.listed("one").pop().unwrap();
    let length = fs::metadata(user.at("one").join(&part)).unwrap().len();
    fs::write(user.at("one").join(&part), vec![0; length as usize]).unwrap();
    killed_after(66 << 20, &user, &relay, &sent, "two");
    ended(&user.run(&["receive", "--yes", "-o", "one", &sent.link]), 0);
    user.assert_has("one/a.bin", &content);
}

#[test]
fn what_is_whole_in_one_folder_is_fetched_again_into_another() {
    let share = Blocked::new();
    ended(&share.receive("two"), 0);
    share.user.assert_has("two/a.bin", &share.content);
    share.user.assert_has("one/a.bin", b"mine");
    assert_eq!(share.state(), "finished");
    assert!(share.user.kept().is_empty());
}

#[test]
fn what_is_whole_in_a_folder_is_fetched_again_into_a_pipe() {
    let share = Blocked::new();
    let received = share.receive("-");
    ended(&received, 0);
    assert!(received.stdout == share.content, "{} bytes", received.stdout.len());
    assert_eq!(share.state(), "finished");
}

#[test]
fn what_is_whole_gets_its_names_though_the_server_is_done_with_it() {
    let share = Blocked::new();
    assert_eq!(share.claim("DELETE"), 204);
    let said = ended(&share.receive("two"), 3);
    assert!(said.contains("what came before is in") && said.contains("/one: name it with -o"), "{said}");
    fs::remove_file(share.user.at("one/a.bin")).unwrap();
    ended(&share.receive("one"), 0);
    share.user.assert_has("one/a.bin", &share.content);
    assert!(share.user.kept().is_empty());
}

#[test]
fn what_is_no_longer_there_is_not_called_whole() {
    let share = Blocked::new();
    fs::remove_dir_all(share.user.at("one")).unwrap();
    ended(&share.receive("one"), 0);
    share.user.assert_has("one/a.bin", &share.content);
}

#[test]
fn a_claim_that_does_not_pay_for_another_folder_says_where_the_bytes_are() {
    let share = Blocked::new();
    assert_eq!(share.claim("GET"), 200);
    let mut receiving = share.user.start(&["receive", "--yes", "-o", "two", &share.sent.link]);
    let mut said = BufReader::new(receiving.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("what came before is in") && line.contains("/one: name it with -o")));
    receiving.kill().unwrap();
    receiving.wait().unwrap();
    fs::remove_file(share.user.at("one/a.bin")).unwrap();
    ended(&share.receive("one"), 0);
    share.user.assert_has("one/a.bin", &share.content);
}
