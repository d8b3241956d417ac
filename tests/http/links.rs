//! Plain links: unsealed by the server as the bytes stream out.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use onetimeshare::seal;
use serde_json::json;

use crate::client::{Answer, Part, Request, base64url, connect};
use crate::plain::{curled, unzipped};
use crate::sender::{Plain, Sealed, Upload, bytes, file, token, unknown_id};
use crate::server::{Server, Store, free_port, until};

/// What a GET of this range gives.
#[track_caller]
fn range(server: &Server, address: &str, range: &str) -> Answer {
    server.get(address).header("Range", format!("bytes={range}")).send()
}

/// Every range must be the slice that it names.
#[track_caller]
fn assert_ranges(server: &Server, address: &str, whole: &[u8], edges: &[usize]) {
    for &edge in edges {
        let (from, to) = (edge.saturating_sub(2), (edge + 2).min(whole.len() - 1));
        let answer = range(server, address, &format!("{from}-{to}")).is(206);
        assert_eq!(answer.the("content-range"), format!("bytes {from}-{to}/{}", whole.len()));
        assert!(answer.body == whole[from..=to], "bytes {from}-{to}");
    }
}

/// What `filename*` says, decoded.
fn extended_name(disposition: &str) -> String {
    let encoded =
        disposition.split("filename*=UTF-8''").nth(1).unwrap_or_else(|| panic!("no filename*: {disposition}"));
    let encoded = encoded.split(';').next().unwrap().trim();
    percent_encoding::percent_decode_str(encoded).decode_utf8().expect("UTF-8").into_owned()
}

/// What `filename` says.
fn simple_name(disposition: &str) -> String {
    let quoted = disposition.split("filename=\"").nth(1).unwrap_or_else(|| panic!("no filename: {disposition}"));
    quoted.split('"').next().unwrap().to_string()
}

on_both_stores! {
    fn a_plain_link_shows_a_page_and_a_post_leads_to_the_bytes(store) {
        let server = Server::start(store);
        let content = bytes(300_000);
        let share = Plain::put(&server, "/report.pdf", &content);
        let page = server.get(&share.link()).header("Accept", "text/html").send().is(200);
        assert!(page.the("content-type").starts_with("text/html"));
        assert!(page.text().to_lowercase().contains("method=\"post\""), "it works without JavaScript");
        let claim = token();
        for _ in 0..2 {
            let answer = server.post(&share.link()).form(&[("claim", &claim)]).send().is(303);
            let location = answer.the("location");
            let location = location.strip_prefix(&server.origin()).unwrap_or(&location);
            assert_eq!(location, format!("/d/{}/{claim}/{}", share.id, share.secret));
        }
        server.post(&share.link()).form(&[("claim", &token())]).send().is(410);
        let address = format!("/d/{}/{claim}/{}", share.id, share.secret);
        let answer = server.get(&address).send().is(200);
        assert!(answer.body == content);
        assert_eq!(answer.the("content-length"), "300000");
        assert_eq!(answer.the("accept-ranges"), "bytes");
        assert!(answer.the("content-disposition").starts_with("attachment"));
        assert_eq!(simple_name(&answer.the("content-disposition")), "report.pdf");
        assert_eq!(extended_name(&answer.the("content-disposition")), "report.pdf");
    }

    fn a_post_without_a_claim_gets_one_minted(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a?downloads=2", b"x");
        let (first, second) = (share.claimed(&server), share.claimed(&server));
        assert_ne!(first, second);
        server.post(&share.link()).form(&[]).send().is(410);
    }

    fn a_single_file_is_read_from_any_offset(store) {
        let server = Server::start(store);
        let content = bytes(3_000_000);
        let share = Plain::put(&server, "/a.bin", &content);
        let address = share.claimed(&server);
        let head = server.head(&address).send().is(200);
        assert_eq!(head.the("content-length"), "3000000");
        let tag = head.the("etag");
        assert!(tag.starts_with('"') && tag.len() > 2, "a strong ETag: {tag}");
        assert_ranges(&server, &address, &content, &[0, 1, 262_127, 524_254, 1_000_000, 2_883_397, 2_999_999]);
        assert!(range(&server, &address, "-10").is(206).body == content[2_999_990..]);
        assert!(range(&server, &address, "2999000-").is(206).body == content[2_999_000..]);
        assert!(range(&server, &address, "2999990-9999999").is(206).body == content[2_999_990..]);
        let beyond = range(&server, &address, "3000000-").is(416);
        assert_eq!(beyond.the("content-range"), "bytes */3000000");
        let same = server.get(&address).header("Range", "bytes=0-9").header("If-Range", &tag).send().is(206);
        assert!(same.body == content[..10]);
        assert_eq!(same.the("etag"), tag);
        let other = server.get(&address).header("Range", "bytes=0-9").header("If-Range", "\"other\"").send().is(200);
        assert!(other.body == content);
    }

    fn what_only_another_reader_can_open_is_not_taken(store) {
        let server = Server::start(store);
        let mut sealed = Sealed::new(b"for a reader to come");
        sealed.manifest = seal::seal(&sealed.keys.manifest, br#"{"v":2,"files":[]}"#);
        let upload = Upload::publish(&server, &sealed, 1);
        let link = format!("/s/{}/{}", upload.id, sealed.secret);
        for answer in [server.get(&link).send(), server.post(&link).form(&[]).send()] {
            assert!(answer.is(400).text().contains("can't be shown by the server"));
        }
        assert_eq!(upload.state(&server), "ready");
        upload.claimed(&server, &sealed);
    }

    fn several_files_are_a_zip_whose_every_range_is_known(store) {
        let server = Server::start(store);
        let contents = [bytes(300_000), Vec::new(), bytes(262_127), bytes(5)];
        let names = ["a.bin", "empty", "folder/b.bin", "größe ☃.txt"];
        let parts: Vec<Part> = names.iter().zip(&contents).map(|(name, content)| Part::file(name, content)).collect();
        let share = Plain::made(&server, &server.post("/?downloads=2").multipart(&parts).send());
        let address = share.claimed(&server);
        let whole = server.get(&address).send().is(200);
        let zip = &whole.body;
        assert_eq!(whole.the("content-length"), zip.len().to_string());
        assert_eq!(whole.the("content-type"), "application/zip");
        assert!(simple_name(&whole.the("content-disposition")).ends_with(".zip"));
        let read: Vec<Vec<u8>> = unzipped(zip).into_iter().map(|(_, content)| content).collect();
        assert!(read == contents);
        let names: Vec<String> = unzipped(zip).into_iter().map(|(name, _)| name).collect();
        assert_eq!((&*names[0], &*names[1], &*names[3]), ("a.bin", "empty", "größe ☃.txt"));

        let again = server.get(&share.claimed(&server)).send().is(200);
        assert!(again.body == *zip, "the same zip for everybody");
        let head = server.head(&address).send().is(200);
        assert_eq!((head.the("content-length"), head.the("etag")), (whole.the("content-length"), whole.the("etag")));

        // Wherever one piece of a zip meets the next: signatures of headers, of descriptors and of the directory.
        let edges: Vec<usize> = zip.windows(2).enumerate().filter(|(_, pair)| pair == b"PK").map(|(at, _)| at).collect();
        assert!(edges.len() >= 9, "{edges:?}");
        assert_ranges(&server, &address, zip, &edges);
        assert_ranges(&server, &address, zip, &[0, zip.len() / 2, zip.len() - 1]);
    }

    fn what_a_client_sealed_opens_by_its_plain_link_too(store) {
        let server = Server::start(store);
        let (a, b) = (bytes(300_000), bytes(1000));
        let both = [&a[..], &b].concat();
        for with_crc32 in [true, false] {
            let files = [("folder/a.bin", &a), ("folder/b.bin", &b)].map(|(name, content)| {
                let crc32 = with_crc32.then(|| crc32fast::hash(content));
                onetimeshare::seal::File { crc32, ..file(name, content) }
            });
            let sealed = Sealed::of(files.into(), "", &both, None);
            let upload = Upload::publish(&server, &sealed, 1);
            let answer = server.post(&format!("/s/{}/{}", upload.id, sealed.secret)).form(&[]).send().is(303);
            let address = answer.the("location");
            let zip = server.get(&address).send().is(200).body;
            let expected = [("folder/a.bin".to_string(), a.clone()), ("folder/b.bin".to_string(), b.clone())];
            assert!(unzipped(&zip) == expected, "with crc32: {with_crc32}");
            let middle = server.get(&address).header("Range", "bytes=300000-300999").send().expect(&[200, 206]);
            assert!(if middle.status == 206 { middle.body == zip[300_000..301_000] } else { middle.body == zip });
        }
        let unsized_file = onetimeshare::seal::File { size: None, ..file("stdin", &a) };
        let sealed = Sealed::of(vec![unsized_file], "", &a, None);
        let upload = Upload::publish(&server, &sealed, 1);
        let answer = server.post(&format!("/s/{}/{}", upload.id, sealed.secret)).form(&[]).send().is(303);
        let answer = server.get(&answer.the("location")).send().is(200);
        assert!(answer.body == a);
        assert_eq!(answer.the("content-length"), "300000");
    }

    fn bytes_that_were_changed_break_the_download_off(store) {
        let server = Server::start(store);
        let mut sealed = Sealed::new(&bytes(600_000));
        sealed.content[400_000] ^= 1;
        let upload = Upload::publish(&server, &sealed, 1);
        let answer = server.post(&format!("/s/{}/{}", upload.id, sealed.secret)).form(&[]).send().is(303);
        let address = answer.the("location");
        assert!(server.get(&address).try_send().is_err(), "it must not look whole");
        let begin = server.get(&address).header("Range", "bytes=0-1000").send().is(206);
        assert!(begin.body == sealed.plain[..=1000], "what is before it is sound");
    }

    fn that_nothing_was_sent_is_verified_too(store) {
        let server = Server::start(store);
        for files in [vec![file("stdin", b"")], vec![file("a", b""), file("b", b"")]] {
            let mut sealed = Sealed::of(files, "", b"", None);
            *sealed.content.last_mut().unwrap() ^= 1;
            let upload = Upload::publish(&server, &sealed, 1);
            let answer = server.post(&format!("/s/{}/{}", upload.id, sealed.secret)).form(&[]).send().is(303);
            let answer = server.get(&answer.the("location")).try_send();
            assert!(answer.is_err() || answer.unwrap().status >= 500, "it must not look whole");
        }
    }

    fn what_does_not_verify_is_no_zip(store) {
        let server = Server::start(store);
        let content = bytes(3_000_000);
        let mut sealed = Sealed::of(vec![file("a", &content[1..]), file("b", &content[..1])], "", &content, None);
        *sealed.content.last_mut().unwrap() ^= 1;
        let upload = Upload::publish(&server, &sealed, 1);
        let answer = server.post(&format!("/s/{}/{}", upload.id, sealed.secret)).form(&[]).send().is(303);
        let address = answer.the("location");
        assert_eq!(server.head(&address).send().is(200).the("content-type"), "application/zip");
        for _ in 0..2 {
            assert!(server.get(&address).send().status >= 500);
        }
    }

    fn a_claim_that_is_no_token_is_refused(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        for claim in ["short", "/../../etc/passwd", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            server.post(&share.link()).form(&[("claim", claim)]).send().is(400);
        }
        assert_eq!(share.receipt(&server)["state"], "ready");
    }

    fn files_of_one_name_both_arrive(store) {
        let server = Server::start(store);
        let parts = [Part::file("a.txt", b"one"), Part::file("a.txt", b"two")];
        let share = Plain::made(&server, &server.post("/").multipart(&parts).send());
        let entries = unzipped(&server.get(&share.claimed(&server)).send().is(200).body);
        assert_eq!(entries.iter().map(|(_, content)| &content[..]).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_ne!(entries[0].0, entries[1].0, "neither overwrites the other");
    }

    fn curl_goes_on_where_it_was_interrupted(store) {
        let server = Server::start(store);
        let folder = tempfile::tempdir().unwrap();
        let content = bytes(2_000_000);
        let address = Plain::put(&server, "/a.bin", &content).claimed(&server);
        fs::write(folder.path().join("a.bin"), &content[..777_777]).unwrap();
        curled(folder.path(), &["-f", "-C", "-", "-o", "a.bin", &format!("{}{address}", server.origin())]);
        assert!(fs::read(folder.path().join("a.bin")).unwrap() == content);
    }

    fn looking_at_a_zip_moves_no_byte(store) {
        let server = Server::with(store, &["--lease", "3s"]);
        let files = vec![file("a", b"one"), file("b", b"two")];
        let sealed = Sealed::of(files, "", b"onetwo", None);
        let (upload, claim) = (Upload::publish(&server, &sealed, 1), token());
        upload.claim(&server, &sealed, &claim).send().is(201);
        let address = format!("/d/{}/{claim}/{}", upload.id, sealed.secret);
        until("the lease ends, however often one looks", Duration::from_secs(30), || {
            server.head(&address).send().expect(&[200, 410]).status == 410
        });
        let receipt = upload.receipt(&server);
        assert_eq!((&receipt["state"], &receipt["claims"][0]["served"]), (&"lapsed".into(), &0.into()));
    }

    fn evil_names_are_disarmed(store) {
        let server = Server::start(store);
        let names = [
            "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "..", "...", "C:%5CWindows%5Csystem.ini", "a%22b%3Bfilename%3Dc.exe",
            "a%0D%0ASet-Cookie:%20x=1", "a%00b", "%E2%80%AEgpj.exe", "a%E2%81%A6b", "a%7Fb", "%1B%5B31mred", "caf%C3%A9.txt",
            "%F0%9F%92%A9", "con", "%20", "a%09b", "%E2%80%A8x",
        ];
        for name in names {
            let answer = server.put(&format!("/{name}")).body("x").send();
            if answer.status == 400 {
                continue;
            }
            let share = Plain::made(&server, &answer);
            let answer = server.get(&share.claimed(&server)).send().is(200);
            let disposition = answer.the("content-disposition");
            assert!(disposition.starts_with("attachment"), "{name}: {disposition}");
            assert!(disposition.bytes().all(|byte| (32..127).contains(&byte)), "{name}: {disposition}");
            assert!(answer.header("set-cookie").is_none(), "{name}");
            for given in [simple_name(&disposition), extended_name(&disposition)] {
                let banned = |c: char| {
                    c.is_control() || "/\\\u{202e}\u{2066}\u{2028}".contains(c)
                };
                assert!(!given.contains(banned), "{name}: {given:?}");
                assert!(!given.trim().is_empty() && given != "." && given != "..", "{name}: {given:?}");
            }
        }
        for filename in ["../../x", "a\\\\b", "a\\\"b", "\u{202e}gpj.exe", "x\u{1}y"] {
            let answer = server.post("/").multipart(&[Part::file(filename, b"x")]).send().expect(&[201, 400]);
            if answer.status == 201 {
                let share = Plain::made(&server, &answer);
                let given = extended_name(&server.get(&share.claimed(&server)).send().is(200).the("content-disposition"));
                let banned = |c: char| c.is_control() || "/\\\u{202e}".contains(c);
                assert!(!given.contains(banned) && given != "..", "{filename:?}: {given:?}");
            }
        }
    }

    fn names_in_a_zip_stay_below_its_folder(store) {
        let server = Server::start(store);
        let parts = [Part::file("../../evil", b"1"), Part::file("/etc/passwd", b"2"), Part::file("a/../../b", b"3")];
        let answer = server.post("/").multipart(&parts).send().expect(&[201, 400]);
        if answer.status == 201 {
            let share = Plain::made(&server, &answer);
            for (name, _) in unzipped(&server.get(&share.claimed(&server)).send().is(200).body) {
                let stays = !name.starts_with('/') && name.split('/').all(|step| !step.is_empty() && step != "..");
                assert!(stays, "{name}");
            }
        }
    }

    fn a_wrong_password_costs_nothing(store) {
        let server = Server::start(store);
        let share = Plain::made(&server, &server.put("/a").header("Share-Password", "grüße").body("x").send());
        for wrong in ["Grüße", "gruesse", " grüße"] {
            let answer = server.post(&share.link()).form(&[("password", wrong)]).header("Accept", "application/json").send();
            assert_eq!(answer.status, 403, "{wrong:?}: {}", answer.text());
        }
        server.post(&share.link()).form(&[]).send().is(403);
        assert_eq!(share.receipt(&server)["state"], "ready");
        assert!(share.receipt(&server)["wrong_proofs"].as_u64().is_some_and(|count| count >= 3), "they are counted");
        // The same word in another normal form opens it.
        let answer = server.post(&share.link()).form(&[("password", "gru\u{308}ße")]).send().is(303);
        assert_eq!(server.get(&answer.the("location")).send().is(200).body, b"x");
    }

    fn a_wrong_password_leads_nowhere_even_with_the_claim_that_was_granted(store) {
        let server = Server::start(store);
        let share = Plain::made(&server, &server.put("/a").header("Share-Password", "right").body("x").send());
        let claim = token();
        let ask = |password| server.post(&share.link()).form(&[("claim", &claim), ("password", password)]).send();
        ask("right").is(303);
        ask("wrong").is(403);
        let answer = ask("right").is(303);
        assert_eq!(server.get(&answer.the("location")).send().is(200).body, b"x");
    }

    fn after_ten_wrong_passwords_a_minute_everybody_on_that_network_waits(store) {
        let server = Server::start(store);
        let share = Plain::made(&server, &server.put("/a").header("Share-Password", "right").body("x").send());
        for guess in 0..10 {
            let guess = format!("wrong {guess}");
            server.post(&share.link()).form(&[("password", &guess)]).send().is(403);
        }
        for password in ["wrong again", "right"] {
            let answer = server.post(&share.link()).form(&[("password", password)]).send().is(429);
            let wait: u64 = answer.the("retry-after").parse().expect("seconds");
            assert!((1..=60).contains(&wait), "{wait} s");
        }
        let proof = crate::client::base64url(&[7; 32]);
        server.get(&format!("/api/v1/shares/{}", share.id)).bearer(&proof).send().is(429);
        assert_eq!(share.receipt(&server)["state"], "ready");
        let unharmed = Plain::put(&server, "/b", b"y");
        assert_eq!(server.get(&unharmed.claimed(&server)).send().is(200).body, b"y", "other shares are not locked");
    }

    fn a_plain_link_with_a_wrong_secret_opens_nothing(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        for _ in 0..15 {
            let link = format!("/s/{}/{}", share.id, token());
            server.post(&link).form(&[]).send().is(403);
        }
        let address = share.claimed(&server);
        let claim = address.split('/').nth(3).unwrap();
        for wrong in [
            format!("/d/{}/{claim}/{}", share.id, token()),
            format!("/d/{}/{}/{}", share.id, token(), share.secret),
            format!("/d/{}/{claim}/{}", unknown_id(), share.secret),
        ] {
            let answer = server.get(&wrong).send();
            assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.status);
            assert!(!answer.text().contains('x') || answer.body.len() > 1);
        }
        assert_eq!(server.get(&address).send().is(200).body, b"x");
    }

    fn an_unknown_plain_link_is_not_found(store) {
        let server = Server::start(store);
        let link = format!("/s/{}/{}", unknown_id(), token());
        server.get(&link).send().is(404);
        server.post(&link).form(&[]).send().is(404);
    }

    fn the_type_of_a_single_file_is_told_but_never_shown_inline(store) {
        let server = Server::start(store);
        let part = b"Content-Disposition: form-data; name=\"file\"; filename=\"a.html\"\r\nContent-Type: text/html\r\n\r\n<script>".to_vec();
        let share = Plain::made(&server, &server.post("/").multipart(&[Part(part)]).send());
        let answer = server.get(&share.claimed(&server)).send().is(200);
        assert!(["text/html", "application/octet-stream"].iter().any(|t| answer.the("content-type").starts_with(t)));
        assert!(answer.the("content-disposition").starts_with("attachment"));
        assert_eq!(answer.the("content-security-policy"), "sandbox; default-src 'none'");
        assert_eq!(answer.the("x-content-type-options"), "nosniff");
    }
}

#[test]
fn a_minute_of_the_lease_remains_after_a_plain_download() {
    let server = Server::start(Store::Embedded);
    let share = Plain::put(&server, "/a", &bytes(100_000));
    let address = share.claimed(&server);
    server.get(&address).send().is(200);
    assert_eq!(share.receipt(&server)["state"], "claimed");
    server.get(&address).send().is(200);
    let downloaded = Instant::now();
    // Who begins with the end is no further than that.
    let from_the_end = Plain::put(&server, "/a", &bytes(100_000));
    range(&server, &from_the_end.claimed(&server), "-10").is(206);
    until("the lease ends", Duration::from_secs(75), || share.receipt(&server)["state"] == "lapsed");
    let lasted = downloaded.elapsed().as_secs();
    assert!((58..=70).contains(&lasted), "it lasted {lasted} s");
    server.get(&address).send().is(410);
    assert_eq!(from_the_end.receipt(&server)["state"], "claimed");
}

/// The kernel takes for a client what that has no room for: it is not on the client's machine when the connection breaks.
#[cfg(target_os = "linux")]
#[test]
fn a_plain_download_whose_end_never_arrived_keeps_its_lease() {
    use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

    let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Server::with(Store::Embedded, &["--metrics-listen", &metrics.to_string()]);
    let share = Plain::put(&server, "/a", &bytes(600_000));
    let address = share.claimed(&server);
    let claim = address.split('/').nth(3).unwrap().to_owned();
    let lease_ends = || {
        let asked = json!({ "proof": base64url(&share.keys().proof.0), "claim": claim });
        let answer = server.post(&format!("/api/v1/shares/{}/claims", share.id)).json(&asked).send().is(200);
        answer.json()["lease_expires_at"].as_str().unwrap().to_owned()
    };
    let mut stream = connect(server.address).unwrap();
    set_socket_recv_buffer_size(&stream, 4096).unwrap();
    write!(stream, "GET {address} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let told = || Request::new(metrics, "GET", "/metrics").send().is(200).text();
    until("the server has handed everything over", Duration::from_secs(10), || {
        told().contains("served_bytes_total 600000")
    });
    let before = lease_ends();
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    until("the lease is settled", Duration::from_secs(10), || lease_ends() != before);
    assert!(lease_ends() > before, "it was shortened to {}", lease_ends());
}

/// The kernel takes megabytes at once for a client that is slow, and has no room for more until much of that is gone.
#[test]
fn a_slow_client_that_goes_on_keeps_its_lease() {
    const A_SECOND: u64 = 400_000;
    const LENGTH: u64 = 15 * A_SECOND;
    let server = Server::with(Store::Embedded, &["--lease", "3s"]);
    let share = Plain::put(&server, "/a", &bytes(LENGTH as usize));
    let mut answer = server.get(&share.claimed(&server)).open().unwrap();
    let begun = Instant::now();
    for read in (0..LENGTH).step_by(20_000) {
        answer.exactly(20_000).unwrap_or_else(|error| panic!("after {read} bytes: {error}"));
        thread::sleep(Duration::from_millis(1000 * (read + 20_000) / A_SECOND).saturating_sub(begun.elapsed()));
    }
}
