//! Uploads in tus 1.0.0.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::Answer;
use crate::sender::{Sealed, Upload, bytes, creation, metadata, sha256, token, tus, unknown_id};
use crate::server::{Server, Store, until};

const SOON: Duration = Duration::from_secs(15);

/// Downloads a share and opens it.
#[track_caller]
fn assert_arrives(server: &Server, upload: &Upload, sealed: &Sealed) {
    let address = upload.claimed(server, sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

fn offset_of(answer: &Answer) -> String {
    assert_eq!(answer.the("tus-resumable"), "1.0.0");
    answer.the("upload-offset")
}

on_both_stores! {
    fn an_upload_is_created_filled_and_published(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(500_000));
        let (run, half) = (sealed.run(), 200_000);
        let created = creation(&server, &sealed, &sealed.metadata(1)).send().is(201);
        assert_eq!(created.the("tus-resumable"), "1.0.0");
        let expires = httpdate::parse_http_date(&created.the("upload-expires")).expect("RFC 7231");
        let window = expires.duration_since(SystemTime::now()).expect("to come").as_secs();
        assert!((86_000..=86_401).contains(&window), "{window} s");
        let upload = Upload::created(&server, &created);
        assert_eq!(upload.offset(&server), 0);
        assert_eq!(upload.state(&server), "uploading");
        assert_eq!(offset_of(&upload.patch(&server, 0, &run[..half]).send().is(204)), half.to_string());
        let head = upload.head(&server).expect(&[200, 204]);
        assert_eq!(head.the("upload-offset"), half.to_string());
        assert_eq!(head.the("upload-length"), run.len().to_string());
        assert!(head.the("cache-control").contains("no-store"));
        server.get(&upload.share()).send().is(404);
        upload.claim(&server, &sealed, &token()).send().is(404);
        assert_eq!(offset_of(&upload.patch(&server, half, &run[half..]).send().is(204)), run.len().to_string());
        assert_eq!(upload.state(&server), "ready");
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_creation_may_carry_the_first_bytes_or_all(store) {
        let server = Server::start(store);
        for (size, carried) in [(300_000, 100_000), (300_000, usize::MAX), (100, 60), (100, usize::MAX)] {
            let sealed = Sealed::new(&bytes(size));
            let run = sealed.run();
            let carried = carried.min(run.len());
            let created = creation(&server, &sealed, &sealed.metadata(1))
                .header("Content-Type", "application/offset+octet-stream")
                .body(&run[..carried])
                .send();
            let upload = Upload::created(&server, &created);
            assert_eq!(offset_of(&created), carried.to_string());
            if carried < run.len() {
                upload.patch(&server, carried, &run[carried..]).send().is(204);
            }
            assert_arrives(&server, &upload, &sealed);
        }
    }

    fn a_length_may_come_later(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(400_000));
        let run = sealed.run();
        let request = tus(server.post("/api/v1/uploads")).header("Upload-Defer-Length", 1);
        let upload = Upload::created(&server, &request.header("Upload-Metadata", sealed.metadata(1)).send());
        upload.patch(&server, 0, &run[..150_000]).send().is(204);
        let head = upload.head(&server);
        assert_eq!(head.the("upload-defer-length"), "1");
        assert!(head.header("upload-length").is_none());
        let too_short = upload.patch(&server, 150_000, b"").header("Upload-Length", 140_000).send().is(400);
        assert!(too_short.text().contains("150000"), "{}", too_short.text());
        upload.patch(&server, 150_000, &run[150_000..300_000]).header("Upload-Length", run.len()).send().is(204);
        assert_eq!(upload.head(&server).the("upload-length"), run.len().to_string());
        let another = upload.patch(&server, 300_000, b"").header("Upload-Length", run.len() + 1).send().is(400);
        assert!(another.text().contains(&run.len().to_string()), "{}", another.text());
        upload.patch(&server, 300_000, &run[300_000..]).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_length_that_comes_last_of_all_publishes(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let run = sealed.run();
        let request = tus(server.post("/api/v1/uploads")).header("Upload-Defer-Length", 1);
        let upload = Upload::created(&server, &request.header("Upload-Metadata", sealed.metadata(1)).send());
        upload.patch(&server, 0, &run).send().is(204);
        assert_eq!(upload.state(&server), "uploading");
        upload.patch(&server, run.len(), b"").header("Upload-Length", run.len()).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn methods_that_do_not_get_through_come_as_posts(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::create(&server, &sealed, 1);
        let patched = upload.patch(&server, 0, &sealed.run()).by_post().send().is(204);
        assert_eq!(offset_of(&patched), sealed.run().len().to_string());
        assert_arrives(&server, &upload, &sealed);

        let given_up = Upload::create(&server, &sealed, 1);
        let here = |method: &str| tus(server.request(method, &given_up.location)).by_post();
        assert_eq!(offset_of(&here("HEAD").send().is(200)), "0");
        here("GET").send().is(405);
        here("DELETE").send().is(204);
        given_up.head(&server).is(404);
    }

    fn the_extensions_are_told(store) {
        let server = Server::start(store);
        let answer = server.request("OPTIONS", "/api/v1/uploads").send().expect(&[200, 204]);
        assert_eq!(answer.the("tus-version"), "1.0.0");
        let told = answer.the("tus-extension");
        let mut told: Vec<&str> = told.split(',').map(str::trim).collect();
        told.sort_unstable();
        let known = ["checksum", "creation", "creation-defer-length", "creation-with-upload", "expiration", "termination"];
        assert_eq!(told, known);
        let algorithms = answer.the("tus-checksum-algorithm");
        assert!(algorithms.contains("sha1") && algorithms.contains("sha256"), "{algorithms}");
        let config = server.get("/api/v1/config").send().is(200).json();
        // What may be uploaded is sealed, and so a little more than what may be shared.
        let (most, max_size) = (answer.the("tus-max-size").parse::<u64>().expect("a number"), config["max_size"].as_u64().unwrap());
        assert!((max_size..max_size + max_size / 1000 + (2 << 20)).contains(&most), "{most}");
    }

    fn parts_of_any_size_at_any_boundary_make_one_share(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(900_000));
        let run = sealed.run();
        let (manifest, header) = (sealed.manifest.len(), sealed.manifest.len() + 21);
        let edges = [
            1, 2, manifest - 1, manifest, manifest + 1, header, header + 1, 65_536, 65_537, 262_143, 262_144, 262_145,
            manifest + 262_165, 500_000, 524_288, run.len() - 1, run.len(),
        ];
        let upload = Upload::create(&server, &sealed, 1);
        let mut offset = 0;
        for edge in edges {
            assert_eq!(offset_of(&upload.patch(&server, offset, &run[offset..edge]).send().is(204)), edge.to_string());
            assert_eq!(upload.offset(&server), edge);
            offset = edge;
        }
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_small_share_in_single_bytes_arrives(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(b"");
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        for (at, byte) in run.iter().enumerate() {
            upload.patch(&server, at, &[*byte]).send().is(204);
        }
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_part_of_nothing_changes_nothing(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::create(&server, &sealed, 1);
        assert_eq!(offset_of(&upload.patch(&server, 0, b"").send().is(204)), "0");
        upload.patch(&server, 0, &sealed.run()).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_wrong_offset_is_a_conflict_and_a_repeated_part_too(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(300_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        upload.patch(&server, 0, &run[..100]).send().is(204);
        for offset in [0, 99, 101, 100_000] {
            upload.patch(&server, offset, &run[offset..]).send().is(409);
            assert_eq!(upload.offset(&server), 100);
        }
        upload.patch(&server, 100, &run[100..]).send().is(204);
        upload.patch(&server, 100, &run[100..]).send().is(409);
        assert_arrives(&server, &upload, &sealed);
    }

    fn what_is_not_tus_is_refused(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::create(&server, &sealed, 1);
        let bare = |method: &str| server.request(method, &upload.location);
        let typed = |kind: &str| tus(bare("PATCH")).header("Upload-Offset", 0).header("Content-Type", kind).body(sealed.run());
        for kind in ["application/octet-stream", "text/plain", "multipart/form-data; boundary=x"] {
            typed(kind).send().is(415);
        }
        tus(bare("PATCH")).header("Upload-Offset", 0).body(sealed.run()).send().is(415);
        for version in [None, Some("0.2.2"), Some("1.0"), Some("")] {
            for method in ["PATCH", "HEAD", "DELETE"] {
                let mut request = bare(method);
                if let Some(version) = version {
                    request = request.header("Tus-Resumable", version);
                }
                if method == "PATCH" {
                    request = request.header("Upload-Offset", 0).body(sealed.run());
                    request = request.header("Content-Type", "application/offset+octet-stream");
                }
                let answer = request.send();
                assert_eq!(answer.status, 412, "{method} with {version:?}: {}", answer.text());
                assert_eq!(answer.the("tus-version"), "1.0.0");
            }
        }
        let request = server.post("/api/v1/uploads").header("Upload-Length", 5).header("Upload-Metadata", sealed.metadata(1));
        request.send().is(412);
        assert_eq!(upload.offset(&server), 0);
    }

    fn offsets_and_lengths_that_are_no_numbers_are_refused(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::create(&server, &sealed, 1);
        for offset in ["-1", "", "x", "1e3", "0x10", "18446744073709551616", "9223372036854775808", "1.0"] {
            let request = tus(server.patch(&upload.location)).header("Content-Type", "application/offset+octet-stream");
            let answer = request.header("Upload-Offset", offset).body("x").send();
            assert!([400, 409].contains(&answer.status), "offset {offset:?}: {}", answer.status);
        }
        let request = tus(server.patch(&upload.location)).header("Content-Type", "application/offset+octet-stream");
        request.body("x").send().is(400);
        for length in ["-1", "", "x", "1e3", "18446744073709551616", "9223372036854775808", "1.0", "99999999999999"] {
            let request = tus(server.post("/api/v1/uploads")).header("Upload-Length", length);
            let answer = request.header("Upload-Metadata", sealed.metadata(1)).send();
            assert!([400, 413].contains(&answer.status), "length {length:?}: {}", answer.status);
        }
        let neither = tus(server.post("/api/v1/uploads")).header("Upload-Metadata", sealed.metadata(1));
        neither.clone().send().is(400);
        neither.clone().header("Upload-Length", 500).header("Upload-Defer-Length", 1).send().is(400);
        neither.header("Upload-Defer-Length", 2).send().is(400);
        assert_eq!(upload.offset(&server), 0);
    }

    fn metadata_must_be_complete_and_known(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let run = sealed.run().len();
        let (manifest, verifier) = (sealed.manifest.len().to_string(), sealed.verifier());
        let (more, whole) = ((run + 1).to_string(), run.to_string());
        let right = [("manifest", &*manifest), ("verifier", &*verifier), ("expires_in", "60"), ("downloads", "1")];
        let with = |key: &'static str, value: &'static str| {
            let mut pairs = right.to_vec();
            pairs.retain(|(known, _)| *known != key);
            pairs.push((key, value));
            metadata(&pairs)
        };
        let mut wrong = vec![
            String::new(),
            metadata(&right[1..]),
            metadata(&[right[0], right[2], right[3]]),
            with("filename", "a.pdf"),
            with("filetype", "application/pdf"),
            with("note", "hello"),
            with("password", "hunter2"),
            with("verifier", "00"),
            with("verifier", "zz"),
            with("manifest", "-1"),
            with("manifest", "x"),
            with("manifest", "0"),
            with("manifest", "1048577"),
            with("expires_in", "0"),
            with("expires_in", "-1"),
            with("expires_in", "604801"),
            with("expires_in", "99999999999999999999"),
            with("downloads", "0"),
            with("downloads", "101"),
            with("downloads", "4294967297"),
            "manifest !!!,verifier ???".into(),
            "manifest".into(),
            ",,,,".into(),
            with("manifest", "5") + ",manifest NQ==",
        ];
        for value in [&more, &whole] {
            let mut pairs = right.to_vec();
            pairs[0] = ("manifest", value);
            wrong.push(metadata(&pairs));
        }
        for value in wrong {
            let answer = creation(&server, &sealed, &value).send();
            assert_eq!(answer.status, 400, "{value}: {}", answer.text());
            answer.code();
        }
        Upload::created(&server, &creation(&server, &sealed, &metadata(&right)).send());
    }

    fn a_part_beyond_the_length_is_refused(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(300_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        upload.patch(&server, 0, &run[..1000]).send().is(204);
        let more = [&run[1000..], b"more"].concat();
        upload.patch(&server, 1000, &more).send().expect(&[400, 413]);
        let offset = upload.offset(&server);
        assert!((1000..run.len()).contains(&offset), "it is not published: {offset}");
        upload.patch(&server, offset, &run[offset..]).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_checksum_that_differs_leaves_nothing_of_the_part(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(400_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        let checksum = |algorithm: &str, digest: &[u8]| format!("{algorithm} {}", STANDARD.encode(digest));
        let sha1 = |bytes: &[u8]| {
            let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
            checksum("sha1", digest.as_ref())
        };
        let sha256 = |bytes: &[u8]| checksum("sha256", &sha256(bytes));
        for wrong in [sha1(b"other"), sha256(b"other")] {
            upload.patch(&server, 0, &run[..150_000]).header("Upload-Checksum", wrong).send().is(460);
            assert_eq!(upload.offset(&server), 0);
        }
        for wrong in ["md4 AAAA", "sha256", "sha1 !!!", ""] {
            upload.patch(&server, 0, &run[..150_000]).header("Upload-Checksum", wrong).send().is(400);
            assert_eq!(upload.offset(&server), 0);
        }
        upload.patch(&server, 0, &run[..150_000]).header("Upload-Checksum", sha1(&run[..150_000])).send().is(204);
        upload.patch(&server, 150_000, &run[150_000..]).header("Upload-Checksum", sha256(b"other")).send().is(460);
        assert_eq!(upload.offset(&server), 150_000);
        assert_eq!(upload.state(&server), "uploading");
        upload.patch(&server, 150_000, &run[150_000..]).header("Upload-Checksum", sha256(&run[150_000..])).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_terminated_upload_is_gone(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(300_000));
        let upload = Upload::create(&server, &sealed, 1);
        upload.patch(&server, 0, &sealed.run()[..200_000]).send().is(204);
        assert!(!server.blobs().is_empty());
        tus(server.delete(&upload.location)).send().is(204);
        upload.head(&server).expect(&[404, 410]);
        upload.patch(&server, 200_000, &sealed.run()[200_000..]).send().expect(&[404, 410]);
        assert_eq!(upload.state(&server), "abandoned");
        until("its bytes are freed", SOON, || server.blobs().is_empty());
    }

    fn a_published_upload_keeps_its_offset_and_cannot_be_terminated(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::publish(&server, &sealed, 1);
        assert_eq!(upload.offset(&server), sealed.run().len());
        tus(server.delete(&upload.location)).send().is(409);
        upload.patch(&server, sealed.run().len(), b"").send().is(204);
        let mut more = upload.patching(&server, sealed.run().len()).begin("Transfer-Encoding: chunked");
        more.push(b"1\r\nx\r\n0\r\n\r\n").unwrap();
        more.answer().unwrap().is(413);
        let address = upload.claimed(&server, &sealed);
        server.delete(&address).send().is(204);
        assert_eq!(upload.offset(&server), sealed.run().len(), "it answers until Upload-Expires");
        tus(server.delete(&upload.location)).send().is(409);
    }

    fn what_arrived_of_a_cut_part_is_kept(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(3_000_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        let mut arrived = 0;
        for count in [1, 100_000, 1_234_567] {
            let mut sending = upload.patching(&server, arrived).begin(&format!("Content-Length: {}", run.len() - arrived));
            sending.push(&run[arrived..arrived + count]).unwrap();
            sending.cut();
            arrived += count;
            until("the offset is what arrived", SOON, || upload.offset(&server) == arrived);
        }
        upload.patch(&server, arrived, &run[arrived..]).send().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn a_chunked_part_is_as_good(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(200_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        let mut sending = upload.patching(&server, 0).begin("Transfer-Encoding: chunked");
        for piece in run.chunks(70_000) {
            sending.push(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            sending.push(piece).unwrap();
            sending.push(b"\r\n").unwrap();
        }
        sending.push(b"0\r\n\r\n").unwrap();
        sending.answer().unwrap().is(204);
        assert_arrives(&server, &upload, &sealed);
    }

    fn of_two_parts_at_once_exactly_one_is_taken(store) {
        let server = Server::start(store);
        for round in 0..20 {
            let sealed = Sealed::new(&bytes(300_000));
            let run = sealed.run();
            let end = if round % 2 == 0 { 150_000 } else { run.len() };
            let upload = Upload::create(&server, &sealed, 1);
            let start = Barrier::new(2);
            let answers: Vec<u16> = thread::scope(|scope| {
                let senders: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            let request = upload.patch(&server, 0, &run[..end]);
                            start.wait();
                            request.send().status
                        })
                    })
                    .collect();
                senders.into_iter().map(|sender| sender.join().unwrap()).collect()
            });
            assert_eq!(answers.iter().filter(|&&status| status == 204).count(), 1, "{answers:?}");
            assert!(answers.iter().all(|status| [204, 409, 423].contains(status)), "{answers:?}");
            assert_eq!(upload.offset(&server), end);
            if end < run.len() {
                upload.patch(&server, end, &run[end..]).send().is(204);
            }
            assert_arrives(&server, &upload, &sealed);
        }
    }

    fn two_different_parts_at_once_never_mix(store) {
        let server = Server::start(store);
        for _ in 0..20 {
            let sealed = Sealed::new(&bytes(300_000));
            let run = sealed.run();
            let upload = Upload::create(&server, &sealed, 1);
            let start = Barrier::new(2);
            thread::scope(|scope| {
                for end in [100_000, 200_000] {
                    let (upload, server, run, start) = (&upload, &server, &run, &start);
                    scope.spawn(move || {
                        let request = upload.patch(server, 0, &run[..end]);
                        start.wait();
                        request.send().expect(&[204, 409, 423]);
                    });
                }
            });
            let offset = upload.offset(&server);
            assert!((100_000..=200_000).contains(&offset), "{offset}");
            upload.patch(&server, offset, &run[offset..]).send().is(204);
            assert_arrives(&server, &upload, &sealed);
        }
    }

    fn unknown_uploads_and_tokens_are_not_found(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::create(&server, &sealed, 1);
        let addresses = [
            format!("/api/v1/uploads/{}/{}", upload.id, token()),
            format!("/api/v1/uploads/{}/{}", unknown_id(), token()),
            format!("/api/v1/uploads/{}/{}", upload.id, upload.owner),
        ];
        for address in addresses {
            for method in ["HEAD", "PATCH", "DELETE"] {
                let mut request = tus(server.request(method, &address));
                if method == "PATCH" {
                    request = request.header("Upload-Offset", 0).header("Content-Type", "application/offset+octet-stream");
                    request = request.body("x");
                }
                assert_eq!(request.send().status, 404, "{method} {address}");
            }
        }
        assert_eq!(upload.offset(&server), 0);
    }

    fn the_upload_window_closes(store) {
        let server = Server::with(store, &["--upload-window", "2s"]);
        let sealed = Sealed::new(&bytes(300_000));
        let upload = Upload::create(&server, &sealed, 1);
        upload.patch(&server, 0, &sealed.run()[..200_000]).send().is(204);
        until("the window closes", SOON, || [404, 410].contains(&upload.head(&server).status));
        upload.patch(&server, 200_000, &sealed.run()[200_000..]).send().expect(&[404, 410]);
        assert_eq!(upload.state(&server), "abandoned");
        let published = Upload::publish(&server, &sealed, 1);
        until("it answers until Upload-Expires", SOON, || [404, 410].contains(&published.head(&server).status));
        assert_arrives(&server, &published, &sealed);
    }
}

#[test]
fn the_settings_are_told_to_clients() {
    let flags =
        ["--max-size", "5000000", "--default-expires-in", "1h", "--max-expires-in", "2h", "--max-downloads", "7"];
    let server = Server::with(Store::Embedded, &flags);
    let answer = server.get("/api/v1/config").send().is(200);
    let mut config = answer.json();
    assert!(config["upload_part"].as_u64().expect("a number") > 0);
    assert_eq!(config["version"], env!("CARGO_PKG_VERSION"));
    let config = config.as_object_mut().unwrap();
    config.remove("upload_part");
    config.remove("version");
    let told = json!({"max_size": 5_000_000, "default_expires_in": 3600, "max_expires_in": 7200, "max_downloads": 7});
    assert_eq!(serde_json::Value::from(config.clone()), told);
}
