//! Once: at most as many claims as downloads, whatever happens at the same time.

use std::sync::Barrier;
use std::thread;

use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Server, Store};

const CLAIMS: usize = 32;
const ROUNDS: usize = 30;

/// Lets `CLAIMS` recipients ask at once, the requests spread over the servers; gives the status of each, and its token.
fn race(servers: &[&Server], sealed: &Sealed, upload: &Upload) -> Vec<(u16, String)> {
    let start = Barrier::new(CLAIMS);
    thread::scope(|scope| {
        let recipients: Vec<_> = (0..CLAIMS)
            .map(|number| {
                let (server, start) = (servers[number % servers.len()], &start);
                scope.spawn(move || {
                    let claim = token();
                    let request = upload.claim(server, sealed, &claim);
                    start.wait();
                    (request.send().status, claim)
                })
            })
            .collect();
        recipients.into_iter().map(|recipient| recipient.join().unwrap()).collect()
    })
}

#[track_caller]
fn assert_winners(servers: &[&Server], downloads: usize, size: usize) {
    for round in 0..ROUNDS {
        let sealed = Sealed::new(&bytes(size));
        let upload = Upload::publish(servers[0], &sealed, downloads as u32);
        let answers = race(servers, &sealed, &upload);
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses.iter().filter(|&&status| status == 201).count(), downloads, "round {round}: {statuses:?}");
        assert!(statuses.iter().all(|status| [201, 410].contains(status)), "round {round}: {statuses:?}");
        for (number, (status, claim)) in answers.iter().enumerate() {
            // The bytes too are asked for at another server than the claim was.
            let answer = servers[(number + 1) % servers.len()].get(&upload.claim_address(claim)).send();
            assert_eq!(answer.status, if *status == 201 { 200 } else { 404 });
            if *status == 201 {
                sealed.assert_opens(&answer.body);
            }
        }
        assert_eq!(upload.receipt(servers[0])["claims"].as_array().unwrap().len(), downloads);
    }
}

on_both_stores! {
    fn of_many_claims_at_once_one_is_granted(store) {
        let server = Server::start(store);
        assert_winners(&[&server], 1, 1000);
    }

    fn of_many_claims_at_once_as_many_as_downloads_are_granted(store) {
        let server = Server::start(store);
        assert_winners(&[&server], 3, 100_000);
    }

    fn of_many_posts_to_a_plain_link_at_once_one_is_granted(store) {
        let server = Server::start(store);
        for _ in 0..ROUNDS {
            let share = Plain::put(&server, "/a", b"x");
            let start = Barrier::new(CLAIMS);
            let statuses: Vec<u16> = thread::scope(|scope| {
                let recipients: Vec<_> = (0..CLAIMS)
                    .map(|_| {
                        scope.spawn(|| {
                            let request = server.post(&share.link()).form(&[]);
                            start.wait();
                            request.send().status
                        })
                    })
                    .collect();
                recipients.into_iter().map(|recipient| recipient.join().unwrap()).collect()
            });
            assert_eq!(statuses.iter().filter(|&&status| status == 303).count(), 1, "{statuses:?}");
            assert!(statuses.iter().all(|status| [303, 410].contains(status)), "{statuses:?}");
        }
    }

    fn one_claim_asked_for_many_times_at_once_is_one_claim(store) {
        let server = Server::start(store);
        for _ in 0..ROUNDS {
            let sealed = Sealed::new(&bytes(1000));
            let upload = Upload::publish(&server, &sealed, 2);
            let (claim, start) = (token(), Barrier::new(8));
            let statuses: Vec<u16> = thread::scope(|scope| {
                let askers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let request = upload.claim(&server, &sealed, &claim);
                            start.wait();
                            request.send().status
                        })
                    })
                    .collect();
                askers.into_iter().map(|asker| asker.join().unwrap()).collect()
            });
            assert_eq!(statuses.iter().filter(|&&status| status == 201).count(), 1, "{statuses:?}");
            assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 7, "{statuses:?}");
            assert_eq!(upload.peek(&server, &sealed).is(200).json()["downloads_left"], 1);
        }
    }

    fn a_revocation_and_a_claim_at_once_agree_on_who_was_first(store) {
        let server = Server::start(store);
        for _ in 0..ROUNDS {
            let sealed = Sealed::new(&bytes(1000));
            let upload = Upload::publish(&server, &sealed, 1);
            let start = Barrier::new(2);
            let (claimed, revoked) = thread::scope(|scope| {
                let claimer = scope.spawn(|| {
                    let request = upload.claim(&server, &sealed, &token());
                    start.wait();
                    request.send().status
                });
                let request = server.delete(&upload.share()).bearer(&upload.owner);
                start.wait();
                let revoked = request.send().status;
                (claimer.join().unwrap(), revoked)
            });
            assert!([(201, 409), (410, 204)].contains(&(claimed, revoked)), "{claimed} {revoked}");
        }
    }
}

#[test]
fn two_servers_on_one_redis_grant_one_claim_between_them() {
    let first = Server::start(Store::Redis);
    let second = first.beside();
    assert_winners(&[&first, &second], 1, 1000);
    assert_winners(&[&second, &first], 1, 100_000);
}
