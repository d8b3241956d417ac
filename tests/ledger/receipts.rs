//! The sender knows.

use std::time::Duration;

use onetimeshare::ledger::{Error, Revoker};
use onetimeshare::share::{Claim, History, RECEIPT_KEPT, ShareId, State, Timestamp};

use super::given::*;
use crate::World;

pub async fn a_receipt_tells_what_happened(world: World) {
    let sender = Sender::new().downloads(12);
    let now = now();
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    world.here.publish(&sender.publish(), now.after(MINUTE)).await.unwrap();
    world.here.hit(&sender.id, now).await.unwrap();
    let guessed = world.here.peek(&sender.id, Some(&wrong(network(1))), now).await;
    assert_eq!(guessed, Err(Error::WrongProof));

    let mut claims = Vec::new();
    for number in 0..11 {
        let at = now.after(Duration::from_millis(number / 4));
        let claim = sender.claimed(&*world.here, at).await;
        let served = number * 10;
        world.there.charge(&sender.id, &claim, &charge(served as i64, 1000, at), at).await.unwrap();
        let finished_at = (number % 2 == 0).then_some(now.after(MINUTE));
        if let Some(at) = finished_at {
            world.there.finish(&sender.id, &claim, at).await.unwrap();
        }
        claims.push(Claim { claimed_at: at, lease_expires_at: at.after(LEASE), finished_at, served });
    }
    let later = now.after(2 * MINUTE);
    world.here.revoke(&sender.id, Revoker::Owner(sender.owner), later).await.unwrap();

    let expected = History {
        created_at: now,
        window_ends_at: now.after(HOUR),
        abandoned_at: None,
        expires_at: Some(now.after(MINUTE + EXPIRES_IN)),
        revoked_at: Some(later),
        size: sender.publish().size,
        downloads: 12,
        opened: 1,
        wrong_proofs: 1,
        claims,
    };
    assert_eq!(sender.receipt(&*world.there).await, expected);
}

pub async fn a_receipt_is_the_owners(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    for stranger in [digest(), sender.token, sender.terms.verifier] {
        assert_eq!(world.here.receipt(&sender.id, &stranger, now()).await, Err(Error::Unknown));
    }
    assert_eq!(sender.receipt(&*world.here).await.state(now()).state, State::Ready);
}

pub async fn a_receipt_is_kept_seven_days_past_the_end(world: World) {
    let (expired, finished) = (Sender::new().sends(&*world.here).await, Sender::new().sends(&*world.here).await);
    let now = now();
    let claim = finished.claimed(&*world.here, now).await;
    world.here.finish(&finished.id, &claim, now).await.unwrap();
    let expires_at = expired.receipt(&*world.here).await.expires_at.expect("published");
    for (sender, end) in [(expired, expires_at), (finished, now)] {
        let last = Timestamp(end.after(RECEIPT_KEPT).0 - 1);
        assert!(world.here.receipt(&sender.id, &sender.owner, last).await.is_ok());
        let over = end.after(RECEIPT_KEPT);
        assert_eq!(world.here.receipt(&sender.id, &sender.owner, over).await, Err(Error::Unknown));
    }
}

pub async fn of_several_downloads_the_last_end_counts(world: World) {
    let ledger = &*world.here;
    let mut sender = Sender::new().downloads(3);
    sender.terms.expires_in = 4 * RECEIPT_KEPT;
    let [expired, revoked, lapsed] = [(); 3].map(|()| Sender { id: ShareId::random(), owner: digest(), ..sender });
    let now = now();
    for sender in [expired, revoked, lapsed] {
        sender.sends(ledger).await;
        let claim = sender.claimed(ledger, now).await;
        ledger.finish(&sender.id, &claim, now).await.unwrap();
    }
    let later = now.after(2 * RECEIPT_KEPT);
    ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), later).await.unwrap();
    lapsed.claimed(ledger, later).await;
    lapsed.claimed(ledger, later).await;
    let expires_at = expired.receipt(ledger).await.expires_at.expect("published");
    for (sender, end) in [(expired, expires_at), (revoked, later), (lapsed, later.after(LEASE))] {
        let last = Timestamp(end.after(RECEIPT_KEPT).0 - 1);
        for at in [end, last] {
            assert!(world.there.receipt(&sender.id, &sender.owner, at).await.is_ok());
        }
        let over = end.after(RECEIPT_KEPT);
        assert_eq!(world.there.receipt(&sender.id, &sender.owner, over).await, Err(Error::Unknown));
    }
}

pub async fn a_look_at_the_page_is_counted(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    for _ in 0..5 {
        assert_eq!(world.here.hit(&sender.id, now()).await, Ok(true));
        assert_eq!(world.there.hit(&sender.id, now()).await, Ok(true));
    }
    sender.claimed(&*world.here, now()).await;
    assert_eq!(world.there.hit(&sender.id, now()).await, Ok(false));
    assert_eq!(sender.receipt(&*world.here).await.opened, 10);

    let (begun, revoked, now) = (Sender::new(), Sender::new().downloads(2).sends(&*world.here).await, now());
    world.here.begin(&begun.upload(None, now), now).await.unwrap();
    revoked.claimed(&*world.here, now).await;
    world.here.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await.unwrap();
    for sender in [begun, revoked] {
        assert_eq!(world.here.hit(&sender.id, now).await, Ok(false));
        assert_eq!(sender.receipt(&*world.here).await.opened, 0);
    }
}

pub async fn visits_of_the_status_page_are_counted(world: World) {
    for visit in 1..=3 {
        let ledger = if visit == 2 { &world.there } else { &world.here };
        assert_eq!(ledger.seen().await, Ok(visit));
    }
}

pub async fn a_ledger_keeps_its_name(world: World) {
    let (here, there) = tokio::join!(world.here.name(), world.there.name());
    let name = here.unwrap();
    assert_eq!((&there.unwrap(), &world.here.name().await.unwrap()), (&name, &name));
    assert!(name.len() == 16 && name.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{name}");
}

pub async fn a_ledger_says_that_it_answers(world: World) {
    assert_eq!(world.here.ping().await, Ok(()));
}
