//! From the first byte to the share.

use onetimeshare::ledger::{Advance, Error, Publish, Remains, Terms, Upload};
use onetimeshare::share::{State, Timestamp};

use super::given::*;
use crate::World;

pub async fn an_upload_is_as_it_was_begun(world: World) {
    let (sender, now) = (Sender::new().password().downloads(7), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let upload = world.there.upload(&sender.id, &sender.token, now).await.unwrap();
    let expected = Upload {
        terms: sender.terms,
        length: Some(SIZE),
        manifest_len: 100,
        offset: 0,
        window_ends_at: now.after(HOUR),
        expires_at: None,
    };
    assert_eq!(upload, expected);
    assert_eq!(world.there.upload(&sender.id, &digest(), now).await, Err(Error::Unknown));
    assert_eq!(world.there.upload(&sender.id, &sender.owner, now).await, Err(Error::Unknown));
}

pub async fn beginning_again_is_fine(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    world.here.advance(&sender.step(1, 0, 50), now).await.unwrap();
    world.there.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    assert_eq!(world.here.upload(&sender.id, &sender.token, now).await.unwrap().offset, 50);
}

pub async fn progress_is_recorded(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(None, now), now).await.unwrap();
    for (from, to) in [(0, 10), (10, 10), (10, 5000), (5000, SIZE)] {
        world.here.advance(&sender.step(1, from, to), now).await.unwrap();
        let upload = world.there.upload(&sender.id, &sender.token, now).await.unwrap();
        assert_eq!((upload.offset, upload.length), (to, None));
    }
}

pub async fn nobody_advances_past_the_length_that_another_declared(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(None, now), now).await.unwrap();
    world.there.declare(&sender.id, &sender.token, 110, now).await.unwrap();
    assert_eq!(world.here.advance(&sender.step(1, 0, 200), now).await, Err(Error::Conflict(0)));
    world.here.advance(&sender.step(1, 0, 110), now).await.unwrap();
}

pub async fn two_writers_can_not_both_advance(world: World) {
    for _ in 0..20 {
        let (sender, now) = (Sender::new(), now());
        world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
        let (one, other) = (sender.step(1, 0, 100), sender.step(2, 0, 200));
        let (one, other) = tokio::join!(world.here.advance(&one, now), world.there.advance(&other, now));
        let offset = world.here.upload(&sender.id, &sender.token, now).await.unwrap().offset;
        match offset {
            100 => assert_eq!((one, other), (Ok(()), Err(Error::Conflict(100)))),
            200 => assert_eq!((one, other), (Err(Error::Conflict(200)), Ok(()))),
            _ => panic!("at {offset}"),
        }
    }
}

pub async fn a_repeated_advance_is_fine_for_its_writer_only(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    world.here.advance(&sender.step(u64::MAX, 0, 100), now).await.unwrap();
    assert_eq!(world.there.advance(&sender.step(u64::MAX, 0, 100), now).await, Ok(()));
    assert_eq!(world.there.advance(&sender.step(u64::MAX - 1, 0, 100), now).await, Err(Error::Conflict(100)));
    assert_eq!(world.there.advance(&sender.step(u64::MAX, 0, 99), now).await, Err(Error::Conflict(100)));
    assert_eq!(world.there.advance(&sender.step(2, 50, 150), now).await, Err(Error::Conflict(100)));
    let stranger = Advance { token: digest(), ..sender.step(1, 100, 150) };
    assert_eq!(world.there.advance(&stranger, now).await, Err(Error::Unknown));
    assert_eq!(world.here.upload(&sender.id, &sender.token, now).await.unwrap().offset, 100);
}

pub async fn a_length_may_be_declared_later(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(None, now), now).await.unwrap();
    world.here.advance(&sender.step(1, 0, 100), now).await.unwrap();
    assert_eq!(world.here.declare(&sender.id, &digest(), SIZE, now).await, Err(Error::Unknown));
    for _ in 0..2 {
        assert_eq!(world.there.declare(&sender.id, &sender.token, SIZE, now).await, Ok(()));
    }
    let other = world.here.declare(&sender.id, &sender.token, SIZE + 1, now).await;
    assert!(matches!(other, Err(Error::Conflict(_))), "{other:?}");
    assert_eq!(world.here.upload(&sender.id, &sender.token, now).await.unwrap().length, Some(SIZE));
}

pub async fn an_upload_ends_with_its_window(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let end = now.after(HOUR);
    assert!(world.here.upload(&sender.id, &sender.token, Timestamp(end.0 - 1)).await.is_ok());
    assert_eq!(world.here.upload(&sender.id, &sender.token, end).await, Err(Error::Unknown));
    assert_eq!(world.here.advance(&sender.step(1, 0, 1), end).await, Err(Error::Unknown));
    assert_eq!(world.here.declare(&sender.id, &sender.token, SIZE, end).await, Err(Error::Unknown));
    assert_eq!(world.here.publish(&sender.publish(), end).await, Err(Error::Unknown));
    let state = sender.receipt(&*world.here).await.state(end);
    assert_eq!((state.state, state.at), (State::Abandoned, end));
}

pub async fn an_advance_moves_the_window(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    for (step, minutes) in [(1, 90), (2, 30), (3, 120)] {
        let window_ends_at = now.after(minutes * MINUTE);
        let moved = Advance { window_ends_at: Some(window_ends_at), ..sender.step(1, step - 1, step) };
        world.here.advance(&moved, now).await.unwrap();
        let upload = world.there.upload(&sender.id, &sender.token, now).await.unwrap();
        assert_eq!((upload.window_ends_at, upload.offset), (window_ends_at, step));
        assert_eq!(sender.receipt(&*world.here).await.window_ends_at, window_ends_at);
    }
}

pub async fn publishing_again_gives_the_same_expiry(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let whole = Sender::new();
    let expires_at = now.after(EXPIRES_IN);
    for minutes in 0..3 {
        let later = now.after(minutes * MINUTE);
        assert_eq!(world.here.publish(&sender.publish(), later).await, Ok(expires_at));
        assert_eq!(world.there.publish(&whole.publish_whole(now), later).await, Ok(expires_at));
    }
    let claim = whole.claimed(&*world.here, now).await;
    world.here.finish(&whole.id, &claim, now).await.unwrap();
    assert_eq!(world.there.publish(&whole.publish_whole(now), now).await, Ok(expires_at));
    assert_eq!(whole.claim(&*world.here, digest(), now).await, ended(State::Finished, now));
}

pub async fn a_published_upload_answers_until_its_window_ends(world: World) {
    let two_steps = Sender::new().sends_blob(&*world.here).await;
    let whole = Sender::new().sends(&*world.here).await;
    for (sender, length) in [(two_steps, SIZE + 100), (whole, CONTENT.len() as u64)] {
        let receipt = sender.receipt(&*world.here).await;
        let upload = world.there.upload(&sender.id, &sender.token, now()).await.unwrap();
        assert_eq!((upload.offset, upload.length), (length, Some(length)));
        assert_eq!((upload.terms, upload.manifest_len), (sender.terms, 100));
        assert_eq!(upload.expires_at, receipt.expires_at);
        sender.claimed(&*world.here, now()).await;
        assert!(world.there.upload(&sender.id, &sender.token, now()).await.is_ok());
        let over = world.there.upload(&sender.id, &sender.token, receipt.window_ends_at).await;
        assert_eq!(over, Err(Error::Unknown));
    }
}

pub async fn only_an_upload_can_be_published(world: World) {
    let (sender, now) = (Sender::new(), now());
    assert_eq!(world.here.publish(&sender.publish(), now).await, Err(Error::Unknown));
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let stranger = Publish { token: digest(), ..sender.publish() };
    assert_eq!(world.here.publish(&stranger, now).await, Err(Error::Unknown));
    assert_eq!(world.here.peek(&sender.id, None, now).await, Err(Error::Unknown));
}

pub async fn an_upload_that_was_whole_at_once_is_a_share_at_once(world: World) {
    let (inline, blob, now) = (Sender::new(), Sender::new(), now());
    world.here.publish(&inline.publish_whole(now), now).await.unwrap();
    let publish = Publish { begin: Some(blob.upload(Some(SIZE + 100), now)), ..blob.publish() };
    world.here.publish(&publish, now).await.unwrap();
    for (sender, is_inline) in [(inline, true), (blob, false)] {
        let receipt = sender.receipt(&*world.there).await;
        assert_eq!((receipt.created_at, receipt.state(now).state), (now, State::Ready));
        assert_eq!(world.there.holds(&sender.id).await, Ok(!is_inline));
        assert_eq!(sender.claim(&*world.there, digest(), now).await.unwrap().lease.inline, is_inline);
    }
}

pub async fn an_abandoned_upload_is_unknown(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    assert_eq!(world.here.abandon(&sender.id, &digest(), now).await, Err(Error::Unknown));
    for minutes in 0..2 {
        let later = now.after(minutes * MINUTE);
        assert_eq!(world.there.abandon(&sender.id, &sender.token, later).await, Ok(Remains::Blob));
    }
    assert_eq!(world.here.upload(&sender.id, &sender.token, now).await, Err(Error::Unknown));
    assert_eq!(world.here.advance(&sender.step(1, 0, 1), now).await, Err(Error::Unknown));
    assert_eq!(world.here.publish(&sender.publish(), now).await, Err(Error::Unknown));
    assert_eq!(sender.receipt(&*world.here).await.abandoned_at, Some(now));
}

pub async fn a_published_upload_can_not_be_abandoned(world: World) {
    let two_steps = Sender::new().sends_blob(&*world.here).await;
    let whole = Sender::new().sends(&*world.here).await;
    for sender in [two_steps, whole] {
        assert_eq!(world.there.abandon(&sender.id, &sender.token, now()).await, Err(Error::Published));
        sender.claimed(&*world.here, now()).await;
    }
}

pub async fn the_last_terms_hold(world: World) {
    let (sender, now) = (Sender::new(), now());
    world.here.begin(&sender.upload(Some(SIZE), now), now).await.unwrap();
    let terms = Terms { verifier: digest(), password: true, expires_in: HOUR, downloads: 2 };
    let expires_at = world.here.publish(&Publish { terms, ..sender.publish() }, now).await.unwrap();
    assert_eq!(expires_at, now.after(HOUR));
    let sender = Sender { terms, ..sender };
    let share = world.there.peek(&sender.id, Some(&sender.attempt()), now).await.unwrap();
    assert_eq!((share.password, share.expires_at), (true, expires_at));
    assert_eq!(share.shown.unwrap().1, 2);
    assert_eq!(sender.receipt(&*world.there).await.downloads, 2);
}
