//! Servers that are none, that mean ill, or that something stands before.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::interrupted::killed_after;
use crate::relay::Relay;
use crate::sender::{bytes, unknown_id};
use crate::server::{Server, Store};
use crate::user::{Sent, User, ended, out};

const MIB: usize = 1 << 20;

/// Listens, and has each connection, with the head of its request, seen to by `answer` on a thread of its own. Gives the origin.
fn listens(answer: impl Fn(&str, TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (origin, answer) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(answer));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                answer(&String::from_utf8_lossy(&head), stream);
            });
        }
    });
    origin
}

/// What the server answers to the request that begins with `head`.
fn passed_on(server: SocketAddr, head: &str, client: &mut TcpStream) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).unwrap();
    let mut behind = TcpStream::connect(server).unwrap();
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    behind.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = Vec::new();
    behind.read_to_end(&mut answer).unwrap();
    answer
}

/// What is said to whoever asks such a server for a share.
fn told(answer: impl Fn(&str, TcpStream) + Send + Sync + 'static, code: i32) -> String {
    let user = User::new("http://127.0.0.1:9");
    let link = format!("{}/s/{}#{}", listens(answer), unknown_id(), "A".repeat(22));
    ended(&user.receive(&link), code)
}

#[test]
fn a_claim_whose_answer_a_gate_hides_is_gone_on_with() {
    let server = Server::start(Store::Embedded);
    let (address, shut) = (server.address, Arc::new(AtomicBool::new(true)));
    let gate = {
        let shut = shut.clone();
        listens(move |head, mut client| {
            let mut answer = passed_on(address, head, &mut client);
            if shut.load(Relaxed) && head.starts_with("POST") && head.contains("/claims") {
                answer = b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
            }
            let _ = client.write_all(&answer);
        })
    };
    let user = User::new(&gate);
    user.file("a.bin", &bytes(100_000));
    let sent = user.send(&["a.bin"]);
    ended(&user.receive(&sent.link), 5);
    assert_eq!(user.kept().len(), 1, "the claim is kept");
    shut.store(false, Relaxed);
    ended(&user.receive(&sent.link), 0);
    user.assert_has("in/a.bin", &bytes(100_000));
}

#[test]
fn a_gate_that_is_shut_for_a_moment_makes_no_link_wrong() {
    let server = Server::start(Store::Embedded);
    let (address, shut) = (server.address, AtomicBool::new(true));
    let gate = listens(move |head, mut client| {
        let answer = match shut.swap(false, Relaxed) {
            true => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            false => passed_on(address, head, &mut client),
        };
        let _ = client.write_all(&answer);
    });
    let user = User::new(&server.origin());
    user.file("a.bin", &bytes(1000));
    let sent = Sent::of(&user.fed(&["send", "--password-stdin", "a.bin"], b"right\n"));
    let receive = ["receive", "--yes", "-o", "in", "--password-stdin", &sent.link.replace(&server.origin(), &gate)];
    ended(&user.fed(&receive, b"right\n"), 5);
    ended(&user.fed(&receive, b"right\n"), 0);
}

#[test]
fn another_server_has_no_say_in_a_claim() {
    let server = Server::start(Store::Embedded);
    let relay = Relay::before(server.address);
    let user = User::new(&relay.origin());
    user.file("a.bin", &bytes(20 * MIB));
    let sent = user.send(&["a.bin"]);
    killed_after(8 * MIB, &user, &relay, &sent, "in");
    let claim = {
        let kept: serde_json::Value =
            serde_json::from_str(fs::read_to_string(&user.kept()[0]).unwrap().lines().last().unwrap()).unwrap();
        kept["claim"].as_str().unwrap().to_owned()
    };
    let heard = Arc::new(AtomicBool::new(false));
    let hears = heard.clone();
    let other = listens(move |head, mut client| {
        let mut body = [0; 4096];
        let length = if head.starts_with("POST") { client.read(&mut body).unwrap() } else { 0 };
        let said = format!("{head}{}", String::from_utf8_lossy(&body[..length]));
        hears.fetch_or(said.contains(&claim), Relaxed);
        let problem = r#"{"code":"not_found"}"#;
        let _ = write!(
            client,
            "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
            problem.len()
        );
    });
    ended(&user.receive(&sent.link.replace(&relay.origin(), &other)), 3);
    assert!(!heard.load(Relaxed), "another server learned of the claim");
    let said = ended(&user.receive(&sent.link), 0);
    assert!(said.contains("going on at"), "{said}");
    user.assert_has("in/a.bin", &bytes(20 * MIB));
}

#[test]
fn what_a_server_says_does_not_steer_the_terminal() {
    let said = told(
        |_, mut client| {
            let problem = r#"{"code":"store_full","detail":"\u001b]0;owned\u0007\u001b[2Jno\nroom"}"#;
            let _ = write!(
                client,
                "HTTP/1.1 507 Full\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
                problem.len()
            );
        },
        6,
    );
    assert!(said.contains("owned") && !said.trim_end().contains(|c: char| c.is_control()), "{said:?}");
}

#[test]
fn an_answer_without_an_end_is_not_waited_for() {
    let said = told(
        |_, mut client| {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"size\": 1");
            while client.write_all(&[b' '; 65536]).is_ok() {}
        },
        5,
    );
    assert!(said.contains("has no end"), "{said}");
}

#[test]
fn an_answer_that_comes_slowly_is_waited_for() {
    let (begun, first) = (Instant::now(), AtomicBool::new(true));
    let said = told(
        move |_, mut client| {
            let pause = if first.swap(false, Relaxed) { Duration::from_millis(1500) } else { Duration::ZERO };
            let problem = r#"{"code":"not_found"}      "#;
            let _ = write!(
                client,
                "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                problem.len()
            );
            for byte in problem.bytes() {
                thread::sleep(pause);
                let _ = client.write_all(&[byte]);
            }
        },
        3,
    );
    assert!(said.contains("nothing is there") && begun.elapsed() > Duration::from_secs(35), "{said}");
}

#[test]
fn a_part_that_goes_on_after_its_end_is_not_listened_to() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    user.file("a.bin", &bytes(100_000));
    let sent = user.send(&["a.bin"]);
    let address = server.address;
    let talkative = listens(move |head, mut client| {
        let answer = passed_on(address, head, &mut client);
        if head.starts_with("GET") && head.contains("/claims/") {
            let until = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
            let framed = String::from_utf8_lossy(&answer[..until]).replace("content-length", "x-length");
            client.write_all(&[framed.as_bytes(), &answer[until..]].concat()).unwrap();
            while client.write_all(&[0; 65536]).is_ok() {}
        } else {
            let _ = client.write_all(&answer);
        }
    });
    ended(&user.receive(&sent.link.replace(&server.origin(), &talkative)), 0);
    user.assert_has("in/a.bin", &bytes(100_000));
}

#[test]
fn who_is_to_try_again_at_once_waits_a_second() {
    let user = User::new("http://127.0.0.1:9");
    let (asks, asked) = mpsc::channel();
    let origin = listens(move |_, mut client| {
        let problem = r#"{"code":"store_unavailable"}"#;
        let head = format!("HTTP/1.1 503 Down\r\nRetry-After: 0\r\nContent-Length: {}", problem.len());
        let _ = asks.send(Instant::now());
        let _ = write!(client, "{head}\r\n\r\n{problem}");
    });
    let mut asking = user.start(&["receive", "--yes", &format!("{origin}/s/{}#{}", unknown_id(), "A".repeat(22))]);
    let [first, second] = [(); 2].map(|()| asked.recv_timeout(Duration::from_secs(20)).unwrap());
    asking.kill().unwrap();
    asking.wait().unwrap();
    assert!(second - first >= Duration::from_millis(900), "it asked again after {:?}", second - first);
}

#[test]
fn a_file_that_hides_its_length_is_not_sent_as_empty() {
    let server = Server::start(Store::Embedded);
    let user = User::new(&server.origin());
    let said = ended(&user.run(&["send", "/proc/cpuinfo"]), 2);
    assert!(said.contains("cat /proc/cpuinfo | onetimeshare send -"), "{said}");
    user.file("empty", b"");
    let sent = Sent::of(&user.run(&["send", "empty"]));
    assert!(out(&user.receive(&sent.link)).contains("in/empty"));
    user.assert_has("in/empty", b"");
}
