//! What only several Redis servers can do: fail over, be cut off from each other, and acknowledge.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/redis.rs"]
mod redis_server;

#[path = "servers/sentinels.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod sentinels;

#[path = "ledger/given.rs"]
#[allow(dead_code, reason = "the suite of the ledger uses the rest")]
mod given;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use given::*;
use onetimeshare::blobs::redis::RedisBlobs;
use onetimeshare::blobs::{self, Blobs};
use onetimeshare::ledger::redis::RedisLedger;
use onetimeshare::ledger::{Error, Ledger, Result, Revoker};
use onetimeshare::redis::{Redis, Server, Settings, connect};
use onetimeshare::share::{Digest, ShareId, State};
use redis_server::RedisServer;
use sentinels::{DOWN_AFTER, PATIENCE, Sentinels, ask, online, until};

const MIB: usize = 1 << 20;

async fn stores(group: &Sentinels, acks: u32) -> (RedisLedger, RedisBlobs) {
    of(group.connect(acks, 0).await)
}

fn of(redis: Arc<Redis>) -> (RedisLedger, RedisBlobs) {
    (RedisLedger::new(Arc::clone(&redis)), RedisBlobs::new(redis))
}

async fn eventually<T, F: Future<Output = Result<T>>>(asked: impl Fn() -> F) -> T {
    settled(asked).await.expect("it can only be away")
}

/// Asks again as long as the store is away.
async fn settled<T, F: Future<Output = Result<T>>>(asked: impl Fn() -> F) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match asked().await {
            Err(Error::Unavailable(_) | Error::Unacknowledged { .. }) => {}
            answer => return answer,
        }
        assert!(Instant::now() < deadline, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn write(blobs: &RedisBlobs, id: &ShareId, length: usize) {
    let mut writer = blobs.write(id, 0, now().after(HOUR)).await.expect("a writer");
    writer.write(Bytes::from(vec![7; length])).await.expect("written");
    writer.sync().await.expect("synced");
}

async fn read(blobs: &RedisBlobs, id: &ShareId, length: usize) -> blobs::Result<Vec<u8>> {
    let pieces: Vec<Bytes> = blobs.read(id, 0..length as u64, None).await?.try_collect().await?;
    Ok(pieces.concat())
}

async fn charged(ledger: &RedisLedger, sender: &Sender, claim: &Digest) -> Result<Option<Bytes>> {
    ledger.charge(&sender.id, claim, &charge(1, 99, now()), now()).await
}

/// Fails unless so many of two replicas acknowledged.
#[track_caller]
fn assert_unacknowledged<T: std::fmt::Debug>(result: Result<T>, by: u32) {
    assert!(matches!(result, Err(Error::Unacknowledged { by: some, of: 2 }) if some == by), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_followed_and_nothing_acknowledged_is_lost() {
    let mut group = Sentinels::start();
    let (ledger, blobs) = stores(&group, 1).await;
    let waiting = Sender::new().sends(&ledger).await;
    let claimed = Sender::new().sends(&ledger).await;
    let claim = claimed.claimed(&ledger, now()).await;
    charged(&ledger, &claimed, &claim).await.expect("charged");
    let (blob, uploading) = (ShareId::random(), Sender::new());
    write(&blobs, &blob, 3 * MIB).await;
    blobs.secure(&blob, 3 * MIB as u64, now().after(HOUR)).await.expect("secured");
    let begun = now();
    ledger.begin(&uploading.upload(Some(SIZE + 100), begun), begun).await.expect("begun");
    // A write that replicas acknowledge takes all that came before it along.
    Sender::new().sends(&ledger).await;

    let switch = group.listen();
    let killed = Instant::now();
    let master = group.master_number();
    group.nodes[master].kill();
    let publishing = Sender::new();
    let at = now();
    let publish = publishing.publish_whole(at);
    eventually(|| ledger.publish(&publish, at)).await;
    let first = Instant::now();
    let switched = switch.wait();
    let without = first.saturating_duration_since(switched);
    println!("killed → switched {:?}; switched → first publish {without:?}", switched - killed);
    assert!(without < Duration::from_secs(2), "{without:?} without service");

    let token = digest();
    eventually(|| publishing.claim(&ledger, token, now())).await;
    assert_eq!(charged(&ledger, &publishing, &token).await, Ok(Some(CONTENT.into())));
    eventually(|| charged(&ledger, &claimed, &claim)).await;
    assert!(claimed.claim(&ledger, claim, now()).await.expect("the same claim").repeated);
    assert!(matches!(claimed.claim(&ledger, digest(), now()).await, Err(Error::Ended(_))));
    waiting.claimed(&ledger, now()).await;
    assert!(read(&blobs, &blob, 3 * MIB).await.expect("read") == vec![7; 3 * MIB]);
    ledger.advance(&uploading.step(1, 0, 100), now()).await.expect("the upload goes on");

    group.nodes[master].start_again();
    group.settle();
    assert!(claimed.claim(&ledger, claim, now()).await.expect("the same claim").repeated);
    assert!(matches!(waiting.claim(&ledger, digest(), now()).await, Err(Error::Ended(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_holds_nobody_once_another_is_known() {
    let group = Sentinels::start();
    let (ledger, blobs) = stores(&group, 1).await;
    let ledger = Arc::new(ledger);
    let blob = ShareId::random();
    write(&blobs, &blob, 3 * MIB).await;
    blobs.secure(&blob, 3 * MIB as u64, now().after(HOUR)).await.expect("secured");
    // Many at once, so that there are at least two connections that wait for replicas.
    let mut sent = futures_util::future::join_all((0..8).map(|_| Sender::new().sends(&*ledger))).await;
    let sender = sent.remove(0);

    let switch = group.listen();
    let (frozen, at) = (group.master_number(), now());
    group.nodes[frozen].signal("STOP");
    // Asked when the old master can't answer any more; each is answered by the new one, without being asked again.
    let (publishing, claim) = (Sender::new(), digest());
    let (publish, asked) = (publishing.publish_whole(at), Instant::now());
    tokio::time::sleep(DOWN_AFTER / 4).await;
    let (published, granted, peeked, content) = tokio::join!(
        ledger.publish(&publish, at),
        sender.claim(&*ledger, claim, at),
        ledger.peek(&sender.id, None, at),
        read(&blobs, &blob, 3 * MIB),
    );
    let (answered, switched) = (Instant::now(), switch.wait());
    println!(
        "frozen → switched {:?}; switched → all answered {:?}",
        switched - asked,
        answered.saturating_duration_since(switched)
    );
    published.expect("published on the new master");
    granted.expect("granted on the new master");
    assert!(peeked.is_ok() || matches!(peeked, Err(Error::Unknown | Error::Ended(_))), "{peeked:?}");
    assert!(content.expect("read from the new master") == vec![7; 3 * MIB]);
    assert!(answered.saturating_duration_since(switched) < Duration::from_secs(2));

    group.nodes[frozen].signal("CONT");
    group.settle();
    assert!(sender.claim(&*ledger, claim, now()).await.expect("the same claim").repeated);
    assert!(matches!(sender.claim(&*ledger, digest(), now()).await, Err(Error::Ended(_))));
    publishing.claimed(&*ledger, now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_does_not_acknowledge_is_refused_and_succeeds_when_it_is_back() {
    let mut group = Sentinels::start();
    let (ledger, _) = stores(&group, 2).await;
    let waiting = Sender::new().sends(&ledger).await;
    let revoked = Sender::new().sends(&ledger).await;
    let claimed = Sender::new().sends(&ledger).await;
    let running = claimed.claimed(&ledger, now()).await;
    charged(&ledger, &claimed, &running).await.expect("charged");

    let stopped = group.replicas()[0];
    group.nodes[stopped].kill();
    let (publishing, at, claim, rival) = (Sender::new(), now(), digest(), digest());
    let publish = publishing.publish_whole(at);
    for _ in 0..2 {
        assert_unacknowledged(ledger.publish(&publish, at).await, 1);
        assert_unacknowledged(waiting.claim(&ledger, claim, at).await, 1);
        assert_unacknowledged(ledger.upload(&publishing.id, &publishing.token, at).await, 1);
        assert_unacknowledged(ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), at).await, 1);
        assert_unacknowledged(ledger.receipt(&revoked.id, &revoked.owner, at).await, 1);
        // The client was refused, and yet its lease exists: it must not read a byte.
        assert_unacknowledged(charged(&ledger, &waiting, &claim).await, 1);
        // Nor is the share gone for another one: a failover may bring it back.
        assert_unacknowledged(waiting.claim(&ledger, rival, at).await, 1);
    }
    // What was acknowledged before goes on.
    assert_eq!(charged(&ledger, &claimed, &running).await, Ok(Some(CONTENT.into())));
    for _ in 0..2 {
        assert_unacknowledged(ledger.finish(&claimed.id, &running, now()).await, 1);
    }
    assert_eq!(ledger.ping().await, Ok(()));
    assert!(ledger.caveat().is_some_and(|why| why.contains("1 of 2")));

    group.nodes[stopped].start_again();
    group.settle();
    let expires_at = eventually(|| ledger.publish(&publish, at)).await;
    assert_eq!(expires_at, at.after(EXPIRES_IN));
    assert_eq!(charged(&ledger, &waiting, &claim).await, Ok(Some(CONTENT.into())));
    assert!(waiting.claim(&ledger, claim, now()).await.expect("granted").repeated);
    assert!(matches!(waiting.claim(&ledger, rival, now()).await, Err(Error::Ended(_))));
    assert!(ledger.finish(&claimed.id, &running, now()).await.is_ok());
    ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), now()).await.expect("revoked");
    assert_eq!(only(&waiting.receipt(&ledger).await).served, 1, "nothing was served while it was in doubt");
    assert_eq!(revoked.receipt(&ledger).await.state(now()).state, State::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_cut_off_grants_nothing() {
    let mut group = Sentinels::start();
    // Two web servers. One is cut off together with the old master, and knows nothing of Sentinels any more.
    let old = group.master_number();
    let alone = of(connect(&Settings { acks: 2, ..group.nodes[old].settings() }).await.expect("a connection")).0;
    let (ledger, _) = stores(&group, 2).await;
    let sender = Sender::new().sends(&ledger).await;
    let (here, there) = (digest(), digest());

    // Frozen until the others have chosen; thawed where nobody can tell it that it is no master.
    let switch = group.listen();
    group.nodes[old].signal("STOP");
    switch.wait();
    until("all of them know it", || group.sentinels.iter().all(|s| s.master() != Some(group.nodes[old].port())));
    until("the other replica follows the new one", || online(group.master()) == 1);
    eventually(|| ledger.ping()).await;
    for sentinel in &mut group.sentinels {
        sentinel.kill();
    }
    group.nodes[old].signal("CONT");
    until("it believes to be the master", || {
        let role: Option<Vec<redis::Value>> = ask(group.nodes[old].port(), &["ROLE"]);
        role.is_some_and(|role| role[0] == redis::Value::BulkString(b"master".to_vec()))
    });

    assert_unacknowledged(sender.claim(&alone, here, now()).await, 0);
    assert_unacknowledged(charged(&alone, &sender, &here).await, 0);
    assert_unacknowledged(sender.claim(&alone, here, now()).await, 0);

    // The new master lacks a replica, too, until the old one is told to follow it.
    assert_unacknowledged(sender.claim(&ledger, there, now()).await, 1);
    for sentinel in &mut group.sentinels {
        sentinel.start_again();
    }
    group.settle();
    eventually(|| sender.claim(&ledger, there, now())).await;
    assert_eq!(charged(&ledger, &sender, &there).await, Ok(Some(CONTENT.into())));
    assert!(matches!(sender.claim(&ledger, here, now()).await, Err(Error::Ended(_))));
    assert_eq!(charged(&ledger, &sender, &here).await, Err(Error::Unknown));
    assert_eq!(only(&sender.receipt(&ledger).await).served, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_failover_took_are_noticed_before_a_share_is_made_of_them() {
    let server = RedisServer::start(&[]);
    let (_, blobs) = of(server.connect().await);
    let id = ShareId::random();
    let mut writer = blobs.write(&id, 0, now().after(HOUR)).await.expect("a writer");
    for _ in 0..3 {
        writer.write(Bytes::from(vec![7; MIB])).await.expect("written");
    }
    // As on a node that did not have it yet when it took over.
    let chunk = format!("share:{id}:chunk:1");
    until("it is there", || ask::<i64>(server.port(), &["DEL", &chunk]) == Some(1));
    assert!(matches!(writer.sync().await, Err(blobs::Error::Unavailable(_))));
    assert_eq!(blobs.secure(&id, 3 * MIB as u64, now().after(MINUTE)).await, Err(blobs::Error::Missing));
    drop(writer);
    write(&blobs, &id, 3 * MIB).await;
    assert_eq!(blobs.secure(&id, 3 * MIB as u64, now().after(MINUTE)).await, Ok(()));
    assert_eq!(blobs.secure(&id, 3 * MIB as u64 + 1, now().after(MINUTE)).await, Err(blobs::Error::Missing));
}

/// A share that two ask for: who got it.
struct Contested {
    sender: Sender,
    granted: Vec<Digest>,
}

/// Sends a share and has two claim it, each of whom asks until there is an answer.
async fn contest(ledger: &RedisLedger) -> Contested {
    let (sender, at) = (Sender::new(), now());
    let publish = sender.publish_whole(at);
    eventually(|| ledger.publish(&publish, at)).await;
    let claim = async |token: Digest| match settled(|| sender.claim(ledger, token, now())).await {
        Ok(_) => {
            let content = eventually(|| charged(ledger, &sender, &token)).await;
            assert_eq!(content, Some(CONTENT.into()));
            Some(token)
        }
        Err(Error::Ended(_)) => None,
        Err(other) => panic!("{other}"),
    };
    let (one, other) = tokio::join!(claim(digest()), claim(digest()));
    Contested { sender, granted: one.into_iter().chain(other).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_that_change_under_load_lose_nothing_and_grant_nothing_twice() {
    let group = Sentinels::start();
    let ledger = Arc::new(stores(&group, 2).await.0);
    let (done, mut contests) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (ledger, done) = (Arc::clone(&ledger), done.clone());
        tasks.spawn(async move { while done.send(contest(&ledger).await).is_ok() {} });
    }
    drop(done);
    let mut all = Vec::new();
    for round in 0..2 {
        contests.recv_many(&mut all, 50).await;
        // The old master lives, goes on taking writes for a moment, and is then made a replica with requests under way.
        group.fail_over(round);
        group.settle();
        all.push(contests.recv().await.expect("they go on"));
    }
    // Those under way come to their end, and nobody begins another.
    while contests.try_recv().map(|contest| all.push(contest)).is_ok() {}
    contests.close();
    while let Some(contest) = contests.recv().await {
        all.push(contest);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    for Contested { sender, granted } in all {
        assert_eq!(granted.len(), 1);
        assert_eq!(sender.receipt(&*ledger).await.claims.len(), 1);
        assert!(sender.claim(&*ledger, granted[0], now()).await.expect("the same claim").repeated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_less_makes_no_difference() {
    let group = Sentinels::start();
    let mut settings = group.settings(1, 0);
    let Server::Sentinels { sentinels, .. } = &mut settings.server else { panic!("other settings") };
    // Nobody was ever there; another will hang.
    sentinels.push(("127.0.0.1".to_owned(), 1));
    let (ledger, _) = of(connect(&settings).await.expect("a connection"));
    let sender = Sender::new().sends(&ledger).await;
    let switch = group.listen();
    group.sentinels[0].signal("STOP");
    group.nodes[group.master_number()].signal("STOP");
    let switched = switch.wait();
    let claim = digest();
    eventually(|| sender.claim(&ledger, claim, now())).await;
    assert!(switched.elapsed() < Duration::from_secs(2), "{:?} without service", switched.elapsed());
}

async fn line(settings: Settings) -> String {
    let line = format!("{:#}", connect(&settings).await.err().expect("refused"));
    assert!(!line.contains('\n') && !line.contains("wrong-password"), "{line}");
    line
}

/// The group's settings with one of them changed.
fn but(group: &Sentinels, change: impl FnOnce(&mut Server)) -> Settings {
    let mut settings = Settings { patience: Duration::from_secs(30), ..group.settings(0, 0) };
    change(&mut settings.server);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_one_clear_line() {
    let group = Sentinels::with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let began = Instant::now();
    let name = but(&group, |server| {
        let Server::Sentinels { name, .. } = server else { return };
        *name = "others".to_owned();
    });
    assert!(line(name).await.contains("no Sentinel knows a master called others"));
    let login = but(&group, |server| {
        let Server::Sentinels { sentinel_password, .. } = server else { return };
        *sentinel_password = Some("wrong-password".to_owned());
    });
    assert!(line(login).await.contains("--redis-sentinel-password"));
    let login = but(&group, |server| {
        let Server::Sentinels { password, .. } = server else { return };
        *password = Some("wrong-password".to_owned());
    });
    assert!(line(login).await.contains("check its user name and password"));
    assert!(line(but(&group, |_| {})).await.contains("maxmemory-policy noeviction"));
    assert!(began.elapsed() < Duration::from_secs(10), "none of this is waited for");
    let mut nobody = but(&group, |server| {
        let Server::Sentinels { sentinels, .. } = server else { return };
        sentinels.iter_mut().for_each(|(_, port)| *port = 1);
    });
    nobody.patience = Duration::from_millis(300);
    assert!(line(nobody).await.contains("no Sentinel can be reached"));
}
