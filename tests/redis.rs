//! What only Redis can do: be killed, be full, evict, refuse a password, and keep what nobody asks for any more.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/redis.rs"]
mod redis_server;

#[path = "ledger/given.rs"]
#[allow(dead_code, reason = "the suite of the ledger uses the rest")]
mod given;

#[path = "redis/apart.rs"]
mod apart;
#[path = "redis/bulk.rs"]
mod bulk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use given::*;
use onetimeshare::blobs::files::Files;
use onetimeshare::blobs::redis::RedisBlobs;
use onetimeshare::blobs::{self, Blobs};
use onetimeshare::ledger::redis::RedisLedger;
use onetimeshare::ledger::{Error, Ledger, Publish, Remains, Revoker};
use onetimeshare::redis::{Server, Settings, connect};
use onetimeshare::share::{Digest, Ended, ShareId, State, Timestamp};
use onetimeshare::store::{Limits, Store};
use redis::{Commands, Connection};
use redis_server::RedisServer;

async fn stores(server: &RedisServer) -> (Arc<RedisLedger>, RedisBlobs) {
    let redis = server.connect().await;
    (Arc::new(RedisLedger::new(Arc::clone(&redis))), RedisBlobs::new(redis))
}

/// Redis as its operator sees it.
fn inside(server: &RedisServer) -> Connection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).expect("an address");
    client.get_connection().expect("a connection")
}

fn set_maxmemory(server: &RedisServer, bytes: u64) {
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut inside(server)).expect("set");
}

async fn eventually_answers(ledger: &dyn Ledger) {
    let asked = Instant::now();
    while ledger.ping().await.is_err() {
        assert!(asked.elapsed() < Duration::from_secs(20), "it does not come back");
    }
}

async fn write(blobs: &RedisBlobs, id: &ShareId, content: Vec<u8>) -> blobs::Result<()> {
    let mut writer = blobs.write(id, 0, now().after(HOUR)).await?;
    writer.write(content.into()).await?;
    writer.sync().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_is_unavailable_at_once_and_lost_nothing_when_it_is_back() {
    let mut server = RedisServer::start(&[]);
    let (ledger, blobs) = stores(&server).await;
    let waiting = Sender::new().sends(&*ledger).await;
    let claimed = Sender::new().sends(&*ledger).await;
    let claim = claimed.claimed(&*ledger, now()).await;
    let blob = ShareId::random();
    write(&blobs, &blob, vec![7; 2 << 20]).await.unwrap();

    server.kill();
    let asked = Instant::now();
    for _ in 0..2 {
        let looked = ledger.peek(&waiting.id, None, now()).await;
        assert!(matches!(looked, Err(Error::Unavailable(_))), "{looked:?}");
    }
    let written = write(&blobs, &ShareId::random(), vec![7; 2 << 20]).await;
    assert!(matches!(written, Err(blobs::Error::Unavailable(_))), "{written:?}");
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?} for three calls", asked.elapsed());

    server.start_again();
    eventually_answers(&*ledger).await;
    assert!(ledger.peek(&waiting.id, Some(&waiting.attempt()), now()).await.is_ok());
    assert!(claimed.claim(&*ledger, claim, now()).await.unwrap().repeated);
    assert!(matches!(claimed.claim(&*ledger, digest(), now()).await, Err(Error::Ended(_))));
    let mut pieces = blobs.read(&blob, 0..2 << 20, None).await.unwrap();
    assert!(futures_util::StreamExt::next(&mut pieces).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarted_meanwhile_is_not_noticed() {
    let mut server = RedisServer::start(&[]);
    let (ledger, blobs) = stores(&server).await;
    let sender = Sender::new().sends(&*ledger).await;
    let blob = ShareId::random();
    write(&blobs, &blob, vec![7; 10 << 20]).await.unwrap();
    server.kill();
    server.start_again();
    sender.claimed(&*ledger, now()).await;
    let read = blobs.read(&blob, 0..10 << 20, None).await.unwrap();
    let pieces: Vec<Bytes> = futures_util::TryStreamExt::try_collect(read).await.unwrap();
    assert_eq!(pieces.concat(), vec![7; 10 << 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_kill_under_load() {
    let mut server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (done, mut acknowledged) = tokio::sync::mpsc::unbounded_channel::<(Sender, Option<Digest>)>();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (ledger, done) = (Arc::clone(&ledger), done.clone());
        tasks.spawn(async move {
            loop {
                let (sender, claim, now) = (Sender::new(), digest(), now());
                if ledger.publish(&sender.publish_whole(now), now).await.is_err() {
                    return;
                }
                let granted = sender.claim(&*ledger, claim, now).await.is_ok();
                let _ = done.send((sender, granted.then_some(claim)));
                if !granted {
                    return;
                }
            }
        });
    }
    drop(done);
    let mut sent = Vec::new();
    while sent.len() < 500 {
        sent.push(acknowledged.recv().await.expect("they go on"));
    }
    server.kill();
    while let Some(share) = acknowledged.recv().await {
        sent.push(share);
    }
    while tasks.join_next().await.is_some() {}
    server.start_again();
    eventually_answers(&*ledger).await;
    for (sender, claim) in sent {
        let receipt = sender.receipt(&*ledger).await;
        if let Some(claim) = claim {
            assert_eq!(only(&receipt).served, 0);
            assert!(sender.claim(&*ledger, claim, now()).await.expect("granted").repeated);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_nothing_new_and_goes_on_with_what_it_has() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let (ledger, blobs) = stores(&server).await;
    let ledger = &*ledger;
    let now = now();
    let last = Sender::new().password().sends(ledger).await;
    let several = Sender::new().downloads(3).sends(ledger).await;
    let (revoked, blob) = (Sender::new().sends(ledger).await, Sender::new().sends_blob(ledger).await);
    let (publishing, given_up) = (Sender::new(), Sender::new());
    ledger.begin(&publishing.upload(None, now), now).await.unwrap();
    ledger.begin(&given_up.upload(Some(SIZE), now), now).await.unwrap();
    let before: Vec<String> = keys(&server);

    set_maxmemory(&server, 1);
    let refused = Sender::new();
    assert_eq!(ledger.begin(&refused.upload(Some(5), now), now).await, Err(Error::Full));
    assert_eq!(ledger.publish(&refused.publish_whole(now), now).await, Err(Error::Full));
    assert_eq!(ledger.publish(&publishing.publish(), now).await, Err(Error::Full));
    assert_eq!(ledger.advance(&publishing.step(1, 0, 5), now).await, Err(Error::Full));
    for length in [5, 2 << 20] {
        assert_eq!(write(&blobs, &refused.id, vec![7; length]).await, Err(blobs::Error::Full));
    }
    assert_eq!(keys(&server), before);

    assert!(ledger.hit(&last.id, now).await.unwrap());
    assert_eq!(ledger.peek(&last.id, Some(&wrong(network(1))), now).await, Err(Error::WrongProof));
    assert!(ledger.peek(&last.id, Some(&last.attempt()), now).await.is_ok());
    for sender in [&last, &several, &blob] {
        let claim = sender.claimed(ledger, now).await;
        assert!(sender.claim(ledger, claim, now).await.unwrap().repeated);
        let charged = ledger.charge(&sender.id, &claim, &charge(5, 99, now), now).await.unwrap();
        assert_eq!(charged, (sender.id != blob.id).then_some(Bytes::from_static(CONTENT)));
        let remains = if sender.id == blob.id { Remains::Blob } else { Remains::Nothing };
        assert_eq!(ledger.finish(&sender.id, &claim, now).await, Ok(remains));
    }
    assert_eq!(blobs.free(&blob.id, 0).await, Ok(()));
    assert_eq!(ledger.freed(&blob.id, now).await, Ok(true));
    assert!(ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await.is_ok());
    assert!(ledger.revoke(&several.id, Revoker::Operator, now).await.is_ok());
    assert_eq!(ledger.abandon(&given_up.id, &given_up.token, now).await, Ok(Remains::Blob));
    assert_eq!(ledger.due(now).await.unwrap().len(), 1);
    assert!(ledger.seen().await.is_ok());
    assert_eq!(ledger.ping().await, Ok(()));

    set_maxmemory(&server, 0);
    let emptied = Instant::now();
    while ledger.publish(&publishing.publish(), now).await == Err(Error::Full) {
        assert!(emptied.elapsed() < Duration::from_secs(10), "it stays full");
    }
    publishing.claimed(ledger, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_copy_much_take_no_more_than_there_is() {
    let server = RedisServer::start(&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]);
    let (ledger, _) = stores(&server).await;
    let (now, sender) = (now(), Sender::new().downloads(100));
    let manifest = vec![7; 1 << 20].into();
    ledger.publish(&Publish { manifest, ..sender.publish_whole(now) }, now).await.unwrap();
    let mut granted = Vec::new();
    let (claim, refused) = loop {
        let claim = digest();
        match sender.claim(&*ledger, claim, now).await {
            Ok(_) => granted.push(claim),
            Err(error) => break (claim, error),
        }
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert!((30..56).contains(&granted.len()), "{} were granted", granted.len());
    assert_eq!(sender.receipt(&*ledger).await.claims.len(), granted.len());
    // It is there for whoever asks again once others have ended: each took somewhat more than its bytes.
    for claim in granted.drain(..20) {
        ledger.finish(&sender.id, &claim, now).await.unwrap();
    }
    let emptied = Instant::now();
    while let Err(Error::Unavailable(_)) = sender.claim(&*ledger, claim, now).await {
        assert!(emptied.elapsed() < Duration::from_secs(10), "it stays full");
    }
    assert!(sender.claim(&*ledger, claim, now).await.unwrap().repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_redis_is_full() {
    let server = RedisServer::start(&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]);
    let (ledger, blobs) = stores(&server).await;
    let now = now();
    assert_eq!(blobs.room(40 << 20).await, Ok(()));
    assert_eq!(blobs.room(57 << 20).await, Err(blobs::Error::Full));
    assert_eq!(ledger.begin(&Sender::new().upload(Some(57 << 20), now), now).await, Err(Error::Full));
    let sender = Sender::new();
    assert_eq!(ledger.begin(&sender.upload(Some(40 << 20), now), now).await, Ok(()));
    assert_eq!(write(&blobs, &sender.id, vec![7; 40 << 20]).await, Ok(()));
    assert_eq!(write(&blobs, &ShareId::random(), vec![7; 40 << 20]).await, Err(blobs::Error::Full));
    set_maxmemory(&server, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_arrived_are_not_counted_twice() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (now, most) = (now(), (1_u64 << 40) / 4 * 3);
    let (first, second) = (Sender::new(), Sender::new());
    ledger.begin(&first.upload(Some(most), now), now).await.unwrap();
    assert_eq!(ledger.begin(&second.upload(Some(most), now), now).await, Err(Error::Full));
    ledger.advance(&first.step(1, 0, most), now).await.unwrap();
    assert_eq!(ledger.begin(&second.upload(Some(most), now), now).await, Ok(()));
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_unless_that_is_allowed() {
    let server = RedisServer::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let error = connect(&server.settings()).await.err().expect("refused");
    assert!(error.to_string().contains("allkeys-lru"), "{error:#}");
    assert!(connect(&Settings { allow_eviction: true, ..server.settings() }).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_one_clear_line() {
    let server = RedisServer::start(&["--requirepass", "right"]);
    let login = |password: Option<&str>| Settings {
        server: Server::Parts {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
            db: 0,
            username: None,
            password: password.map(str::to_owned),
        },
        patience: Duration::from_secs(30),
        ..server.settings()
    };
    for password in [None, Some("wrong")] {
        let asked = Instant::now();
        let line = format!("{:#}", connect(&login(password)).await.err().expect("refused"));
        assert!(line.contains("password") && !line.contains('\n') && !line.contains("wrong"), "{line}");
        assert!(asked.elapsed() < Duration::from_secs(10), "a wrong password is not waited for");
    }
    assert!(connect(&login(Some("right"))).await.is_ok());
}

#[tokio::test]
async fn a_redis_that_starts_later_is_waited_for_and_one_that_never_does_is_told_of() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let settings = Settings { patience: Duration::from_millis(300), ..server.settings() };
    let line = format!("{:#}", connect(&settings).await.err().expect("nobody there"));
    assert!(line.contains("can't be reached") && !line.contains('\n'), "{line}");

    let settings = Settings { patience: Duration::from_secs(30), ..settings };
    let connecting = tokio::spawn(async move { connect(&settings).await });
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.expect("started");
    assert!(connecting.await.expect("no panic").is_ok());
}

fn keys(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = inside(server).keys("*").expect("keys");
    keys.retain(|key| key != "reserved");
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_ends_by_itself_and_nothing_of_a_finished_share_is_left() {
    let server = RedisServer::start(&[]);
    let (ledger, blobs) = stores(&server).await;
    let ledger = &*ledger;
    let now = now();
    let small = Sender::new().password().downloads(2).sends(ledger).await;
    let large = Sender::new().sends_blob(ledger).await;
    write(&blobs, &large.id, vec![7; 2 << 20]).await.unwrap();
    blobs.keep(&large.id, now.after(HOUR)).await.unwrap();
    let uploading = Sender::new();
    ledger.begin(&uploading.upload(Some(SIZE), now), now).await.unwrap();
    for sender in [&small, &large] {
        ledger.hit(&sender.id, now).await.unwrap();
        ledger.peek(&sender.id, Some(&wrong(network(1))), now).await.unwrap_err();
    }
    ledger.seen().await.unwrap();
    let unknown = ShareId::random();
    ledger.hit(&unknown, now).await.unwrap();
    ledger.peek(&unknown, Some(&wrong(network(1))), now).await.unwrap_err();

    let mut claims = Vec::new();
    for sender in [&small, &large, &small] {
        assert_every_key_ends(&server);
        let claim = sender.claimed(ledger, now).await;
        ledger.charge(&sender.id, &claim, &charge(5, 99, now), now).await.unwrap();
        claims.push((sender, claim));
    }
    assert_every_key_ends(&server);
    let left = keys(&server);
    assert!(!left.contains(&format!("share:{}", small.id)) && !left.contains(&format!("share:{}", large.id)));
    assert!(!left.iter().any(|key| key.ends_with(":hits") || key.ends_with(":guesses")), "{left:?}");

    for (sender, claim) in claims {
        ledger.finish(&sender.id, &claim, now).await.unwrap();
    }
    blobs.free(&large.id, 0).await.unwrap();
    ledger.freed(&large.id, now).await.unwrap();
    let left = keys(&server);
    assert!(!left.iter().any(|key| key.starts_with("share:") || key.contains(&unknown.to_string())), "{left:?}");
    assert_eq!(small.receipt(ledger).await.state(now).state, State::Finished);
}

fn assert_every_key_ends(server: &RedisServer) {
    let mut inside = inside(server);
    for key in keys(server).into_iter().filter(|key| key != "due" && key != "seen") {
        let ends: i64 = inside.pttl(&key).expect("asked");
        assert!(ends > 0, "{key} stays for ever");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_down_share_leaves_no_payload() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let sender = Sender::new().downloads(3).sends(&*ledger).await;
    sender.claimed(&*ledger, now()).await;
    sender.claimed(&*ledger, now()).await;
    ledger.revoke(&sender.id, Revoker::Operator, now()).await.unwrap();
    let left = keys(&server);
    assert!(!left.iter().any(|key| key.starts_with("share:")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_redis_forgot_are_sent_again() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    for _ in 0..2 {
        let sender = Sender::new().sends(&*ledger).await;
        let claim = sender.claimed(&*ledger, now()).await;
        assert_eq!(ledger.finish(&sender.id, &claim, now()).await, Ok(Remains::Nothing));
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut inside(&server)).expect("flushed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_is_unavailable() {
    let (primary, replica) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let (ledger, _) = stores(&replica).await;
    assert_eq!(ledger.ping().await, Ok(()));
    let mut follow = redis::cmd("REPLICAOF");
    follow.arg("127.0.0.1").arg(primary.port()).exec(&mut inside(&replica)).expect("follows");
    let asked = Instant::now();
    assert!(matches!(ledger.ping().await, Err(Error::Unavailable(_))));
    let sender = Sender::new();
    let published = ledger.publish(&sender.publish_whole(now()), now()).await;
    assert!(matches!(published, Err(Error::Unavailable(_))), "{published:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut inside(&replica)).expect("leads");
    eventually_answers(&*ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_not_continued_where_it_does_not_reach() {
    let server = RedisServer::start(&[]);
    let (_, blobs) = stores(&server).await;
    let id = ShareId::random();
    write(&blobs, &id, vec![7; 100]).await.unwrap();
    for offset in [101, 1 << 20, (1 << 20) - 64] {
        let written = blobs.write(&id, offset, Timestamp(i64::MAX / 2)).await.map(drop);
        assert_eq!(written, Err(blobs::Error::Missing));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_a_blob_never_shortens_its_life() {
    let server = RedisServer::start(&[]);
    let (_, blobs) = stores(&server).await;
    let id = ShareId::random();
    write(&blobs, &id, vec![7; 70 << 20]).await.unwrap();
    let mut inside = inside(&server);
    let mut shortest = || -> Duration {
        let ttl = |chunk: u64| -> u64 { inside.pttl(format!("share:{id}:chunk:{chunk}")).expect("a TTL") };
        Duration::from_millis((0..=70).map(ttl).min().expect("chunks"))
    };
    // Another recipient's short lease must not take the blob from those who may still come.
    blobs.keep(&id, now().after(MINUTE)).await.unwrap();
    assert!(shortest() > HOUR - MINUTE);
    blobs.keep(&id, now().after(3 * HOUR)).await.unwrap();
    assert!(shortest() > 3 * HOUR - MINUTE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_freed_to_its_end_even_where_its_beginning_is_gone() {
    let server = RedisServer::start(&[]);
    let (_, blobs) = stores(&server).await;
    let id = ShareId::random();
    // More than two batches. A writer that went on after the first freeing leaves the end alone behind.
    write(&blobs, &id, vec![7; 70 << 20]).await.unwrap();
    let front: Vec<String> = (0..64).map(|chunk| format!("share:{id}:chunk:{chunk}")).collect();
    let _: () = redis::cmd("DEL").arg(front).query(&mut inside(&server)).expect("deleted");
    blobs.free(&id, 70 << 20).await.unwrap();
    assert!(keys(&server).iter().all(|key| !key.contains(":chunk:")), "{:?}", keys(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_lie_elsewhere_take_no_room_and_are_summed_up() {
    let server = RedisServer::start(&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]);
    let settings = Settings { has_blobs: false, max_storage: None, ..server.settings() };
    let ledger = RedisLedger::new(connect(&settings).await.unwrap());
    let large = Sender::new();
    ledger.begin(&large.upload(Some(1 << 40), now()), now()).await.unwrap();
    assert_eq!(ledger.outstanding().await, Ok(1 << 40));
    ledger.advance(&large.step(1, 0, 1 << 30), now()).await.unwrap();
    assert_eq!(ledger.outstanding().await, Ok((1 << 40) - (1 << 30)));
    let open = Sender::new();
    ledger.begin(&open.upload(None, now()), now()).await.unwrap();
    ledger.advance(&open.step(1, 0, 1 << 30), now()).await.unwrap();
    ledger.declare(&open.id, &open.token, 1 << 40, now()).await.unwrap();
    // Small shares find room all the while, also when Redis has been asked for what is reserved.
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(1500) {
        Sender::new().sends(&ledger).await;
    }
    ledger.abandon(&large.id, &large.token, now()).await.unwrap();
    ledger.abandon(&open.id, &open.token, now()).await.unwrap();
    assert_eq!(ledger.outstanding().await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_can_not_be_read_keeps_no_other_share_from_being_freed() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (revoked, now) = (Sender::new().sends_blob(&*ledger).await, now());
    let mut inside = inside(&server);
    // More than are looked at in one go.
    for evicted in [(); 120].map(|()| ShareId::random().to_string()) {
        redis::cmd("ZADD").arg("due").arg(1).arg(&evicted).exec(&mut inside).unwrap();
        redis::cmd("HSET").arg(format!("receipt:{evicted}")).arg("opened").arg(1).exec(&mut inside).unwrap();
    }
    ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await.unwrap();
    assert_eq!(ledger.due(now).await, Ok(vec![(revoked.id, Ended { state: State::Revoked, at: now })]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_yet_acknowledged_is_due_all_the_same() {
    let server = RedisServer::start(&[]);
    let ledger = async |acks| RedisLedger::new(connect(&Settings { acks, ..server.settings() }).await.unwrap());
    let (alone, lacking) = (ledger(0).await, ledger(1).await);
    let [revoked, claimed, finished] = [(); 3].map(|()| Sender::new());
    let now = now();
    for sender in [&revoked, &claimed, &finished] {
        sender.sends_blob(&alone).await;
    }
    let claim = finished.claimed(&alone, now).await;
    let lacks = Error::Unacknowledged { by: 0, of: 1 };
    assert_eq!(lacking.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await, Err(lacks.clone()));
    assert_eq!(claimed.claim(&lacking, digest(), now).await, Err(lacks.clone()));
    assert_eq!(lacking.finish(&finished.id, &claim, now).await, Err(lacks));
    for (at, expected) in [(now, vec![&revoked, &finished]), (now.after(LEASE), vec![&revoked, &claimed, &finished])] {
        let due = alone.due(at).await.unwrap();
        let is_due = |sender: &Sender| due.iter().any(|(id, _)| *id == sender.id);
        assert_eq!(due.len(), expected.len());
        assert!(expected.into_iter().all(is_due), "{due:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_without_its_replicas_confirms_nothing_of_bytes_that_lie_elsewhere() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let ledger = async |has_blobs, acks| {
        let settings = Settings { has_blobs, acks, ..server.settings() };
        RedisLedger::new(connect(&settings).await.unwrap())
    };
    assert_eq!(ledger(false, 1).await.confirm(&ShareId::random()).await, Err(Error::Unacknowledged { by: 0, of: 1 }));
    assert_eq!(ledger(true, 1).await.confirm(&ShareId::random()).await, Ok(()));
    assert_eq!(ledger(false, 0).await.confirm(&ShareId::random()).await, Ok(()));
    let doubting = ledger(false, 1).await;
    set_maxmemory(&server, 1);
    let lacks = Err(Error::Unacknowledged { by: 0, of: 1 });
    assert_eq!(doubting.confirm(&ShareId::random()).await, lacks, "a full one can do so, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_frees_nothing_that_lies_elsewhere_until_the_servers_start_anew() {
    let server = RedisServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let files = || Files::open(folder.path()).unwrap();
    let limits = Limits { max_size: 1 << 30, lease: MINUTE, upload_window: HOUR };
    let store = async || {
        let ledger = RedisLedger::new(server.connect().await);
        Store::new(Box::new(ledger), Box::new(files()), limits)
    };
    let running = store().await;
    let (young, later) = (ShareId::random(), now().after(HOUR));
    let mut writer = files().write(&young, 0, later).await.unwrap();
    writer.write(Bytes::from_static(b"bytes")).await.unwrap();
    writer.sync().await.unwrap();
    running.free_orphans(Timestamp(now().0 - 3_600_000)).await.unwrap();
    assert_eq!(files().all().await.unwrap(), [young], "what is young stays");
    redis::cmd("FLUSHALL").exec(&mut inside(&server)).unwrap();
    assert!(running.free_orphans(later).await.is_err());
    assert_eq!(files().all().await.unwrap(), [young], "what was lost may yet be restored");
    store().await.free_orphans(later).await.unwrap();
    assert_eq!(files().all().await.unwrap(), []);
}
