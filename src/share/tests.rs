//! States, by the history that they follow from; ids and tokens, by what they refuse.

use super::*;

fn history(downloads: u32, claims: Vec<Claim>) -> History {
    History {
        created_at: Timestamp(0),
        window_ends_at: Timestamp(50),
        abandoned_at: None,
        expires_at: Some(Timestamp(100)),
        revoked_at: None,
        size: 1,
        downloads,
        opened: 0,
        wrong_proofs: 0,
        claims,
    }
}

fn claim(claimed: i64, lease: i64, finished: Option<i64>) -> Claim {
    Claim {
        claimed_at: Timestamp(claimed),
        lease_expires_at: Timestamp(lease),
        finished_at: finished.map(Timestamp),
        served: 0,
    }
}

fn state_at(history: &History, now: i64) -> State {
    history.state(Timestamp(now)).state
}

#[test]
fn an_upload_is_abandoned_when_its_window_ends() {
    let upload = History { expires_at: None, ..history(1, vec![]) };
    assert_eq!(state_at(&upload, 49), State::Uploading);
    assert_eq!(state_at(&upload, 50), State::Abandoned);
}

#[test]
fn an_unclaimed_share_expires() {
    assert_eq!(state_at(&history(1, vec![]), 99), State::Ready);
    assert_eq!(state_at(&history(1, vec![]), 100), State::Expired);
}

#[test]
fn the_last_claim_decides_between_finished_and_lapsed() {
    assert_eq!(state_at(&history(1, vec![claim(10, 20, None)]), 19), State::Claimed);
    assert_eq!(state_at(&history(1, vec![claim(10, 20, None)]), 20), State::Lapsed);
    assert_eq!(state_at(&history(1, vec![claim(10, 20, Some(15))]), 30), State::Finished);
}

#[test]
fn a_share_for_two_stays_ready_until_the_second_claim() {
    assert_eq!(state_at(&history(2, vec![claim(10, 20, Some(15))]), 30), State::Ready);
    let both = history(2, vec![claim(10, 20, Some(15)), claim(12, 22, None)]);
    assert_eq!(state_at(&both, 21), State::Claimed);
    assert_eq!(state_at(&both, 22), State::Finished);
}

#[test]
fn a_revoked_share_with_a_running_lease_keeps_its_bytes_until_the_lease_ends() {
    let mut share = history(2, vec![claim(10, 30, None)]);
    share.revoked_at = Some(Timestamp(15));
    assert_eq!(state_at(&share, 16), State::Claimed);
    assert_eq!(share.free_at(Timestamp(16)), Timestamp(30));
    assert_eq!(state_at(&share, 30), State::Lapsed);
}

#[test]
fn ids_and_tokens_read_back_what_they_write_and_refuse_the_rest() {
    let (id, token) = (ShareId::random(), Token::random());
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(token.to_string().parse(), Ok(token));
    for bad in ["", "x", "Ünïcode", &"0".repeat(31), &"g".repeat(32), &"A".repeat(32), "../../etc/passwd"] {
        assert!(bad.parse::<ShareId>().is_err(), "{bad}");
    }
    for bad in ["", "short", &"=".repeat(22), &"A".repeat(23), "AAAAAAAAAAAAAAAAAAAAA/"] {
        assert!(bad.parse::<Token>().is_err(), "{bad}");
    }
}

#[test]
fn ipv6_neighbours_are_one_network() {
    let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
}
