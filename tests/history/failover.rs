//! How long there is no service at a failover: somebody publishes and claims all the time.

use std::thread;
use std::time::{Duration, Instant};

use super::clients::{Client, GivesUp, PROBE, World};
use super::log::{Deed, Log, Op, Outcome};
use super::rig::{DOWN_AFTER, Rig, Shape};
use super::run::folder;

/// What the web servers may take once the Sentinels have chosen.
const AT_MOST: Duration = Duration::from_secs(2);

fn while_probed(acks: &str, test: &str, act: impl FnOnce(&Rig, &Log)) {
    let rig = Rig::start(&Shape::of(acks), &folder().join(test));
    let log = Log::new(&folder(), test);
    let world = World::new(&rig, &log, 0, Vec::new());
    thread::scope(|scope| {
        let _guard = GivesUp(&world);
        scope.spawn(|| Client::new(&world, PROBE).probe());
        served_after(&log, 0);
        act(&rig, &log);
    });
}

/// Waits until so much is there that was asked for at `time` (ms of the run) or later.
fn told_after(log: &Log, time: u64, is_it: impl Fn(&Op) -> bool) -> Op {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = log.ops().into_iter().find(|op| op.began >= time && is_it(op));
        if let Some(op) = found {
            return op;
        }
        assert!(Instant::now() < deadline, "nothing of the kind within 60 s");
        thread::sleep(Duration::from_millis(20));
    }
}

/// When a share was claimed that was published at `time` or later.
fn served_after(log: &Log, time: u64) -> u64 {
    let published = |op: &Op| matches!(op.deed, Deed::Publish { .. }) && op.outcome == Outcome::Ok;
    let share = told_after(log, time, published).share;
    told_after(log, time, |op| op.share == share && matches!(op.deed, Deed::Claim { .. }) && op.outcome == Outcome::Ok)
        .ended
}

/// Lets the master fail; gives the time when the Sentinels switched.
fn switched(rig: &Rig, log: &Log, fail: impl Fn(&Rig)) -> u64 {
    let (master, began) = (rig.master(), Instant::now());
    fail(rig);
    while rig.master() == master {
        assert!(began.elapsed() < Duration::from_secs(60), "no failover within 60 s");
        thread::sleep(Duration::from_millis(10));
    }
    println!(
        "switched {} ms after the fault, of which {} ms are down-after",
        began.elapsed().as_millis(),
        DOWN_AFTER.as_millis()
    );
    log.now()
}

fn assert_back_soon(rig: &Rig, log: &Log, fail: impl Fn(&Rig)) {
    let switched = switched(rig, log, fail);
    let back = served_after(log, switched) - switched;
    println!("published and claimed {back} ms after the switch");
    assert!(u128::from(back) <= AT_MOST.as_millis(), "{back} ms without service after the switch");
}

#[test]
fn one_acknowledgement_is_to_be_had_soon_after_a_failover() {
    while_probed("1", "failover-1", |rig, log| {
        assert_back_soon(rig, log, |rig| rig.kill(rig.master()));
        rig.heal();
        rig.settle();
        assert_back_soon(rig, log, |rig| rig.freeze(rig.master()));
    });
}

#[test]
fn all_acknowledgements_are_to_be_had_once_every_replica_is_back() {
    while_probed("all", "failover-all", |rig, log| {
        let switched = switched(rig, log, |rig| rig.kill(rig.master()));
        let mut at = switched;
        for _ in 0..3 {
            let refused = told_after(log, at, |op| op.status == 503 && op.note.contains("acknowledge"));
            println!("503: {}", refused.note);
            at = refused.ended;
        }
        let served = |op: &&Op| op.ended >= switched && op.outcome == Outcome::Ok;
        assert_eq!(log.ops().iter().filter(served).count(), 0, "served with a replica missing");
        rig.heal();
        rig.settle();
        let complete = log.now();
        println!(
            "published and claimed {} ms after every replica was back",
            served_after(log, complete).saturating_sub(complete)
        );
    });
}
