//! Plain uploads: one request, sealed by the server as it streams.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use onetimeshare::share::Token;
use serde_json::Value;

use crate::client::Part;
use crate::sender::{Plain, bytes};
use crate::server::{Server, Store};

/// Real curl, without anybody's configuration.
pub(crate) fn curl(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-q", "--noproxy", "*", "--silent", "--show-error", "--max-time", "60"]).args(arguments);
    command.current_dir(folder).stdin(Stdio::null()).output().expect("curl is installed")
}

/// What curl printed, where it succeeded.
#[track_caller]
pub(crate) fn curled(folder: &Path, arguments: &[&str]) -> String {
    let output = curl(folder, arguments);
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Unseals and downloads through the plain link.
#[track_caller]
fn download(server: &Server, share: &Plain) -> Vec<u8> {
    server.get(&share.claimed(server)).send().is(200).body
}

/// A name and a content of a zip.
type Entry = (String, Vec<u8>);

/// The entries of a zip, as Python reads them; `unzip` must find it sound too.
pub(crate) fn unzipped(zip: &[u8]) -> Vec<Entry> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.zip");
    fs::write(&path, zip).expect("written");
    let tested = Command::new("unzip").arg("-t").arg(&path).output().expect("unzip is installed");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    let program = "import sys, zipfile, json, base64\n\
                   z = zipfile.ZipFile(sys.argv[1])\n\
                   assert z.testzip() is None\n\
                   print(json.dumps([[i.filename, list(z.read(i))] for i in z.infolist()]))";
    let read = Command::new("python3").args(["-c", program]).arg(&path).output().expect("python3 is installed");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).expect("JSON")
}

on_both_stores! {
    fn a_put_answers_one_line_the_plain_link(store) {
        let server = Server::start(store);
        let answer = server.put("/hello.txt").body("hello").send().is(201);
        let share = Plain::made(&server, &answer);
        assert_eq!(answer.text().trim_end(), format!("{}{}", server.origin(), share.link()));
        assert!(answer.the("content-type").starts_with("text/plain"), "{}", answer.the("content-type"));
        assert_eq!(share.manifest(&server)["files"][0]["name"], "hello.txt");
        assert_eq!(download(&server, &share), b"hello");
    }

    fn curl_uploads_and_downloads_a_file_by_its_name(store) {
        let server = Server::start(store);
        let (sender, recipient) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content = bytes(700_001);
        fs::write(sender.path().join("some report.pdf"), &content).unwrap();
        let link = curled(sender.path(), &["-f", "-T", "some report.pdf", &format!("{}/", server.origin())]);
        curled(recipient.path(), &["-fOJL", "-d", "", link.trim()]);
        assert!(fs::read(recipient.path().join("some report.pdf")).expect("it has its name") == content);
    }

    fn a_name_that_is_no_utf8_is_taken_for_what_it_can_be_read_as(store) {
        let server = Server::start(store);
        for (address, name) in [("/caf%e9.txt", "caf\u{fffd}.txt"), ("/50%zz", "50%zz"), ("/gr%C3%B6%C3%9Fer", "größer")] {
            let share = Plain::made(&server, &server.put(address).body("x").send().is(201));
            assert_eq!(share.manifest(&server)["files"][0]["name"], name);
            assert_eq!(download(&server, &share), b"x");
        }
    }

    fn names_of_pages_are_names_of_files_too(store) {
        let server = Server::start(store);
        for name in ["status", "test-redis", "healthz", "readyz", "share-target", "favicon.ico", "sw.js"] {
            let share = Plain::made(&server, &server.put(&format!("/{name}")).body(bytes(100_000)).send().is(201));
            assert_eq!(share.manifest(&server)["files"][0]["name"], name);
            assert!(download(&server, &share) == bytes(100_000), "{name}");
        }
        server.get("/status").send().is(200);
    }

    fn a_form_without_files_takes_a_text(store) {
        let server = Server::start(store);
        let share = Plain::made(&server, &server.post("/?downloads=2").form(&[("text", "größer & 1 + 1")]).send().is(201));
        assert_eq!(share.manifest(&server)["files"][0]["kind"], "text");
        assert_eq!(share.receipt(&server)["downloads"], 2);
        assert_eq!(download(&server, &share), "größer & 1 + 1".as_bytes());
        for fields in [&[][..], &[("text", "")], &[("text", "a"), ("file", "b")], &[("text", &"a".repeat(300_000))]] {
            server.post("/").form(fields).send().is(400);
        }
    }

    fn curl_sends_standard_input(store) {
        let server = Server::start(store);
        let folder = tempfile::tempdir().unwrap();
        let content = bytes(300_000);
        let mut curl = Command::new("curl");
        curl.args(["-q", "--noproxy", "*", "-sSf", "-T", "-", &format!("{}/", server.origin())]);
        let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl is installed");
        curl.stdin.take().expect("piped").write_all(&content).unwrap();
        let output = curl.wait_with_output().unwrap();
        assert!(output.status.success());
        let link = String::from_utf8(output.stdout).unwrap();
        curled(folder.path(), &["-fOJL", "-d", "", link.trim()]);
        assert!(fs::read(folder.path().join("stdin")).expect("it is named stdin") == content);
    }

    fn curl_sends_several_files_and_gets_a_zip(store) {
        let server = Server::start(store);
        let (sender, recipient) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (bytes(300_000), bytes(7));
        fs::write(sender.path().join("a.bin"), &a).unwrap();
        fs::write(sender.path().join("größe.txt"), &b).unwrap();
        let url = format!("{}/", server.origin());
        let link = curled(sender.path(), &["-f", "-F", "file=@a.bin", "-F", "file=@größe.txt", &url]);
        curled(recipient.path(), &["-fOJL", "-d", "", link.trim()]);
        let downloaded = fs::read_dir(recipient.path()).unwrap().next().expect("one file").unwrap().path();
        assert_eq!(downloaded.extension().expect("it has one"), "zip");
        let expected = vec![("a.bin".to_string(), a), ("größe.txt".to_string(), b)];
        assert!(unzipped(&fs::read(downloaded).unwrap()) == expected);
    }

    fn a_form_without_javascript_gets_a_result_page(store) {
        let server = Server::start(store);
        let parts = [Part::field("expires_in", "3600"), Part::field("note", "with love"), Part::file("a.txt", b"content")];
        let answer = server.post("/").header("Accept", "text/html,*/*;q=0.8").multipart(&parts).send().is(201);
        assert!(answer.the("content-type").starts_with("text/html"));
        let share = Plain::made(&server, &answer);
        assert!(answer.text().contains(&share.owner), "the page leads to the receipt");
        assert_eq!(share.manifest(&server)["note"], "with love");
        assert_eq!(download(&server, &share), b"content");
    }

    fn json_for_those_who_ask(store) {
        let server = Server::start(store);
        let answer = server.put("/a.txt?downloads=2").header("Accept", "application/json").body("x").send().is(201);
        let share = Plain::made(&server, &answer);
        let json = answer.json();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let mut expected = ["id", "link", "plain_link", "receipt", "owner_token", "expires_at", "downloads"];
        expected.sort_unstable();
        assert_eq!(keys, expected, "{json}");
        assert_eq!(json["id"], share.id.as_str());
        assert_eq!(json["link"], format!("{}/s/{}#{}", server.origin(), share.id, share.secret));
        assert_eq!(json["plain_link"], format!("{}{}", server.origin(), share.link()));
        assert_eq!(json["receipt"], answer.the("receipt"));
        assert_eq!(json["owner_token"], share.owner.as_str());
        assert_eq!(json["downloads"], 2);
        assert!(json["expires_at"].as_str().unwrap().ends_with('Z'));
    }

    fn a_text_is_a_share_too(store) {
        let server = Server::start(store);
        let answer = server.post("/").multipart(&[Part::field("text", "grüße\r\nund mehr")]).send();
        let share = Plain::made(&server, &answer);
        assert_eq!(share.manifest(&server)["files"][0]["kind"], "text");
        assert_eq!(String::from_utf8(download(&server, &share)).unwrap(), "grüße\r\nund mehr");
    }

    fn a_text_in_the_query_and_a_file_are_one_too_many(store) {
        let server = Server::start(store);
        server.put("/a.bin?text=hello").body("a file").send().is(400);
        server.post("/?text=hello").body("a file").send().is(400);
        server.post("/?text=hello").multipart(&[Part::file("a.bin", b"a file")]).send().is(400);
        let mut sending = server.put("/a.bin?text=hello").begin("Transfer-Encoding: chunked");
        sending.push(b"1\r\na\r\n0\r\n\r\n").unwrap();
        let answer = sending.answer().unwrap().is(400);
        assert!(answer.text().contains("either"), "{}", answer.text());
        let share = Plain::made(&server, &server.put("/a.bin?text=hello").body("").send().is(201));
        assert_eq!(share.manifest(&server)["files"][0]["kind"], "text");
    }

    fn a_form_whose_file_field_was_left_empty_shares_its_text(store) {
        let server = Server::start(store);
        let parts = [Part::field("password", ""), Part::field("text", "words"), Part::file("", b"")];
        let share = Plain::made(&server, &server.post("/").multipart(&parts).send());
        assert_eq!(share.manifest(&server)["files"].as_array().unwrap().len(), 1);
        assert_eq!(download(&server, &share), b"words");
    }

    fn an_empty_file_arrives_empty(store) {
        let server = Server::start(store);
        for share in [
            Plain::put(&server, "/empty", b""),
            Plain::made(&server, &server.post("/").multipart(&[Part::file("empty", b"")]).send()),
        ] {
            let answer = server.get(&share.claimed(&server)).send().is(200);
            assert_eq!((answer.the("content-length"), answer.body.len()), ("0".to_string(), 0));
            assert!(answer.the("content-disposition").contains("filename=\"empty\""));
        }
    }

    fn sizes_around_a_record_arrive_whole(store) {
        let server = Server::start(store);
        for size in [1, 64 * 1024 - 60, 64 * 1024 - 38, 64 * 1024, 262_126, 262_127, 262_128, 2 * 262_127, 2 * 262_127 + 1] {
            let content = bytes(size);
            assert!(download(&server, &Plain::put(&server, "/a", &content)) == content, "{size} bytes");
            let share = Plain::made(&server, &server.post("/").multipart(&[Part::file("a", &content)]).send());
            assert!(download(&server, &share) == content, "{size} bytes in a form");
        }
    }

    fn options_are_taken_in_every_spelling(store) {
        let server = Server::start(store);
        let form = [Part::field("expires_in", "172800"), Part::field("downloads", "3"), Part::file("a", b"x")];
        let answers = [
            ("form fields", server.post("/").multipart(&form).send()),
            ("query of a PUT", server.put("/a?expires_in=172800&downloads=3").body("x").send()),
            ("query of a POST", server.post("/?expires_in=172800&downloads=3").multipart(&form[2..]).send()),
            ("headers of a PUT", server.put("/a").header("Max-Days", 2).header("Max-Downloads", 3).body("x").send()),
            (
                "headers of a POST",
                server.post("/").header("Max-Days", 2).header("Max-Downloads", 3).multipart(&form[2..]).send(),
            ),
        ];
        for (spelling, answer) in answers {
            let receipt = Plain::made(&server, &answer).receipt(&server);
            assert_eq!(receipt["downloads"], 3, "{spelling}");
            let time = |key: &str| humantime::parse_rfc3339(receipt[key].as_str().unwrap()).unwrap();
            let waits = time("expires_at").duration_since(time("created_at")).unwrap().as_secs();
            assert!((172_799..172_810).contains(&waits), "{spelling}: {waits} s");
        }
    }

    fn a_note_may_come_as_a_query_parameter(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a?note=see%20page%207", b"x");
        assert_eq!(share.manifest(&server)["note"], "see page 7");
    }

    fn a_password_in_a_header_or_before_the_files_seals_the_share(store) {
        let server = Server::start(store);
        let form = [Part::field("password", "hunter2"), Part::file("a", b"x")];
        for answer in [
            server.post("/").multipart(&form).send(),
            server.put("/a").header("Share-Password", "hunter2").body("x").send(),
        ] {
            let share = Plain::made(&server, &answer);
            let peek = server.get(&format!("/api/v1/shares/{}", share.id)).send().is(200);
            assert_eq!(peek.json()["password"], true);
            server.post(&share.link()).form(&[("password", "hunter3")]).send().is(403);
            let right = server.post(&share.link()).form(&[("password", "hunter2")]).send().is(303);
            assert_eq!(server.get(&right.the("location")).send().is(200).body, b"x");
        }
    }

    fn a_password_after_a_file_is_refused(store) {
        let server = Server::start(store);
        let before = server.blobs();
        let parts = [Part::file("a", &bytes(200_000)), Part::field("password", "hunter2")];
        let answer = server.post("/").multipart(&parts).send().is(400);
        assert!(answer.text().to_lowercase().contains("password"), "it says what to do: {}", answer.text());
        assert_eq!(server.blobs(), before);
    }

    fn options_that_do_not_parse_or_are_out_of_range_are_refused(store) {
        let server = Server::start(store);
        let beyond = (7 * 86_400 + 1).to_string();
        let wrong: &[(&str, &[&str])] = &[
            ("expires_in", &["0", "-1", "soon", "1.5", "99999999999999999999999", &beyond]),
            ("downloads", &["0", "-1", "101", "many", "1.5", "99999999999999999999999"]),
        ];
        for (option, values) in wrong {
            for value in *values {
                let form = [Part::field(option, value), Part::file("a", b"x")];
                let answers = [
                    server.put(&format!("/a?{option}={value}")).body("x").send(),
                    server.post(&format!("/?{option}={value}")).multipart(&form[1..]).send(),
                    server.post("/").multipart(&form).send(),
                ];
                for answer in answers {
                    assert_eq!(answer.status, 400, "{option}={value}: {}", answer.text());
                    assert_eq!(answer.text().trim_end().lines().count(), 1, "one line: {}", answer.text());
                }
            }
        }
        for (header, values) in [("Max-Days", ["0", "-1", "8", "x", "1e9"]), ("Max-Downloads", ["0", "-1", "101", "x", "1e9"])] {
            for value in values {
                let answer = server.put("/a").header(header, value).body("x").send();
                assert_eq!(answer.status, 400, "{header}: {value}: {}", answer.text());
            }
        }
        if let Some(redis) = &server.redis {
            assert!(redis.keys("share:*").is_empty());
        }
    }

    fn a_form_without_a_file_or_a_text_is_refused(store) {
        let server = Server::start(store);
        server.post("/").multipart(&[]).send().is(400);
        server.post("/").multipart(&[Part::field("note", "alone")]).send().is(400);
    }

    fn a_plain_upload_has_a_receipt(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        let receipt: Value = share.receipt(&server);
        assert_eq!(receipt["state"], "ready");
        assert_eq!(receipt["downloads"], 1);
    }

    fn whoever_revokes_at_the_receipts_address_needs_no_header(store) {
        let server = Server::start(store);
        let folder = tempfile::tempdir().unwrap();
        let answer = server.put("/a").body("x").send().is(201);
        curled(folder.path(), &["-f", "-X", "DELETE", &answer.the("x-url-delete")]);
        let share = Plain::made(&server, &answer);
        server.post(&share.link()).form(&[]).send().expect(&[404, 410]);
        assert_eq!(share.receipt(&server)["state"], "revoked");
    }
}

#[test]
fn a_put_below_a_folder_is_no_upload() {
    let server = Server::start(Store::Embedded);
    let answer = server.put("/a/b").body("x").send();
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

#[test]
fn secrets_and_tokens_are_never_the_same_twice() {
    let server = Server::start(Store::Embedded);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let share = Plain::put(&server, "/a", b"x");
        for text in [share.secret, share.owner] {
            text.parse::<Token>().unwrap();
            assert!(seen.insert(text));
        }
        assert!(seen.insert(share.id));
    }
}
