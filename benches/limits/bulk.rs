//! One large file up and down: as fast as nginx moves it, or redis-benchmark.

use crate::load::{Trip, plain, sealed, webdav};
use crate::process::{Cost, Process, warm};
use crate::servers::FORGETFUL;
use crate::table::Target::{AtLeast, AtMost};
use crate::table::{Report, Row, ratios};
use crate::{MIB, Options};

/// A pair of rows, up and down.
pub(crate) struct Pair(pub(crate) Row, pub(crate) Row);

impl Pair {
    pub(crate) fn new(name: &str) -> Self {
        Self(Row::new(&format!("{name} up")), Row::new(&format!("{name} down")))
    }

    /// A pair that has to come so near to its limit.
    pub(crate) fn at_least(name: &str, up: f64, down: f64) -> Self {
        Self(Row::at_least(&format!("{name} up"), up), Row::at_least(&format!("{name} down"), down))
    }

    pub(crate) fn add(&mut self, size: u64, trip: impl FnOnce() -> Trip) {
        warm(size);
        self.moved(size, &trip());
    }

    /// As [`Pair::add`], of a trip that is over.
    pub(crate) fn moved(&mut self, size: u64, trip: &Trip) {
        moved(&mut self.0, size, trip.up);
        moved(&mut self.1, size, trip.down);
    }
}

/// Adds a run that moved so many bytes.
pub(crate) fn moved(row: &mut Row, size: u64, cost: Cost) {
    row.add(size as f64 / cost.seconds / 1e6, cost, size as f64 / (1 << 30) as f64);
}

pub(crate) fn title(options: &Options) -> String {
    format!("{} MiB, MB/s", options.size / MIB)
}

/// The embedded store beside nginx.
pub(crate) fn embedded(options: &Options, report: &mut Report) {
    let (nginx, server) = (Process::nginx(), Process::ours(None));
    let mut limit = Pair::new("nginx WebDAV");
    let mut own = [Pair::at_least("sealed, embedded", 0.9, 0.95), Pair::at_least("plain, embedded", 0.7, 0.7)];
    for _ in 0..options.runs {
        limit.add(options.size, || webdav(&nginx, options.size));
        own[0].add(options.size, || sealed(&server, options.size));
        own[1].add(options.size, || plain(&server, options.size));
    }
    report.table(&title(options), "CPU s/GiB", &[&limit.0, &own[0].0, &own[1].0]);
    report.table(&title(options), "CPU s/GiB", &[&limit.1, &own[0].1, &own[1].1]);
    let name = "CPU of a sealed, embedded";
    report.figure(&format!("{name} upload"), "× nginx", &ratios(&own[0].0.cpu, &limit.0.cpu), Some(AtMost(1.1)));
    report.figure(&format!("{name} download"), "× nginx", &ratios(&own[0].1.cpu, &limit.1.cpu), Some(AtMost(1.1)));
}

/// On Redis, beside redis-benchmark.
pub(crate) fn redis(options: &Options, report: &mut Report) {
    if !options.redis {
        return;
    }
    let (bare, redis) = (Process::redis(FORGETFUL), Process::redis(FORGETFUL));
    let (server, through) = (Process::ours(Some(&redis)), Process::bare(&redis));
    let (mut set, mut get) = (Row::new("redis-benchmark SET of 1 MiB"), Row::new("redis-benchmark GET of 1 MiB"));
    let mut fresh = Row::new("the same, each under its own key");
    let mut least = Pair::new("a bare server, Redis");
    let mut own = [Pair::at_least("sealed, Redis", 0.9, 0.9), Pair::new("plain, Redis")];
    let count = (options.size / MIB).to_string();
    let bulk = |test: &[&str]| {
        bare.redis_benchmark(&[&["-d", "1048576", "-c", "1", "-n", &count, "-t"], test].concat()) * MIB as f64 / 1e6
    };
    for _ in 0..options.runs {
        set.figures.push(bulk(&["set"]));
        // What we do: new memory for every byte, where one key's is used again.
        fresh.figures.push(bulk(&["set", "-r", "1000000000"]));
        bare.redis_cli(&["flushall"]);
        bulk(&["set"]);
        get.figures.push(bulk(&["get"]));
        least.add(options.size, || sealed(&through, options.size));
        own[0].add(options.size, || sealed(&server, options.size));
        // A plain share is freed a minute after: on the way there Redis must hold all runs at once.
        own[1].add(options.size, || plain(&server, options.size));
    }
    report.table(&title(options), "CPU s/GiB", &[&set, &fresh, &least.0, &own[0].0, &own[1].0]);
    report.table(&title(options), "CPU s/GiB", &[&get, &least.1, &own[0].1, &own[1].1]);
    let name = "Redis up, where each value has its own key";
    report.figure(&format!("a bare server, {name}"), "× SET", &ratios(&least.0.figures, &fresh.figures), None);
    let target = Some(AtLeast(0.9));
    report.figure(&format!("sealed, {name}"), "× SET", &ratios(&own[0].0.figures, &fresh.figures), target);
}
