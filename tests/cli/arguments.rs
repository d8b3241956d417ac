//! What is asked for, and where it comes from.

use std::fs;

use crate::sender::bytes;
use crate::server::{Server, Store};
use crate::user::{User, ended, out};

#[test]
fn help_tells_of_the_commands_and_how_they_end() {
    let user = User::new("");
    for command in ["send", "receive", "receipt"] {
        let help = out(&user.run(&[command, "--help"]));
        assert!(help.contains("Exit status:") && help.contains("  7    corrupt"), "{help}");
        assert!(!help.contains("--data-dir"), "{command} has no settings of the server");
        assert!(out(&user.run(&["--help"])).contains(&format!("\n  {command} ")));
        let page = out(&user.run(&["man", command]));
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
        assert!(
            page.contains(&format!("onetimeshare\\-{command}"))
                && page.contains("EXIT STATUS")
                && page.contains("corrupt"),
            "{page}"
        );
    }
    assert!(out(&user.run(&["man"])).contains("data\\-dir"));
    ended(&user.run(&["man", "nonsense"]), 1);
}

#[test]
fn shells_complete_it() {
    let user = User::new("");
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&user.run(&["completions", shell]));
        for word in ["receive", "expires-in", "password-stdin", "insecure-http", "data-dir"] {
            assert!(script.contains(word), "{word} in the script for {shell}");
        }
    }
}

#[test]
fn the_settings_of_a_server_are_no_business_of_a_sender() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let mut command = user.command(&["send", "a.txt"]);
    ended(&command.env("LISTEN", "nonsense").env("REDIS_PORT", "x").output().unwrap(), 0);
    ended(&user.run(&["send", "--data-dir", "x", "a.txt"]), 2);
}

#[test]
fn the_server_may_be_set_in_a_file() {
    let server = Server::start(Store::Embedded);
    let user = User::new("");
    user.file("a.txt", b"a");
    let folder = user.home().join(".config/onetimeshare");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), format!("{{\"server\": \"{}/\"}}", server.origin())).unwrap();
    assert!(user.send(&["a.txt"]).link.starts_with(&format!("{}/s/", server.origin())));
    fs::write(folder.join("config.json"), "server = x").unwrap();
    let said = ended(&user.run(&["send", "a.txt"]), 2);
    assert!(said.contains("config.json"), "{said}");
}

#[test]
fn the_link_may_come_from_standard_input() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    ended(&user.fed(&["receive", "--yes", "-o", "in", "-"], format!("{}\n", sent.link).as_bytes()), 0);
    user.assert_has("in/a.txt", b"a");
    let receipt = user.fed(&["receipt", "-"], sent.receipt.as_bytes());
    assert!(out(&receipt).starts_with("finished: "), "{}", ended(&receipt, 0));
}

#[test]
fn a_password_and_content_may_come_from_standard_input_together() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let content = bytes(100_000);
    let sent = user.fed(&["send", "--password-stdin", "-"], &[b"pw\n", &content[..]].concat());
    let link = crate::user::Sent::of(&sent).link;
    let received = user.fed(&["receive", "--yes", "--password-stdin", "-o", "-", &link], b"pw\n");
    ended(&received, 0);
    assert!(received.stdout == content);
}

#[test]
fn a_link_named_on_the_command_line_is_followed() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("real.txt", b"a");
    std::os::unix::fs::symlink("real.txt", user.at("called.txt")).unwrap();
    let sent = user.send(&["called.txt"]);
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/called.txt", b"a");
    assert_eq!(user.listed("in"), ["called.txt"]);
}
