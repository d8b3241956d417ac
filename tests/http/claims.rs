//! Peek, claim, download, finish: what a recipient does.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, base64url, from_base64url};
use crate::sender::{Sealed, Upload, bytes, token, unknown_id};
use crate::server::{Server, until};

const SOON: Duration = Duration::from_secs(15);
const MIB: usize = 1024 * 1024;

fn keys(json: &Value) -> BTreeSet<&str> {
    json.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Fails unless the answer tells what became of the share.
#[track_caller]
fn assert_gone(answer: &Answer, reason: &str) {
    assert_eq!(answer.status, 410, "{}", answer.text());
    answer.code();
    let json = answer.json();
    assert_eq!(json["reason"], reason, "{json}");
    humantime::parse_rfc3339(json["at"].as_str().expect("a time")).expect("RFC 3339, UTC");
}

on_both_stores! {
    fn a_peek_shows_little_without_the_proof_and_the_manifest_with_it(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(1000));
        let upload = Upload::publish(&server, &sealed, 2);
        let bare = server.get(&upload.share()).send().is(200).json();
        assert_eq!(keys(&bare), BTreeSet::from(["size", "password", "expires_at"]), "{bare}");
        assert_eq!(bare["size"], sealed.content.len());
        assert_eq!(bare["password"], false);
        humantime::parse_rfc3339(bare["expires_at"].as_str().unwrap()).expect("RFC 3339, UTC");
        let shown = upload.peek(&server, &sealed).is(200).json();
        let expected = BTreeSet::from(["size", "password", "expires_at", "manifest", "downloads_left"]);
        assert_eq!(keys(&shown), expected, "{shown}");
        assert_eq!(from_base64url(shown["manifest"].as_str().unwrap()), sealed.manifest);
        assert_eq!(shown["downloads_left"], 2);
    }

    fn a_wrong_proof_is_told_apart_and_counted(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(1000));
        let upload = Upload::publish(&server, &sealed, 1);
        let wrong = base64url(&[1; 32]);
        let peek = server.get(&upload.share()).bearer(&wrong).send().is(403);
        assert_eq!(peek.code(), "wrong_proof");
        let request = server.post(&format!("{}/claims", upload.share()));
        let claim = request.json(&json!({"proof": wrong, "claim": token()})).send().is(403);
        assert_eq!(claim.code(), "wrong_proof");
        assert_eq!(upload.receipt(&server)["wrong_proofs"], 2);
        // Without a password nothing is ever locked: the secret has 128 bits.
        for _ in 0..20 {
            server.get(&upload.share()).bearer(&wrong).send().is(403);
        }
        upload.claimed(&server, &sealed);
    }

    fn wrong_proofs_on_a_share_with_a_password_are_limited(store) {
        let server = Server::start(store);
        let sealed = Sealed::with_password(&bytes(1000), "hunter2");
        let upload = Upload::publish(&server, &sealed, 1);
        assert_eq!(server.get(&upload.share()).send().is(200).json()["password"], true);
        let wrong = base64url(&[1; 32]);
        for guess in 0..10 {
            let answer = match guess % 2 {
                0 => server.get(&upload.share()).bearer(&wrong).send(),
                _ => {
                    let request = server.post(&format!("{}/claims", upload.share()));
                    request.json(&json!({"proof": wrong, "claim": token()})).send()
                }
            };
            assert_eq!(answer.status, 403, "guess {guess}");
        }
        let request = server.post(&format!("{}/claims", upload.share()));
        for answer in [
            server.get(&upload.share()).bearer(&wrong).send(),
            request.json(&json!({"proof": wrong, "claim": token()})).send(),
            upload.claim(&server, &sealed, &token()).send(),
        ] {
            let answer = answer.is(429);
            answer.code();
            let wait: u64 = answer.the("retry-after").parse().expect("seconds");
            assert!((1..=60).contains(&wait), "{wait} s");
        }
        assert_eq!(server.get(&upload.share()).send().is(200).json()["password"], true, "a look shows it still waits");
    }

    fn a_claim_is_granted_once_and_repeated_at_will(store) {
        let server = Server::with(store, &["--lease", "10m"]);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let claim = token();
        let granted = upload.claim(&server, &sealed, &claim).send().is(201);
        assert_eq!(granted.the("location"), upload.claim_address(&claim));
        let told = granted.json();
        assert_eq!(keys(&told), BTreeSet::from(["size", "lease_expires_at", "manifest"]), "{told}");
        assert_eq!(told["size"], sealed.content.len());
        assert_eq!(from_base64url(told["manifest"].as_str().unwrap()), sealed.manifest);
        let lease = humantime::parse_rfc3339(told["lease_expires_at"].as_str().unwrap()).expect("RFC 3339, UTC");
        let lasts = lease.duration_since(std::time::SystemTime::now()).expect("to come").as_secs();
        assert!((580..=600).contains(&lasts), "{lasts} s");
        for _ in 0..3 {
            let again = upload.claim(&server, &sealed, &claim).send().is(200);
            assert_eq!(again.the("location"), upload.claim_address(&claim));
            assert_eq!(again.json()["manifest"], told["manifest"]);
        }
        assert_gone(&upload.claim(&server, &sealed, &token()).send(), "claimed");
        assert_gone(&upload.peek(&server, &sealed), "claimed");
        server.get(&upload.share()).send().is(404);
        let stranger = server.get(&upload.share()).bearer(&base64url(&[1; 32])).send();
        assert!([403, 404].contains(&stranger.status), "without the right proof nothing is told: {}", stranger.status);
        assert_eq!(upload.receipt(&server)["claims"].as_array().unwrap().len(), 1);
        sealed.assert_opens(&server.get(&upload.claim_address(&claim)).send().is(200).body);
    }

    fn the_shares_key_goes_with_the_last_claim_and_its_chunks_with_the_finish(store) {
        let server = Server::start(store);
        for size in [10, 200_000] {
            let sealed = Sealed::new(&bytes(size));
            let upload = Upload::publish(&server, &sealed, 2);
            let key = format!("share:{}", upload.id);
            let exists = |expected: usize| {
                if let Some(redis) = &server.redis {
                    assert_eq!(redis.ask::<usize>(&["EXISTS", &key]), expected);
                }
            };
            exists(1);
            if let Some(redis) = &server.redis {
                let ttl = redis.ask::<i64>(&["TTL", &key]);
                assert!((86_000..=86_400).contains(&ttl), "the share's own: {ttl}");
            }
            let first = upload.claimed(&server, &sealed);
            exists(1);
            server.delete(&first).send().is(204);
            let second = upload.claimed(&server, &sealed);
            exists(0);
            sealed.assert_opens(&server.get(&second).send().is(200).body);
            assert!(size == 10 || !server.blobs().is_empty());
            server.delete(&second).send().is(204);
            until("its bytes are freed at the finish", Duration::from_secs(2), || server.blobs().is_empty());
            if let Some(redis) = &server.redis {
                let left = redis.keys(&format!("share:{}*", upload.id));
                let bytes: usize = left.iter().map(|key| redis.ask::<usize>(&["MEMORY", "USAGE", key])).sum();
                assert!(bytes < 2048, "nothing with content is left: {left:?}");
            }
        }
    }

    fn a_claim_is_read_from_any_offset(store) {
        let server = Server::start(store);
        for size in [30_000, 1_500_000] {
            let sealed = Sealed::new(&bytes(size));
            let (content, length) = (&sealed.content, sealed.content.len());
            let upload = Upload::publish(&server, &sealed, 1);
            let address = upload.claimed(&server, &sealed);
            let head = server.head(&address).send().is(200);
            assert!(head.body.is_empty());
            let whole = server.get(&address).send().is(200);
            sealed.assert_opens(&whole.body);
            for answer in [&head, &whole] {
                assert_eq!(answer.the("content-length"), length.to_string());
                assert_eq!(answer.the("accept-ranges"), "bytes");
                assert_eq!(answer.the("x-accel-buffering"), "no");
                assert_eq!(answer.the("content-type"), "application/octet-stream");
                assert!(answer.header("content-disposition").is_none_or(|value| value.starts_with("attachment")), "never inline");
                assert_eq!(answer.the("content-security-policy"), "sandbox; default-src 'none'");
                assert_eq!(answer.the("x-content-type-options"), "nosniff");
                assert!(answer.the("cache-control").contains("no-store"));
            }
            let tag = whole.the("etag");
            assert_eq!(head.the("etag"), tag);
            assert!(tag.starts_with('"'), "a strong one: {tag}");
            let get = |range: &str| server.get(&address).header("Range", range).send();
            for at in [0, 1, 20, 21, 22, 16_384, 29_999, 262_164, 262_165, 262_166, 524_309, 1_048_576, 1_499_999] {
                if at + 5 < length {
                    let answer = get(&format!("bytes={at}-{}", at + 4)).is(206);
                    assert_eq!(answer.the("content-range"), format!("bytes {at}-{}/{length}", at + 4));
                    assert_eq!(answer.the("content-length"), "5");
                    assert_eq!(answer.the("etag"), tag);
                    assert!(answer.body == content[at..at + 5], "at {at}");
                }
            }
            assert!(get(&format!("bytes={}-", length - 7)).is(206).body == content[length - 7..]);
            assert!(get("bytes=-7").is(206).body == content[length - 7..]);
            assert!(get(&format!("bytes={}-{}", length - 7, length * 2)).is(206).body == content[length - 7..]);
            assert_eq!(get(&format!("bytes={length}-")).is(416).the("content-range"), format!("bytes */{length}"));
            let head = server.head(&address).header("Range", "bytes=0-4").send().expect(&[200, 206]);
            assert!(head.body.is_empty());
            let with = |tag: &str| server.get(&address).header("Range", "bytes=0-4").header("If-Range", tag).send();
            assert!(with(&tag).is(206).body == content[..5]);
            assert_eq!(upload.receipt(&server)["claims"][0]["state"], "claimed");
        }
    }

    fn an_if_range_that_does_not_match_gives_everything(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let request = server.get(&address).header("Range", "bytes=0-4").header("If-Range", "\"another\"");
        sealed.assert_opens(&request.send().is(200).body);
    }

    fn ranges_that_make_no_sense_are_ignored_or_refused(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(10_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        for range in ["bytes=x-y", "bytes=9-2", "lines=0-5", "bytes=", "bytes=-", "bytes=--1", "bytes=-0", "0-5", "bytes=99999999999999999999-"] {
            let answer = server.get(&address).header("Range", range).send();
            assert!([200, 400, 416].contains(&answer.status), "{range}: {}", answer.status);
            if answer.status == 200 {
                sealed.assert_opens(&answer.body);
            }
        }
        let answer = server.get(&address).header("Range", "bytes=0-1,5-6").send();
        assert!([200, 206, 416].contains(&answer.status), "several ranges: {}", answer.status);
    }

    fn at_most_twice_the_size_and_a_mebibyte_is_served(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(3 * MIB / 2));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        for _ in 0..2 {
            sealed.assert_opens(&server.get(&address).send().is(200).body);
        }
        let refused = server.get(&address).send().is(429);
        assert_eq!(refused.code(), "budget_spent");
        server.get(&address).header("Range", format!("bytes=0-{MIB}")).send().is(429);
        server.get(&address).header("Range", format!("bytes=0-{}", MIB / 2)).send().is(206);
        server.head(&address).send().is(200);
        server.get(&address).header("Range", format!("bytes=0-{}", MIB / 2)).send().is(429);
        let served = upload.receipt(&server)["claims"][0]["served"].as_u64().expect("a number") as usize;
        assert!(served >= 2 * sealed.content.len() && served <= 2 * sealed.content.len() + MIB, "{served}");
        server.delete(&address).send().is(204);
    }

    fn what_a_cut_download_did_not_take_is_given_back(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(32 * MIB));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        for _ in 0..2 {
            let mut live = server.get(&address).open().unwrap();
            assert_eq!(live.status, 200);
            assert!(live.exactly(1000).unwrap() == sealed.content[..1000]);
        }
        let mut answer = None;
        until("the rest is given back", SOON, || {
            let tried = server.get(&address).send();
            let fits = tried.status == 200;
            answer = Some(tried);
            fits
        });
        sealed.assert_opens(&answer.unwrap().body);
    }

    fn small_reads_cost_what_they_take(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(600_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        for at in 0..60 {
            server.get(&address).header("Range", format!("bytes={0}-{0}", at * 10_000)).send().is(206);
        }
        for _ in 0..2 {
            sealed.assert_opens(&server.get(&address).send().is(200).body);
        }
    }

    fn a_finish_ends_the_claim_however_often_it_is_said(store) {
        let server = Server::start(store);
        for size in [100, 200_000] {
            let sealed = Sealed::new(&bytes(size));
            let upload = Upload::publish(&server, &sealed, 1);
            let claim = token();
            upload.claim(&server, &sealed, &claim).send().is(201);
            let address = upload.claim_address(&claim);
            server.get(&address).send().is(200);
            for _ in 0..2 {
                server.delete(&address).send().is(204);
            }
            assert_gone(&server.get(&address).send(), "finished");
            server.head(&address).send().is(410);
            assert_gone(&upload.claim(&server, &sealed, &claim).send(), "finished");
            assert_gone(&upload.claim(&server, &sealed, &token()).send(), "finished");
            assert_gone(&upload.peek(&server, &sealed), "finished");
            assert_eq!(upload.state(&server), "finished");
            until("its bytes are freed", SOON, || server.blobs().is_empty());
        }
    }

    fn a_lease_without_a_byte_moving_lapses(store) {
        let server = Server::with(store, &["--lease", "1s"]);
        let sealed = Sealed::new(&bytes(200_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let claim = token();
        upload.claim(&server, &sealed, &claim).send().is(201);
        let address = upload.claim_address(&claim);
        until("it lapses", SOON, || upload.state(&server) == "lapsed");
        assert_gone(&server.get(&address).send(), "lapsed");
        assert_gone(&upload.claim(&server, &sealed, &claim).send(), "lapsed");
        assert_gone(&upload.claim(&server, &sealed, &token()).send(), "lapsed");
        assert_gone(&upload.peek(&server, &sealed), "lapsed");
        server.delete(&address).send().is(410);
        assert_eq!(upload.receipt(&server)["claims"][0]["state"], "lapsed");
    }

    fn bytes_that_move_keep_the_lease(store) {
        let server = Server::with(store, &["--lease", "2s"]);
        let sealed = Sealed::new(&bytes(200_000));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            server.get(&address).header("Range", "bytes=0-9").send().is(206);
            thread::sleep(Duration::from_millis(500));
        }
        sealed.assert_opens(&server.get(&address).send().is(200).body);
    }

    fn a_share_expires(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::publish_for(&server, &sealed, 1);
        until("it expires", SOON, || server.get(&upload.share()).send().status == 404);
        assert_gone(&upload.peek(&server, &sealed), "expired");
        assert_gone(&upload.claim(&server, &sealed, &token()).send(), "expired");
        assert_eq!(upload.state(&server), "expired");
        server.get(&format!("/s/{}", upload.id)).send().is(404);
        server.delete(&upload.share()).bearer(&upload.owner).send().expect(&[204, 410]);
        assert_eq!(upload.state(&server), "expired", "it never goes back");
    }

    fn an_expiry_leaves_a_running_lease_alone(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(200_000));
        let answer = crate::sender::creation(&server, &sealed, &sealed.metadata_for(2, 2)).send();
        let upload = Upload::created(&server, &answer);
        upload.patch(&server, 0, &sealed.run()).send().is(204);
        let address = upload.claimed(&server, &sealed);
        until("it expires", SOON, || server.get(&upload.share()).send().status == 404);
        thread::sleep(Duration::from_secs(2));
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        assert_eq!(upload.state(&server), "claimed");
        server.delete(&address).send().is(204);
        assert_eq!(upload.state(&server), "finished");
    }

    fn as_many_claims_as_downloads(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::publish(&server, &sealed, 3);
        let mut addresses = Vec::new();
        for left in [3, 2, 1] {
            assert_eq!(upload.peek(&server, &sealed).is(200).json()["downloads_left"], left);
            assert_eq!(upload.state(&server), "ready");
            addresses.push(upload.claimed(&server, &sealed));
        }
        assert_gone(&upload.claim(&server, &sealed, &token()).send(), "claimed");
        for address in &addresses {
            assert_eq!(upload.state(&server), "claimed");
            sealed.assert_opens(&server.get(address).send().is(200).body);
            server.delete(address).send().is(204);
        }
        assert_eq!(upload.state(&server), "finished");
        let receipt = upload.receipt(&server);
        assert_eq!(receipt["downloads"], 3);
        let states: Vec<&Value> = receipt["claims"].as_array().unwrap().iter().map(|claim| &claim["state"]).collect();
        assert_eq!(states, ["finished"; 3]);
    }

    fn a_claim_token_is_good_for_its_own_share_only(store) {
        let server = Server::start(store);
        let (one, other) = (Sealed::new(&bytes(100)), Sealed::new(&bytes(200)));
        let (first, second) = (Upload::publish(&server, &one, 1), Upload::publish(&server, &other, 1));
        let claim = token();
        first.claim(&server, &one, &claim).send().is(201);
        server.get(&second.claim_address(&claim)).send().is(404);
        second.claim(&server, &other, &claim).send().is(201);
        one.assert_opens(&server.get(&first.claim_address(&claim)).send().is(200).body);
        other.assert_opens(&server.get(&second.claim_address(&claim)).send().is(200).body);
    }

    fn unknown_claims_are_not_found(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::publish(&server, &sealed, 1);
        let addresses = [upload.claim_address(&token()), format!("/api/v1/shares/{}/claims/{}", unknown_id(), token())];
        for address in addresses {
            for method in ["GET", "HEAD", "DELETE"] {
                assert_eq!(server.request(method, &address).send().status, 404, "{method} {address}");
            }
        }
        let answer = server.get(&format!("/api/v1/shares/{}", unknown_id())).send().is(404);
        answer.code();
        assert_eq!(upload.state(&server), "ready");
    }
}
