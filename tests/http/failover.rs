//! A Redis that fails over, as its clients see it.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::client::Live;
use crate::sender::{Sealed, Upload, bytes, token};
use crate::sentinels::{NAME, Sentinels};
use crate::server::{Server, Store, until};

const MIB: usize = 1 << 20;
const SOON: Duration = Duration::from_secs(60);

fn server(group: &Sentinels, acks: &[&str]) -> Server {
    let addresses = group.addresses();
    let flags = ["--redis-sentinels", &addresses, "--redis-master-name", NAME];
    Server::with(Store::Embedded, &[&flags, acks].concat())
}

/// Reads on, slowly, and asks for the rest each time the answer breaks off; gives how often that was.
fn read_on(server: &Server, address: &str, mut live: Live, got: &mut Vec<u8>, length: usize) -> usize {
    let (deadline, mut broken) = (Instant::now() + SOON, 0);
    while got.len() < length {
        assert!(Instant::now() < deadline, "{} of {length} bytes arrived", got.len());
        let mut piece = vec![0; 64 * 1024];
        match live.read(&mut piece) {
            Ok(count) if count > 0 => got.extend_from_slice(&piece[..count]),
            _ => {
                broken += 1;
                live = loop {
                    let answer = server.get(address).header("Range", format!("bytes={}-", got.len())).open().unwrap();
                    if answer.status == 206 {
                        break answer;
                    }
                    assert_eq!(answer.status, 503);
                    assert!(Instant::now() < deadline, "the store does not come back");
                };
            }
        }
    }
    broken
}

#[test]
fn transfers_go_on_with_the_same_tokens_after_a_failover() {
    let mut group = Sentinels::start();
    let server = server(&group, &["--redis-min-acks", "1"]);
    let sealed = Sealed::new(&bytes(24 * MIB));
    let run = sealed.run();
    let sent = Upload::publish(&server, &sealed, 1);
    let address = sent.claimed(&server, &sealed);
    let mut live = server.get(&address).open().unwrap();
    let mut got = live.exactly(2 * MIB).unwrap();
    let upload = Upload::create(&server, &sealed, 1);
    upload.patch(&server, 0, &run[..8 * MIB]).send().is(204);
    let mut sending = upload.patching(&server, 8 * MIB).begin(&format!("Content-Length: {}", run.len() - 8 * MIB));
    sending.push(&run[8 * MIB..10 * MIB]).unwrap();

    let switch = group.listen();
    let master = group.master_number();
    group.nodes[master].kill();
    let killed = Instant::now();
    let broken = read_on(&server, &address, live, &mut got, sealed.content.len());
    println!("killed → whole {:?}, broken off {broken} times", killed.elapsed());
    sealed.assert_opens(&got);
    server.delete(&address).send().is(204);
    switch.wait();

    // Its writer finds out that bytes were lost, or goes on as if nothing had happened.
    let _ = sending.push(&run[10 * MIB..]);
    let answer = sending.answer().expect("a clear answer").expect(&[204, 503]);
    println!("the upload that ran was answered {}", answer.status);
    if answer.status == 503 {
        until("the upload is found again", SOON, || upload.head(&server).status == 200);
        let offset = upload.offset(&server);
        assert!((8 * MIB..=run.len()).contains(&offset), "{offset}");
        upload.patch(&server, offset, &run[offset..]).send().is(204);
    }
    let address = upload.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

#[test]
fn a_share_waits_for_every_replica_where_all_must_acknowledge() {
    let mut group = Sentinels::start();
    let server = server(&group, &["--redis-min-acks", "all", "--redis-replicas", "2"]);
    assert_eq!(server.get("/readyz").send().is(200).text(), "ready\n");
    let sealed = Sealed::new(&bytes(1000));
    let (waiting, taken) = (Upload::publish(&server, &sealed, 1), Upload::publish(&server, &sealed, 1));
    let address = taken.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);

    let replica = group.replicas()[0];
    group.nodes[replica].kill();
    let claim = token();
    let refused = waiting.claim(&server, &sealed, &claim).send().is(503);
    assert_eq!(refused.code(), "store_unavailable");
    assert!(refused.json()["detail"].as_str().unwrap().contains("Only 1 of 2 replicas"), "{}", refused.text());
    refused.the("retry-after").parse::<u64>().expect("seconds");
    // Its lease is there, and must not be read.
    let unread = server.get(&waiting.claim_address(&claim)).send().is(503);
    assert!(unread.json()["detail"].as_str().unwrap().contains("Only 1 of 2 replicas"), "{}", unread.text());
    let begun = Upload::create(&server, &sealed, 1);
    begun.patch(&server, 0, &sealed.run()).send().is(503);
    server.delete(&taken.share()).bearer(&taken.owner).send().is(409);
    until("it says so", SOON, || server.get("/readyz").send().is(200).text().contains("1 of 2 replicas"));
    sealed.assert_opens(&server.get(&address).send().is(200).body);

    group.nodes[replica].start_again();
    group.settle();
    // A replica that is back has not acknowledged anything at once.
    until("the same claim is granted", SOON, || {
        waiting.claim(&server, &sealed, &claim).send().expect(&[200, 503]).status == 200
    });
    sealed.assert_opens(&server.get(&waiting.claim_address(&claim)).send().is(200).body);
    until("the upload is a share", SOON, || begun.head(&server).status == 200 && begun.state(&server) == "ready");
    until("it says so", SOON, || server.get("/readyz").send().is(200).text() == "ready\n");
}
