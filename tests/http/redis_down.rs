//! Redis goes away, comes back, or is full.

use std::io::Read;
use std::time::Duration;

use crate::client::Answer;
use crate::sender::{Plain, Sealed, Upload, bytes, creation, of_unknown_length, token};
use crate::server::{Redis, Server, Store, binary, until};

const SOON: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

/// Fails unless the answer says that the store can't be asked now, and when to come back.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    answer.the("retry-after").parse::<u64>().expect("seconds");
}

fn redis(server: &Server) -> &Redis {
    server.redis.as_deref().expect("it has one")
}

/// Starts Redis again and waits until the server has noticed.
fn recover(server: &Server) {
    redis(server).start_again();
    until("the server finds Redis again", SOON, || server.get("/readyz").send().status == 200);
}

#[test]
fn an_upload_goes_on_after_redis_was_killed() {
    let server = Server::start(Store::Redis);
    let sealed = Sealed::new(&bytes(6 * MIB));
    let run = sealed.run();
    let upload = Upload::create(&server, &sealed, 1);
    upload.patch(&server, 0, &run[..MIB]).send().is(204);
    let mut sending = upload.patching(&server, MIB).begin(&format!("Content-Length: {}", run.len() - MIB));
    sending.push(&run[MIB..3 * MIB]).unwrap();
    redis(&server).kill();
    let _ = sending.push(&run[3 * MIB..]);
    assert_unavailable(&sending.answer().expect("a clear answer"));
    let head = upload.head(&server);
    assert_unavailable(&head);
    assert_unavailable(&upload.patch(&server, MIB, &run[MIB..]).send());
    assert_unavailable(&server.put("/a").body("x").send());
    assert_unavailable(&creation(&server, &sealed, &sealed.metadata(1)).send());
    recover(&server);
    let offset = upload.offset(&server);
    assert!((MIB..run.len()).contains(&offset), "{offset}");
    upload.patch(&server, offset, &run[offset..]).send().is(204);
    let address = upload.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

#[test]
fn a_plain_upload_during_which_redis_was_killed_says_so_and_leaves_nothing_lasting() {
    let server = Server::start(Store::Redis);
    let content = bytes(6 * MIB);
    let mut sending = server.put("/a").begin(&format!("Content-Length: {}", content.len()));
    sending.push(&content[..3 * MIB]).unwrap();
    redis(&server).kill();
    let _ = sending.push(&content[3 * MIB..]);
    assert_unavailable(&sending.answer().expect("a clear answer"));
    recover(&server);
    for key in redis(&server).keys("share:*:chunk:*") {
        let ttl = redis(&server).ask::<i64>(&["TTL", &key]);
        assert!((0..=1800).contains(&ttl) || ttl == -2, "{key} stays for {ttl} s");
    }
    assert_eq!(server.get(&Plain::put(&server, "/a", b"x").claimed(&server)).send().is(200).body, b"x");
}

#[test]
fn a_download_goes_on_after_redis_was_killed() {
    let server = Server::start(Store::Redis);
    let sealed = Sealed::new(&bytes(32 * MIB));
    let upload = Upload::publish(&server, &sealed, 1);
    let address = upload.claimed(&server, &sealed);
    let mut live = server.get(&address).open().unwrap();
    let mut got = live.exactly(2 * MIB).unwrap();
    redis(&server).kill();
    assert!(live.read_to_end(&mut Vec::new()).is_err(), "half a download does not look whole");
    assert_unavailable(&server.get(&address).send());
    assert_unavailable(&server.head(&address).send());
    assert_unavailable(&server.delete(&address).send());
    recover(&server);
    got.extend(server.get(&address).header("Range", format!("bytes={}-", got.len())).send().is(206).body);
    sealed.assert_opens(&got);
    server.delete(&address).send().is(204);
    until("nothing is left", SOON, || server.blobs().is_empty());
}

#[test]
fn without_redis_everything_is_unavailable_but_nothing_is_lost() {
    let server = Server::start(Store::Redis);
    let sealed = Sealed::new(&bytes(1000));
    let upload = Upload::publish(&server, &sealed, 1);
    let plain = Plain::put(&server, "/a", b"x");
    let claim = token();
    redis(&server).kill();
    let refused = upload.claim(&server, &sealed, &claim).send();
    assert_unavailable(&refused);
    assert_eq!(refused.code(), "store_unavailable");
    assert_unavailable(&upload.peek(&server, &sealed));
    assert_unavailable(&server.get(&upload.share()).send());
    assert_unavailable(&server.get(&format!("/s/{}", upload.id)).header("Accept", "text/html").send());
    assert_unavailable(&server.post(&plain.link()).form(&[]).send());
    assert_unavailable(&server.get(&format!("/api/v1/receipts/{}", upload.id)).bearer(&upload.owner).send());
    assert_unavailable(&server.delete(&upload.share()).bearer(&upload.owner).send());
    assert_eq!(server.get("/readyz").send().status, 503);
    assert_eq!(server.get("/status").send().status, 503);
    server.get("/healthz").send().is(200);
    server.get("/").send().is(200);
    server.get("/api/v1/config").send().is(200);
    recover(&server);
    upload.claim(&server, &sealed, &claim).send().expect(&[200, 201]);
    upload.claim(&server, &sealed, &token()).send().is(410);
    sealed.assert_opens(&server.get(&upload.claim_address(&claim)).send().is(200).body);
    assert_eq!(server.get(&plain.claimed(&server)).send().is(200).body, b"x");
}

#[test]
fn what_redis_acknowledged_it_knows_after_a_kill() {
    let server = Server::start(Store::Redis);
    for round in 0..5 {
        let sealed = Sealed::new(&bytes(if round % 2 == 0 { 1000 } else { 200_000 }));
        let upload = Upload::publish(&server, &sealed, 1);
        redis(&server).kill();
        recover(&server);
        let claim = token();
        upload.claim(&server, &sealed, &claim).send().is(201);
        redis(&server).kill();
        recover(&server);
        upload.claim(&server, &sealed, &token()).send().is(410);
        upload.claim(&server, &sealed, &claim).send().is(200);
        let address = upload.claim_address(&claim);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
        redis(&server).kill();
        recover(&server);
        server.get(&address).send().is(410);
        until("nothing is left", SOON, || server.blobs().is_empty());
    }
}

#[test]
fn a_full_redis_refuses_the_new_and_keeps_the_old() {
    let server = Server::start(Store::Redis);
    let sealed = Sealed::new(&bytes(2 * MIB));
    let run = sealed.run();
    let kept = Upload::publish(&server, &sealed, 1);
    let begun = Upload::create(&server, &sealed, 1);
    begun.patch(&server, 0, &run[..MIB]).send().is(204);
    let before = redis(&server).keys("share:*");
    redis(&server).ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
    for answer in [
        server.put("/a").body("x").send(),
        server.put("/a").body(bytes(3 * MIB)).send(),
        creation(&server, &sealed, &sealed.metadata(1)).send(),
        begun.patch(&server, MIB, &run[MIB..]).send(),
    ] {
        assert_eq!(answer.status, 507, "{}", answer.text());
    }
    let strange = || redis(&server).keys("share:*").difference(&before).cloned().collect::<Vec<_>>();
    until(&format!("nothing half is left; at first {:?}", strange()), SOON, || strange().is_empty());
    assert_eq!(kept.state(&server), "ready");
    redis(&server).ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    // The upload that did not fit goes on, or it was given up with all its bytes; nothing in between.
    let mut whole = vec![kept];
    if begun.head(&server).expect(&[200, 204, 404]).status == 404 {
        assert!(server.blobs().iter().all(|key| !key.contains(&begun.id)), "{:?}", server.blobs());
        assert_eq!(begun.state(&server), "abandoned");
    } else {
        let offset = begun.offset(&server);
        begun.patch(&server, offset, &run[offset..]).send().is(204);
        whole.push(begun);
    }
    for upload in whole {
        let address = upload.claimed(&server, &sealed);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
    }
    until("nothing is left", SOON, || server.blobs().is_empty());
}

#[test]
fn a_redis_that_fills_up_in_the_middle_leaves_nothing_half() {
    let server = Server::start(Store::Redis);
    let content = bytes(24 * MIB);
    let used: String = redis(&server).ask(&["INFO", "memory"]);
    let used: usize =
        used.split("used_memory:").nth(1).and_then(|rest| rest.lines().next()).unwrap().trim().parse().unwrap();
    redis(&server).ask::<String>(&["CONFIG", "SET", "maxmemory", &(used + 8 * MIB).to_string()]);
    of_unknown_length(&server, &content).is(507);
    until("nothing half is left", SOON, || server.blobs().is_empty());
    let share = Plain::put(&server, "/b", &bytes(MIB));
    assert!(server.get(&share.claimed(&server)).send().is(200).body == bytes(MIB));
}

#[test]
fn a_full_redis_can_still_be_emptied() {
    let server = Server::start(Store::Redis);
    let sealed = Sealed::new(&bytes(200_000));
    let upload = Upload::publish(&server, &sealed, 1);
    let other = Upload::publish(&server, &sealed, 1);
    let address = upload.claimed(&server, &sealed);
    redis(&server).ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
    server.delete(&address).send().is(204);
    server.delete(&other.share()).bearer(&other.owner).send().is(204);
    until("nothing is left", Duration::from_secs(65), || server.blobs().is_empty());
}

#[test]
fn an_evicting_redis_is_refused() {
    let redis = Redis::start();
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let mut child = binary();
    child.args(["--listen", "127.0.0.1:0", "--redis-url", &redis.url()]);
    let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let status = crate::server::wait(&mut child);
    assert!(!status.success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("noeviction") || said.contains("maxmemory-policy"), "{said}");
}

#[test]
fn a_redis_that_is_not_there_yet_is_waited_for_or_named() {
    let redis = Redis::start();
    redis.kill();
    let mut child = binary();
    child.args(["--listen", "127.0.0.1:0", "--redis-url", &redis.url()]);
    let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    if child.try_wait().unwrap().is_some() {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.to_lowercase().contains("redis"), "{said}");
    }
    let _ = child.kill();
    let _ = child.wait();
}
