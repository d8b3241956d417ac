//! From sender to recipient, by every way that there is.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use onetimeshare::seal::PLAIN_RECORD;
use serde_json::Value;

use crate::sender::bytes;
use crate::server::{Server, Store};
use crate::user::{Sent, User, ended, err, out};

on_both_stores! {
    fn a_file_arrives_whatever_its_size(store) {
        let server = Server::start(store);
        let (sender, recipient) = (User::new(&server.origin()), User::new(&server.origin()));
        let part = 12 * PLAIN_RECORD;
        for size in [0, 1, PLAIN_RECORD - 1, PLAIN_RECORD, PLAIN_RECORD + 1, part, part + 1, 4 * part + 5] {
            let (name, content) = (format!("Grüße & Küsse 🎁 {size}.bin"), bytes(size));
            sender.file(&name, &content);
            let sent = sender.send(&[&name]);
            let received = recipient.receive(&sent.link);
            ended(&received, 0);
            assert_eq!(out(&received), format!("in/{name}\n"));
            recipient.assert_has(&format!("in/{name}"), &content);
            let receipt: Value = serde_json::from_str(&out(&sender.run(&["receipt", "--json", &sent.receipt]))).unwrap();
            assert_eq!(receipt["state"], "finished", "{receipt}");
            assert_eq!(ended(&recipient.receive(&sent.link), 3).lines().count(), 1);
        }
        assert!(sender.kept().is_empty() && recipient.kept().is_empty(), "nothing is kept of what is over");
    }

    fn a_folder_arrives_with_its_names(store) {
        let server = Server::start(store);
        let (sender, recipient) = (User::new(&server.origin()), User::new(&server.origin()));
        let names = ["Fötos/a.jpg", "Fötos/leer", "Fötos/Sommer ☀️/b.jpg", "Fötos/Sommer ☀️/.versteckt", "Fötos/z/z/z"];
        for (number, name) in names.iter().enumerate() {
            sender.file(name, &bytes(if number == 1 { 0 } else { number * 150_000 + 1 }));
        }
        symlink("a.jpg", sender.at("Fötos/link.jpg")).unwrap();
        assert!(Command::new("mkfifo").arg(sender.at("Fötos/pipe")).status().unwrap().success());
        let output = sender.run(&["send", "--json", "Fötos"]);
        let said = ended(&output, 0);
        assert!(said.contains("skipped, a symbolic link") && said.contains("Fötos/link.jpg"), "{said}");
        assert!(said.contains("skipped, a special file") && said.contains("Fötos/pipe"), "{said}");
        let share: Value = serde_json::from_str(&out(&output)).unwrap();
        for key in ["id", "link", "plain_link", "receipt", "owner_token", "expires_at", "downloads"] {
            assert!(!share[key].is_null(), "{key} in {share}");
        }
        ended(&recipient.receive(share["link"].as_str().unwrap()), 0);
        let mut expected: Vec<String> = names.map(String::from).into();
        expected.sort();
        assert_eq!(recipient.listed("in"), expected);
        for name in names {
            recipient.assert_has(&format!("in/{name}"), &fs::read(sender.at(name)).unwrap());
        }
    }

    fn a_stream_of_unknown_length_arrives(store) {
        let server = Server::start(store);
        let user = User::new(&server.origin());
        for size in [0, 5, PLAIN_RECORD, 12 * PLAIN_RECORD, 9_000_000] {
            let content = bytes(size);
            let sent = Sent::of(&user.fed(&["send", "-"], &content));
            let received = user.run(&["receive", "--yes", "-o", "-", &sent.link]);
            ended(&received, 0);
            assert!(received.stdout == content, "{size} bytes, {} received", received.stdout.len());
        }
    }

    fn a_password_is_needed_and_a_wrong_one_costs_nothing(store) {
        let server = Server::start(store);
        let user = User::new(&server.origin());
        user.file("Gehälter.bin", &bytes(300_000));
        let sent = Sent::of(&user.fed(&["send", "--password-stdin", "Gehälter.bin"], "Mähne 7\n".as_bytes()));
        let take = ["receive", "--yes", "-o", "in", "--password-stdin", &sent.link];
        ended(&user.fed(&take, b"falsch\n"), 4);
        ended(&user.receive(&sent.link), 4);
        // The link may come from standard input too, and then comes first.
        let take = ["receive", "--yes", "-o", "in", "--password-stdin", "-"];
        ended(&user.fed(&take, format!("{}\nMähne 7\n", sent.link).as_bytes()), 0);
        user.assert_has("in/Gehälter.bin", &bytes(300_000));
    }
}

#[test]
fn a_text_is_shown_and_may_become_a_file() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let text = "Hallo, Welt\n\tzweite Zeile 🎁\n";
    let sent = user.send(&["--text", text]);
    let received = user.run(&["receive", "--yes", &sent.link]);
    ended(&received, 0);
    assert_eq!(out(&received), text);
    let sent = Sent::of(&user.fed(&["send", "--text", "-"], text.as_bytes()));
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/text.txt", text.as_bytes());
}

#[test]
fn a_text_is_no_longer_than_what_is_shown() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let most = "x".repeat(1 << 20);
    let sent = Sent::of(&user.fed(&["send", "--text", "-"], most.as_bytes()));
    assert!(out(&user.run(&["receive", "--yes", &sent.link])) == most);
    let said = ended(&user.fed(&["send", "--text", "-"], format!("{most}x").as_bytes()), 2);
    assert!(said.contains("send it as a file"), "{said}");
    ended(&user.fed(&["send", "--text", "-"], b"\xff\xfe"), 2);
}

#[test]
fn plain_links_go_both_ways() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let content = bytes(700_000);
    user.file("a.bin", &content);
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-sfS"]).args(arguments).current_dir(user.at("")).output().unwrap();
        ended(&output, 0);
        out(&output)
    };
    let link = curl(&["-T", "a.bin", &format!("{}/b.bin", server.origin())]);
    ended(&user.receive(link.trim()), 0);
    user.assert_has("in/b.bin", &content);

    let sent = user.send(&["a.bin"]);
    curl(&["-o", "c.bin", "-L", "-d", "", &sent.plain_link()]);
    user.assert_has("c.bin", &content);

    let link = curl(&["-T", "a.bin", "-H", "Share-Password: Mähne 7", &format!("{}/p.bin", server.origin())]);
    let take = ["receive", "--yes", "-o", "in", "--password-stdin", link.trim()];
    ended(&user.fed(&take, "Mähne 7\n".as_bytes()), 0);
    user.assert_has("in/p.bin", &content);

    let sent = Sent::of(&user.fed(&["send", "--password-stdin", "a.bin"], b"pw\n"));
    curl(&["-o", "d.bin", "-L", "--data-urlencode", "password=pw", &sent.plain_link()]);
    user.assert_has("d.bin", &content);

    let link = curl(&["-F", "text=ein Text", &format!("{}/", server.origin())]);
    assert_eq!(out(&user.run(&["receive", "--yes", link.trim()])), "ein Text");

    let sent = user.send(&["--text", "ein Text"]);
    assert_eq!(curl(&["-L", "-d", "", &sent.plain_link()]), "ein Text");

    user.file("folder/x", b"x");
    user.file("folder/y/z", &content);
    let files = ["file=@folder/x;filename=folder/x", "file=@folder/y/z;filename=folder/y/z"];
    let link = curl(&["-F", "password=pw", "-F", files[0], "-F", files[1], &format!("{}/", server.origin())]);
    let take = ["receive", "--yes", "-o", "several", "--password-stdin", link.trim()];
    ended(&user.fed(&take, b"pw\n"), 0);
    assert_eq!(user.listed("several"), ["folder/x", "folder/y/z"]);
    user.assert_has("several/folder/y/z", &content);
    let sent = user.send(&["folder"]);
    curl(&["-o", "folder.zip", "-L", "-d", "", &sent.plain_link()]);
    let tested = Command::new("python3")
        .args(["-m", "zipfile", "-e", "folder.zip", "unzipped"])
        .current_dir(user.at(""))
        .output();
    ended(&tested.unwrap(), 0);
    assert_eq!(user.listed("unzipped"), ["folder/x", "folder/y/z"]);
    user.assert_has("unzipped/folder/y/z", &content);
}

#[test]
fn files_of_one_name_are_told_apart() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("one/a.txt", b"one");
    user.file("two/a.txt", b"two");
    let sent = user.send(&["one/a.txt", "two/a.txt", "--note", "both"]);
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.txt", b"one");
    user.assert_has("in/a (2).txt", b"two");
}

#[test]
fn several_downloads_are_as_many_as_were_allowed() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.txt", b"a");
    let sent = user.send(&["a.txt", "--downloads", "2", "--expires-in", "2h"]);
    for folder in ["1", "2"] {
        ended(&user.run(&["receive", "--yes", "-o", folder, &sent.link]), 0);
        user.assert_has(&format!("{folder}/a.txt"), b"a");
    }
    let third = user.receive(&sent.link);
    ended(&third, 3);
    assert!(err(&third).contains("somebody took it"), "{}", err(&third));
}
