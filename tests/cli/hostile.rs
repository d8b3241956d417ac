//! Names in a manifest are whatever its sender likes. Nothing leads out of the folder, or over what is there.

use std::fs;
use std::os::unix::fs::symlink;

use onetimeshare::seal::File;

use crate::questions::RECEIVE;
use crate::sender::{Sealed, Upload, bytes, file};
use crate::server::{Server, Store};
use crate::user::{User, ended, out};

/// Puts up files under these names, each with its name's number as content.
fn share(server: &Server, names: &[&str]) -> String {
    let contents: Vec<Vec<u8>> = (0..names.len()).map(|number| number.to_string().into_bytes()).collect();
    let files: Vec<File> = names.iter().zip(&contents).map(|(name, content)| file(name, content)).collect();
    let sealed = Sealed::of(files, "", &contents.concat(), None);
    let upload = Upload::publish(server, &sealed, 1);
    format!("{}/s/{}#{}", server.origin(), upload.id, sealed.secret)
}

#[test]
fn names_lead_nowhere_else() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let names = [
        "../../outside",
        "/absolute",
        "C:\\Windows\\a.txt",
        "a\0b",
        "..",
        "",
        "con",
        "a/../../b",
        "x/",
        "\u{202e}gpj.exe",
        "-rf",
        "same",
        "same",
        "SAME",
        ".bashrc",
        "line\nbreak\x1b[2J",
    ];
    ended(&user.receive(&share(&server, &names)), 0);
    assert_eq!(user.listed("").iter().filter(|name| !name.starts_with("in/")).count(), 0, "{:?}", user.listed(""));
    assert_eq!(fs::read_dir(user.home()).unwrap().count(), 2, "home has its folder, and a cache");
    let listed = user.listed("in");
    assert_eq!(listed.len(), names.len(), "{listed:?}");
    for expected in
        ["outside", "absolute", "C_/Windows/a.txt", "a_b", "_con", "a/b", "same", "same (2)", "SAME (3)", ".bashrc"]
    {
        assert!(listed.iter().any(|name| name == expected), "{expected} in {listed:?}");
    }
    assert!(listed.iter().all(|name| !name.contains(|c: char| c.is_control())), "{listed:?}");
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("outside/precious.txt", b"precious");
    fs::create_dir(user.at("in")).unwrap();
    symlink("../outside", user.at("in/folder")).unwrap();
    symlink("../outside/precious.txt", user.at("in/file.txt")).unwrap();
    symlink("../outside/new.txt", user.at("in/dangling.txt")).unwrap();
    let through = share(&server, &["folder/a.txt", "b.txt"]);
    let said = ended(&user.receive(&through), 1);
    assert!(said.contains("in/folder/a.txt can't be made"), "{said}");
    for name in ["file.txt", "dangling.txt"] {
        let said = ended(&user.receive(&share(&server, &[name])), 1);
        assert!(said.contains("is already there"), "{said}");
    }
    assert_eq!(user.listed("outside"), ["precious.txt"]);
    user.assert_has("outside/precious.txt", b"precious");
    // Nothing was taken: elsewhere it arrives.
    ended(&user.run(&["receive", "--yes", "-o", "elsewhere", &through]), 0);
    assert_eq!(user.listed("elsewhere"), ["b.txt", "folder/a.txt"]);
}

#[test]
fn what_is_there_stays() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("in/a.txt", b"mine");
    let link = share(&server, &["new.txt", "a.txt"]);
    let said = ended(&user.receive(&link), 1);
    assert!(said.contains("in/a.txt is already there"), "{said}");
    user.file("in/folder/x", b"");
    assert!(ended(&user.receive(&share(&server, &["folder"])), 1).contains("a folder of that name is there"));
    user.assert_has("in/a.txt", b"mine");
    assert_eq!(user.listed("in"), ["a.txt", "folder/x"]);
    fs::remove_file(user.at("in/a.txt")).unwrap();
    ended(&user.receive(&link), 0);
    user.assert_has("in/a.txt", b"1");
}

#[test]
fn a_manifest_that_promises_more_or_less_is_refused() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let content = bytes(1000);
    for size in [999, 1001, u64::MAX] {
        let lying = File { size: Some(size), ..file("a.bin", &content) };
        let sealed = Sealed::of(vec![lying], "", &content, None);
        let upload = Upload::publish(&server, &sealed, 1);
        ended(&user.receive(&format!("{}/s/{}#{}", server.origin(), upload.id, sealed.secret)), 7);
    }
    assert!(!user.at("in").exists());
}

#[test]
fn very_long_names_are_cut() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let long = format!("{}.txt", "ü".repeat(300));
    ended(&user.receive(&share(&server, &[&long, &long, &"d/".repeat(1000)])), 0);
    assert_eq!(user.listed("in").len(), 3);
}

#[test]
fn what_a_folder_hides_is_not_written_unseen() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let numbers: Vec<String> = (0..20).map(|number| format!("photo {number}.jpg")).collect();
    let mut names: Vec<&str> = numbers.iter().map(String::as_str).collect();
    names.extend(["../.ssh/config", ".ssh/rc", ".bashrc", "kept/.hidden", "last.jpg"]);
    let link = share(&server, &names);
    let said = ended(&user.run(&["receive", "--yes", &link]), 2);
    assert!(said.contains(".ssh would be written here unseen"), "{said}");
    let asked = user.at_terminal(&[(RECEIVE, "n\n")], &["receive", &link]).output().unwrap();
    ended(&asked, 1);
    assert!(out(&asked).contains("  and 5 more, 40 B in all, among them .bashrc, .ssh\r\n"), "{}", out(&asked));
    assert_eq!(user.listed(""), [""; 0]);
    ended(&user.run(&["receive", "--yes", "-o", ".", &link]), 0);
    user.assert_has(".bashrc", b"22");
}
