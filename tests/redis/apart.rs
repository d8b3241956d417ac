//! What lies apart from a share's own keys, `due` and `reserved`, as a crash between the two may leave it.

use std::time::{Duration, Instant};

use onetimeshare::blobs::{self, Blobs};
use onetimeshare::ledger::{Error, Ledger, Remains, Revoker};
use onetimeshare::share::{Ended, ShareId, State, Timestamp};
use redis::Commands;

use super::given::*;
use super::{RedisServer, inside, set_maxmemory, stores};

fn hint(server: &RedisServer, id: &ShareId) -> Option<Timestamp> {
    let score: Option<f64> = inside(server).zscore("due", id.to_string()).expect("asked");
    score.map(|score| Timestamp(score as i64))
}

fn set_hint(server: &RedisServer, id: &ShareId, at: Timestamp) {
    let _: () = inside(server).zadd("due", id.to_string(), at.0).expect("added");
}

fn lose_hint(server: &RedisServer, id: &ShareId) {
    let _: () = inside(server).zrem("due", id.to_string()).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_without_a_share_goes_when_its_time_comes() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (id, now) = (ShareId::random(), now());
    set_hint(&server, &id, now);
    let due = ledger.due(now).await.unwrap();
    assert_eq!(due.iter().map(|(id, ended)| (*id, ended.state)).collect::<Vec<_>>(), [(id, State::Abandoned)]);
    assert_eq!(ledger.freed(&id, now).await, Ok(true));
    assert_eq!(ledger.due(now).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_is_too_early_is_moved_to_the_right_time() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (waiting, leased) = (Sender::new().sends_blob(&*ledger).await, Sender::new().sends_blob(&*ledger).await);
    let now = now();
    leased.claimed(&*ledger, now).await;
    let expires_at = waiting.receipt(&*ledger).await.expires_at.expect("published");
    for (sender, free_at) in [(waiting, expires_at), (leased, now.after(LEASE))] {
        set_hint(&server, &sender.id, now);
        assert_eq!(ledger.due(now).await, Ok(vec![]));
        assert_eq!(hint(&server, &sender.id), Some(free_at));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_is_too_early_is_moved_though_redis_is_full() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let (ledger, _) = stores(&server).await;
    let (waiting, revoked) = (Sender::new().sends_blob(&*ledger).await, Sender::new().sends_blob(&*ledger).await);
    let now = now();
    let expires_at = waiting.receipt(&*ledger).await.expires_at.expect("published");
    set_hint(&server, &waiting.id, now);
    set_maxmemory(&server, 1);
    ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await.expect("revoked");
    assert_eq!(ledger.due(now).await, Ok(vec![(revoked.id, Ended { state: State::Revoked, at: now })]));
    assert_eq!(hint(&server, &waiting.id), Some(expires_at));
    assert_eq!(ledger.put_off(&revoked.id, now.after(HOUR)).await, Ok(()));
    assert_eq!(ledger.due(now).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_repeated_writes_the_hint_again() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (sender, now) = (Sender::new(), now());
    let (upload, publish) = (sender.upload(Some(SIZE), now), sender.publish());
    let expires_at = now.after(EXPIRES_IN);
    let again = |at| {
        assert_eq!(hint(&server, &sender.id), Some(at));
        lose_hint(&server, &sender.id);
    };
    for _ in 0..2 {
        ledger.begin(&upload, now).await.unwrap();
        again(upload.window_ends_at);
    }
    for _ in 0..2 {
        ledger.publish(&publish, now).await.unwrap();
        again(expires_at);
    }
    let claim = digest();
    for repeated in [false, true] {
        assert_eq!(sender.claim(&*ledger, claim, now).await.unwrap().repeated, repeated);
        again(now.after(LEASE));
    }
    for _ in 0..2 {
        assert_eq!(ledger.finish(&sender.id, &claim, now).await, Ok(Remains::Blob));
        again(now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_lowers_the_hint_and_never_raises_it() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (mut soon, late, now) = (Sender::new(), Sender::new(), now());
    soon.terms.expires_in = MINUTE;
    for sender in [&soon, &late] {
        ledger.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
        ledger.publish(&sender.publish(), now).await.unwrap();
    }
    assert_eq!(hint(&server, &soon.id), Some(now.after(MINUTE)));
    assert_eq!(hint(&server, &late.id), Some(now.after(HOUR)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_no_trace() {
    let server = RedisServer::start(&[]);
    let (ledger, _) = stores(&server).await;
    let (now, share) = (now(), Sender::new().sends_blob(&*ledger).await);
    let before = hint(&server, &share.id);
    let too_long = Sender::new();
    assert_eq!(ledger.begin(&too_long.upload(Some(1 << 50), now), now).await, Err(Error::Full));
    assert_eq!(hint(&server, &too_long.id), None);
    // Another upload under the id of a share.
    let stranger = Sender { id: share.id, ..Sender::new() };
    assert_eq!(ledger.begin(&stranger.upload(Some(SIZE), now), now).await, Err(Error::Unknown));
    assert!(ledger.claim(&share.id, &stranger.request(digest(), now), now).await.is_err());
    assert!(ledger.finish(&share.id, &digest(), now).await.is_err());
    assert_eq!(hint(&server, &share.id), before);
    let reserved: Vec<Vec<u8>> = inside(&server).hkeys("reserved").expect("asked");
    assert!(reserved.iter().all(|field| field == b"total"), "{reserved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_reserved_ends_with_its_window() {
    let server = RedisServer::start(&[]);
    let (_, store) = stores(&server).await;
    let (free, most) = (1_u64 << 40, 1_u64 << 39);
    let ends = now().after(Duration::from_secs(3));
    let left = format!("{most} {}", ends.0);
    let _: () = inside(&server).hset("reserved", "an upload that nobody goes on with", left).expect("set");
    let began = Instant::now();
    let eventually = async |what: blobs::Result<()>| {
        while store.room(free - most).await != what {
            assert!(began.elapsed() < Duration::from_secs(20), "not {what:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    eventually(Err(blobs::Error::Full)).await;
    eventually(Ok(())).await;
    assert!(now() >= ends, "it was dropped before its time");
}
