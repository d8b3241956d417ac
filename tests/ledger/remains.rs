//! Gone is gone: whose bytes are freed and when, and how much room there is.

use onetimeshare::ledger::{Advance, Error, Ledger, NewUpload, Remains, Revoker};
use onetimeshare::share::{Ended, ShareId, State, Timestamp};

use super::given::*;
use crate::{STORAGE, World};

async fn due(ledger: &dyn Ledger, id: &ShareId, now: Timestamp) -> Option<Ended> {
    let due = ledger.due(now).await.unwrap();
    due.iter().find(|(due, _)| due == id).map(|(_, ended)| *ended)
}

pub async fn what_finished_is_to_be_freed(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let now = now();
    let (one, other) = (sender.claimed(&*world.here, now).await, sender.claimed(&*world.here, now).await);
    assert_eq!(world.here.finish(&sender.id, &one, now).await, Ok(Remains::Nothing));
    assert_eq!(world.there.finish(&sender.id, &other, now).await, Ok(Remains::Blob));
    assert_eq!(due(&*world.here, &sender.id, now).await, Some(Ended { state: State::Finished, at: now }));
}

pub async fn what_waits_or_is_leased_keeps_its_bytes(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let now = now();
    assert_eq!(due(&*world.here, &sender.id, now).await, None);
    let claim = sender.claimed(&*world.here, now).await;
    assert_eq!(world.here.finish(&sender.id, &claim, now).await, Ok(Remains::Nothing));
    assert_eq!(due(&*world.here, &sender.id, now).await, None);
    sender.claimed(&*world.here, now).await;
    let end = now.after(LEASE);
    assert_eq!(due(&*world.here, &sender.id, Timestamp(end.0 - 1)).await, None);
    assert_eq!(due(&*world.here, &sender.id, end).await, Some(Ended { state: State::Finished, at: now }));
}

pub async fn what_ended_by_itself_is_due(world: World) {
    let ledger = &*world.here;
    let (expired, lapsed) = (Sender::new().sends_blob(ledger).await, Sender::new().sends_blob(ledger).await);
    let (revoked, given_up, left) = (Sender::new().sends_blob(ledger).await, Sender::new(), Sender::new());
    let now = now();
    lapsed.claimed(ledger, now).await;
    ledger.revoke(&revoked.id, Revoker::Owner(revoked.owner), now).await.unwrap();
    ledger.begin(&given_up.upload(Some(SIZE), now), now).await.unwrap();
    ledger.abandon(&given_up.id, &given_up.token, now).await.unwrap();
    ledger.begin(&left.upload(Some(SIZE), now), now).await.unwrap();

    let expires_at = expired.receipt(ledger).await.expires_at.expect("published");
    let expected = [
        (revoked, State::Revoked, now),
        (given_up, State::Abandoned, now),
        (lapsed, State::Lapsed, now.after(LEASE)),
        (left, State::Abandoned, now.after(HOUR)),
        (expired, State::Expired, expires_at),
    ];
    for (sender, state, at) in expected {
        assert_eq!(due(&*world.there, &sender.id, Timestamp(at.0 - 1)).await, None, "{state:?}");
        assert_eq!(due(&*world.there, &sender.id, at).await, Some(Ended { state, at }));
    }
}

pub async fn a_lease_that_goes_on_is_not_due(world: World) {
    let sender = Sender::new().sends_blob(&*world.here).await;
    let start = now();
    let claim = sender.claimed(&*world.here, start).await;
    let mut now = start;
    for _ in 0..4 {
        now = now.after(LEASE - MINUTE);
        world.here.charge(&sender.id, &claim, &charge(1, 9, now), now).await.unwrap();
        assert_eq!(due(&*world.there, &sender.id, now).await, None);
    }
    let shorter = onetimeshare::ledger::Charge { lease_expires_at: now.after(MINUTE), ..charge(0, 9, now) };
    world.here.charge(&sender.id, &claim, &shorter, now).await.unwrap();
    let at = now.after(MINUTE);
    assert_eq!(due(&*world.there, &sender.id, at).await, Some(Ended { state: State::Lapsed, at }));
}

pub async fn what_is_revoked_while_leased_is_due_with_the_lease(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let now = now();
    sender.claimed(&*world.here, now).await;
    let revoked = world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now).await;
    assert_eq!(revoked, Ok(Remains::Nothing));
    let at = now.after(LEASE);
    assert_eq!(due(&*world.there, &sender.id, Timestamp(at.0 - 1)).await, None);
    assert_eq!(due(&*world.there, &sender.id, at).await, Some(Ended { state: State::Lapsed, at }));
}

pub async fn the_last_lease_that_runs_keeps_the_bytes_and_no_other(world: World) {
    let sender = Sender::new().downloads(2).sends_blob(&*world.here).await;
    let now = now();
    sender.claimed(&*world.here, now).await;
    let later = now.after(MINUTE);
    let claim = sender.claimed(&*world.here, later).await;
    assert_eq!(world.here.finish(&sender.id, &claim, later).await, Ok(Remains::Nothing));
    let end = now.after(LEASE);
    assert_eq!(due(&*world.there, &sender.id, Timestamp(end.0 - 1)).await, None);
    assert_eq!(due(&*world.there, &sender.id, end).await, Some(Ended { state: State::Finished, at: later }));
}

pub async fn what_a_clock_ahead_has_swept_stays_gone_once_it_is_set_right(world: World) {
    let ledger = &*world.here;
    let (expired, lapsed) = (Sender::new().sends_blob(ledger).await, Sender::new().sends_blob(ledger).await);
    let now = now();
    let claim = lapsed.claimed(ledger, now).await;
    let (expires_at, end) = (expired.receipt(ledger).await.expires_at.expect("published"), now.after(LEASE));
    assert_eq!(ledger.freed(&lapsed.id, end).await, Ok(true));
    assert_eq!(ledger.freed(&expired.id, expires_at).await, Ok(true));
    assert_eq!(expired.claim(ledger, digest(), now).await, ended(State::Expired, expires_at));
    let charged = ledger.charge(&lapsed.id, &claim, &charge(5, 99, now), now).await;
    assert!(matches!(charged, Err(Error::Ended(_))), "{charged:?}");
    let looked = ledger.lease(&lapsed.id, &claim, now).await;
    assert!(matches!(looked, Ok(_) | Err(Error::Ended(_))), "{looked:?}");
}

pub async fn a_step_that_is_repeated_later_postpones_no_end(world: World) {
    let mut sender = Sender::new();
    sender.terms.expires_in = MINUTE;
    let sender = sender.sends_blob(&*world.here).await;
    let at = sender.receipt(&*world.here).await.expires_at.expect("published");
    world.here.advance(&sender.step(1, 0, SIZE + 100), now()).await.unwrap();
    assert_eq!(due(&*world.there, &sender.id, at).await, Some(Ended { state: State::Expired, at }));
}

pub async fn what_is_due_waits_for_no_lease_that_goes_on(world: World) {
    let ledger = &*world.here;
    let start = now();
    let renewed = start.after(LEASE - MINUTE);
    for _ in 0..150 {
        let sender = Sender::new().sends_blob(ledger).await;
        let claim = sender.claimed(ledger, start).await;
        ledger.charge(&sender.id, &claim, &charge(1, 9, renewed), renewed).await.unwrap();
    }
    let lapsed = Sender::new().sends_blob(ledger).await;
    lapsed.claimed(ledger, start.after(MINUTE)).await;
    let at = start.after(MINUTE + LEASE);
    assert_eq!(due(&*world.there, &lapsed.id, at).await, Some(Ended { state: State::Lapsed, at }));
}

pub async fn bytes_are_freed_once_by_any_number_of_sweepers(world: World) {
    let now = now();
    let mut senders = Vec::new();
    for _ in 0..20 {
        let sender = Sender::new().sends_blob(&*world.here).await;
        world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now).await.unwrap();
        senders.push(sender);
    }
    for sender in &senders {
        assert!(due(&*world.here, &sender.id, now).await.is_some());
        let (here, there) = tokio::join!(world.here.freed(&sender.id, now), world.there.freed(&sender.id, now));
        assert_ne!(here.unwrap(), there.unwrap());
        assert_eq!(world.here.freed(&sender.id, now).await, Ok(false));
        assert_eq!(due(&*world.there, &sender.id, now).await, None);
    }
    assert_eq!(world.here.due(now).await, Ok(vec![]));
}

pub async fn a_record_holds_its_blob_until_it_is_freed(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    assert_eq!(world.there.holds(&sender.id).await, Ok(true));
    world.here.publish(&sender.publish(), now).await.unwrap();
    let claim = sender.claimed(&*world.here, now).await;
    world.here.finish(&sender.id, &claim, now).await.unwrap();
    assert_eq!(world.there.holds(&sender.id).await, Ok(true));
    assert_eq!(world.here.freed(&sender.id, now).await, Ok(true));
    assert_eq!(world.there.holds(&sender.id).await, Ok(false));
    assert_eq!(world.here.finish(&sender.id, &claim, now).await, Ok(Remains::Nothing));
}

const MOST: u64 = STORAGE / 4 * 3;

pub async fn an_upload_reserves_its_length(world: World) {
    let now = now();
    let (first, second) = (Sender::new(), Sender::new());
    let too_long = second.upload(Some(STORAGE + 1), now);
    assert_eq!(world.here.begin(&too_long, now).await, Err(Error::Full));
    assert_eq!(world.here.begin(&first.upload(Some(MOST), now), now).await, Ok(()));
    assert_eq!(world.there.begin(&second.upload(Some(MOST), now), now).await, Err(Error::Full));
    assert_eq!(world.there.upload(&second.id, &second.token, now).await, Err(Error::Unknown));
    assert_eq!(world.there.holds(&second.id).await, Ok(false));
    // The first may begin again although there is no room for it twice.
    assert_eq!(world.there.begin(&first.upload(Some(MOST), now), now).await, Ok(()));
    assert_eq!(world.there.begin(&second.upload(Some(STORAGE - MOST - (1 << 30)), now), now).await, Ok(()));
}

pub async fn what_was_given_up_is_not_reserved_any_more(world: World) {
    let now = now();
    let mut begun: Option<(Sender, NewUpload)> = None;
    for round in 0..3 {
        let sender = Sender::new();
        let upload = sender.upload(Some(MOST), now);
        assert_eq!(world.here.begin(&upload, now).await, Ok(()), "{round}");
        if let Some((before, _)) = begun.replace((sender, upload)) {
            assert_eq!(world.here.abandon(&before.id, &before.token, now).await, Ok(Remains::Blob));
        }
        match round {
            0 => assert!(world.there.abandon(&sender.id, &sender.token, now).await.is_ok()),
            1 => assert!(world.there.revoke(&sender.id, Revoker::Owner(sender.owner), now).await.is_ok()),
            _ => assert!(world.there.revoke(&sender.id, Revoker::Operator, now).await.is_ok()),
        }
    }
    let last = Sender::new();
    assert_eq!(world.here.begin(&last.upload(Some(MOST), now), now).await, Ok(()));
}

pub async fn what_was_written_is_not_reserved_any_more(world: World) {
    // These bytes are only said to be in the blobs: a ledger that counts what it is told counts them as used, but once.
    const QUARTER: u64 = STORAGE / 4;
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(QUARTER), now), now).await.unwrap();
    let window_ends_at = Some(now.after(2 * HOUR));
    let step = Advance { window_ends_at, ..sender.step(1, 0, QUARTER) };
    world.here.advance(&step, now).await.unwrap();
    world.here.advance(&step, now).await.unwrap();
    world.here.publish(&sender.publish(), now).await.unwrap();
    let next = Sender::new();
    assert_eq!(world.there.begin(&next.upload(Some(QUARTER / 2 * 5), now), now).await, Ok(()));
}

pub async fn a_declared_length_needs_room(world: World) {
    let now = now();
    let (first, second) = (Sender::new(), Sender::new());
    world.here.begin(&first.upload(Some(MOST), now), now).await.unwrap();
    world.here.begin(&second.upload(None, now), now).await.unwrap();
    assert_eq!(world.there.declare(&second.id, &second.token, MOST, now).await, Err(Error::Full));
    assert_eq!(world.there.upload(&second.id, &second.token, now).await.unwrap().length, None);
    assert_eq!(world.there.declare(&second.id, &second.token, SIZE, now).await, Ok(()));
}

pub async fn an_undeclared_length_must_not_outgrow_the_room(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(None, now), now).await.unwrap();
    assert_eq!(world.here.advance(&sender.step(1, 0, 100), now).await, Ok(()));
    assert_eq!(world.there.advance(&sender.step(1, 100, STORAGE + 101), now).await, Err(Error::Full));
    assert_eq!(world.here.upload(&sender.id, &sender.token, now).await.unwrap().offset, 100);
}

pub async fn what_can_not_be_freed_yet_is_put_off(world: World) {
    let (one, other) = (Sender::new().sends_blob(&*world.here).await, Sender::new().sends_blob(&*world.here).await);
    let (now, later) = (now(), now().after(MINUTE));
    for sender in [&one, &other] {
        world.here.revoke(&sender.id, Revoker::Owner(sender.owner), now).await.unwrap();
    }
    assert_eq!(world.there.put_off(&one.id, later).await, Ok(()));
    let ended = Some(Ended { state: State::Revoked, at: now });
    assert_eq!(due(&*world.here, &one.id, Timestamp(later.0 - 1)).await, None);
    assert_eq!(due(&*world.here, &other.id, now).await, ended);
    assert_eq!(due(&*world.here, &one.id, later).await, ended);
    // Whose bytes are gone meanwhile has nothing to be put off.
    assert_eq!(world.here.freed(&one.id, later).await, Ok(true));
    assert_eq!(world.there.put_off(&one.id, later).await, Ok(()));
    assert_eq!(world.here.put_off(&ShareId::random(), later).await, Ok(()));
    assert_eq!(due(&*world.here, &one.id, later).await, None);
    assert_eq!(world.here.freed(&one.id, later).await, Ok(false));
}
