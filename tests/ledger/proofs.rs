//! The id is not enough, and a wrong password burns nothing.

use std::time::Duration;

use futures_util::future::join_all;
use onetimeshare::ledger::{ClaimRequest, Error, Ledger};
use onetimeshare::share::{GUESSES_PER_HOUR, GUESSES_PER_MINUTE, Network, State, Timestamp};

use super::given::*;
use crate::World;

async fn guess(ledger: &dyn Ledger, sender: &Sender, network: Network, now: Timestamp) {
    let looked = ledger.peek(&sender.id, Some(&wrong(network)), now).await;
    assert_eq!(looked, Err(Error::WrongProof));
}

/// `Ok` tells nothing of a lock, and any other error is a defect.
fn locked<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<Duration> {
    match result {
        Ok(_) => None,
        Err(Error::Locked(wait)) => Some(wait),
        Err(other) => panic!("{other:?}"),
    }
}

pub async fn a_wrong_proof_costs_nothing_but_a_count(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    guess(&*world.here, &sender, network(1), now).await;
    let request = ClaimRequest { attempt: wrong(network(1)), ..sender.request(digest(), now) };
    assert_eq!(world.there.claim(&sender.id, &request, now).await, Err(Error::WrongProof));

    let receipt = sender.receipt(&*world.here).await;
    assert_eq!(receipt.wrong_proofs, 2);
    assert_eq!(receipt.state(now).state, State::Ready);
    sender.claimed(&*world.here, now).await;
}

pub async fn ten_wrong_passwords_a_minute_lock_a_network(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    for number in 0..GUESSES_PER_MINUTE {
        assert_eq!(world.here.admit(&sender.id, &network(1), now).await, Ok(true));
        guess(if number % 2 == 0 { &*world.here } else { &*world.there }, &sender, network(1), now).await;
    }
    let wait = locked(world.there.peek(&sender.id, Some(&wrong(network(1))), now).await).expect("locked");
    assert!(Duration::ZERO < wait && wait <= MINUTE, "{wait:?}");
    assert!(locked(world.there.admit(&sender.id, &network(1), now).await).is_some());
    assert_eq!(sender.receipt(&*world.here).await.wrong_proofs, u64::from(GUESSES_PER_MINUTE));

    guess(&*world.here, &sender, network(2), now).await;
    let other = Sender::new().password().sends(&*world.here).await;
    guess(&*world.here, &other, network(1), now).await;
}

pub async fn the_right_password_is_locked_out_too(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    for _ in 0..GUESSES_PER_MINUTE {
        let request = ClaimRequest { attempt: wrong(network(1)), ..sender.request(digest(), now) };
        assert_eq!(world.here.claim(&sender.id, &request, now).await, Err(Error::WrongProof));
    }
    assert!(locked(sender.claim(&*world.here, digest(), now).await).is_some());
    assert!(locked(world.here.peek(&sender.id, Some(&sender.attempt()), now).await).is_some());
    assert!(world.here.peek(&sender.id, None, now).await.is_ok());
    sender.claimed(&*world.here, now.after(MINUTE)).await;
}

pub async fn of_many_guesses_at_once_no_more_are_answered(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    let mut attempts = vec![wrong(network(1)); 25];
    attempts.push(sender.attempt());
    let mut looked = join_all(attempts.iter().map(|attempt| world.here.peek(&sender.id, Some(attempt), now))).await;
    assert!(looked.pop().and_then(locked).is_some(), "the right one came too late");
    let answered = looked.iter().filter(|looked| **looked == Err(Error::WrongProof)).count();
    assert_eq!(answered, GUESSES_PER_MINUTE as usize);
}

pub async fn wrong_passwords_are_forgotten_after_a_minute(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    for _ in 0..GUESSES_PER_MINUTE {
        guess(&*world.here, &sender, network(1), now).await;
    }
    let wait = locked(world.here.admit(&sender.id, &network(1), now.after(MINUTE / 2)).await).expect("locked");
    assert!(wait <= MINUTE / 2, "{wait:?}");
    assert_eq!(world.here.admit(&sender.id, &network(1), now.after(MINUTE)).await, Ok(true));
    guess(&*world.here, &sender, network(1), now.after(MINUTE)).await;
}

pub async fn six_hundred_wrong_passwords_an_hour_lock_a_share(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    for number in 0..GUESSES_PER_HOUR {
        guess(&*world.here, &sender, network(number / 5), now.after(Duration::from_millis(number.into()))).await;
    }
    let later = now.after(2 * MINUTE);
    let wait = locked(world.there.admit(&sender.id, &network(9999), later).await).expect("locked");
    assert!(HOUR - 3 * MINUTE < wait && wait <= HOUR, "{wait:?}");
    assert!(locked(sender.claim(&*world.here, digest(), later).await).is_some());
    assert_eq!(world.here.admit(&sender.id, &network(9999), now.after(HOUR + MINUTE)).await, Ok(true));
    sender.claimed(&*world.here, now.after(HOUR + MINUTE)).await;
}

pub async fn a_share_without_a_password_is_never_locked(world: World) {
    let sender = Sender::new().sends(&*world.here).await;
    let now = now();
    for _ in 0..=GUESSES_PER_HOUR {
        guess(&*world.here, &sender, network(1), now).await;
    }
    assert_eq!(world.here.admit(&sender.id, &network(1), now).await, Ok(false));
    assert_eq!(sender.receipt(&*world.here).await.wrong_proofs, u64::from(GUESSES_PER_HOUR) + 1);
    sender.claimed(&*world.here, now).await;
}

pub async fn a_repeated_claim_needs_neither_proof_nor_patience(world: World) {
    let sender = Sender::new().password().downloads(2).sends(&*world.here).await;
    let now = now();
    let claim = sender.claimed(&*world.here, now).await;
    for _ in 0..GUESSES_PER_MINUTE {
        guess(&*world.here, &sender, network(1), now).await;
    }
    let request = ClaimRequest { attempt: wrong(network(1)), ..sender.request(claim, now) };
    assert!(world.there.claim(&sender.id, &request, now).await.expect("granted").repeated);
    assert_eq!(sender.receipt(&*world.here).await.wrong_proofs, u64::from(GUESSES_PER_MINUTE));
}

pub async fn what_became_of_a_share_is_told_to_the_right_proof_only(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    sender.claimed(&*world.here, now).await;
    assert_eq!(world.here.peek(&sender.id, Some(&sender.attempt()), now).await, ended(State::Claimed, now));
    for _ in 0..=GUESSES_PER_MINUTE {
        assert_eq!(world.here.peek(&sender.id, Some(&wrong(network(9))), now).await, Err(Error::Unknown));
        let request = ClaimRequest { attempt: wrong(network(9)), ..sender.request(digest(), now) };
        assert_eq!(world.here.claim(&sender.id, &request, now).await, Err(Error::Unknown));
    }
    assert_eq!(sender.claim(&*world.here, digest(), now).await, ended(State::Claimed, now));
    assert_eq!(sender.receipt(&*world.here).await.wrong_proofs, 0);
}

pub async fn a_password_of_a_share_that_ended_can_not_be_guessed_either(world: World) {
    let sender = Sender::new().password().sends(&*world.here).await;
    let now = now();
    sender.claimed(&*world.here, now).await;
    assert_eq!(world.there.admit(&sender.id, &network(9), now).await, Ok(true));
    for _ in 0..GUESSES_PER_MINUTE {
        assert_eq!(world.here.peek(&sender.id, Some(&wrong(network(9))), now).await, Err(Error::Unknown));
    }
    let right = onetimeshare::ledger::Attempt { network: network(9), ..sender.attempt() };
    assert_eq!(world.there.peek(&sender.id, Some(&right), now).await, Err(Error::Unknown));
    assert_eq!(world.there.admit(&sender.id, &network(9), now).await, Err(Error::Unknown));
    assert_eq!(world.there.peek(&sender.id, Some(&right), now.after(MINUTE)).await, ended(State::Claimed, now));
}

pub async fn without_a_proof_no_manifest_is_shown(world: World) {
    let sender = Sender::new().password().downloads(3).sends_blob(&*world.here).await;
    let share = world.there.peek(&sender.id, None, now()).await.unwrap();
    assert_eq!((share.size, share.password, share.shown), (SIZE, true, None));
    assert_eq!(Some(share.expires_at), sender.receipt(&*world.here).await.expires_at);
    let share = world.there.peek(&sender.id, Some(&sender.attempt()), now()).await.unwrap();
    assert_eq!(share.shown, Some((MANIFEST.into(), 3)));
}
