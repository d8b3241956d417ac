//! What goes wrong, and when: a plan that a seed makes.

use std::time::{Duration, Instant};

use super::proxy::{Flow, Node};
use super::random::Random;
use super::rig::{Rig, SENTINELS, Shape, WEBS};

/// Something that goes wrong until the rig is healed. Who the master is, is seen when it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    MasterKilled,
    /// SIGSTOP; thawed after the failover.
    MasterFrozen,
    /// Its replicas hear nothing new for a while, and then it is killed: what they miss is lost with it.
    MasterKilledBehind(Duration),
    /// One replica hears nothing new for a while; then the master and the other replica are killed, and it is all there is.
    OthersKilled(Duration),
    /// Every Redis, at once.
    AllKilled,
    /// It and one web server, perhaps a replica too, are parted from all others: it goes on as a master beside the new one.
    MasterApart {
        web: usize,
        with_replica: bool,
        flow: Flow,
        both_ways: bool,
    },
    /// A replica hears nobody, and is not heard.
    ReplicaCut(Flow),
    ReplicaKilled,
    WebKilled(usize),
    SentinelKilled(usize),
    /// One direction of a link each.
    Links(Vec<(Node, Node, Flow)>),
}

/// A fault, when it begins after the one before was healed, and how long it lasts.
#[derive(Debug, Clone)]
pub struct Step {
    pub after: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// What goes wrong within `time`.
pub fn plan(seed: u64, shape: &Shape, time: Duration) -> Vec<Step> {
    let mut random = Random::new(seed, u64::MAX);
    let mut steps = Vec::new();
    let mut at = Duration::ZERO;
    // Each kind comes once before one comes again.
    let mut kinds = Vec::new();
    while at < time {
        if kinds.is_empty() {
            kinds =
                if *shape == Shape::Alone { vec![0, 1, 6, 8] } else { vec![0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10] };
        }
        let fault = fault(kinds.swap_remove(random.index(kinds.len())), shape, &mut random);
        let after = Duration::from_millis(random.within(2_000..6_000));
        let lasts = Duration::from_millis(match fault {
            Fault::WebKilled(_) => random.within(500..3_000),
            Fault::MasterKilled | Fault::MasterKilledBehind(_) => random.within(300..8_000),
            _ => random.within(2_000..8_000),
        });
        at += after + lasts;
        steps.push(Step { after, fault, lasts });
    }
    steps
}

fn fault(kind: u32, shape: &Shape, random: &mut Random) -> Fault {
    match kind {
        0 => Fault::MasterKilled,
        1 => Fault::MasterFrozen,
        2 => Fault::MasterKilledBehind(Duration::from_millis(random.within(100..800))),
        3 => {
            let (web, with_replica) = (random.index(WEBS), random.one_in(2));
            Fault::MasterApart { web, with_replica, flow: broken(random), both_ways: random.one_in(2) }
        }
        4 => Fault::ReplicaCut(broken(random)),
        5 => Fault::ReplicaKilled,
        6 => Fault::WebKilled(random.index(WEBS)),
        7 => Fault::SentinelKilled(random.index(SENTINELS)),
        9 => Fault::AllKilled,
        10 => Fault::OthersKilled(Duration::from_millis(random.within(300..1_500))),
        _ => Fault::Links((0..random.within(1..5)).map(|_| disturbed(shape, random)).collect()),
    }
}

fn broken(random: &mut Random) -> Flow {
    if random.one_in(2) { Flow::Cut } else { Flow::Stall }
}

/// One direction of a link at random.
fn disturbed(shape: &Shape, random: &mut Random) -> (Node, Node, Flow) {
    let server = match shape {
        Shape::Alone => Node::Redis(0),
        Shape::Sentinels(_) => match random.within(0..4) {
            3 => Node::Sentinel(random.index(SENTINELS)),
            number => Node::Redis(number as usize),
        },
    };
    let other = match (shape, random.within(0..3)) {
        (Shape::Sentinels(_), 0) => Node::Redis(random.index(3)),
        (Shape::Sentinels(_), 1) => Node::Sentinel(random.index(SENTINELS)),
        _ => Node::Web(random.index(WEBS)),
    };
    let flow =
        if random.one_in(2) { Flow::Delay(Duration::from_millis(random.within(20..600))) } else { broken(random) };
    if random.one_in(2) { (server, other, flow) } else { (other, server, flow) }
}

/// Lets it go wrong, and heals it when its time is over; gives a word on whom it hit.
pub fn inflict(rig: &Rig, step: &Step, say: impl Fn(&str)) {
    let master = rig.master();
    say(&format!("{:?}, the master being {master:?}", step.fault));
    let began = Instant::now();
    let replicas: Vec<Node> = rig.redises().filter(|node| *node != master).collect();
    let replica = replicas.first().copied();
    match &step.fault {
        Fault::MasterKilled => rig.kill(master),
        Fault::MasterFrozen => rig.freeze(master),
        Fault::MasterKilledBehind(by) => {
            replicas.iter().for_each(|replica| rig.links.set(master, *replica, Flow::Stall));
            std::thread::sleep(*by);
            rig.kill(master);
        }
        Fault::OthersKilled(by) => {
            rig.links.set(master, replicas[0], Flow::Stall);
            std::thread::sleep(*by);
            [master, replicas[1]].iter().for_each(|node| rig.kill(*node));
        }
        Fault::AllKilled => rig.redises().for_each(|node| rig.kill(node)),
        Fault::MasterApart { web, with_replica, flow, both_ways } => {
            let mut side = vec![master, Node::Web(*web)];
            side.extend(replica.filter(|_| *with_replica));
            for other in rig.nodes().filter(|node| !side.contains(node)) {
                for node in &side {
                    rig.links.set(*node, other, *flow);
                    if *both_ways {
                        rig.links.set(other, *node, *flow);
                    }
                }
            }
        }
        Fault::ReplicaCut(flow) => {
            for (replica, other) in replica.iter().flat_map(|replica| rig.nodes().map(|other| (*replica, other))) {
                rig.links.set_both(replica, other, *flow);
            }
        }
        Fault::ReplicaKilled => replica.into_iter().for_each(|replica| rig.kill(replica)),
        Fault::WebKilled(number) => rig.kill(Node::Web(*number)),
        Fault::SentinelKilled(number) => rig.kill(Node::Sentinel(*number)),
        Fault::Links(links) => links.iter().for_each(|(from, to, flow)| rig.links.set(*from, *to, *flow)),
    }
    if failover_is_due(&step.fault) && rig.sentinels().next().is_some() {
        let deadline = began + Duration::from_secs(15);
        while rig.master() == master && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        say(&format!("the master is {:?} after {} ms", rig.master(), began.elapsed().as_millis()));
    }
    std::thread::sleep(step.lasts.saturating_sub(began.elapsed()));
    rig.heal();
    say("healed");
}

/// Whether the fault is no good before the Sentinels have chosen another master.
fn failover_is_due(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::MasterFrozen | Fault::MasterApart { .. } | Fault::MasterKilledBehind(_) | Fault::OthersKilled(_)
    )
}
