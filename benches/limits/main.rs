//! How near the server comes to what the machine can do: each kind of work beside its limit, in turns, in the same run.
//!
//! `scripts/bench [--full] [--without-redis] [GROUP]…`, the groups being those of [`GROUPS`]. `RUNS` (5), `SIZE` in MiB (1024),
//! `SECONDS` of whatever is repeated (3). What each row means: `docs/performance.md`.

mod bare;
mod bulk;
mod claims;
mod cli;
mod cycles;
mod disk;
mod held;
mod http;
mod load;
mod memory;
mod page;
mod process;
mod served;
mod servers;
mod share;
mod table;

use std::env;
use std::process::exit;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use table::Report;

const MIB: u64 = 1 << 20;
/// Clients that work at once, where it is not said otherwise.
const CLIENTS: usize = 32;
/// Bytes of a small share's content.
const SMALL: u64 = 4096;

struct Options {
    runs: usize,
    /// Bytes of a large file.
    size: u64,
    /// How long something is repeated.
    time: Duration,
    full: bool,
    redis: bool,
}

type Group = fn(&Options, &mut Report);

/// What is measured, by the name that chooses it.
const GROUPS: [(&str, Group); 11] = [
    ("big", bulk::embedded),
    ("cli", cli::command_line),
    ("redis", bulk::redis),
    ("cycles", cycles::of_small_shares),
    ("page", page::page),
    ("memory", memory::memory),
    ("slow", held::slow),
    ("idle", held::idle),
    ("start", memory::start),
    ("disk", disk::disk),
    ("claims", claims::claims),
];

fn main() {
    if let [_, flag, address, redis] = &env::args().collect::<Vec<_>>()[..]
        && flag == bare::FLAG
    {
        bare::serve(address.parse().expect("an address"), redis.parse().expect("an address"));
    }
    let (options, chosen) = arguments();
    // For clients and servers alike, who inherit it: ten thousand connections are ten thousand files.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    println!(
        "medians of {} runs; in memory, where it is not said otherwise; nginx with a worker per core",
        options.runs
    );
    let mut report = Report::default();
    for (name, group) in GROUPS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            group(&options, &mut report);
        }
    }
    report.close();
}

/// What the command line and the environment ask for, and which groups; none means all.
fn arguments() -> (Options, Vec<String>) {
    let number = |name: &str, or: u64| match env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| refuse(&format!("{name} must be a number, not {value:?}"))),
        Err(_) => or,
    };
    let mut options = Options {
        runs: number("RUNS", 5).max(1) as usize,
        size: number("SIZE", 1024).max(1) * MIB,
        time: Duration::from_secs(number("SECONDS", 3).max(1)),
        full: false,
        redis: true,
    };
    let mut chosen = Vec::new();
    for argument in env::args().skip(1) {
        match &*argument {
            "--full" => options.full = true,
            "--without-redis" => options.redis = false,
            // Cargo says so to every benchmark.
            "--bench" => {}
            name if GROUPS.iter().any(|group| group.0 == name) => chosen.push(argument),
            other => {
                let names: Vec<&str> = GROUPS.iter().map(|group| group.0).collect();
                refuse(&format!("{other:?} is no group: choose among {}", names.join(", ")))
            }
        }
    }
    (options, chosen)
}

fn refuse(why: &str) -> ! {
    eprintln!("scripts/bench: {why}");
    exit(2)
}
