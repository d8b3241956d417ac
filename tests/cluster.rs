//! What only a cluster can do: move slots, lose a master, have holes, and be full on one master alone.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/cluster.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod cluster_server;
#[path = "servers/redis.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod redis_server;

#[path = "ledger/given.rs"]
#[allow(dead_code, reason = "the suite of the ledger uses the rest")]
mod given;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster_server::{Cluster, Mover, Node, Turn, until};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use given::*;
use onetimeshare::blobs::redis::RedisBlobs;
use onetimeshare::blobs::{self, Blobs};
use onetimeshare::ledger::redis::RedisLedger;
use onetimeshare::ledger::{Error, Ledger, Revoker};
use onetimeshare::redis::{Server, Settings, connect};
use onetimeshare::share::ShareId;

const MIB: usize = 1 << 20;
/// No call may take longer, whatever happens to the cluster.
const LONGEST: Duration = Duration::from_secs(10);

async fn stores(cluster: &Cluster) -> (Arc<RedisLedger>, RedisBlobs) {
    let redis = cluster.connect(0).await;
    (Arc::new(RedisLedger::new(Arc::clone(&redis))), RedisBlobs::new(redis))
}

async fn write(blobs: &RedisBlobs, id: &ShareId, content: Vec<u8>) -> blobs::Result<()> {
    let mut writer = blobs.write(id, 0, now().after(HOUR)).await?;
    writer.write(content.into()).await?;
    writer.sync().await
}

async fn read(blobs: &RedisBlobs, id: &ShareId, length: usize) -> blobs::Result<Vec<u8>> {
    let pieces: Vec<Bytes> = blobs.read(id, 0..length as u64, None).await?.try_collect().await?;
    Ok(pieces.concat())
}

/// Asks until there is an answer, none of which may take too long.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = ask().await;
        assert!(asked.elapsed() < LONGEST, "{what} took {:?}", asked.elapsed());
        match answer {
            Ok(answer) => return answer,
            Err(Error::Unavailable(_)) => {
                assert!(began.elapsed() < Duration::from_secs(40), "{what}: the cluster does not come back");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// How often nodes answered so since they were asked last.
fn errors(cluster: &Cluster, name: &str) -> u64 {
    let count = |node: &Node| {
        let stats: String = node.ask(&["INFO", "errorstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{name}:count=")));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    cluster.nodes().iter().filter(|node| node.runs()).map(count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_a_share_are_in_one_slot() {
    let turn = Turn::take().await;
    let (ledger, blobs) = stores(turn.cluster()).await;
    let now = now();
    let (several, blob, begun) = (Sender::new().password().downloads(2), Sender::new(), Sender::new());
    let several = several.sends(&*ledger).await;
    let blob = blob.sends_blob(&*ledger).await;
    ledger.begin(&begun.upload(Some(SIZE), now), now).await.unwrap();
    write(&blobs, &blob.id, vec![7; MIB]).await.unwrap();
    ledger.hit(&several.id, now).await.unwrap();
    ledger.peek(&several.id, Some(&wrong(network(1))), now).await.unwrap_err();
    several.claimed(&*ledger, now).await;
    ledger.seen().await.unwrap();

    let keys = turn.cluster().keys("*");
    for sender in [several, blob, begun] {
        let tag = format!("{{{}}}", sender.id);
        assert!(keys.iter().any(|key| key == &format!("receipt:{tag}")), "{keys:?}");
        let slot = |key: &&String| turn.cluster().nodes()[0].ask::<u16>(&["CLUSTER", "KEYSLOT", key]);
        let slots: HashSet<u16> =
            keys.iter().filter(|key| key.contains(&sender.id.to_string())).map(|key| slot(&key)).collect();
        assert_eq!(slots.len(), 1, "{keys:?}");
    }
    let apart: HashSet<&str> = keys.iter().map(String::as_str).filter(|key| !key.contains('{')).collect();
    assert_eq!(apart, HashSet::from(["due", "reserved", "seen"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_stays_once_and_every_byte_arrives_while_slots_are_moved() {
    let turn = Turn::take().await;
    let (here, blobs) = stores(turn.cluster()).await;
    let (there, _) = stores(turn.cluster()).await;
    let before = (errors(turn.cluster(), "ASK"), errors(turn.cluster(), "TRYAGAIN"));
    let mover = Mover::start(Arc::clone(turn.cluster()));
    let (began, mut rounds) = (Instant::now(), 0);
    // As long as it takes for the moves to have been in the way of something.
    while rounds < 20
        || errors(turn.cluster(), "ASK") == before.0
        || errors(turn.cluster(), "TRYAGAIN") == before.1
        || mover.moved() < 10
    {
        assert!(began.elapsed() < Duration::from_secs(40), "{} slots were moved, and nobody noticed", mover.moved());
        rounds += 1;
        let sender = Sender::new().sends_blob(&*here).await;
        let content: Vec<u8> = (0..MIB + 12_345).map(|at| (at * rounds) as u8).collect();
        write(&blobs, &sender.id, content.clone()).await.expect("written");
        let claims = (0..8).map(|number| sender.claim(if number % 2 == 0 { &*here } else { &*there }, digest(), now()));
        let granted = join_all(claims).await.into_iter().filter(|claim| match claim {
            Ok(grant) => !grant.repeated,
            Err(Error::Ended(_)) => false,
            Err(error) => panic!("{error}"),
        });
        assert_eq!(granted.count(), 1);
        assert!(read(&blobs, &sender.id, content.len()).await.expect("read") == content);
        blobs.free(&sender.id, 0).await.expect("freed");
        assert!(here.freed(&sender.id, now()).await.expect("told"));
        // What is moved is to be in somebody's way.
        turn.cluster().clear();
    }
    println!("{rounds} rounds, {} slots moved in {:?}", mover.moved(), began.elapsed());
}

/// How many SETs the nodes sent elsewhere or refused.
fn refused_sets(cluster: &Cluster) -> u64 {
    let count = |node: &Node| {
        let stats: String = node.ask(&["INFO", "commandstats"]);
        let sets = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:")?.split_once("rejected_calls="));
        sets.and_then(|(_, count)| count.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    cluster.nodes().iter().filter(|node| node.runs()).map(count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_chunks_follow_their_slot() {
    let turn = Turn::take().await;
    let (_, blobs) = stores(turn.cluster()).await;
    let (before, content) = (refused_sets(turn.cluster()), Bytes::from(vec![7; 4 * MIB]));
    // Where the nodes are asked for their slots just then, nothing goes to the wrong one.
    for _ in 0..20 {
        let id = ShareId::random();
        let mut writer = blobs.write(&id, 0, now().after(HOUR)).await.expect("begun");
        writer.write(content.slice(..MIB)).await.expect("taken");
        writer.sync().await.expect("written");
        turn.cluster().move_slot(&format!("share:{{{id}}}:chunk:0"), || {});
        writer.write(content.slice(MIB..)).await.expect("taken");
        writer.sync().await.expect("written");
        assert!(read(&blobs, &id, content.len()).await.expect("read") == content);
        if refused_sets(turn.cluster()) > before {
            return;
        }
    }
    panic!("no chunk met a slot that was moved");
}

/// Shares of all kinds, spread over all masters.
struct Before {
    waiting: Vec<Sender>,
    claimed: Vec<(Sender, onetimeshare::share::Digest)>,
    blobs: Vec<ShareId>,
    begun: Vec<Sender>,
}

async fn before(cluster: &Cluster, ledger: &RedisLedger, store: &RedisBlobs) -> Before {
    let (mut waiting, mut claimed, mut blobs, mut begun) = (vec![], vec![], vec![], vec![]);
    for _ in 0..12 {
        waiting.push(Sender::new().sends(ledger).await);
        let sender = Sender::new().sends_blob(ledger).await;
        write(store, &sender.id, vec![7; MIB]).await.unwrap();
        blobs.push(sender.id);
        claimed.push((sender, sender.claimed(ledger, now()).await));
        let upload = Sender::new();
        ledger.begin(&upload.upload(Some(SIZE + 100), now()), now()).await.unwrap();
        begun.push(upload);
    }
    cluster.settle();
    until("the replicas have it all", || cluster.is_replicated());
    Before { waiting, claimed, blobs, begun }
}

/// Everything that was acknowledged is there, and goes on as if nothing had happened.
async fn goes_on(ledger: &RedisLedger, store: &RedisBlobs, before: Before) {
    for sender in before.waiting {
        let claim = digest();
        eventually("a claim", async || sender.claim(ledger, claim, now()).await).await;
        assert!(matches!(sender.claim(ledger, digest(), now()).await, Err(Error::Ended(_))));
    }
    for (sender, claim) in before.claimed {
        assert!(eventually("a claim", async || sender.claim(ledger, claim, now()).await).await.repeated);
        eventually("a finish", async || ledger.finish(&sender.id, &claim, now()).await).await;
    }
    for id in before.blobs {
        let content = eventually("a read", async || match read(store, &id, MIB).await {
            Err(blobs::Error::Unavailable(why)) => Err(Error::Unavailable(why)),
            read => Ok(read.expect("it is there")),
        });
        assert!(content.await == vec![7; MIB]);
    }
    for sender in before.begun {
        eventually("an advance", async || ledger.advance(&sender.step(1, 0, SIZE + 100), now()).await).await;
        eventually("a publish", async || ledger.publish(&sender.publish(), now()).await).await;
        eventually("a revocation", async || ledger.revoke(&sender.id, Revoker::Owner(sender.owner), now()).await).await;
    }
    eventually("a visit", async || ledger.seen().await).await;
    eventually("a ping", async || ledger.ping().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_after_a_master_was_killed() {
    let cluster = Cluster::start();
    let (ledger, blobs) = stores(&cluster).await;
    let before = before(&cluster, &ledger, &blobs).await;
    // The one that has most to do with the others' shares.
    cluster.master_of("due").kill();
    let killed = Instant::now();
    eventually("a look for what is due", async || ledger.due(now()).await).await;
    println!("a master was killed; its replica served after {:?}", killed.elapsed());
    goes_on(&ledger, &blobs, before).await;
    assert_eq!(cluster.masters().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_after_a_master_froze() {
    let cluster = Cluster::start();
    let (ledger, blobs) = stores(&cluster).await;
    let before = before(&cluster, &ledger, &blobs).await;
    let frozen = cluster.master_of("due");
    frozen.signal("STOP");
    let stopped = Instant::now();
    eventually("a look for what is due", async || ledger.due(now()).await).await;
    println!("a master froze; its replica served after {:?}", stopped.elapsed());
    goes_on(&ledger, &blobs, before).await;
    // Back again, it is told that others moved on.
    frozen.signal("CONT");
    until("it follows", || frozen.ask::<String>(&["INFO", "replication"]).contains("role:slave"));
    let sender = Sender::new();
    eventually("a publish", async || ledger.publish(&sender.publish_whole(now()), now()).await).await;
    sender.claimed(&*ledger, now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_waits_for_the_replica_of_its_own_master() {
    let cluster = Cluster::start();
    let ledger = RedisLedger::new(cluster.connect(1).await);
    let (lonely, other) = (cluster.masters()[0], cluster.masters()[1]);
    let on = |master: &Node| loop {
        let sender = Sender::new();
        if cluster.master_of(&format!("share:{{{}}}", sender.id)).port == master.port {
            return sender;
        }
    };
    let (waiting, refused, served) = (on(lonely), on(lonely), on(other));
    let now = now();
    ledger.publish(&waiting.publish_whole(now), now).await.expect("its replica has it");
    cluster.nodes()[3].kill();
    let lacks = Err(Error::Unacknowledged { by: 0, of: 1 });
    assert_eq!(ledger.publish(&refused.publish_whole(now), now).await, lacks);
    let claim = digest();
    assert_eq!(waiting.claim(&ledger, claim, now).await.map(drop), lacks.map(drop));
    // Nothing is read under a claim that its master alone knows of.
    assert!(ledger.charge(&waiting.id, &claim, &charge(5, 99, now), now).await.is_err());
    ledger.publish(&served.publish_whole(now), now).await.expect("the others go on");
    let claim = served.claimed(&ledger, now).await;
    assert!(ledger.charge(&served.id, &claim, &charge(5, 99, now), now).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fullest_master_tells_how_much_room_there_is() {
    let turn = Turn::take().await;
    let (_, blobs) = stores(turn.cluster()).await;
    assert_eq!(blobs.room(1 << 30).await, Ok(()));
    let full = turn.cluster().masters()[1];
    full.say(&["CONFIG", "SET", "maxmemory", "64mb"]);
    let began = Instant::now();
    while blobs.room(60 << 20).await != Err(blobs::Error::Full) {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not noticed");
    }
    assert_eq!(blobs.room(20 << 20).await, Ok(()));
    full.say(&["CONFIG", "SET", "maxmemory", "0"]);
}

async fn refused(settings: Settings) -> String {
    let line = format!("{:#}", connect(&settings).await.err().expect("refused"));
    assert!(!line.contains('\n'), "{line}");
    line
}

/// As for a cluster of these nodes.
fn settings(nodes: &[u16], password: Option<&str>) -> Settings {
    Settings {
        server: Server::Cluster {
            nodes: nodes.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect(),
            tls: false,
            username: None,
            password: password.map(str::to_owned),
        },
        max_storage: None,
        has_blobs: true,
        allow_eviction: false,
        acks: 0,
        patience: Duration::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_one_clear_line() {
    let lonely = Node::start(&["--requirepass", "right"]);
    let line = refused(settings(&[lonely.port], Some("wrong"))).await;
    assert!(line.contains("password") && !line.contains("wrong"), "{line}");
    let line = refused(settings(&[lonely.port], Some("right"))).await;
    assert!(line.contains("0 of 16384 slots"), "{line}");
    lonely.kill();
    let line = refused(settings(&[lonely.port], None)).await;
    assert!(line.contains("no node of the Redis cluster can be reached"), "{line}");
    let single = redis_server::RedisServer::start(&[]);
    // The first that answers tells.
    let line = refused(settings(&[lonely.port, single.port()], None)).await;
    assert!(line.contains("no node of a cluster") && line.contains("--redis-url"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_evicting_master_is_refused_unless_that_is_allowed() {
    let turn = Turn::take().await;
    let evicting = turn.cluster().masters()[2];
    evicting.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    evicting.say(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let line = refused(turn.cluster().settings()).await;
    assert!(line.contains("allkeys-lru") && line.contains("noeviction"), "{line}");
    assert!(connect(&Settings { allow_eviction: true, ..turn.cluster().settings() }).await.is_ok());
    evicting.say(&["CONFIG", "SET", "maxmemory", "0"]);
    evicting.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
}
