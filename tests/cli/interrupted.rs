//! Whatever is cut off goes on: the network, the server, and the program itself.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use serde_json::Value;

use crate::relay::Relay;
use crate::sender::bytes;
use crate::server::{Server, Store, files, until, wait};
use crate::user::{Sent, User, ended, err, out};

const MIB: usize = 1 << 20;

fn killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A sender of `a.bin` who has come as far as 8 MiB, and comes no further.
fn held_up(user: &User, relay: &Relay) -> Child {
    let stop = relay.sent() + 8 * MIB as u64;
    relay.up_to(stop);
    let sending = user.start(&["send", "a.bin"]);
    relay.until_sent(stop - 16 * 1024);
    sending
}

fn receipt(user: &User, sent: &Sent) -> Value {
    serde_json::from_str(&out(&user.run(&["receipt", "--json", &sent.receipt]))).unwrap()
}

on_both_stores! {
    fn a_sender_that_is_killed_goes_on(store) {
        let server = Server::start(store);
        let relay = Relay::before(server.address);
        let user = User::new(&relay.origin());
        let content = bytes(40 * MIB);
        user.file("a.bin", &content);
        for stop in [10 * MIB, 25 * MIB] {
            let stop = relay.sent().max(stop as u64);
            relay.up_to(stop);
            let sending = user.start(&["send", "a.bin"]);
            relay.until_sent(stop - 16 * 1024);
            assert_is_private(&user);
            killed(sending);
            relay.open();
        }
        let sent = Sent::of(&user.run(&["send", "a.bin"]));
        // What was on its way at each kill goes again: a request of 12 MiB at the most.
        assert!(relay.sent() < 65 * MIB as u64, "{} bytes were sent", relay.sent());
        assert!(user.kept().is_empty());
        ended(&user.receive(&sent.link), 0);
        user.assert_has("in/a.bin", &content);
    }

    fn a_recipient_that_is_killed_goes_on(store) {
        let server = Server::start(store);
        let relay = Relay::before(server.address);
        let user = User::new(&relay.origin());
        let content = bytes(40 * MIB);
        user.file("folder/a.bin", &content[..7 * MIB]);
        user.file("folder/b.bin", b"");
        user.file("folder/c.bin", &content[7 * MIB..]);
        let sent = user.send(&["folder"]);
        let begun = relay.received();
        for stop in [10 * MIB, 25 * MIB] {
            let stop = begun + stop as u64;
            relay.down_to(stop);
            let receiving = user.start(&["receive", "--yes", "-o", "in", &sent.link]);
            relay.until_received(stop - 16 * 1024);
            assert_is_private(&user);
            until("a part is written", Duration::from_secs(30), || !files(&user.at("in")).is_empty());
            killed(receiving);
            assert!(user.listed("in").iter().all(|name| name.ends_with(".part")), "{:?}", user.listed("in"));
            relay.open();
        }
        ended(&user.run(&["receive", "--yes", "-o", "-", &sent.link]), 2);
        let received = user.receive(&sent.link);
        let said = ended(&received, 0);
        assert!(said.contains("going on at"), "{said}");
        assert_eq!(user.listed("in"), ["folder/a.bin", "folder/b.bin", "folder/c.bin"]);
        user.assert_has("in/folder/a.bin", &content[..7 * MIB]);
        user.assert_has("in/folder/c.bin", &content[7 * MIB..]);
        let receipt = receipt(&user, &sent);
        assert_eq!((&receipt["state"], receipt["claims"].as_array().unwrap().len()), (&"finished".into(), 1), "{receipt}");
        assert!(relay.received() - begun < 60 * MIB as u64, "{} bytes came", relay.received() - begun);
        assert!(user.kept().is_empty());
    }
}

#[test]
fn a_recipient_who_goes_on_with_a_wrong_password_may_try_again() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(20 * MIB));
    let sent = Sent::of(&user.fed(&["send", "--password-stdin", "a.bin"], b"right\n"));
    let stop = relay.received() + 8 * MIB as u64;
    relay.down_to(stop);
    let receive = ["receive", "--yes", "-o", "in", "--password-stdin", &sent.link];
    let mut receiving = user.command(&receive).stdin(Stdio::piped()).spawn().unwrap();
    receiving.stdin.take().unwrap().write_all(b"right\n").unwrap();
    relay.until_received(stop - 16 * 1024);
    killed(receiving);
    relay.open();
    let said = ended(&user.fed(&receive, b"wrong\n"), 4);
    assert!(said.contains("that password is wrong"), "{said}");
    let answers = [("Password: ", "wrong\n"), ("Password: ", "right\n")];
    ended(&user.at_terminal(&answers, &["receive", "--yes", "-o", "in", &sent.link]).output().unwrap(), 0);
    user.assert_has("in/a.bin", &bytes(20 * MIB));
    assert_eq!(receipt(&user, &sent)["claims"].as_array().unwrap().len(), 1);
}

/// A recipient of `a.bin` and `b.bin`, of 1 and 19 MiB, who was killed after 8 MiB.
fn killed_recipient() -> (Server, Relay, User, Sent) {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(MIB));
    user.file("b.bin", &bytes(19 * MIB));
    let sent = user.send(&["a.bin", "b.bin"]);
    killed_after(8 * MIB, &user, &relay, &sent, "in");
    (server, relay, user, sent)
}

/// Where such a recipient left `a.bin`.
fn first_part(user: &User) -> PathBuf {
    user.at("in").join(user.listed("in").into_iter().find(|name| name.starts_with("a.bin.")).unwrap())
}

/// Receives into `folder` until so many bytes came, and is killed.
pub(crate) fn killed_after(bytes: usize, user: &User, relay: &Relay, sent: &Sent, folder: &str) {
    let stop = relay.received() + bytes as u64;
    relay.down_to(stop);
    let receiving = user.start(&["receive", "--yes", "-o", folder, &sent.link]);
    relay.until_received(stop - 16 * 1024);
    killed(receiving);
    relay.open();
}

#[test]
fn a_part_that_somebody_added_to_is_fetched_again() {
    let (_server, _relay, user, sent) = killed_recipient();
    fs::OpenOptions::new().append(true).open(first_part(&user)).unwrap().write_all(b"more").unwrap();
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.bin", &bytes(MIB));
    user.assert_has("in/b.bin", &bytes(19 * MIB));
}

#[test]
fn a_part_that_became_a_pipe_is_not_waited_for() {
    let (_server, _relay, user, sent) = killed_recipient();
    let first = first_part(&user);
    fs::remove_file(&first).unwrap();
    assert!(Command::new("mkfifo").arg(&first).status().unwrap().success());
    ended(&user.receive(&sent.link), 1);
    fs::remove_file(&first).unwrap();
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.bin", &bytes(MIB));
}

#[test]
fn one_file_of_notes_that_can_not_be_used_is_passed_over() {
    let (_server, _relay, user, sent) = killed_recipient();
    let kept = user.kept().pop().unwrap();
    fs::rename(&kept, kept.with_extension("3")).unwrap();
    fs::create_dir(&kept).unwrap();
    let said = ended(&user.receive(&sent.link), 0);
    assert!(said.contains("going on at"), "{said}");
}

/// A clock that was far back, and is right again.
#[test]
fn notes_that_seem_old_are_gone_on_with() {
    let (_server, _relay, user, sent) = killed_recipient();
    let kept = user.kept().pop().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(9 * 24 * 3600);
    fs::File::options().append(true).open(&kept).unwrap().set_modified(long_ago).unwrap();
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.bin", &bytes(MIB));
}

#[test]
fn what_the_server_gave_up_is_sent_anew() {
    let server = Server::with(Store::Embedded, &["--upload-window", "1s"]);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(20 * MIB));
    killed(held_up(&user, &relay));
    relay.open();
    until("it is given up", Duration::from_secs(30), || server.blobs().is_empty());
    let output = user.run(&["send", "a.bin"]);
    let said = err(&output);
    assert!(said.contains("beginning anew"), "{said}");
    ended(&user.receive(&Sent::of(&output).link), 0);
}

#[test]
fn what_was_kept_second_or_half_is_found() {
    let (_server, _relay, user, sent) = killed_recipient();
    // The first of two at once is gone by now, and a disk that was full took half a line.
    let kept = user.kept().pop().unwrap();
    fs::rename(&kept, kept.with_extension("1")).unwrap();
    fs::OpenOptions::new().append(true).open(kept.with_extension("1")).unwrap().write_all(b"{\"claim\":\n").unwrap();
    let said = ended(&user.receive(&sent.link), 0);
    assert!(said.contains("going on at"), "{said}");
    user.assert_has("in/b.bin", &bytes(19 * MIB));
    assert!(user.kept().is_empty());
}

#[test]
fn what_came_meanwhile_is_not_replaced_although_something_else_may_be() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(MIB));
    user.file("b.bin", &bytes(19 * MIB));
    let sent = user.send(&["a.bin", "b.bin"]);
    user.file("in/a.bin", b"old");
    let stop = relay.received() + 8 * MIB as u64;
    relay.down_to(stop);
    let answers = [("Overwrite it? [y/N] ", "y\n")];
    let receiving = user.at_terminal(&answers, &["receive", "--yes", "-o", "in", &sent.link]).spawn().unwrap();
    relay.until_received(stop - 16 * 1024);
    user.file("in/b.bin", b"mine");
    relay.open();
    ended(&receiving.wait_with_output().unwrap(), 1);
    user.assert_has("in/b.bin", b"mine");
    user.assert_has("in/a.bin", &bytes(MIB));
    fs::remove_file(user.at("in/b.bin")).unwrap();
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/b.bin", &bytes(19 * MIB));
}

#[test]
fn a_network_that_cuts_every_connection_is_outlasted() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let content = bytes(3_000_000);
    user.file("a.bin", &content);
    let sent = user.send(&["a.bin"]);
    relay.cut_after(400_000);
    let received = user.receive(&sent.link);
    ended(&received, 0);
    user.assert_has("in/a.bin", &content);
    assert_eq!(receipt(&user, &sent)["state"], "finished");
}

#[test]
fn a_recipient_of_little_may_be_killed_again_and_again() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let content = bytes(1_400_000);
    user.file("a.bin", &content);
    let sent = user.send(&["a.bin"]);
    // Too soon for a whole record, which alone would last.
    for _ in 0..6 {
        let stop = relay.received() + 150_000;
        relay.down_to(stop);
        let receiving = user.start(&["receive", "--yes", "-o", "in", &sent.link]);
        relay.until_received(stop - 16 * 1024);
        killed(receiving);
        relay.open();
    }
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.bin", &content);
    assert_eq!(receipt(&user, &sent)["state"], "finished");
}

/// Everything that is kept is for the user alone.
#[track_caller]
fn assert_is_private(user: &User) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let kept = user.kept();
    assert!(!kept.is_empty(), "something is kept");
    for file in &kept {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }
    assert_eq!(mode(&user.home().join(".cache/onetimeshare")), 0o700);
}

/// Kills the server, the client, and so on, five times: whenever a sixth of `size` more has passed. Gives the last client.
fn kill_by_turns(
    server: &mut Server,
    relay: &Relay,
    size: u64,
    start: impl Fn() -> Child,
    passed: impl Fn() -> u64,
    gate: impl Fn(u64),
) -> Child {
    let mut stop = passed() + size / 6;
    gate(stop);
    let mut client = start();
    for turn in 0..5 {
        until("bytes pass", Duration::from_secs(600), || passed() + 16 * 1024 >= stop);
        if turn % 2 == 0 {
            server.crash();
            relay.lead_to(server.address);
        } else {
            client.kill().unwrap();
            client.wait().unwrap();
        }
        stop = passed() + size / 6;
        gate(stop);
        if turn % 2 == 1 {
            client = start();
        }
    }
    relay.open();
    client
}

/// `SIZE=5G cargo test --test cli three_servers` takes as much.
#[test]
fn three_servers_and_two_clients_are_killed_each_way_and_all_of_it_arrives() {
    let size: ByteSize = std::env::var("SIZE").map_or(ByteSize::mib(40), |size| size.parse().unwrap());
    let mut server = Server::with(Store::Embedded, &["--max-size", &size.as_u64().to_string()]);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let mut random = fs::File::open("/dev/urandom").unwrap().take(size.as_u64());
    io::copy(&mut random, &mut fs::File::create(user.at("a.bin")).unwrap()).unwrap();

    let send = || user.start(&["send", "a.bin"]);
    let sending = kill_by_turns(&mut server, &relay, size.as_u64(), send, || relay.sent(), |to| relay.up_to(to));
    let sent = Sent::of(&sending.wait_with_output().unwrap());

    let receive = || user.start(&["receive", "--yes", "-o", "in", &sent.link]);
    let down = |to| relay.down_to(to);
    let receiving = kill_by_turns(&mut server, &relay, size.as_u64(), receive, || relay.received(), down);
    ended(&receiving.wait_with_output().unwrap(), 0);
    let same = Command::new("cmp").args(["a.bin", "in/a.bin"]).current_dir(user.at("")).output().unwrap();
    ended(&same, 0);
    let receipt = receipt(&user, &sent);
    assert_eq!((&receipt["state"], receipt["claims"].as_array().unwrap().len()), (&"finished".into(), 1), "{receipt}");
    assert!(user.kept().is_empty());
}

/// The server has the bytes of one upload, whole or not.
#[track_caller]
fn assert_one_is_left(server: &Server) {
    until("what was given up is deleted", Duration::from_secs(10), || server.blobs().len() == 1);
}

#[test]
fn a_file_that_changed_meanwhile_is_noticed_and_sent_under_other_keys() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(20 * MIB));
    let sending = held_up(&user, &relay);
    killed(sending);
    relay.open();

    // The same size, another time.
    let other = bytes(20 * MIB + 1)[1..].to_vec();
    user.file("a.bin", &other);
    let output = user.run(&["send", "a.bin"]);
    assert!(ended(&output, 0).contains("files changed since the last run"), "{}", ended(&output, 0));
    assert_one_is_left(&server);
    ended(&user.receive(&Sent::of(&output).link), 0);
    user.assert_has("in/a.bin", &other);
}

#[test]
fn a_file_that_changed_unseen_is_told_by_its_notes() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let content = bytes(20 * MIB);
    let all = bytes(20 * MIB + 1)[1..].to_vec();
    // A bit of each record: how far the server came is not known.
    let mut bits = content.clone();
    bits.iter_mut().skip(99).step_by(250_000).for_each(|byte| *byte ^= 1);
    for other in [all, bits] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let write = |content: &[u8]| {
            user.file("a.bin", content);
            fs::OpenOptions::new().write(true).open(user.at("a.bin")).unwrap().set_modified(time).unwrap();
        };
        write(&content);
        killed(held_up(&user, &relay));
        relay.open();

        // Size and time as before: only what is sealed again shows it.
        write(&other);
        let output = user.run(&["send", "a.bin"]);
        assert!(ended(&output, 0).contains("beginning anew"), "{}", ended(&output, 0));
        assert_one_is_left(&server);
        ended(&user.receive(&Sent::of(&output).link), 0);
        user.assert_has("in/a.bin", &other);
        fs::remove_file(user.at("in/a.bin")).unwrap();
    }
}

#[test]
fn a_file_that_changes_while_it_is_sent_becomes_no_share() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(60 * MIB));
    // What another run goes on with is given up as well.
    killed(held_up(&user, &relay));
    let sending = held_up(&user, &relay);
    user.file("a.bin", b"short");
    relay.open();
    let output = sending.wait_with_output().unwrap();
    assert!(ended(&output, 1).contains("changed while it was being sent"), "{}", ended(&output, 1));
    assert!(output.stdout.is_empty() && user.kept().is_empty());
    until("its bytes are freed", Duration::from_secs(30), || server.blobs().is_empty());
}

#[test]
fn an_interrupted_command_says_so_and_goes_on_later() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(20 * MIB));
    let sending = held_up(&user, &relay);
    crate::server::signal("INT", sending.id());
    let output = sending.wait_with_output().unwrap();
    assert!(ended(&output, 130).contains("goes on with the same command"));
    relay.open();
    ended(&user.run(&["send", "a.bin"]), 0);
}

#[test]
fn an_interrupted_stream_is_not_said_to_go_on() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    let mut sending = user.command(&["send", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    // More than the request that carries it would take: it has begun.
    sending.stdin.as_mut().unwrap().write_all(&bytes(4 * MIB)).unwrap();
    relay.until_sent(MIB as u64);
    crate::server::signal("INT", sending.id());
    let said = ended(&sending.wait_with_output().unwrap(), 130);
    assert!(said.contains("nothing was shared") && !said.contains("goes on"), "{said}");
}

#[test]
fn a_short_file_goes_on_at_no_more_than_its_size() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.txt", b"ab");
    user.send(&["a.txt"]);
    let (sent, received) = (relay.sent(), relay.received());
    // The same again, but for the last answer.
    relay.down_to(2 * received - 1);
    let sending = user.start(&["send", "a.txt"]);
    relay.until_sent(2 * sent);
    killed(sending);
    relay.open();
    let said = ended(&user.run(&["send", "a.txt"]), 0);
    assert!(said.contains("going on at 0 B") || said.contains("going on at 2 B"), "{said}");
}

/// The most memory that a running command held so far, in bytes.
fn held(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The most that it held until it was done.
fn peak(mut child: Child) -> u64 {
    let mut peak = 0;
    until("it is done", Duration::from_secs(300), || {
        peak = peak.max(held(&child));
        child.try_wait().unwrap().is_some()
    });
    assert!(wait(&mut child).success());
    peak
}

/// What a command holds that says something on stdout and then waits: one that is soon over could be over before it is looked at.
fn held_meanwhile(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let held = held(&child);
    killed(child);
    held
}

#[test]
fn a_gigabyte_takes_no_more_memory_than_a_few_parts() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let shared = |size| {
        fs::File::create(user.at("a.bin")).unwrap().set_len(size).unwrap();
        let mut sending = user.command(&["send", "--json", "a.bin"]);
        let link = fs::File::create(user.at("link")).unwrap();
        let peak = peak(sending.stdout(link).spawn().unwrap());
        let share: Value = serde_json::from_slice(&fs::read(user.at("link")).unwrap()).unwrap();
        (peak, share["link"].as_str().unwrap().to_owned())
    };
    // More than a pipe takes.
    let (_, few) = shared(MIB as u64);
    let few_sent = held_meanwhile(&mut user.command(&["send", "--wait", "a.bin"]));
    let few_received = held_meanwhile(&mut user.command(&["receive", "--yes", "-o", "-", &few]));
    let (sent, link) = shared(1 << 30);
    let received = peak(user.start(&["receive", "--yes", "-o", "in", &link]));
    assert_eq!(fs::metadata(user.at("in/a.bin")).unwrap().len(), 1 << 30);
    for (many, few) in [(sent, few_sent), (received, few_received)] {
        assert!(few > 0 && many < few + 20 * MIB as u64, "{many} and {few} bytes");
    }
}

#[test]
fn ten_thousand_files_take_little_more_memory_than_one() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let folder = format!("{0}/{0}/{0}/d", "long".repeat(50));
    user.file("one", b"1");
    (0..10_000).for_each(|number| user.file(&format!("{folder}/{number:05}"), b"1"));
    let [one, many] = ["one", &folder].map(|path| held_meanwhile(&mut user.command(&["send", "--wait", path])));
    assert!(one > 0 && many < one + 10 * MIB as u64, "{many} and {one} bytes");
}
