//! How commands end: a code and one line for each thing that can go wrong.

use std::process::Command;

use crate::relay::Relay;
use crate::sender::{Sealed, Upload, bytes, unknown_id};
use crate::server::{Server, Store};
use crate::user::{User, ended, err, out};

/// The link of what a test sealed itself.
fn link(server: &Server, upload: &Upload, sealed: &Sealed) -> String {
    format!("{}/s/{}#{}", server.origin(), upload.id, sealed.secret)
}

#[track_caller]
fn one_line(output: &std::process::Output, code: i32) -> String {
    let said = ended(output, code);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("onetimeshare: "), "{said}");
    said
}

#[test]
fn what_is_gone_says_what_became_of_it() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let never = format!("{}/s/{}#{}", server.origin(), unknown_id(), crate::sender::token());
    assert!(one_line(&user.receive(&never), 3).contains("nothing is there"));
    let sent = user.send(&["a.txt"]);
    ended(&user.receive(&sent.link), 0);
    assert!(one_line(&user.receive(&sent.link), 3).contains("somebody took it at 20"));
    assert!(one_line(&user.run(&["receipt", "--revoke", &sent.receipt]), 3).contains("nothing left to revoke"));
    let sent = user.send(&["a.txt"]);
    ended(&user.run(&["receipt", "--revoke", &sent.receipt]), 0);
    assert!(one_line(&user.receive(&sent.link), 3).contains("withdrew"));
    assert!(one_line(&user.run(&["receipt", &never.replace("/s/", "/r/")]), 3).contains("nothing is there"));
    assert!(user.kept().is_empty());
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let relay = Relay::before("127.0.0.1:1".parse().unwrap());
    let user = User::new(&relay.origin());
    user.file("a.txt", b"a");
    assert!(one_line(&user.run(&["send", "a.txt"]), 5).contains("can't reach"));
    let link = format!("{}/s/{}#{}", relay.origin(), unknown_id(), crate::sender::token());
    assert!(one_line(&user.receive(&link), 5).contains("can't reach"));
    one_line(&user.run(&["receipt", "--follow", &link.replace("/s/", "/r/")]), 5);
}

#[test]
fn a_server_without_tls_is_told_so() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin().replace("http:", "https:"));
    user.file("a.txt", b"a");
    assert!(one_line(&user.run(&["send", "a.txt"]), 5).contains("write http://"));
}

#[test]
fn a_full_disk_is_told_and_what_came_is_kept() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let content = bytes(5_000_000);
    user.file("a.bin", &content);
    let sent = user.send(&["a.bin"]);
    // A limit on files is as good as a disk: writing fails with an error of its own.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" receive --yes -o in \"$1\""]);
    limited.args([env!("CARGO_BIN_EXE_onetimeshare"), &sent.link]).env_clear();
    user.settle(&mut limited);
    assert!(one_line(&limited.output().unwrap(), 6).contains("make room"));
    assert!(user.listed("in").iter().all(|name| name.ends_with(".part")));
    assert!(ended(&user.receive(&sent.link), 0).contains("going on at"));
    user.assert_has("in/a.bin", &content);
}

/// Whoever reads of it may leave, or have no room; the files are here, and the sender learns of it.
#[test]
fn what_arrived_has_arrived_whoever_is_told() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.bin", &bytes(1000));
    for (output, code) in [("in", 6), ("-", 6)] {
        let sent = user.send(&["a.bin"]);
        let mut receive = user.command(&["receive", "--yes", "-o", output, &sent.link]);
        receive.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let said = one_line(&receive.output().unwrap(), code);
        assert!(said.contains("can't write to stdout"), "{said}");
        let state = if output == "in" { "finished: " } else { "claimed: " };
        let receipt = out(&user.run(&["receipt", &sent.receipt]));
        assert!(receipt.starts_with(state), "{receipt}");
    }
    user.assert_has("in/a.bin", &bytes(1000));
}

#[test]
fn nothing_is_taken_where_nothing_can_be_written() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("empty.txt", b"");
    let sent = user.send(&["empty.txt"]);
    // Nobody can make a file there, not even root.
    one_line(&user.run(&["receive", "--yes", "-o", "/proc", &sent.link]), 1);
    one_line(&user.run(&["receive", "--yes", "-o", "empty.txt", &sent.link]), 1);
    assert!(out(&user.run(&["receipt", &sent.receipt])).starts_with("ready: "));
    assert!(user.kept().is_empty());
}

#[test]
fn nothing_is_taken_where_its_claim_can_not_be_kept() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.bin", &bytes(1000));
    let sent = user.send(&["a.bin"]);
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" receive --yes -o in \"$1\""]);
    full.args([env!("CARGO_BIN_EXE_onetimeshare"), &sent.link]).env_clear();
    user.settle(&mut full);
    assert!(one_line(&full.output().unwrap(), 6).contains("make room"));
    let mut nowhere = user.command(&["receive", "--yes", "-o", "in", &sent.link]);
    nowhere.env("XDG_CACHE_HOME", user.at("a.bin"));
    assert!(one_line(&nowhere.output().unwrap(), 1).contains("XDG_CACHE_HOME"));
    assert!(out(&user.run(&["receipt", &sent.receipt])).starts_with("ready: "));
    ended(&user.receive(&sent.link), 0);
}

#[test]
fn a_mistyped_link_is_no_wrong_password() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    let mistyped = format!("{}#{}", sent.link.split('#').next().unwrap(), crate::sender::token());
    assert!(one_line(&user.receive(&mistyped), 3).contains("the link is not complete, or was changed"));
    ended(&user.receive(&sent.link), 0);
}

#[test]
fn a_server_without_room_is_told() {
    let server = Server::with(Store::Embedded, &["--max-size", "1MiB"]);
    let user = User::new(&server.origin());
    user.file("a.bin", &bytes(2 << 20));
    one_line(&user.run(&["send", "a.bin"]), 6);
    assert!(user.kept().is_empty());
    ended(&user.fed(&["send", "-"], &bytes(2 << 20)), 6);
}

#[test]
fn what_does_not_verify_is_never_called_a_file() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    for (number, offset) in [(0, 300_000), (1, 799_999), (2, 21), (3, 17)] {
        let mut sealed = Sealed::named(&bytes(800_000), &format!("{number}.bin"), "", None);
        let at = offset.min(sealed.content.len() - 1);
        sealed.content[at] ^= 1;
        let upload = Upload::publish(&server, &sealed, 1);
        one_line(&user.receive(&link(&server, &upload, &sealed)), 7);
        assert!(!user.at(&format!("in/{number}.bin")).exists());
        assert_ne!(upload.state(&server), "finished");
    }
    // A manifest under other keys.
    let mut sealed = Sealed::new(b"a");
    sealed.manifest = Sealed::new(b"a").manifest;
    let upload = Upload::publish(&server, &sealed, 1);
    one_line(&user.receive(&link(&server, &upload, &sealed)), 7);
    assert_eq!(upload.state(&server), "ready", "what can't be read is not taken");
}

#[test]
fn wrong_arguments_are_told_in_a_line() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let share = format!("{}/s/{}#{}", server.origin(), unknown_id(), crate::sender::token());
    for wrong in [
        &["send", "-", "a.txt"][..],
        &["send", "--server", "nonsense", "a.txt"],
        &["send", "--server", "http://192.0.2.1", "a.txt"],
        &["send", "--password", "a.txt"],
        &["send", "--password-stdin", "a.txt"],
        &["send", "--expires-in", "soon", "a.txt"],
        &["receive", "nonsense"],
        &["receive"],
        &["receive", &share.replace("/s/", "/r/")],
        &["receive", "http://192.0.2.1/s/0123456789abcdef0123456789abcdef#AAAAAAAAAAAAAAAAAAAAAA"],
        &["receipt", &share],
    ] {
        one_line(&user.run(wrong), 2);
    }
    one_line(&user.run(&["send", "missing.txt"]), 1);
}

#[test]
fn what_a_server_does_not_allow_is_told_as_it_was_asked_for() {
    let server =
        Server::with(Store::Embedded, &["--max-size", "1MiB", "--max-downloads", "9", "--max-expires-in", "7d"]);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    user.file("large.bin", &bytes((1 << 20) + 1));
    for (arguments, code, told) in [
        (&["--expires-in", "8d", "a.txt"][..], 2, "--expires-in may be at most 7d"),
        (&["--downloads", "10", "a.txt"], 2, "--downloads may be from 1 to 9"),
        (&["--downloads", "0", "a.txt"], 2, "--downloads may be from 1 to 9"),
        (&["large.bin"], 6, "at most 1.0 MiB (1048576 bytes)"),
    ] {
        let said = one_line(&user.run(&[&["send"], arguments].concat()), code);
        assert!(said.contains(told), "{said}");
    }
    let said = ended(&user.fed(&["send", "-"], &bytes((1 << 20) + 1)), 6);
    assert!(said.contains("at most 1.0 MiB (1048576 bytes)"), "{said}");
    ended(&user.fed(&["send", "-"], &bytes(1 << 20)), 0);
}

/// `send a.bin`, which can't write files of more than so many blocks of 512 bytes: as good as a full disk.
fn send_into_a_full_cache(user: &User, blocks: u32) -> std::process::Output {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" send a.bin")]);
    limited.arg(env!("CARGO_BIN_EXE_onetimeshare")).env_clear();
    user.settle(&mut limited);
    limited.output().unwrap()
}

#[test]
fn a_full_disk_keeps_no_sender_from_going_on() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let content = bytes(60 << 20);
    user.file("a.bin", &content);
    assert!(one_line(&send_into_a_full_cache(&user, 2), 6).contains("make room"));
    let output = user.run(&["send", "a.bin"]);
    assert!(ended(&output, 0).contains("going on at"), "{}", err(&output));
    ended(&user.receive(&crate::user::Sent::of(&output).link), 0);
    user.assert_has("in/a.bin", &content);
    assert!(user.kept().is_empty());
}

#[test]
fn a_cache_that_takes_nothing_keeps_nothing() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.bin", b"a");
    assert!(ended(&send_into_a_full_cache(&user, 0), 0).contains("can't keep notes"));
    assert!(user.kept().is_empty(), "{:?}", user.kept());
}

#[test]
fn nothing_is_taken_unasked() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    assert!(one_line(&user.run(&["receive", &sent.link]), 2).contains("--yes"));
    assert_eq!(err(&user.run(&["receipt", &sent.receipt])), "");
    assert!(out(&user.run(&["receipt", &sent.receipt])).starts_with("ready: "));
}

#[test]
fn many_files_do_not_go_into_a_pipe() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("d/a.txt", b"a");
    user.file("d/b.txt", b"b");
    let sent = user.send(&["d"]);
    one_line(&user.run(&["receive", "--yes", "-o", "-", &sent.link]), 2);
    ended(&user.receive(&sent.link), 0);
}

#[test]
fn a_proxy_that_is_no_server_is_not_taken_for_one() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    // The metrics' listener answers too, with nothing that a client asks for.
    let other = Server::with(Store::Embedded, &["--metrics-listen", "127.0.0.1:0"]);
    crate::server::until("it says where", std::time::Duration::from_secs(10), || {
        other.printed().contains("metrics on")
    });
    let printed = other.printed();
    let address = printed.split("metrics on ").nth(1).unwrap().split("/metrics").next().unwrap();
    let said =
        ended(&user.run(&["receive", "--yes", &format!("{address}/s/{}#{}", unknown_id(), crate::sender::token())]), 5);
    assert!(said.contains("is it a OneTimeShare server?"), "{said}");
}
