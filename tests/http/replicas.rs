//! Several servers on one Redis: any of them serves anything, and they count as one.

use std::thread;
use std::time::Duration;

use crate::sender::{Sealed, Upload, bytes, token};
use crate::server::{Server, Store, until};

const VISITS: usize = 25;

fn three() -> [Server; 3] {
    let first = Server::start(Store::Redis);
    let (second, third) = (first.beside(), first.beside());
    [first, second, third]
}

#[test]
fn each_step_of_a_share_may_be_at_another_server() {
    let [a, b, c] = three();
    let sealed = Sealed::new(&bytes(3_000_000));
    let (run, half) = (sealed.run(), 1_234_567);
    let upload = Upload::create(&a, &sealed, 1);
    upload.patch(&a, 0, &run[..half]).send().is(204);
    assert_eq!(upload.offset(&c), half);
    upload.patch(&b, half, &run[half..]).send().is(204);
    assert_eq!(upload.state(&a), "ready");
    let claim = token();
    upload.claim(&c, &sealed, &claim).send().is(201);
    let address = upload.claim_address(&claim);
    let mut content = c.get(&address).header("Range", "bytes=0-999999").send().is(206).body;
    content.extend(a.get(&address).header("Range", "bytes=1000000-").send().is(206).body);
    sealed.assert_opens(&content);
    b.delete(&address).send().is(204);
    for server in [&a, &b, &c] {
        assert_eq!(upload.state(server), "finished");
        server.get(&address).send().is(410);
        assert_eq!(server.blobs().len(), 0);
    }
}

#[test]
fn looks_and_visits_are_counted_once_each() {
    let servers = three();
    let sealed = Sealed::new(&bytes(100));
    let upload = Upload::publish(&servers[0], &sealed, 1);
    let page = format!("/s/{}", upload.id);
    thread::scope(|scope| {
        for server in &servers {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..VISITS {
                        server.get(&page).send().is(200);
                        server.get("/status").send().is(200);
                    }
                });
            }
        }
    });
    let visits = 2 * servers.len() * VISITS;
    assert_eq!(upload.receipt(&servers[1])["opened"], visits);
    let redis = servers[0].redis.as_ref().expect("they are on one");
    assert_eq!(redis.ask::<usize>(&["GET", "seen"]), visits);
    assert_eq!(redis.ask::<usize>(&["GET", &format!("share:{}:hits", upload.id)]), visits);
}

#[test]
fn several_sweepers_free_a_share_once_and_whole() {
    let servers = three();
    let sealed = Sealed::new(&bytes(2_000_000));
    for _ in 0..10 {
        Upload::publish_for(&servers[0], &sealed, 1);
    }
    assert!(servers[0].blobs().len() >= 40);
    until("everything is freed", Duration::from_secs(60), || servers[0].blobs().is_empty());
    let redis = servers[0].redis.as_ref().expect("they are on one");
    until("nothing is due any more", Duration::from_secs(30), || redis.ask::<usize>(&["ZCARD", "due"]) == 0);
}
