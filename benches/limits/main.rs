//! How near the server comes to what the machine can do: each kind of work beside its limit, in turns, in the same run.
//!
//! `scripts/bench [--full] [--without-redis] [big|redis|cycles|memory|start]…`. `RUNS` (5), `SIZE` in MiB (1024), `SECONDS` of cycles (3).

mod http;
mod load;
mod process;
mod table;

use std::env;
use std::process::Command;
use std::time::Duration;

use load::{Cycles, Trip, at_once, cycles, plain, sealed, webdav, webdav_cycles};
use process::{Process, warm};
use table::{Row, median, print};

const MIB: u64 = 1 << 20;
const CLIENTS: usize = 32;
const SMALL: u64 = 4096;

struct Options {
    runs: usize,
    size: u64,
    cycling: Duration,
    full: bool,
    redis: bool,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |name, or| env::var(name).map_or(or, |value| value.parse().expect("a number"));
    let options = Options {
        runs: number("RUNS", 5) as usize,
        size: number("SIZE", 1024) * MIB,
        cycling: Duration::from_secs(number("SECONDS", 3)),
        full: arguments.iter().any(|a| a == "--full"),
        redis: !arguments.iter().any(|a| a == "--without-redis"),
    };
    let chosen: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|&a| a == name);
    println!(
        "{} runs; everything in memory; nginx with a worker for each core; Redis without persistence",
        options.runs
    );
    if wants("big") {
        big(&options);
    }
    if wants("redis") && options.redis {
        on_redis(&options);
    }
    if wants("cycles") {
        small(&options);
    }
    if wants("memory") {
        memory("embedded", None, &options);
        if options.redis {
            memory("Redis", Some(&Process::redis()), &options);
        }
    }
    if wants("start") {
        let starts: Vec<f64> = (0..10).map(|_| Process::first_answer()).collect();
        println!("\nstart to first answer: {:.1} ms (median of 10, target ≤ 50)", median(&starts));
    }
}

/// A pair of rows, up and down.
struct Pair(Row, Row);

impl Pair {
    fn new(name: &str) -> Self {
        Self(Row::new(&format!("{name} up")), Row::new(&format!("{name} down")))
    }

    fn add(&mut self, size: u64, trip: impl FnOnce() -> Trip) {
        warm(size);
        let trip = trip();
        for (row, cost) in [(&mut self.0, trip.up), (&mut self.1, trip.down)] {
            row.add(size as f64 / cost.seconds / 1e6, cost, size as f64 / (1 << 30) as f64);
        }
    }
}

fn big(options: &Options) {
    let (nginx, server) = (Process::nginx(), Process::ours(None));
    let mut pairs = [Pair::new("nginx WebDAV"), Pair::new("sealed, embedded"), Pair::new("plain, embedded")];
    for _ in 0..options.runs {
        pairs[0].add(options.size, || webdav(&nginx, options.size));
        pairs[1].add(options.size, || sealed(&server, options.size));
        pairs[2].add(options.size, || plain(&server, options.size));
    }
    let title = format!("one file of {} MiB, MB/s", options.size / MIB);
    print(&title, "CPU s/GiB", &pairs.each_ref().map(|pair| &pair.0));
    print(&title, "CPU s/GiB", &pairs.each_ref().map(|pair| &pair.1));
    println!("targets: sealed ≥ 0.6, plain ≥ 0.4");
}

fn on_redis(options: &Options) {
    let (bare, redis) = (Process::redis(), Process::redis());
    let server = Process::ours(Some(&redis));
    let mut fresh = Row::new("the same, each under its own key");
    let mut pairs = [Pair::new("sealed, Redis"), Pair::new("plain, Redis")];
    let (mut set, mut get) = (Row::new("redis-benchmark SET of 1 MiB"), Row::new("redis-benchmark GET of 1 MiB"));
    for _ in 0..options.runs {
        set.figures.push(redis_benchmark(&bare, &["-t", "set"], options.size / MIB));
        // What we do: new memory for every byte, where one key's is used again.
        fresh.figures.push(redis_benchmark(&bare, &["-t", "set", "-r", "1000000000"], options.size / MIB));
        let port = bare.address.port().to_string();
        Command::new("redis-cli").args(["-p", &port, "flushall"]).output().expect("redis-cli");
        redis_benchmark(&bare, &["-t", "set"], 1);
        get.figures.push(redis_benchmark(&bare, &["-t", "get"], options.size / MIB));
        pairs[0].add(options.size, || sealed(&server, options.size));
        // A plain share is freed a minute after: on the way there Redis must hold all runs at once.
        pairs[1].add(options.size, || plain(&server, options.size));
    }
    let title = format!("one file of {} MiB, MB/s", options.size / MIB);
    print(&title, "CPU s/GiB", &[&set, &fresh, &pairs[0].0, &pairs[1].0]);
    print(&title, "CPU s/GiB", &[&get, &pairs[0].1, &pairs[1].1]);
    println!("target: ≥ 0.6");
}

/// MB/s of one client that moves values of 1 MiB.
fn redis_benchmark(redis: &Process, test: &[&str], count: u64) -> f64 {
    let (port, count) = (redis.address.port().to_string(), count.to_string());
    let arguments = [test, &["-p", &port, "-d", "1048576", "-c", "1", "-n", &count, "--csv"]].concat();
    let output = Command::new("redis-benchmark").args(arguments).output().expect("redis-benchmark");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().expect("a line");
    let rate: f64 = line.split(',').nth(1).and_then(|rate| rate.trim_matches('"').parse().ok()).expect("a rate");
    rate * MIB as f64 / 1e6
}

fn small(options: &Options) {
    let (nginx, embedded) = (Process::nginx(), Process::ours(None));
    let redis = options.redis.then(Process::redis);
    let on_redis = redis.as_ref().map(|redis| Process::ours(Some(redis)));
    let mut rows = vec![Row::new("nginx PUT, GET, DELETE"), Row::new("embedded")];
    rows.extend(on_redis.as_ref().map(|_| Row::new("Redis")));
    for _ in 0..options.runs {
        add_cycles(&mut rows[0], &webdav_cycles(&nginx, CLIENTS, options.cycling, SMALL));
        add_cycles(&mut rows[1], &cycles(&embedded, CLIENTS, options.cycling, SMALL));
        if let Some(server) = &on_redis {
            add_cycles(&mut rows[2], &cycles(server, CLIENTS, options.cycling, SMALL));
        }
    }
    print("4 KiB: create, claim, read; /s", "CPU ms/cycle", &rows.iter().collect::<Vec<_>>());
    println!("target: ≥ 6000 a second, by {CLIENTS} clients");
}

fn add_cycles(row: &mut Row, cycles: &Cycles) {
    let count = cycles.latencies.len();
    row.add(count as f64 / cycles.cost.seconds, cycles.cost, count as f64 / 1e3);
    row.latencies.push((cycles.latencies[count / 2], cycles.latencies[count * 99 / 100]));
}

fn memory(name: &str, redis: Option<&Process>, options: &Options) {
    let server = Process::ours(redis);
    assert_eq!(server.client().ask("GET", "/healthz", "", b"").status, 200);
    println!("\nmemory on {name}: idle {:.1} MiB (target ≤ 20); peaks (target ≤ 64):", server.memory("VmRSS:"));
    // Redis refuses more than 2 GiB.
    let size = if options.full && redis.is_none() { 5 << 30 } else { options.size };
    let peak = |what: String, work: &(dyn Fn() + Sync)| {
        server.forget_peak();
        work();
        let (peak, left) = (server.memory("VmHWM:"), server.memory("VmRSS:"));
        println!("    {what:<26}{peak:>7.1} MiB, {left:.1} after it");
    };
    peak(format!("1 × {} MiB sealed", size / MIB), &|| _ = sealed(&server, size));
    peak(format!("1 × {} MiB plain", size / MIB), &|| _ = plain(&server, size));
    peak("16 × 64 MiB sealed".to_owned(), &|| at_once(16, || _ = sealed(&server, 64 * MIB)));
    peak("16 × 64 MiB plain".to_owned(), &|| at_once(16, || _ = plain(&server, 64 * MIB)));
    peak("4 KiB cycles, 32 clients".to_owned(), &|| _ = cycles(&server, CLIENTS, options.cycling, SMALL));
}
