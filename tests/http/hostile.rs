//! Input that nobody well-meaning sends. Every case ends in a clear 4xx or a closed connection; never in a 500.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{Answer, Live, Part, Request, base64url, connect};
use crate::sender::{Plain, Sealed, Upload, bytes, creation, token, tus, unknown_id};
use crate::server::{Server, Store, until};

/// The slowest client is sent away within this time.
const PATIENCE: Duration = Duration::from_secs(100);
const MIB: u64 = 1024 * 1024;

/// Sends these bytes and reads what comes back; `None` where the connection is closed without an answer.
fn raw(server: &Server, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(server.address).expect("the server listens");
    let _ = stream.write_all(bytes);
    Live::read(stream, false).and_then(Live::whole).ok()
}

/// Whether the answer, if there is one, blames the client.
#[track_caller]
fn assert_refused(answer: Option<Answer>, what: &str) {
    if let Some(answer) = answer {
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    }
}

/// A multipart body sent to `/`, whole.
fn form(server: &Server, body: impl Into<Vec<u8>>) -> io::Result<Answer> {
    server.post("/").header("Content-Type", "multipart/form-data; boundary=X").body(body).try_send()
}

/// Nothing half is left, and the server still serves.
#[track_caller]
fn assert_sound(server: &Server) {
    until("nothing half is left", Duration::from_secs(20), || server.blobs().is_empty());
    let share = Plain::put(server, "/sound", b"still here");
    assert_eq!(server.get(&share.claimed(server)).send().is(200).body, b"still here");
    assert!(!server.printed().contains("panicked"));
}

/// Waits until the server has hung up on each of these.
fn assert_all_closed(mut streams: Vec<(&str, TcpStream, &[u8])>) {
    let deadline = Instant::now() + PATIENCE;
    for (_, stream, _) in &streams {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    while !streams.is_empty() {
        let waiting: Vec<&str> = streams.iter().map(|(what, ..)| *what).collect();
        assert!(Instant::now() < deadline, "not closed within {PATIENCE:?}: {waiting:?}");
        streams.retain_mut(|(_, stream, drip)| {
            let mut buffer = [0; 4096];
            let closed = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        break false;
                    }
                    Err(_) => break true,
                }
            };
            !closed && (drip.is_empty() || stream.write_all(drip).is_ok())
        });
        std::thread::sleep(Duration::from_millis(500));
    }
}

on_both_stores! {
    fn a_body_that_breaks_off_is_no_share(store) {
        let server = Server::start(store);
        let content = bytes(400_000);
        let mut put = server.put("/a").begin("Content-Length: 800000");
        put.push(&content).unwrap();
        put.cut();
        let mut chunked = server.put("/a").begin("Transfer-Encoding: chunked");
        chunked.push(format!("{:x}\r\n", content.len()).as_bytes()).unwrap();
        chunked.push(&content).unwrap();
        chunked.push(b"\r\n").unwrap();
        chunked.cut();
        let mut form = server.post("/").header("Content-Type", "multipart/form-data; boundary=X").begin("Content-Length: 800000");
        form.push(b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n").unwrap();
        form.push(&content).unwrap();
        form.cut();
        assert_sound(&server);
        if let Some(redis) = &server.redis {
            let lasting: Vec<String> = redis.keys("*").into_iter().filter(|key| key.contains(":chunk:")).collect();
            assert!(lasting.is_empty(), "{lasting:?}");
        }
    }

    fn a_form_that_ends_early_is_no_share(store) {
        let server = Server::start(store);
        let head = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        let content = "content ".repeat(30_000);
        for body in [
            String::new(),
            "--X".into(),
            "--X\r\n".into(),
            "--X--".into(),
            "nothing like a form".into(),
            head.into(),
            format!("{head}{content}"),
            format!("{head}{content}\r\n--X"),
            format!("{head}{content}\r\n--Y--\r\n"),
            format!("--Y\r\n{}", &head[5..]),
            "--X\r\nContent-Disposition: form-data\r\n\r\nx\r\n--X--\r\n".into(),
            "--X\r\n\r\nx\r\n--X--\r\n".into(),
            "--X\r\nno header at all\r\n\r\nx\r\n--X--\r\n".into(),
        ] {
            let answer = form(&server, body.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 400, "{:?}: {}", &body[..body.len().min(80)], answer.text());
        }
        assert_sound(&server);
    }

    fn a_form_needs_its_boundary(store) {
        let server = Server::start(store);
        let body = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--X--\r\n";
        let long = format!("multipart/form-data; boundary={}", "b".repeat(5000));
        let kinds =
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"", "multipart/mixed; boundary=X",
             "text/plain", "application/json", "", &long];
        for kind in kinds {
            let answer = server.post("/").header("Content-Type", kind).body(body).send();
            assert!([400, 415].contains(&answer.status), "{kind}: {} {}", answer.status, answer.text());
        }
        let answer = server.post("/").body(body).send();
        assert!([400, 415].contains(&answer.status), "{}", answer.status);
        assert_sound(&server);
    }

    fn a_file_whose_name_is_not_utf8_is_refused_by_name(store) {
        let server = Server::start(store);
        let mut body = b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Gr\xfc\xdfe.txt\"\r\n\r\n".to_vec();
        body.extend_from_slice(b"x\r\n--X--\r\n");
        let answer = form(&server, body).unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("it must be UTF-8"), "{}", answer.text());
        assert_sound(&server);
    }

    fn ten_thousand_parts_are_too_many(store) {
        let server = Server::start(store);
        server.get("/").send().is(200);
        let before = server.peak();
        let parts: Vec<Part> = (0..10_000).map(|number| Part::file(&format!("{number}"), b"")).collect();
        let answer = server.post("/").multipart(&parts).send();
        // What is accepted must come out again; otherwise the client is told.
        if answer.status == 201 {
            let share = Plain::made(&server, &answer);
            assert_eq!(share.manifest(&server)["files"].as_array().unwrap().len(), 10_000);
        } else {
            assert!([400, 413].contains(&answer.status), "{}", answer.status);
        }
        let fields: Vec<Part> = (0..10_000).map(|number| Part::field(&format!("field{number}"), "x")).collect();
        server.post("/").multipart(&fields).send().expect(&[400, 413]);
        assert!(server.peak() - before < 32 * MIB, "{} KiB", (server.peak() - before) / 1024);
        assert_sound(&server);
    }

    fn headers_of_a_part_that_never_end_are_cut_off(store) {
        let server = Server::start(store);
        server.get("/").send().is(200);
        let before = server.peak();
        for line in ["X-Padding: 0123456789abcdef0123456789abcdef\r\n", "X"] {
            let request = server.post("/").header("Content-Type", "multipart/form-data; boundary=X");
            let mut sending = request.begin("Content-Length: 90000000");
            sending.push(b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n").unwrap();
            let piece = line.repeat(65_536 / line.len());
            let mut sent = 0;
            while sent < 89_000_000 && sending.push(piece.as_bytes()).is_ok() {
                sent += piece.len();
            }
            sending.stream.shutdown(std::net::Shutdown::Write).ok();
            assert_refused(sending.answer().ok(), line);
        }
        let grown = server.peak() - before;
        assert!(grown < 16 * MIB, "{} KiB", grown / 1024);
        assert_sound(&server);
    }

    fn a_field_that_never_ends_is_cut_off(store) {
        let server = Server::start(store);
        server.get("/").send().is(200);
        let before = server.peak();
        for name in ["note", "password", "expires_in", "unknown"] {
            let request = server.post("/").header("Content-Type", "multipart/form-data; boundary=X");
            let mut sending = request.begin("Content-Length: 64000000");
            sending.push(format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes()).unwrap();
            let piece = [b'9'; 65_536];
            for _ in 0..970 {
                if sending.push(&piece).is_err() {
                    break;
                }
            }
            sending.stream.shutdown(std::net::Shutdown::Write).ok();
            assert_refused(sending.answer().ok(), name);
        }
        let grown = server.peak() - before;
        assert!(grown < 24 * MIB, "{} KiB", grown / 1024);
        assert_sound(&server);
    }

    fn malformed_ids_and_tokens_are_not_found(store) {
        let server = Server::start(store);
        let upload = Upload::publish(&server, &Sealed::new(b"x"), 1);
        let long = "a".repeat(5000);
        let upper = upload.id.to_uppercase();
        let bad = ["0", "..", "%2e%2e", "%00", "*", "share", "xyz", "%F0%9F%92%A9", "%ff", &long, &upper, "{id}", "-1", "%0d%0aX:%20y"];
        for bad in bad {
            let right = token();
            let targets = [
                ("GET", format!("/s/{bad}")),
                ("GET", format!("/s/{bad}/{right}")),
                ("GET", format!("/s/{}/{bad}", upload.id)),
                ("POST", format!("/s/{bad}/{right}")),
                ("POST", format!("/s/{}/{bad}", upload.id)),
                ("GET", format!("/d/{bad}/{right}/{right}")),
                ("GET", format!("/d/{}/{bad}/{right}", upload.id)),
                ("GET", format!("/d/{}/{right}/{bad}", upload.id)),
                ("GET", format!("/r/{bad}/{right}")),
                ("GET", format!("/r/{}/{bad}", upload.id)),
                ("GET", format!("/api/v1/shares/{bad}")),
                ("GET", format!("/api/v1/shares/{bad}/claims/{right}")),
                ("GET", format!("/api/v1/shares/{}/claims/{bad}", upload.id)),
                ("DELETE", format!("/api/v1/shares/{}/claims/{bad}", upload.id)),
                ("GET", format!("/api/v1/receipts/{bad}")),
                ("HEAD", format!("/api/v1/uploads/{bad}/{right}")),
                ("HEAD", format!("/api/v1/uploads/{}/{bad}", upload.id)),
            ];
            for (method, target) in targets {
                let request = tus(server.request(method, &target)).bearer(&right);
                let answer = if method == "POST" { request.form(&[]).send() } else { request.send() };
                let expected: &[u16] = if target.contains("receipts") || target.starts_with("/r/") {
                    &[400, 401, 404, 405]
                } else if target.starts_with("/s/") || target.contains("shares") {
                    &[400, 403, 404, 405]
                } else {
                    &[400, 404, 405]
                };
                assert!(expected.contains(&answer.status), "{method} {target}: {}", answer.status);
            }
            for header in ["", "Bearer", "Bearer ", "Basic eDp5", &format!("Bearer {bad}")] {
                let receipt = server.get(&format!("/api/v1/receipts/{}", upload.id)).header("Authorization", header).send();
                assert!([400, 401, 404].contains(&receipt.status), "{header}: {}", receipt.status);
                let peek = server.get(&upload.share()).header("Authorization", header).send();
                assert!([200, 400, 401, 403, 404].contains(&peek.status), "{header}: {}", peek.status);
                if peek.status == 200 {
                    assert!(peek.json().get("manifest").is_none());
                }
            }
        }
        assert_eq!(upload.state(&server), "ready");
    }

    fn claims_that_are_not_json_are_refused(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(b"x");
        let upload = Upload::publish(&server, &sealed, 1);
        let (proof, claim) = (sealed.proof(), token());
        let long = "x".repeat(3_000_000);
        let bodies = [
            String::new(),
            "{".into(),
            "[]".into(),
            "null".into(),
            "{}".into(),
            format!("{{\"proof\":\"{proof}\"}}"),
            format!("{{\"claim\":\"{claim}\"}}"),
            format!("{{\"proof\":1,\"claim\":\"{claim}\"}}"),
            format!("{{\"proof\":\"{proof}\",\"claim\":\"short\"}}"),
            format!("{{\"proof\":\"{proof}\",\"claim\":\"{claim}=\"}}"),
            format!("{{\"proof\":\"AAAA\",\"claim\":\"{claim}\"}}"),
            format!("{{\"proof\":\"{proof}\",\"claim\":\"{claim}\",\"x\":\"{long}\"}}"),
            "[".repeat(100_000),
            "\u{0}".into(),
        ];
        for body in bodies {
            let request = server.post(&format!("{}/claims", upload.share())).header("Content-Type", "application/json");
            let answer = request.body(body.as_bytes()).send();
            let shown = &body[..body.len().min(120)];
            assert!((400..500).contains(&answer.status), "{shown}: {}", answer.status);
            answer.code();
        }
        let mut not_utf8 = format!("{{\"proof\":\"{proof}\",\"claim\":\"").into_bytes();
        not_utf8.extend_from_slice(b"\xff\xfe\"}");
        let request = server.post(&format!("{}/claims", upload.share())).header("Content-Type", "application/json");
        assert_refused(Some(request.body(not_utf8).send()), "not UTF-8");
        assert_eq!(upload.peek(&server, &sealed).is(200).json()["downloads_left"], 1);
    }

    fn a_publication_of_rubbish_is_still_only_rubbish(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(1000));
        let upload = Upload::create(&server, &sealed, 1);
        let rubbish = bytes(sealed.run().len());
        let answer = upload.patch(&server, 0, &rubbish).send();
        assert!(answer.status == 204 || (400..500).contains(&answer.status), "{}", answer.status);
        if answer.status == 204 {
            let claim = token();
            upload.claim(&server, &sealed, &claim).send().is(201);
            assert!(server.get(&upload.claim_address(&claim)).send().is(200).body == rubbish[sealed.manifest.len()..]);
            // The plain link of such a share can only fail, cleanly.
            let address = format!("/d/{}/{claim}/{}", upload.id, sealed.secret);
            if let Ok(answer) = server.get(&address).try_send() {
                assert_ne!(answer.status, 200);
                assert!(answer.status < 500, "{}: {}", answer.status, answer.text());
            }
        }
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let server = Server::start(Store::Embedded);
    let cases: [(&str, &[u8]); 22] = [
        ("nothing like HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("no version", b"GET /\r\n\r\n"),
        ("a version to come", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
        ("no Host", b"PUT /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        ("a negative length", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("a length that is no number", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n"),
        ("a huge length", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        ("a length of 2^63", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n"),
        ("a length of 2^64 - 1", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n"),
        ("two lengths", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ("an unknown coding", b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n"),
        (
            "a chunk size that is none",
            b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
        ),
        ("a negative chunk", b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n"),
        (
            "a huge chunk",
            b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n",
        ),
        ("a name with a space", b"PUT /a b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
        ("a header with a NUL", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
        ("a header without a colon", b"GET / HTTP/1.1\r\nHost: x\r\nrubbish\r\n\r\n"),
        ("a header name with a space", b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"),
        ("a method of nonsense", b"\x01\x02 / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("an unknown method", b"BREW / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n"),
    ];
    for (what, request) in cases {
        let mut stream = connect(server.address).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_refused(Live::read(stream, false).and_then(Live::whole).ok(), what);
    }
    assert_sound(&server);
}

#[test]
fn a_host_that_is_none_leads_nowhere() {
    let server = Server::start(Store::Embedded);
    let hosts = ["", "evil.example\"><script>", "a b", "evil.example/path", "user@evil.example", "\u{202e}moc.live"];
    for host in hosts {
        let answer = server.put("/a").header("Host", host).header("Accept", "text/html").body("x").send();
        assert!(answer.status == 201 || (400..500).contains(&answer.status), "{host:?}: {}", answer.status);
        assert!(!answer.text().contains("<script>"), "{host:?}");
        if answer.status == 201 {
            let receipt = answer.the("receipt");
            assert!(!receipt.contains("evil.example/path") && !receipt.contains('@'), "{receipt}");
        }
    }
    assert_refused(
        raw(&server, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n").filter(|a| a.status != 200),
        "two",
    );
    assert_sound(&server);
}

#[test]
fn a_megabyte_of_headers_is_refused() {
    let server = Server::start(Store::Embedded);
    server.get("/").send().is(200);
    let before = server.peak();
    let one = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(MIB as usize));
    let many: String = (0..20_000).map(|number| format!("X-{number}: 0123456789abcdef0123456789abcdef\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(MIB as usize));
    for request in [one, many, long] {
        for _ in 0..5 {
            let answer = raw(&server, request.as_bytes());
            assert!(answer.as_ref().is_none_or(|answer| [400, 414, 431].contains(&answer.status)), "{answer:?}");
        }
    }
    let grown = server.peak() - before;
    assert!(grown < 16 * MIB, "{} KiB", grown / 1024);
    assert_sound(&server);
}

#[test]
fn large_metadata_and_options_are_refused() {
    let server = Server::start(Store::Embedded);
    let sealed = Sealed::new(b"x");
    for length in [10_000, 60_000, 300_000] {
        let long = "QUJD".repeat(length / 4);
        let answer = creation(&server, &sealed, &format!("{},x {long}", sealed.metadata(1))).try_send();
        assert_refused(answer.ok(), "metadata");
        let answer = server.put("/a").header("Share-Password", &long).body("x").try_send();
        assert_refused(answer.ok().filter(|answer| answer.status != 201), "password");
        let answer = server.put(&format!("/a?note={long}")).body("x").try_send();
        assert_refused(answer.ok().filter(|answer| answer.status != 201), "note");
        let answer = server.put(&format!("/{long}")).body("x").try_send();
        assert_refused(answer.ok().filter(|answer| answer.status != 201), "name");
    }
    let answer =
        server.post("/").multipart(&[Part::field("note", &"x".repeat(2_000_000)), Part::file("a", b"x")]).try_send();
    assert_refused(answer.ok(), "a note beyond a manifest");
    assert_sound(&server);
}

#[test]
fn a_form_of_options_that_is_not_utf8_is_refused() {
    let server = Server::start(Store::Embedded);
    let note = b"Content-Disposition: form-data; name=\"note\"\r\n\r\n\xff\xfe".to_vec();
    server.post("/").multipart(&[Part(note), Part::file("a", b"x")]).send().is(400);
    let password = b"Content-Disposition: form-data; name=\"password\"\r\n\r\n\xff\xfe".to_vec();
    server.post("/").multipart(&[Part(password), Part::file("a", b"x")]).send().is(400);
    server.put("/a?note=%ff").body("x").send().expect(&[201, 400]);
    assert_sound(&server);
}

#[test]
fn a_name_on_a_page_is_text() {
    let server = Server::start(Store::Embedded);
    let parts =
        [Part::field("note", "<img src=x onerror=alert(1)>"), Part::file("<script>alert(1)</script>.txt", b"x")];
    let answer = server.post("/").header("Accept", "text/html").multipart(&parts).send();
    assert!(!answer.text().contains("<script>alert") && !answer.text().contains("<img src=x"), "{}", answer.text());
    for path in ["/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/s/%3Cscript%3Ealert(1)", "/?x=%3Cscript%3Ealert(1)"] {
        let page = server.get(path).header("Accept", "text/html").send();
        assert!(!page.text().contains("<script>alert"), "{path}");
    }
}

#[test]
fn slow_clients_are_sent_away_and_hold_up_nobody() {
    let server = Server::start(Store::Embedded);
    let sealed = Sealed::new(&bytes(100_000));
    let upload = Upload::create(&server, &sealed, 1);
    server.get("/").send().is(200);
    let before = server.peak();
    let patching = format!(
        "PATCH {} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n",
        upload.location
    );
    let form = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 100000\r\n\r\n--X\r\n";
    let cases: [(&str, &[u8], &[u8]); 8] = [
        ("silence", b"", b""),
        ("a request line that stops", b"GET / HT", b""),
        ("headers that stop", b"GET / HTTP/1.1\r\nHost: x\r\n", b""),
        ("headers that drip", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
        ("a body that stops", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nxxx", b""),
        ("a body that drips", b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
        ("a part that stops", patching.as_bytes(), b""),
        ("a form that drips", form.as_bytes(), b"x"),
    ];
    let claiming = format!(
        "POST /api/v1/shares/{}/claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{{",
        upload.id
    );
    let creating = format!(
        "POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5000\r\nUpload-Metadata: {}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 5000\r\n\r\nx",
        sealed.metadata(1)
    );
    let told: Vec<(&str, TcpStream)> = [
        ("a claim that stops", claiming.as_str()),
        ("an upload that stops", &creating),
        ("a text that stops", "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nte"),
    ]
    .map(|(what, begin)| {
        let mut stream = connect(server.address).unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        (what, stream)
    })
    .into();
    let mut streams = Vec::new();
    for _ in 0..10 {
        for (what, begin, drip) in cases {
            let mut stream = connect(server.address).unwrap();
            stream.write_all(begin).unwrap();
            streams.push((what, stream, drip));
        }
    }
    let asked = Instant::now();
    Request::new(server.address, "GET", "/healthz").send().is(200);
    Plain::put(&server, "/a", b"x");
    assert!(asked.elapsed() < Duration::from_secs(5), "others are served meanwhile");
    for (what, mut stream) in told {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.as_slice(), b"HTTP/1.1 408", "{what}: {}", String::from_utf8_lossy(&answer));
    }
    assert_all_closed(streams);
    assert!(server.peak() - before < 40 * MIB, "{} KiB", (server.peak() - before) / 1024);
    let offset = upload.offset(&server);
    upload.patch(&server, offset, &sealed.run()[offset..]).send().is(204);
    assert_sound_but(&server, 1);
}

/// As [`assert_sound`], with so many blobs that belong to somebody.
#[track_caller]
fn assert_sound_but(server: &Server, blobs: usize) {
    until("nothing half is left", Duration::from_secs(20), || server.blobs().len() == blobs);
}

#[test]
fn an_unknown_id_with_every_kind_of_token_changes_nothing() {
    let server = Server::start(Store::Redis);
    let redis = server.redis.as_ref().unwrap();
    Plain::put(&server, "/a", b"x");
    let before = redis.keys("*");
    let (id, claim) = (unknown_id(), token());
    let proof = base64url(&[1; 32]);
    server.get(&format!("/api/v1/shares/{id}")).bearer(&proof).send().is(404);
    let request = server.post(&format!("/api/v1/shares/{id}/claims"));
    request.json(&serde_json::json!({"proof": proof, "claim": claim})).send().is(404);
    server.get(&format!("/api/v1/shares/{id}/claims/{claim}")).send().is(404);
    server.delete(&format!("/api/v1/shares/{id}/claims/{claim}")).send().is(404);
    server.delete(&format!("/api/v1/shares/{id}")).bearer(&claim).send().is(404);
    server.get(&format!("/api/v1/receipts/{id}")).bearer(&claim).send().is(404);
    server.get(&format!("/s/{id}")).send().is(404);
    server.get(&format!("/r/{id}/{claim}")).send().is(404);
    server.post(&format!("/s/{id}/{claim}")).form(&[]).send().is(404);
    assert_eq!(redis.keys("*"), before, "nothing about it is written down");
}
