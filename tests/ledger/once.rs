//! At most as many claims as allowed, whoever asks, however often, wherever.

use std::sync::Arc;

use onetimeshare::ledger::{Error, Grant, Ledger, Result, Revoker};
use onetimeshare::share::{Digest, Ended, State, Timestamp};
use tokio::sync::Barrier;

use super::given::*;
use crate::World;

const AT_ONCE: usize = 32;
const ROUNDS: usize = 30;

/// Everybody claims at the same moment, half of them here and half there.
async fn claim_at_once(world: &World, sender: Sender, claims: Vec<Digest>, now: Timestamp) -> Vec<Result<Grant>> {
    let barrier = Arc::new(Barrier::new(claims.len()));
    let mut tasks = Vec::new();
    for (number, claim) in claims.into_iter().enumerate() {
        let ledger: Arc<dyn Ledger> = Arc::clone(if number % 2 == 0 { &world.here } else { &world.there });
        let barrier = Arc::clone(&barrier);
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            sender.claim(&*ledger, claim, now).await
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no panic"));
    }
    results
}

pub async fn only_one_of_many_claims_at_once_is_granted(world: World) {
    for _ in 0..ROUNDS {
        let sender = Sender::new().sends(&*world.here).await;
        let now = now();
        let claims = (0..AT_ONCE).map(|_| digest()).collect();
        let results = claim_at_once(&world, sender, claims, now).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let late = results.iter().filter(|result| **result == ended(State::Claimed, now)).count();
        assert_eq!(late, AT_ONCE - 1);
        assert_eq!(only(&sender.receipt(&*world.there).await).claimed_at, now);
    }
}

pub async fn as_many_claims_are_granted_as_the_terms_allow(world: World) {
    for _ in 0..ROUNDS {
        let sender = Sender::new().downloads(5).sends(&*world.here).await;
        let claims = (0..AT_ONCE).map(|_| digest()).collect();
        let results = claim_at_once(&world, sender, claims, now()).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
        assert_eq!(sender.receipt(&*world.here).await.claims.len(), 5);
    }
}

pub async fn the_same_claim_at_once_from_everywhere_is_one_claim(world: World) {
    for _ in 0..ROUNDS {
        let sender = Sender::new().downloads(2).sends(&*world.here).await;
        let results = claim_at_once(&world, sender, vec![digest(); AT_ONCE], now()).await;
        let grants: Vec<Grant> = results.into_iter().map(|result| result.expect("granted")).collect();
        assert_eq!(grants.iter().filter(|grant| !grant.repeated).count(), 1);
        assert!(grants.iter().all(|grant| grant.lease == grants[0].lease));
        let left = world.here.peek(&sender.id, Some(&sender.attempt()), now()).await.unwrap().shown.unwrap().1;
        assert_eq!(left, 1);
    }
}

pub async fn the_same_claim_again_gets_the_same_grant(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let (now, claim) = (now(), digest());
    let first = sender.claim(&*world.here, claim, now).await.unwrap();
    assert!(!first.repeated);
    assert_eq!(first.lease.manifest, MANIFEST);
    assert_eq!((first.lease.size, first.lease.base, first.lease.inline), (CONTENT.len() as u64, 0, true));
    assert_eq!((first.lease.lease_expires_at, first.lease.served), (now.after(LEASE), 0));

    let again = sender.claim(&*world.there, claim, now.after(MINUTE)).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.lease, first.lease);
}

pub async fn the_last_claim_ends_the_share(world: World) {
    let sender = Sender::new().downloads(2).sends(&*world.here).await;
    let now = now();
    sender.claimed(&*world.here, now).await;
    assert!(world.there.peek(&sender.id, None, now).await.is_ok());
    assert_eq!(world.there.hit(&sender.id, now).await, Ok(true));

    sender.claimed(&*world.here, now).await;
    assert_eq!(world.there.peek(&sender.id, None, now).await, Err(Error::Unknown));
    assert_eq!(world.there.peek(&sender.id, Some(&sender.attempt()), now).await, ended(State::Claimed, now));
    assert_eq!(world.there.hit(&sender.id, now).await, Ok(false));
}

pub async fn a_claim_that_ended_is_not_granted_again(world: World) {
    let sender = Sender::new().downloads(3).sends(&*world.here).await;
    let now = now();
    let (finished, lapsed) = (sender.claimed(&*world.here, now).await, sender.claimed(&*world.here, now).await);
    world.here.finish(&sender.id, &finished, now.after(MINUTE)).await.unwrap();
    let later = now.after(LEASE);
    assert_eq!(sender.claim(&*world.there, finished, later).await, ended(State::Finished, now.after(MINUTE)));
    assert_eq!(sender.claim(&*world.there, lapsed, later).await, ended(State::Lapsed, later));
    assert_eq!(sender.receipt(&*world.there).await.claims.len(), 2);
}

pub async fn looking_costs_nothing(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let before = sender.receipt(&*world.here).await;
    let first = world.here.peek(&sender.id, Some(&sender.attempt()), now()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(world.there.peek(&sender.id, Some(&sender.attempt()), now()).await.unwrap(), first);
        world.there.peek(&sender.id, None, now()).await.unwrap();
        world.there.admit(&sender.id, &network(1), now()).await.unwrap();
    }
    assert_eq!(sender.receipt(&*world.here).await, before);
    sender.claimed(&*world.here, now()).await;
}

pub async fn an_unknown_share_is_unknown_to_everything(world: World) {
    let (ledger, stranger, now) = (&*world.here, Sender::new(), now());
    let id = &stranger.id;
    assert_eq!(ledger.peek(id, None, now).await, Err(Error::Unknown));
    assert_eq!(ledger.peek(id, Some(&stranger.attempt()), now).await, Err(Error::Unknown));
    assert_eq!(stranger.claim(ledger, digest(), now).await, Err(Error::Unknown));
    assert_eq!(ledger.admit(id, &network(1), now).await, Ok(()));
    assert_eq!(ledger.lease(id, &digest(), now).await, Err(Error::Unknown));
    assert_eq!(ledger.charge(id, &digest(), &charge(1, 9, now), now).await, Err(Error::Unknown));
    assert_eq!(ledger.finish(id, &digest(), now).await, Err(Error::Unknown));
    assert_eq!(ledger.revoke(id, Revoker::Owner(stranger.owner), now).await, Err(Error::Unknown));
    assert_eq!(ledger.revoke(id, Revoker::Operator, now).await, Err(Error::Unknown));
    assert_eq!(ledger.receipt(id, &stranger.owner, now).await, Err(Error::Unknown));
    assert_eq!(ledger.upload(id, &stranger.token, now).await, Err(Error::Unknown));
    assert_eq!(ledger.abandon(id, &stranger.token, now).await, Err(Error::Unknown));
    assert_eq!(ledger.advance(&stranger.step(1, 0, 1), now).await, Err(Error::Unknown));
    assert_eq!(ledger.declare(id, &stranger.token, 1, now).await, Err(Error::Unknown));
    assert_eq!(ledger.hit(id, now).await, Ok(false));
    assert_eq!(ledger.holds(id).await, Ok(false));

    let begun = Sender::new();
    ledger.begin(&begun.upload(None, now), now).await.unwrap();
    assert_eq!(ledger.peek(&begun.id, Some(&begun.attempt()), now).await, Err(Error::Unknown));
    assert_eq!(begun.receipt(ledger).await.state(now), Ended { state: State::Uploading, at: now });
}
