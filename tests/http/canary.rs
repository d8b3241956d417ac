//! Sealed at rest: no plaintext, name, note, secret, password or token is found in any store, dump or log.

use std::fs;

use onetimeshare::share::ShareId;

use crate::client::{Part, from_base64url};
use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Server, files};

const NAME: &str = "canary-name-4f81";
const NOTE: &str = "canary-note-9c20";
const CONTENT: &str = "canary-content-77ab ";
const PASSWORD: &str = "canary-password-e0d3";

/// Something that must not be found, and what it is.
type Canary = (String, Vec<u8>);

/// A token in each form in which it could be written down.
fn spellings(what: &str, token: &str) -> Vec<Canary> {
    let raw = from_base64url(token);
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        (format!("{what}, raw"), raw),
        (format!("{what}, base64url"), token.into()),
        (format!("{what}, hex"), hex.clone().into()),
        (format!("{what}, HEX"), hex.to_uppercase().into()),
    ]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// All that the server and its store wrote anywhere.
fn written(server: &Server) -> Vec<(String, Vec<u8>)> {
    let mut written = vec![("the log".to_string(), server.printed().into_bytes())];
    let mut folders = vec![server.data().parent().expect("it has one").to_path_buf()];
    if let Some(redis) = &server.redis {
        redis.ask::<String>(&["CONFIG", "SET", "rdbcompression", "no"]);
        redis.ask::<String>(&["SAVE"]);
        folders.push(redis.folder().to_path_buf());
    }
    for path in folders.iter().flat_map(|folder| files(folder)) {
        written.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        written.push((format!("the name {}", path.display()), path.display().to_string().into_bytes()));
    }
    written
}

#[track_caller]
fn assert_sealed(server: &Server, canaries: &[Canary], ids: &[&str], when: &str) {
    let written = written(server);
    for (what, canary) in canaries {
        for (place, bytes) in &written {
            assert!(!contains(bytes, canary), "{when}: {what} is in {place}");
        }
    }
    // The search itself works: ids are no secret, and they are there.
    for id in ids {
        let raw = id.parse::<ShareId>().unwrap();
        let found = written.iter().any(|(_, bytes)| contains(bytes, id.as_bytes()) || contains(bytes, raw.as_bytes()));
        assert!(found, "{when}: the id is found");
    }
}

on_both_stores! {
    fn nothing_readable_is_ever_written_down(store) {
        let mut server = Server::with(store, &["--log-format", "json"]);
        let mut canaries: Vec<Canary> =
            [NAME, NOTE, CONTENT, PASSWORD].iter().map(|text| (text.to_string(), text.as_bytes().to_vec())).collect();
        for length in [CONTENT.len() * 3, 200_000] {
            let content = CONTENT.repeat(length / CONTENT.len());
            let form = [
                Part::field("password", PASSWORD),
                Part::field("note", NOTE),
                Part::file(&format!("{NAME}.txt"), content.as_bytes()),
                Part::file(&format!("{NAME}-2.txt"), content.as_bytes()),
            ];
            let text = [Part::field("note", NOTE), Part::field("text", &content)];
            let put = server.put(&format!("/{NAME}.txt?note={NOTE}")).header("Share-Password", PASSWORD);
            let sealed = Sealed::named(content.as_bytes(), NAME, NOTE, Some(PASSWORD));
            let upload = Upload::create(&server, &sealed, 2);
            let shares = [
                (Plain::made(&server, &put.body(content.as_bytes()).send()), PASSWORD),
                (Plain::made(&server, &server.post("/").multipart(&form).send()), PASSWORD),
                (Plain::made(&server, &server.post("/").multipart(&text).send()), ""),
            ];
            let upload_token = upload.location.rsplit('/').next().unwrap().to_string();
            canaries.extend(spellings("an upload token", &upload_token));
            canaries.extend(spellings("an owner token", &upload.owner));
            canaries.extend(spellings("a secret", &sealed.secret.to_string()));
            canaries.extend(spellings("a proof", &sealed.proof()));
            for (share, _) in &shares {
                canaries.extend(spellings("a secret", &share.secret));
                canaries.extend(spellings("an owner token", &share.owner));
            }
            let mut ids: Vec<&str> = shares.iter().map(|(share, _)| &*share.id).collect();
            ids.push(&upload.id);

            upload.patch(&server, 0, &sealed.run()[..sealed.manifest.len() + 20]).send().is(204);
            assert_sealed(&server, &canaries, &ids, "in the middle of an upload");
            let offset = upload.offset(&server);
            upload.patch(&server, offset, &sealed.run()[offset..]).send().is(204);
            assert_sealed(&server, &canaries, &ids, "while they wait");

            let mut addresses = Vec::new();
            for (share, password) in &shares {
                server.get(&share.link()).send().is(200);
                server.post(&share.link()).form(&[("password", "canary-password-wrong")]).send();
                let claim = token();
                canaries.extend(spellings("a claim token", &claim));
                let answer = server.post(&share.link()).form(&[("claim", &claim), ("password", password)]).send();
                addresses.push(answer.expect(&[303, 410]).header("location"));
            }
            canaries.push(("a wrong password".into(), b"canary-password-wrong".to_vec()));
            for address in addresses.iter().flatten() {
                server.get(address).send().is(200);
                server.get(address).header("Range", "bytes=0-5").send().is(206);
            }
            let claim = token();
            canaries.extend(spellings("a claim token", &claim));
            upload.claim(&server, &sealed, &claim).send().is(201);
            server.get(&upload.claim_address(&claim)).send().is(200);
            server.get(&format!("/r/{}/{}", upload.id, upload.owner)).send().is(200);
            upload.peek(&server, &sealed).is(200);
            upload.receipt(&server);
            assert_sealed(&server, &canaries, &ids, "while they are claimed");
            server.delete(&upload.claim_address(&claim)).send().is(204);
            server.delete(&upload.share()).bearer(&upload.owner).send();
        }
        // Errors are where logs talk too much.
        let share = Plain::put(&server, &format!("/{NAME}"), CONTENT.as_bytes());
        canaries.extend(spellings("a secret", &share.secret));
        server.get(&format!("/d/{}/{}/{}", share.id, token(), share.secret)).send();
        server.put(&format!("/{NAME}?note={NOTE}&expires_in=x")).header("Share-Password", PASSWORD).body(CONTENT).send().is(400);
        server.post("/").multipart(&[Part::file(NAME, &bytes(10)), Part::field("password", PASSWORD)]).send().is(400);
        let mut cut = server.put(&format!("/{NAME}")).begin("Content-Length: 900000");
        cut.push(CONTENT.repeat(10_000).as_bytes()).unwrap();
        cut.cut();
        server.crash();
        assert_sealed(&server, &canaries, &[&share.id], "after errors and a crash");
        server.terminate();
        server.wait();
        assert_sealed(&server, &canaries, &[], "in the end");
    }
}
