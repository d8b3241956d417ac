//! What the sender learns, and how a share is withdrawn.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Live, base64url};
use crate::sender::{Plain, Sealed, Upload, bytes, token, unknown_id};
use crate::server::{Server, until};

const SOON: Duration = Duration::from_secs(15);

/// Reads events until one has this state: lines of `data:`, or parts with a length.
fn awaited(live: &mut Live, wanted: &str) -> Value {
    let mut length = 0;
    loop {
        let line = live.line().expect("an event comes");
        let json = match line.split_once(':') {
            Some(("data", json)) => json.as_bytes().to_vec(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().expect("a number");
                continue;
            }
            None if line.is_empty() && length > 0 => live.exactly(std::mem::take(&mut length)).expect("a whole part"),
            _ => continue,
        };
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        if json["state"] == wanted {
            return json;
        }
    }
}

on_both_stores! {
    fn a_receipt_tells_everything_from_upload_to_finish(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::create(&server, &sealed, 1);
        assert_eq!(upload.state(&server), "uploading");
        upload.patch(&server, 0, &sealed.run()).send().is(204);
        let receipt = upload.receipt(&server);
        let keys: BTreeSet<&str> = receipt.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["state", "created_at", "expires_at", "opened", "wrong_proofs", "downloads", "claims"];
        assert_eq!(keys, BTreeSet::from(expected), "{receipt}");
        assert_eq!((&receipt["state"], &receipt["opened"], &receipt["wrong_proofs"]), (&"ready".into(), &0.into(), &0.into()));
        assert_eq!((&receipt["downloads"], &receipt["claims"]), (&1.into(), &Value::Array(vec![])));
        for key in ["created_at", "expires_at"] {
            let time = receipt[key].as_str().expect("a time");
            assert!(time.ends_with('Z') && humantime::parse_rfc3339(time).is_ok(), "{key}: {time}");
        }
        server.get(&format!("/s/{}", upload.id)).send().is(200);
        server.get(&upload.share()).bearer(&base64url(&[1; 32])).send().is(403);
        let address = upload.claimed(&server, &sealed);
        let receipt = upload.receipt(&server);
        assert_eq!((&receipt["state"], &receipt["opened"], &receipt["wrong_proofs"]), (&"claimed".into(), &1.into(), &1.into()));
        let claim = &receipt["claims"][0];
        let keys: BTreeSet<&str> = claim.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["state", "claimed_at", "finished_at", "served"]), "{claim}");
        assert_eq!((&claim["state"], &claim["finished_at"], &claim["served"]), (&"claimed".into(), &Value::Null, &0.into()));
        humantime::parse_rfc3339(claim["claimed_at"].as_str().expect("a time")).expect("RFC 3339");
        server.get(&address).send().is(200);
        until("all is counted", SOON, || {
            upload.receipt(&server)["claims"][0]["served"] == sealed.content.len()
        });
        server.delete(&address).send().is(204);
        let receipt = upload.receipt(&server);
        assert_eq!((&receipt["state"], &receipt["claims"][0]["state"]), (&"finished".into(), &"finished".into()));
        humantime::parse_rfc3339(receipt["claims"][0]["finished_at"].as_str().expect("a time")).expect("RFC 3339");
    }

    fn a_receipt_opens_with_the_owner_token_alone(store) {
        let server = Server::start(store);
        let upload = Upload::publish(&server, &Sealed::new(b"x"), 1);
        let address = format!("/api/v1/receipts/{}", upload.id);
        for path in [address.clone(), format!("{address}/events")] {
            let missing = server.get(&path).send().is(401);
            missing.code();
            server.get(&path).bearer(&token()).send().is(404).code();
        }
        server.get(&format!("/api/v1/receipts/{}", unknown_id())).bearer(&upload.owner).send().is(404);
        server.get(&format!("/r/{}/{}", upload.id, token())).send().is(404);
        server.get(&format!("/r/{}/{}", unknown_id(), upload.owner)).send().is(404);
        server.delete(&upload.share()).send().is(401).code();
        server.delete(&upload.share()).bearer(&token()).send().is(404);
        server.delete(&format!("/r/{}/{}", upload.id, token())).send().is(404);
        server.delete(&format!("/api/v1/shares/{}", unknown_id())).bearer(&upload.owner).send().is(404);
        assert_eq!(upload.state(&server), "ready");
    }

    fn a_revoked_share_is_gone_for_everybody(store) {
        let server = Server::start(store);
        for size in [100, 200_000] {
            let sealed = Sealed::new(&bytes(size));
            let upload = Upload::publish(&server, &sealed, 1);
            for _ in 0..2 {
                server.delete(&upload.share()).bearer(&upload.owner).send().is(204);
            }
            assert_eq!(upload.state(&server), "revoked");
            let claim = upload.claim(&server, &sealed, &token()).send().is(410);
            assert_eq!(claim.json()["reason"], "revoked");
            assert_eq!(upload.peek(&server, &sealed).is(410).json()["reason"], "revoked");
            server.get(&upload.share()).send().is(404);
            server.get(&format!("/s/{}", upload.id)).send().is(404);
            if let Some(redis) = &server.redis {
                assert_eq!(redis.ask::<usize>(&["EXISTS", &format!("share:{}", upload.id)]), 0);
            }
        }
    }

    fn what_is_claimed_cannot_be_revoked(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let refused = server.delete(&upload.share()).bearer(&upload.owner).send().is(409);
        assert_eq!(refused.code(), "claimed");
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
        server.delete(&upload.share()).bearer(&upload.owner).send().is(409);
        assert_eq!(upload.state(&server), "finished");
    }

    fn a_running_lease_outlives_a_revocation(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(200_000));
        let upload = Upload::publish(&server, &sealed, 2);
        let address = upload.claimed(&server, &sealed);
        server.delete(&upload.share()).bearer(&upload.owner).send().is(204);
        assert_eq!(upload.claim(&server, &sealed, &token()).send().status, 410);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
        assert_eq!(upload.state(&server), "finished");
        until("its bytes are freed", SOON, || server.blobs().is_empty());
    }

    fn the_receipt_page_revokes_without_javascript(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        let address = format!("/r/{}/{}", share.id, share.owner);
        let page = server.get(&address).header("Accept", "text/html").send().is(200);
        assert!(page.the("content-type").starts_with("text/html"));
        let text = page.text();
        assert!(text.to_lowercase().contains("method=\"post\"") && text.contains("Revoke"), "{text}");
        server.post(&address).header("Accept", "text/html").form(&[]).send().expect(&[200, 303]);
        assert_eq!(share.receipt(&server)["state"], "revoked");
        let page = server.get(&address).header("Accept", "text/html").send().is(200);
        assert!(!page.text().contains("Revoke<"), "there is nothing left to revoke");
        server.delete(&address).send().is(204);
    }

    fn the_receipt_page_tells_who_comes_too_late(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        share.claimed(&server);
        let address = format!("/r/{}/{}", share.id, share.owner);
        server.post(&address).header("Accept", "text/html").form(&[]).send().is(409);
        server.delete(&address).send().is(409);
    }

    fn events_tell_of_a_claim_as_it_happens(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        for (accept, kind) in [
            ("text/event-stream", "text/event-stream"),
            ("multipart/x-mixed-replace", "multipart/x-mixed-replace"),
            ("*/*", "text/event-stream"),
        ] {
            let upload = Upload::publish(&server, &sealed, 1);
            let request = server.get(&format!("/api/v1/receipts/{}/events", upload.id)).bearer(&upload.owner);
            let mut live = request.header("Accept", accept).open().unwrap();
            assert_eq!(live.status, 200);
            let told = live.headers.iter().find(|(name, _)| name == "content-type").expect("a type").1.clone();
            assert!(told.starts_with(kind), "{accept}: {told}");
            assert_eq!(awaited(&mut live, "ready")["claims"], Value::Array(vec![]));
            let address = upload.claimed(&server, &sealed);
            let claimed = awaited(&mut live, "claimed");
            assert_eq!(claimed["claims"][0]["state"], "claimed");
            server.delete(&address).send().is(204);
            let mut finished = awaited(&mut live, "finished");
            let mut receipt = upload.receipt(&server);
            for json in [&mut finished, &mut receipt] {
                json["claims"][0]["served"] = 0.into();
            }
            assert_eq!(finished, receipt, "the same object");
        }
    }

    fn events_are_parts_for_whoever_reads_multipart_streams(store) {
        let server = Server::start(store);
        let upload = Upload::publish(&server, &Sealed::new(b"x"), 1);
        let request = server.get(&format!("/api/v1/receipts/{}/events", upload.id)).bearer(&upload.owner);
        let live = request.header("Accept", "multipart/x-mixed-replace").open().unwrap();
        server.delete(&upload.share()).bearer(&upload.owner).send().is(204);
        let text = live.whole().unwrap().text();
        // RFC 2046 §5.1.1: a line's end and the boundary stand between two parts.
        let parts: Vec<&str> = text.strip_prefix("--receipt\r\n").expect("a boundary").split("\r\n--receipt\r\n").collect();
        let mut receipts = parts.iter().map(|part| {
            let (head, body) = part.split_once("\r\n\r\n").expect("a head");
            assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
            serde_json::from_str::<Value>(body).expect("JSON and nothing else")
        });
        assert_eq!(receipts.next_back().expect("a part")["state"], "revoked");
    }

    fn events_tell_of_a_visit_and_a_revocation(store) {
        let server = Server::start(store);
        let upload = Upload::publish(&server, &Sealed::new(b"x"), 1);
        let request = server.get(&format!("/api/v1/receipts/{}/events", upload.id)).bearer(&upload.owner);
        let mut live = request.header("Accept", "text/event-stream").open().unwrap();
        awaited(&mut live, "ready");
        server.get(&format!("/s/{}", upload.id)).send().is(200);
        assert_eq!(awaited(&mut live, "ready")["opened"], 1);
        server.delete(&upload.share()).bearer(&upload.owner).send().is(204);
        awaited(&mut live, "revoked");
    }
}
