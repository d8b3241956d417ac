//! How shares, claims and uploads end.

use onetimeshare::ledger::{Error, Remains, Revoker};
use onetimeshare::share::{Ended, State};

use super::given::*;
use crate::World;

pub async fn an_unclaimed_share_expires(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let expires_at = sender.receipt(&*world.here).await.expires_at.expect("published");
    let almost = onetimeshare::share::Timestamp(expires_at.0 - 1);
    assert!(world.here.peek(&sender.id, None, almost).await.is_ok());
    assert_eq!(world.here.peek(&sender.id, None, expires_at).await, Err(Error::Unknown));
    assert_eq!(sender.claim(&*world.here, digest(), expires_at).await, ended(State::Expired, expires_at));
    assert_eq!(world.here.hit(&sender.id, expires_at).await, Ok(false));
    sender.claimed(&*world.here, almost).await;
}

pub async fn a_revoked_share_is_gone(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    assert!(world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now).await.is_ok());
    assert_eq!(world.there.peek(&sender.id, None, now).await, Err(Error::Unknown));
    assert_eq!(sender.claim(&*world.there, digest(), now).await, ended(State::Revoked, now));
    assert_eq!(sender.receipt(&*world.there).await.state(now).state, State::Revoked);
}

pub async fn revoking_again_is_fine(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    for minutes in 0..3 {
        assert!(world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now.after(minutes * MINUTE)).await.is_ok());
    }
    assert_eq!(sender.receipt(&*world.here).await.revoked_at, Some(now));
}

pub async fn what_is_claimed_can_not_be_revoked(world: World) {
    let sender = Sender::new().downloads(2).sends(&*world.here).await;
    let now = now();
    let (first, second) = (sender.claimed(&*world.here, now).await, sender.claimed(&*world.here, now).await);
    let owner = Revoker::Owner(sender.owner);
    assert_eq!(world.there.revoke(&sender.id, owner, now).await, Err(Error::Claimed));
    world.here.finish(&sender.id, &first, now).await.unwrap();
    world.here.finish(&sender.id, &second, now).await.unwrap();
    assert_eq!(world.there.revoke(&sender.id, owner, now).await, Err(Error::Claimed));
    assert_eq!(sender.receipt(&*world.here).await.state(now).state, State::Finished);
}

pub async fn a_running_lease_outlives_revocation_and_expiry(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let expires_at = sender.receipt(&*world.here).await.expires_at.expect("published");
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    let owner = Revoker::Owner(sender.owner);
    assert_eq!(world.here.revoke(&sender.id, owner, now).await, Ok(Remains::Nothing));
    assert_eq!(sender.claim(&*world.here, digest(), now).await, ended(State::Claimed, now));
    assert!(world.here.lease(&sender.id, &claim, now.after(MINUTE)).await.is_ok());
    assert!(world.here.charge(&sender.id, &claim, &charge(1, 9, expires_at), now.after(MINUTE)).await.is_ok());
    assert!(world.there.lease(&sender.id, &claim, expires_at).await.is_ok());
    assert_eq!(world.here.finish(&sender.id, &claim, expires_at).await, Ok(Remains::Blob));
}

pub async fn only_the_owner_revokes(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    for stranger in [digest(), sender.token, sender.terms.verifier] {
        let revoked = world.here.revoke(&sender.id, Revoker::Owner(stranger), now()).await;
        assert_eq!(revoked, Err(Error::Unknown));
    }
    sender.claimed(&*world.here, now()).await;
}

pub async fn a_revoked_upload_is_abandoned(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    assert_eq!(world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now).await, Ok(Remains::Blob));
    assert_eq!(world.there.upload(&sender.id, &sender.token, now).await, Err(Error::Unknown));
    assert_eq!(world.there.advance(&sender.step(1, 0, 5), now).await, Err(Error::Unknown));
    assert_eq!(world.there.publish(&sender.publish(), now).await, Err(Error::Unknown));
    assert_eq!(sender.receipt(&*world.there).await.state(now).state, State::Abandoned);
}

pub async fn an_upload_that_ended_can_not_be_ended_again(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let later = now.after(2 * HOUR);
    world.there.revoke(&sender.id, Revoker::Owner(sender.owner), later).await.unwrap();
    let history = world.here.receipt(&sender.id, &sender.owner, later).await.unwrap();
    assert_eq!(history.state(later), Ended { state: State::Abandoned, at: now.after(HOUR) });
}

pub async fn revoking_what_expired_changes_nothing(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let expires_at = sender.receipt(&*world.here).await.expires_at.expect("published");
    let later = expires_at.after(MINUTE);
    assert!(world.here.revoke(&sender.id, Revoker::Owner(sender.owner), later).await.is_ok());
    let state = world.here.receipt(&sender.id, &sender.owner, later).await.unwrap().state(later);
    assert_eq!((state.state, state.at), (State::Expired, expires_at));
}

pub async fn the_operator_ends_running_leases_too(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let now = now();
    let (finished, running) = (sender.claimed(&*world.here, now).await, sender.claimed(&*world.here, now).await);
    world.here.finish(&sender.id, &finished, now).await.unwrap();
    let then = now.after(MINUTE);
    for _ in 0..2 {
        assert_eq!(world.there.revoke(&sender.id, Revoker::Operator, then).await, Ok(Remains::Blob));
    }
    assert_eq!(world.here.lease(&sender.id, &running, then).await, ended(State::Lapsed, then));
    assert_eq!(world.here.charge(&sender.id, &running, &charge(1, 9, then), then).await, ended(State::Lapsed, then));
    assert_eq!(sender.claim(&*world.here, running, then).await, ended(State::Lapsed, then));
    assert_eq!(world.here.lease(&sender.id, &finished, then).await, ended(State::Finished, now));
}

pub async fn the_operator_ends_what_waits_and_what_is_uploading(world: World) {
    let (waiting, uploading) = (Sender::new().sends_blob(&*world.here).await, Sender::new());
    let now = now();
    world.here.begin(&uploading.upload(None, now), now).await.unwrap();
    for sender in [&waiting, &uploading] {
        assert_eq!(world.here.revoke(&sender.id, Revoker::Operator, now).await, Ok(Remains::Blob));
    }
    assert_eq!(waiting.claim(&*world.here, digest(), now).await, ended(State::Revoked, now));
    assert_eq!(world.here.upload(&uploading.id, &uploading.token, now).await, Err(Error::Unknown));
}

pub async fn a_lease_lapses_when_no_byte_moves(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    let end = now.after(LEASE);
    let almost = onetimeshare::share::Timestamp(end.0 - 1);
    assert!(world.here.lease(&sender.id, &claim, almost).await.is_ok());
    assert_eq!(world.here.lease(&sender.id, &claim, end).await, ended(State::Lapsed, end));
    assert_eq!(sender.claim(&*world.here, digest(), end).await, ended(State::Lapsed, end));
    assert_eq!(sender.receipt(&*world.here).await.state(end).state, State::Lapsed);
}

pub async fn finishing_again_is_fine(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    for minutes in 0..3 {
        let finished = world.there.finish(&sender.id, &claim, now.after(minutes * LEASE)).await;
        assert_eq!(finished, Ok(Remains::Blob));
    }
    assert_eq!(only(&sender.receipt(&*world.here).await).finished_at, Some(now));
    assert_eq!(world.here.lease(&sender.id, &claim, now).await, ended(State::Finished, now));
}

pub async fn what_lapsed_can_not_be_finished(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    let end = now.after(LEASE);
    assert_eq!(world.here.finish(&sender.id, &claim, end).await, ended(State::Lapsed, end));
    assert_eq!(only(&sender.receipt(&*world.here).await).finished_at, None);
    assert_eq!(world.here.finish(&sender.id, &digest(), now).await, Err(Error::Unknown));
}
