//! What a claim may be served, and how long.

use std::time::Duration;

use bytes::Bytes;
use onetimeshare::ledger::{Charge, Error, Publish};
use onetimeshare::share::State;

use super::given::*;
use crate::World;

pub async fn a_claim_is_served_no_more_than_its_limit(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    let spend = async |bytes| world.here.charge(&sender.id, &claim, &charge(bytes, 1000, now), now).await;
    assert_eq!(spend(600).await, Ok(None));
    assert_eq!(spend(401).await, Err(Error::BudgetSpent));
    assert_eq!(spend(400).await, Ok(None));
    assert_eq!(spend(1).await, Err(Error::BudgetSpent));
    assert_eq!(only(&sender.receipt(&*world.there).await).served, 1000);
}

pub async fn what_was_not_served_is_given_back(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    world.here.charge(&sender.id, &claim, &charge(1000, 1000, now), now).await.unwrap();
    world.there.charge(&sender.id, &claim, &charge(-300, 1000, now), now).await.unwrap();
    assert_eq!(world.here.lease(&sender.id, &claim, now).await.unwrap().served, 700);
    assert!(world.here.charge(&sender.id, &claim, &charge(300, 1000, now), now).await.is_ok());
    world.there.charge(&sender.id, &claim, &charge(-5000, 1000, now), now).await.unwrap();
    assert_eq!(only(&sender.receipt(&*world.here).await).served, 0);
}

pub async fn a_charge_moves_the_end_of_the_lease_either_way(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    for minutes in [40, 2, 90, 1] {
        let lease_expires_at = now.after(minutes * MINUTE);
        let moved = Charge { bytes: 0, limit: 9, lease_expires_at };
        world.here.charge(&sender.id, &claim, &moved, now).await.unwrap();
        assert_eq!(world.there.lease(&sender.id, &claim, now).await.unwrap().lease_expires_at, lease_expires_at);
        let almost = lease_expires_at.0 - 1;
        assert!(world.there.lease(&sender.id, &claim, onetimeshare::share::Timestamp(almost)).await.is_ok());
        let over = world.there.lease(&sender.id, &claim, lease_expires_at).await;
        assert_eq!(over, ended(State::Lapsed, lease_expires_at));
    }
}

pub async fn a_charge_brings_the_inline_content(world: World) {
    let inline = Sender::new().downloads(2).sends(&*world.here).await;
    let blob = Sender::new().sends_blob(&*world.here).await;
    let now = now();
    for _ in 0..2 {
        let claim = inline.claimed(&*world.here, now).await;
        for _ in 0..2 {
            let brought = world.there.charge(&inline.id, &claim, &charge(5, 99, now), now).await;
            assert_eq!(brought, Ok(Some(Bytes::from_static(CONTENT))));
        }
    }
    let claim = blob.claimed(&*world.here, now).await;
    assert_eq!(world.there.charge(&blob.id, &claim, &charge(5, 99, now), now).await, Ok(None));
}

pub async fn an_inline_content_may_be_empty(world: World) {
    let (sender, now) = (Sender::new(), now());
    let publish = Publish { size: 0, inline: Some(Bytes::new()), ..sender.publish_whole(now) };
    world.here.publish(&publish, now).await.unwrap();
    let claim = sender.claimed(&*world.here, now).await;
    assert!(world.here.lease(&sender.id, &claim, now).await.unwrap().inline);
    assert_eq!(world.here.charge(&sender.id, &claim, &charge(0, 9, now), now).await, Ok(Some(Bytes::new())));
}

pub async fn what_ended_is_not_charged(world: World) {
    let sender = Sender::new().downloads(2).sends(&*world.here).await;
    let now = now();
    let (finished, lapsed) = (sender.claimed(&*world.here, now).await, sender.claimed(&*world.here, now).await);
    world.here.finish(&sender.id, &finished, now).await.unwrap();
    let end = now.after(LEASE);
    let spend = async |claim| world.here.charge(&sender.id, claim, &charge(1, 9, end), end).await;
    assert_eq!(spend(&finished).await, ended(State::Finished, now));
    assert_eq!(spend(&lapsed).await, ended(State::Lapsed, end));
    assert_eq!(spend(&digest()).await, Err(Error::Unknown));
}

pub async fn a_lease_tells_what_the_claim_may_read(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let (now, claim) = (now(), digest());
    let granted = sender.claim(&*world.here, claim, now).await.unwrap().lease;
    let lease = world.there.lease(&sender.id, &claim, now.after(Duration::from_secs(1))).await.unwrap();
    assert_eq!(lease, granted);
    assert_eq!((lease.size, lease.base, lease.inline), (SIZE, 100, false));
    assert_eq!(lease.manifest, MANIFEST);
    assert_eq!(world.there.lease(&sender.id, &digest(), now).await, Err(Error::Unknown));
}
