//! Proxies, as the usual variables name them. `send.test` is known to them alone, and to no resolver (RFC 6761).

use std::process::Output;

use crate::proxy::Proxy;
use crate::sender::bytes;
use crate::server::{Server, Store};
use crate::terminator::Terminator;
use crate::user::{Sent, User, ended};

const HTTP: &str = "http://send.test";
const HTTPS: &str = "https://send.test";
const SIZE: usize = 1 << 20;

/// Runs a command with these variables.
fn with(user: &User, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = user.command(arguments);
    command.envs(variables.iter().copied()).output().unwrap()
}

/// Sends a file and receives it; gives the share's link.
#[track_caller]
fn round_trip(user: &User, variables: &[(&str, &str)], reach: &[&str]) -> String {
    let content = bytes(SIZE);
    user.file("a.bin", &content);
    let sent = Sent::of(&with(user, variables, &[&["send"], reach, &["a.bin"]].concat()));
    let folder = format!("in-{}", sent.id());
    let receive = [&["receive", "--yes", "-o", &folder, &sent.link], reach].concat();
    ended(&with(user, variables, &receive), 0);
    user.assert_has(&format!("{folder}/a.bin"), &content);
    sent.link
}

#[test]
fn plain_http_is_asked_of_its_proxy() {
    let server = Server::start(Store::Embedded);
    let user = User::new(HTTP);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = Proxy::before(server.address);
        let link = round_trip(&user, &[(variable, &proxy.named("http", ""))], &["--insecure-http"]);
        assert!(link.starts_with("http://send.test/s/"), "{link}");
        let heads = proxy.heads();
        assert!(!heads.is_empty() && proxy.passed() > SIZE as u64, "{variable}: {heads:?}");
        assert!(heads.iter().all(|head| head.contains(" http://send.test/api/v1/")), "{variable}: {heads:?}");
    }
}

#[test]
fn https_goes_through_a_tunnel() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let user = User::new(HTTPS);
    let ca = door.authority().display().to_string();
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = Proxy::before(door.address);
        round_trip(&user, &[(variable, &proxy.named("http", ""))], &["--ca", &ca]);
        let heads = proxy.heads();
        assert!(!heads.is_empty() && proxy.passed() > SIZE as u64, "{variable}: {heads:?}");
        assert!(heads.iter().all(|head| head.starts_with("CONNECT send.test:443 ")), "{variable}: {heads:?}");
    }
}

#[test]
fn socks_is_spoken_too() {
    let server = Server::start(Store::Embedded);
    let proxy = Proxy::before(server.address);
    let user = User::new(HTTP);
    round_trip(&user, &[("ALL_PROXY", &proxy.named("socks5h", ""))], &["--insecure-http"]);
    let heads = proxy.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| head == "SOCKS send.test"), "{heads:?}");
}

#[test]
fn a_proxy_may_ask_for_a_name_and_a_password() {
    let server = Server::start(Store::Embedded);
    let door = Terminator::before(server.address);
    let ca = door.authority().display().to_string();
    for (origin, way_out, reach) in
        [(HTTP, server.address, &["--insecure-http"][..]), (HTTPS, door.address, &["--ca", &ca])]
    {
        let (user, proxy) = (User::new(origin), Proxy::before(way_out));
        round_trip(&user, &[("ALL_PROXY", &proxy.named("http", "me:pa%3Ass@"))], reach);
        let heads = proxy.heads();
        // me:pa:ss
        let shown = |head: &String| head.to_lowercase().contains("proxy-authorization: basic bwu6cge6c3m=");
        assert!(!heads.is_empty() && heads.iter().all(shown), "{heads:?}");
    }
}

#[test]
fn the_proxy_of_one_scheme_is_not_that_of_another() {
    let server = Server::start(Store::Embedded);
    let (right, wrong) = (Proxy::before(server.address), Proxy::before(server.address));
    let user = User::new(HTTP);
    let named = (right.named("http", ""), wrong.named("http", ""));
    let variables = [("HTTP_PROXY", &*named.0), ("HTTPS_PROXY", &*named.1), ("ALL_PROXY", &*named.1)];
    round_trip(&user, &variables, &["--insecure-http"]);
    assert!(!right.heads().is_empty() && wrong.heads().is_empty());
}

#[test]
fn this_machine_is_asked_of_no_proxy() {
    let server = Server::start(Store::Embedded);
    let proxy = Proxy::before(server.address);
    let user = User::new(&server.origin());
    round_trip(&user, &[("ALL_PROXY", &proxy.named("http", "")), ("HTTP_PROXY", &proxy.named("http", ""))], &[]);
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}

#[test]
fn who_needs_no_proxy_is_asked_of_none() {
    let server = Server::start(Store::Embedded);
    let proxy = Proxy::before(server.address);
    let user = User::new(HTTP);
    user.file("a.txt", b"a");
    let named = proxy.named("http", "");
    for but_for in ["send.test", ".test", "a.example, send.test", "*"] {
        let variables = [("ALL_PROXY", &*named), ("NO_PROXY", but_for)];
        let said = ended(&with(&user, &variables, &["send", "--insecure-http", "a.txt"]), 5);
        assert!(said.contains("can't reach http://send.test: "), "{but_for}: {said}");
        assert!(proxy.heads().is_empty(), "{but_for}");
    }
    let by_number = User::new(&format!("http://0.0.0.0:{}", server.address.port()));
    by_number.file("a.txt", b"a");
    ended(&with(&by_number, &[("ALL_PROXY", &named), ("NO_PROXY", "*")], &["send", "--insecure-http", "a.txt"]), 0);
    assert!(proxy.heads().is_empty(), "*, of an address of numbers");
    for but_for in ["end.test", "a.send.test", "10.0.0.0/8"] {
        let before = proxy.heads().len();
        let variables = [("ALL_PROXY", &*named), ("NO_PROXY", but_for)];
        ended(&with(&user, &variables, &["send", "--insecure-http", "a.txt"]), 0);
        assert!(proxy.heads().len() > before, "{but_for}");
    }
}

#[test]
fn a_proxy_that_is_not_there_or_none_is_told() {
    let user = User::new(HTTPS);
    user.file("a.txt", b"a");
    let said = ended(&with(&user, &[("HTTPS_PROXY", "http://me:hush@127.0.0.1:1")], &["send", "a.txt"]), 5);
    assert!(said.contains("can't reach https://send.test through the proxy http://127.0.0.1:1: "), "{said}");
    assert!(said.lines().count() == 1 && !said.contains("hush"), "{said}");
    let said = ended(&with(&user, &[("HTTPS_PROXY", "http://me:hu@sh@127.0.0.1:1")], &["send", "a.txt"]), 5);
    assert!(said.contains("through the proxy http://127.0.0.1:1: ") && !said.contains("sh@"), "{said}");
    for nonsense in ["gopher://127.0.0.1:1", "http://", "not a proxy"] {
        let said = ended(&with(&user, &[("ALL_PROXY", nonsense)], &["send", "a.txt"]), 2);
        assert!(said.contains("ALL_PROXY") && said.contains("http://") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn only_what_decides_must_name_a_proxy() {
    let server = Server::start(Store::Embedded);
    let proxy = Proxy::before(server.address);
    let user = User::new(HTTP);
    user.file("a.txt", b"a");
    let named = proxy.named("http", "");
    // As GNOME sets them.
    let others = [("all_proxy", "socks://127.0.0.1:1/"), ("HTTPS_PROXY", "gopher://127.0.0.1:1")];
    let send = ["send", "--insecure-http", "a.txt"];
    ended(&with(&user, &[("http_proxy", &named), others[0], others[1]], &send), 0);
    assert!(!proxy.heads().is_empty());
    let said = ended(&with(&user, &[others[0], ("NO_PROXY", "send.test")], &send), 5);
    assert!(said.contains("can't reach http://send.test: "), "{said}");
}
