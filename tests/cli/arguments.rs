//! What is asked for, and where it comes from.

use std::fs;
use std::process::Command;

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
    assert!(out(&user.run(&["man", "send"])).contains("ONETIMESHARE_SERVER"));
    let page = out(&user.run(&["man"]));
    assert!(page.contains("data\\-dir") && page.contains("DATA_DIR"), "{page}");
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
fn what_is_wrong_says_how_it_is_right() {
    let user = User::new("http://127.0.0.1:1");
    user.file("a.txt", b"a");
    for (arguments, advice) in [
        (&["send"][..], "name files or folders"),
        (&["serve", "--max-size", "abc"], "like 500MiB"),
        (&["serve", "--redis-port", "tcp://10.0.0.1:6379"], "like 6379"),
        (&["takedown", "https://a.example/s/0123"], "32 hex digits"),
        (&["takedown"], "<ID>"),
        (&["send", "-dash"], "--help"),
    ] {
        let said = ended(&user.run(arguments), 2);
        assert!(said.starts_with("onetimeshare: ") && said.contains(advice), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn files_go_into_a_folder_alone() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt"]);
    for file in ["a.txt", "a.txt/below"] {
        assert!(ended(&user.run(&["receive", "--yes", "-o", file, &sent.link]), 1).contains("-o names a folder"));
    }
    ended(&user.receive(&sent.link), 0);
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
    fs::remove_file(folder.join("config.json")).unwrap();
    fs::create_dir(folder.join("config.json")).unwrap();
    let said = ended(&user.run(&["send", "a.txt"]), 1);
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
    user.file("target/b.txt", b"b");
    std::os::unix::fs::symlink("target", user.at("folder")).unwrap();
    let sent = user.send(&["folder"]);
    ended(&user.run(&["receive", "--yes", "-o", "other", &sent.link]), 0);
    assert_eq!(user.listed("other"), ["folder/b.txt"]);
}

#[test]
fn what_is_nothing_to_send_is_skipped_where_something_is_left() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("d/a.txt", b"a");
    fs::create_dir_all(user.at("d/empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", user.at("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(user.at("pipe")).status().unwrap().success());
    let output = user.run(&["send", "dangling", "pipe", "d"]);
    let said = ended(&output, 0);
    for what in ["a link that leads nowhere: dangling", "a special file: pipe", "an empty folder: "] {
        assert!(said.contains(&format!("skipped, {what}")), "{what} in {said}");
    }
    ended(&user.receive(&crate::user::Sent::of(&output).link), 0);
    assert_eq!(user.listed("in"), ["d/a.txt"]);
    assert!(ended(&user.run(&["send", "dangling"]), 2).contains("dangling is a link that leads nowhere"));
    assert!(ended(&user.run(&["send", "pipe"]), 2).contains("by - from standard input"));
    ended(&user.run(&["send", "d", "missing"]), 1);
}

/// What a command shows on a terminal of so many columns.
fn shown(user: &User, columns: u32, command: &str) -> String {
    let mut script = Command::new("script");
    let binary = env!("CARGO_BIN_EXE_onetimeshare");
    script.args(["-qec", &format!("stty rows 24 cols {columns}; {binary} {command}"), "/dev/null"]);
    user.settle(&mut script);
    let output = script.env("TERM", "xterm").output().unwrap();
    ended(&output, 0);
    out(&output)
}

#[test]
fn a_narrow_terminal_is_told_what_a_qr_code_takes() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    assert!(shown(&user, 100, "send --qr a.txt").contains('▀'));
    let narrow = shown(&user, 30, "send --qr a.txt");
    assert!(!narrow.contains('▀') && narrow.contains("columns: make the terminal wider"), "{narrow}");
}

#[test]
fn progress_takes_one_line_of_a_narrow_terminal() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    fs::File::create(user.at("a.bin")).unwrap().set_len(200 << 20).unwrap();
    let shown = shown(&user, 40, "send a.bin");
    let lines = shown.split(['\r', '\n']).filter(|line| line.contains("Sending"));
    let widths: Vec<usize> = lines.map(|line| line.split("Sending").nth(1).unwrap().chars().count()).collect();
    assert!(!widths.is_empty() && widths.iter().all(|width| *width <= 33), "{widths:?} {shown:?}");
}
