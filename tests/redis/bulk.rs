//! Chunks on their way in: straight to Redis where that goes, and in any case there in the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use onetimeshare::blobs::redis::RedisBlobs;
use onetimeshare::blobs::{self, Blobs};
use onetimeshare::redis::{Server, Settings, connect};
use onetimeshare::share::ShareId;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{RedisServer, inside, set_maxmemory, write};

const MIB: usize = 1 << 20;

async fn blobs(settings: Settings) -> RedisBlobs {
    RedisBlobs::new(connect(&settings).await.expect("a connection"))
}

/// Bytes no two MiB of which are alike.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / MIB * 31 + at % 251) as u8).collect()
}

async fn assert_holds(blobs: &RedisBlobs, id: &ShareId, content: &[u8]) {
    let pieces: Vec<_> =
        blobs.read(id, 0..content.len() as u64, None).await.expect("it is there").try_collect().await.unwrap();
    assert!(pieces.concat() == content, "other bytes than were written");
}

/// What Redis tells under this name.
fn told(server: &RedisServer, section: &str, name: &str) -> String {
    let info: String = redis::cmd("INFO").arg(section).query(&mut inside(server)).expect("asked");
    info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or_default().to_owned()
}

fn connections(server: &RedisServer) -> usize {
    told(server, "clients", "connected_clients").parse().expect("a number")
}

/// A way to Redis that cuts a connection which has carried `most` bytes there, `times` in all.
async fn cutting(to: u16, most: usize, times: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, cuts) = (listener.local_addr().expect("bound"), Arc::new(AtomicUsize::new(times)));
    let left = Arc::clone(&cuts);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", to)).await.expect("Redis listens");
            tokio::spawn(carry(near, far, most, Arc::clone(&left)));
        }
    });
    (address, cuts)
}

async fn carry(mut near: TcpStream, mut far: TcpStream, most: usize, cuts: Arc<AtomicUsize>) {
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let up = async {
        let mut first = tokio::io::AsyncReadExt::take(&mut from_near, most as u64);
        let carried = tokio::io::copy(&mut first, &mut to_far).await.unwrap_or(0);
        let spend = |left: usize| left.checked_sub(1);
        if carried == most as u64 && cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
            return;
        }
        let _ = tokio::io::copy(&mut from_near, &mut to_far).await;
        let _ = to_far.shutdown().await;
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
    }
    let _ = (near.set_zero_linger(), far.set_zero_linger());
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_go_straight_in_with_the_user_and_the_database_of_the_settings() {
    let server = RedisServer::start(&["--user", "uploader", "on", ">right", "~*", "+@all"]);
    let server_settings = Server::Parts {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        db: 3,
        username: Some("uploader".to_owned()),
        password: Some("right".to_owned()),
    };
    let blobs = blobs(Settings { server: server_settings, ..server.settings() }).await;
    let (id, content) = (ShareId::random(), content(8 * MIB));
    write(&blobs, &id, content.clone()).await.unwrap();
    assert_holds(&blobs, &id, &content).await;
    let listed: String = redis::cmd("CLIENT").arg("LIST").query(&mut inside(&server)).unwrap();
    let pipes: Vec<&str> = listed.lines().filter(|line| line.contains(" cmd=set ")).collect();
    assert!(!pipes.is_empty() && pipes.iter().all(|pipe| pipe.contains(" db=3 ")), "{listed}");
    let sets = told(&server, "commandstats", "cmdstat_set");
    assert!(sets.starts_with("calls=16,") && sets.contains("rejected_calls=0"), "{sets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_go_straight_in_by_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("redis.sock").display().to_string();
    let server = RedisServer::start(&["--unixsocket", &path]);
    let blobs = blobs(Settings { server: Server::Url(format!("redis+unix://{path}?db=2")), ..server.settings() }).await;
    let (id, content) = (ShareId::random(), content(4 * MIB));
    let before = connections(&server);
    write(&blobs, &id, content.clone()).await.unwrap();
    assert!(connections(&server) > before, "no connection of its own");
    assert_holds(&blobs, &id, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_connection_is_cut_in_the_middle_is_sent_again() {
    let server = RedisServer::start(&[]);
    let (address, cuts) = cutting(server.port(), 700_000, 2).await;
    let through = blobs(Settings { server: Server::Url(format!("redis://{address}")), ..server.settings() }).await;
    let (id, content) = (ShareId::random(), content(16 * MIB));
    write(&through, &id, content.clone()).await.unwrap();
    assert_eq!(cuts.load(Ordering::Relaxed), 0, "nothing was cut");
    assert_holds(&blobs(server.settings()).await, &id, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_for_a_while_takes_what_waited() {
    let server = RedisServer::start(&[]);
    let blobs = blobs(server.settings()).await;
    let (id, content) = (ShareId::random(), content(32 * MIB));
    server.signal("STOP");
    let mut writing = Box::pin(write(&blobs, &id, content.clone()));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut writing).await.is_err(), "nobody took it");
    server.signal("CONT");
    writing.await.unwrap();
    assert_holds(&blobs, &id, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_redis_has_no_memory_for_is_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let sampled = || told(&server, "commandstats", "cmdstat_evalsha");
    // Where its memory was sampled just before, the chunk is not even sent: the first sample is over, and the next a second away.
    for _ in 0..20 {
        set_maxmemory(&server, 0);
        let (before, began) = (sampled(), Instant::now());
        let blobs = blobs(server.settings()).await;
        while sampled() == before {
            assert!(began.elapsed() < Duration::from_secs(20), "no sample is taken");
        }
        set_maxmemory(&server, 1);
        assert_eq!(write(&blobs, &ShareId::random(), content(2 * MIB)).await, Err(blobs::Error::Full));
        if told(&server, "errorstats", "errorstat_OOM").starts_with("count=") {
            return;
        }
    }
    panic!("Redis was never asked");
}
