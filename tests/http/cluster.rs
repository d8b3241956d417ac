//! A Redis cluster, as clients of the server see it.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::cluster_server::{Cluster, until as settled};
use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Server, Store, until};

const MIB: usize = 1 << 20;
const SOON: Duration = Duration::from_secs(40);

fn server(cluster: &Cluster) -> Server {
    Server::with(Store::Embedded, &["--redis-cluster", &cluster.addresses()])
}

#[test]
fn transfers_go_on_while_their_slot_is_moved_and_after_its_master_was_killed() {
    let cluster = Cluster::start();
    let (here, there) = (server(&cluster), server(&cluster));
    let sealed = Sealed::new(&bytes(12 * MIB));
    let run = sealed.run();

    // The slot is moved in the middle of an upload, and again in the middle of a download.
    let upload = Upload::create(&here, &sealed, 1);
    let receipt = format!("receipt:{{{}}}", upload.id);
    upload.patch(&here, 0, &run[..4 * MIB]).send().is(204);
    cluster.move_slot(&receipt, || {
        upload.patch(&here, 4 * MIB, &run[4 * MIB..5 * MIB]).send().expect(&[204, 503]);
    });
    let offset = upload.offset(&there);
    assert!((4 * MIB..=5 * MIB).contains(&offset), "{offset}");
    upload.patch(&there, offset, &run[offset..]).send().is(204);
    let address = upload.claimed(&here, &sealed);
    let mut live = there.get(&address).open().unwrap();
    let mut got = live.exactly(MIB).unwrap();
    cluster.move_slot(&receipt, || got.extend(live.exactly(MIB).expect("chunks are read wherever they are")));
    live.read_to_end(&mut got).unwrap();
    sealed.assert_opens(&got);
    here.delete(&address).send().is(204);

    // Its master is killed in the middle of both.
    let (sent, upload) = (Upload::publish(&here, &sealed, 1), Upload::create(&here, &sealed, 1));
    let address = sent.claimed(&here, &sealed);
    let half = run.len() / 2;
    upload.patch(&here, 0, &run[..half]).send().is(204);
    let mut live = here.get(&address).open().unwrap();
    let mut got = live.exactly(MIB).unwrap();
    settled("the replicas have it all", || cluster.is_replicated());
    cluster.master_of(&format!("receipt:{{{}}}", sent.id)).kill();
    let killed = Instant::now();
    let _ = live.read_to_end(&mut got);
    while got.len() < sealed.content.len() {
        assert!(killed.elapsed() < SOON, "the store does not come back");
        let asked = Instant::now();
        let mut rest = here.get(&address).header("Range", format!("bytes={}-", got.len())).open().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(10), "an answer took {:?}", asked.elapsed());
        if rest.status == 206 {
            let _ = rest.read_to_end(&mut got);
        }
    }
    println!("a master was killed; the download was whole after {:?}", killed.elapsed());
    sealed.assert_opens(&got);
    until("every shard is back", SOON, || {
        upload.head(&there).status == 200 && there.get("/readyz").send().status == 200
    });
    let offset = upload.offset(&there);
    assert_eq!(offset, half);
    upload.patch(&there, offset, &run[offset..]).send().is(204);
    let claim = token();
    upload.claim(&here, &sealed, &claim).send().is(201);
    upload.claim(&there, &sealed, &token()).send().is(410);
    sealed.assert_opens(&there.get(&upload.claim_address(&claim)).send().is(200).body);
    for address in [address, upload.claim_address(&claim)] {
        there.delete(&address).send().is(204);
    }
    assert_eq!(here.get(&Plain::put(&there, "/a", b"x").claimed(&here)).send().is(200).body, b"x");
    until("nothing is left", SOON, || cluster.keys("share:*:chunk:*").is_empty());
}
