//! `kill -9` of the server at each step: nothing acknowledged is lost, nothing is given twice, no orphan stays.

use std::io::Read;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use onetimeshare::share::ShareId;

use crate::client::Part;
use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Server, until};

const MIB: usize = 1024 * 1024;
/// Bytes are freed at least this soon after their end.
const A_MINUTE: Duration = Duration::from_secs(65);

/// Pauses before the kill, in microseconds, so that it falls into different steps of a request.
const PAUSES: [u64; 10] = [0, 300, 700, 1200, 2000, 3000, 5000, 8000, 13_000, 40_000];

/// Claims, downloads and finishes; nothing may be left then.
#[track_caller]
fn assert_arrives_and_goes(server: &Server, upload: &Upload, sealed: &Sealed) {
    let address = upload.claimed(server, sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
    upload.claim(server, sealed, &token()).send().is(410);
    server.delete(&address).send().is(204);
    until("nothing is left", A_MINUTE, || server.blobs().is_empty());
    assert_everything_ends(server);
}

/// In Redis nothing that belongs to a share may stay for ever.
#[track_caller]
fn assert_everything_ends(server: &Server) {
    let Some(redis) = &server.redis else { return };
    let of_a_share = |key: &String| key.split([':', '{', '}']).any(|part| part.parse::<ShareId>().is_ok());
    for key in redis.keys("*").into_iter().filter(of_a_share) {
        assert_ne!(redis.ask::<i64>(&["PTTL", &key]), -1, "{key} never goes");
    }
}

on_both_stores! {
    fn an_upload_goes_on_after_a_crash_at_any_step(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(1_500_000));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        server.crash();
        assert_eq!(upload.offset(&server), 0, "after the creation");
        upload.patch(&server, 0, &run[..300_000]).send().is(204);
        server.crash();
        let mut offset = upload.offset(&server);
        assert_eq!(offset, 300_000, "after a part");
        for pause in PAUSES {
            let mut sending = upload.patching(&server, offset).begin(&format!("Content-Length: {}", run.len() - offset));
            sending.push(&run[offset..offset + 100_000]).unwrap();
            thread::sleep(Duration::from_micros(pause));
            server.crash();
            let reached = upload.offset(&server);
            assert!((offset..=offset + 100_000).contains(&reached), "{reached} after {offset} + 100000 in the middle of a part");
            offset = reached;
        }
        assert_eq!(upload.state(&server), "uploading");
        upload.patch(&server, offset, &run[offset..]).send().is(204);
        server.crash();
        assert_eq!(upload.offset(&server), run.len(), "after the publication");
        assert_arrives_and_goes(&server, &upload, &sealed);
    }

    fn a_publication_is_whole_or_can_be_completed(store) {
        let mut server = Server::start(store);
        for (round, pause) in PAUSES.iter().enumerate() {
            let sealed = Sealed::new(&bytes(if round % 2 == 0 { 200_000 } else { 1000 }));
            let run = sealed.run();
            let upload = Upload::create(&server, &sealed, 1);
            let mut sending = upload.patching(&server, 0).begin(&format!("Content-Length: {}", run.len()));
            sending.push(&run).unwrap();
            thread::sleep(Duration::from_micros(*pause));
            server.crash();
            let offset = upload.offset(&server);
            if offset < run.len() {
                assert_eq!(upload.state(&server), "uploading");
                upload.patch(&server, offset, &run[offset..]).send().is(204);
            }
            assert_eq!(upload.state(&server), "ready");
            assert_arrives_and_goes(&server, &upload, &sealed);
        }
    }

    fn a_plain_upload_is_acknowledged_or_leaves_nothing(store) {
        let mut server = Server::start(store);
        let content = bytes(700_000);
        for pause in PAUSES {
            let mut put = server.put("/a").begin("Content-Length: 1400000");
            put.push(&content).unwrap();
            let mut form = server.post("/").header("Content-Type", "multipart/form-data; boundary=X").begin("Content-Length: 1400000");
            form.push(b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n").unwrap();
            form.push(&content).unwrap();
            thread::sleep(Duration::from_micros(pause));
            server.crash();
            assert!(put.answer().is_err() && form.answer().is_err());
        }
        // Redis lets go of the chunks by itself; elsewhere the server has to.
        if let Some(redis) = &server.redis {
            for key in server.blobs() {
                let ttl = redis.ask::<i64>(&["TTL", &key]);
                assert!(ttl <= 1800, "{key} stays for {ttl} s");
            }
        } else {
            until("nothing is left", A_MINUTE, || server.blobs().is_empty());
        }
        assert_everything_ends(&server);
        let share = Plain::put(&server, "/a", &content);
        let form = Plain::made(&server, &server.post("/").multipart(&[Part::file("a", &content)]).send());
        server.crash();
        for share in [share, form] {
            assert!(server.get(&share.claimed(&server)).send().is(200).body == content, "what was acknowledged is there");
        }
    }

    fn a_claim_is_granted_once_whatever_became_of_its_answer(store) {
        let mut server = Server::start(store);
        for (round, pause) in PAUSES.iter().enumerate() {
            let sealed = Sealed::new(&bytes(if round % 2 == 0 { 200_000 } else { 1000 }));
            let upload = Upload::publish(&server, &sealed, 1);
            let (claim, other) = (token(), token());
            let body = serde_json::json!({"proof": sealed.proof(), "claim": claim}).to_string();
            let request = server.post(&format!("{}/claims", upload.share())).header("Content-Type", "application/json");
            let mut sending = request.begin(&format!("Content-Length: {}", body.len()));
            sending.push(body.as_bytes()).unwrap();
            thread::sleep(Duration::from_micros(*pause));
            server.crash();
            // The answer is lost; the same claim asks again.
            upload.claim(&server, &sealed, &claim).send().expect(&[200, 201]);
            upload.claim(&server, &sealed, &other).send().is(410);
            assert_eq!(upload.receipt(&server)["claims"].as_array().unwrap().len(), 1);
            let address = upload.claim_address(&claim);
            sealed.assert_opens(&server.get(&address).send().is(200).body);
            server.delete(&address).send().is(204);
        }
        until("nothing is left", A_MINUTE, || server.blobs().is_empty());
        assert_everything_ends(&server);
    }

    fn a_race_of_claims_across_a_crash_has_one_winner(store) {
        let mut server = Server::start(store);
        for pause in PAUSES {
            let sealed = Sealed::new(&bytes(1000));
            let upload = Upload::publish(&server, &sealed, 1);
            let claims: Vec<String> = (0..16).map(|_| token()).collect();
            let start = Barrier::new(claims.len() + 1);
            let answered: Vec<Option<u16>> = thread::scope(|scope| {
                let (address, upload, sealed, start) = (server.address, &upload, &sealed, &start);
                let share = upload.share();
                let recipients: Vec<_> = claims
                    .iter()
                    .map(|claim| {
                        let json = serde_json::json!({"proof": sealed.proof(), "claim": claim});
                        let request = crate::client::Request::new(address, "POST", &format!("{share}/claims")).json(&json);
                        scope.spawn(move || {
                            start.wait();
                            request.try_send().ok().map(|answer| answer.status)
                        })
                    })
                    .collect();
                start.wait();
                thread::sleep(Duration::from_micros(pause));
                server.kill();
                recipients.into_iter().map(|recipient| recipient.join().unwrap()).collect()
            });
            server.start_again();
            let after: Vec<u16> = claims.iter().map(|claim| upload.claim(&server, &sealed, claim).send().status).collect();
            assert_eq!(after.iter().filter(|status| [200, 201].contains(status)).count(), 1, "{answered:?} then {after:?}");
            for (before, after) in answered.iter().zip(&after) {
                assert!(*before != Some(201) || *after == 200, "what was granted stays granted: {answered:?} then {after:?}");
            }
        }
    }

    fn a_download_goes_on_after_a_crash(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(24 * MIB));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let mut got = Vec::new();
        for more in [MIB, 7 * MIB] {
            let mut live = server.get(&address).header("Range", format!("bytes={}-", got.len())).open().unwrap();
            assert_eq!(live.status, 206);
            got.extend(live.exactly(more).unwrap());
            server.crash();
            // What the kernel had taken already may still come; then the connection ends too soon.
            let mut rest = Vec::new();
            assert!(live.read_to_end(&mut rest).is_err(), "half a download does not look whole");
        }
        upload.claim(&server, &sealed, &token()).send().is(410);
        let rest = server.get(&address).header("Range", format!("bytes={}-", got.len())).send().is(206);
        got.extend(rest.body);
        sealed.assert_opens(&got);
        server.crash();
        server.delete(&address).send().is(204);
        server.crash();
        server.delete(&address).send().is(204);
        server.get(&address).send().is(410);
        assert_eq!(upload.state(&server), "finished");
        until("nothing is left", A_MINUTE, || server.blobs().is_empty());
        assert_everything_ends(&server);
    }

    fn a_plain_download_goes_on_after_a_crash(store) {
        let mut server = Server::start(store);
        let content = bytes(16 * MIB);
        let share = Plain::put(&server, "/a", &content);
        let address = share.claimed(&server);
        let mut live = server.get(&address).open().unwrap();
        let mut got = live.exactly(3 * MIB).unwrap();
        server.crash();
        assert!(live.read_to_end(&mut Vec::new()).is_err(), "half a download does not look whole");
        server.post(&share.link()).form(&[]).send().is(410);
        got.extend(server.get(&address).header("Range", format!("bytes={}-", got.len())).send().is(206).body);
        assert!(got == content);
    }

    fn a_finish_is_kept_or_can_be_repeated(store) {
        let mut server = Server::start(store);
        for pause in PAUSES {
            let sealed = Sealed::new(&bytes(200_000));
            let upload = Upload::publish(&server, &sealed, 1);
            let address = upload.claimed(&server, &sealed);
            let sending = server.delete(&address).begin("Content-Length: 0");
            thread::sleep(Duration::from_micros(pause));
            server.crash();
            drop(sending);
            server.delete(&address).send().is(204);
            server.get(&address).send().is(410);
            assert_eq!(upload.state(&server), "finished");
        }
        until("nothing is left", A_MINUTE, || server.blobs().is_empty());
        assert_everything_ends(&server);
    }

    fn what_ended_while_the_server_was_away_leaves_nothing(store) {
        let mut server = Server::with(store, &["--lease", "2s", "--upload-window", "2s"]);
        let sealed = Sealed::new(&bytes(200_000));
        let unfinished = Upload::create(&server, &sealed, 1);
        unfinished.patch(&server, 0, &sealed.run()[..100_000]).send().is(204);
        let lapsed = Upload::publish(&server, &sealed, 1);
        lapsed.claimed(&server, &sealed);
        let expired = Upload::publish_for(&server, &sealed, 2);
        let finished = Upload::publish(&server, &sealed, 1);
        let address = finished.claimed(&server, &sealed);
        server.delete(&address).send().is(204);
        let revoked = Upload::publish(&server, &sealed, 1);
        server.delete(&revoked.share()).bearer(&revoked.owner).send().is(204);
        server.kill();
        thread::sleep(Duration::from_secs(3));
        server.start_again();
        until("nothing is left", A_MINUTE, || server.blobs().is_empty());
        assert_everything_ends(&server);
        for (upload, state) in
            [(unfinished, "abandoned"), (lapsed, "lapsed"), (expired, "expired"), (finished, "finished"), (revoked, "revoked")]
        {
            assert_eq!(upload.state(&server), state);
            assert_eq!(upload.claim(&server, &sealed, &token()).send().status, if state == "abandoned" { 404 } else { 410 });
        }
    }
}

#[test]
fn a_share_whose_file_is_gone_is_ended_at_the_start() {
    let mut server = Server::start(crate::server::Store::Embedded);
    let sealed = Sealed::new(&bytes(200_000));
    let (lost, kept) = (Upload::publish(&server, &sealed, 1), Upload::publish(&server, &sealed, 1));
    server.kill();
    let id = lost.share().rsplit('/').next().unwrap().to_owned();
    std::fs::remove_file(server.data().join("blobs").join(&id[..2]).join(&id)).unwrap();
    server.start_again();
    assert_eq!(lost.state(&server), "revoked");
    server.get(&lost.share()).send().is(404);
    kept.claimed(&server, &sealed);
}
