//! One run: everything is started, goes wrong, is healed, and is then asked what became of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::checker::{Found, check};
use super::clients::{CLIENTS, Client, GivesUp, PROBE, Share, World, errands};
use super::log::{Log, Op};
use super::nemesis::{inflict, plan};
use super::rig::{Rig, Shape};

/// What a run is made of; the same again, it goes wrong in the same way, as far as time lets it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    pub time: Duration,
    pub shares: usize,
    pub shape: Shape,
}

/// What came of a run.
pub struct Outcome {
    pub ops: Vec<Op>,
    pub found: Vec<Found>,
    /// When each fault began, in milliseconds of the run.
    pub faults: Vec<(u64, String)>,
    pub path: PathBuf,
}

/// Where histories are kept, and what the processes printed.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").join("history")
}

pub fn run(settings: &Settings) -> Outcome {
    let Settings { seed, time, shares, shape } = settings;
    let name = format!("{seed}-{}", shape.acks());
    let rig = Rig::start(shape, &folder().join(&name));
    let log = Log::new(&folder(), &name);
    let world = World::new(&rig, &log, *seed, errands(*seed, *shares, time.as_millis() as u64));
    let (world, mut faults) = (&world, Vec::new());
    thread::scope(|scope| {
        let _guard = GivesUp(world);
        let probe = scope.spawn(|| Client::new(world, PROBE).probe());
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || Client::new(world, number).work())).collect();
        for step in plan(*seed, shape, *time) {
            thread::sleep(step.after);
            faults.push((log.now(), format!("{:?}", step.fault)));
            inflict(&rig, &step, |what| log.fault(what));
        }
        rig.settle();
        log.fault("settled");
        world.over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        let sent = world.shares.iter().filter_map(|share| share.lock().expect("nobody panics with it").clone());
        let shares: Vec<Share> = sent.chain(probe.join().expect("the probe")).collect();
        everybody_comes_once_more(world, &shares);
    });
    let ops = log.ops();
    Outcome { found: check(&ops), ops, faults, path: log.path().to_owned() }
}

/// Each share is wanted by one more: who finds it taken learns nothing new, but a share that nobody has must be there.
/// Then the senders look.
fn everybody_comes_once_more(world: &World<'_>, shares: &[Share]) {
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::new(world, PROBE + 1 + number);
                for share in shares.iter().skip(number).step_by(CLIENTS) {
                    // The second download, where there is one.
                    (0..2).for_each(|_| client.take(share));
                    client.receipt(share);
                }
            });
        }
    });
}
