//! Small shares: created, claimed and read, as many a second as can be.

use crate::load::{Cycles, cycles, webdav_cycles};
use crate::process::Process;
use crate::servers::{ALWAYS, EVERY_SECOND};
use crate::table::Target::AtLeast;
use crate::table::{Report, Row};
use crate::{CLIENTS, Options, SMALL};

/// The embedded store and Redis beside nginx, then Redis with `always` beside redis-benchmark.
pub(crate) fn of_small_shares(options: &Options, report: &mut Report) {
    let (nginx, embedded) = (Process::nginx(), Process::ours(None));
    let redis = options.redis.then(|| OnRedis::start(EVERY_SECOND));
    let mut rows = vec![Row::new("nginx PUT, GET, DELETE"), Row::at_least("embedded", 0.8)];
    rows.extend(redis.as_ref().map(|_| Row::new("Redis, everysec")));
    for _ in 0..options.runs {
        add(&mut rows[0], &webdav_cycles(&nginx, CLIENTS, options.time, SMALL));
        add(&mut rows[1], &cycles(&embedded, CLIENTS, options.time, SMALL));
        if let Some(redis) = &redis {
            add(&mut rows[2], &redis.cycles(options));
        }
    }
    report.table("4 KiB: create, claim, read; /s", "CPU ms/cycle", &rows.iter().collect::<Vec<_>>());
    if redis.is_some() {
        report.figure("cycles on Redis with everysec", "/s", &rows[2].figures, Some(AtLeast(10_000.0)));
        always(options, report);
    }
}

/// Our cycles in commands, for a command is what redis-benchmark counts.
fn always(options: &Options, report: &mut Report) {
    let (bare, redis) = (Process::redis(ALWAYS), OnRedis::start(ALWAYS));
    let mut limit = Row::new("redis-benchmark SET of 4 KiB, always");
    let (mut commands, mut cycles) = (Row::at_least("create, claim, read on Redis, always", 0.7), Vec::new());
    let mut all = Row::new("commands that these call");
    for _ in 0..options.runs {
        // As many as take about as long as our cycles.
        let count = (limit.figures.last().unwrap_or(&10_000.0) * options.time.as_secs_f64()).max(1.0);
        let (size, clients) = (SMALL.to_string(), CLIENTS.to_string());
        let count = format!("{count:.0}");
        let set = ["-t", "set", "-r", "1000000", "-d", &size, "-c", &clients, "-n", &count];
        limit.figures.push(bare.redis_benchmark(&set));
        bare.redis_cli(&["flushall"]);
        let before = calls(&redis.store);
        let done = redis.cycles(options);
        let after = calls(&redis.store);
        let (sent, called) = (after.0 - before.0, after.1 - before.1);
        commands.add(sent / done.cost.seconds, done.cost, sent / 1e3);
        all.add(called / done.cost.seconds, done.cost, called / 1e3);
        cycles.push(done.a_second());
    }
    report.table("with appendfsync always, commands/s", "CPU ms/cmd", &[&limit, &commands, &all]);
    report.figure("cycles on Redis with always", "/s", &cycles, None);
}

/// Scripts that a Redis was asked to run so far, and the commands that it did: those that scripts call are counted beside them in
/// `INFO commandstats`, but nobody sends those.
fn calls(redis: &Process) -> (f64, f64) {
    let stats = redis.redis_cli(&["info", "commandstats"]);
    let calls = stats.lines().filter_map(|line| {
        let (name, calls) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name, calls.split(',').next()?.parse::<f64>().ok()?))
    });
    let (scripts, others): (Vec<_>, Vec<_>) = calls.partition(|(name, _)| *name == "evalsha");
    let sum = |of: Vec<(&str, f64)>| of.into_iter().map(|(_, calls)| calls).sum();
    (sum(scripts), sum(others))
}

/// Our server and the Redis behind it.
struct OnRedis {
    server: Process,
    store: Process,
}

impl OnRedis {
    fn start(persistence: &[&str]) -> Self {
        let store = Process::redis(persistence);
        Self { server: Process::ours(Some(&store)), store }
    }

    /// Cycles that begin on an empty Redis: its log must not grow from run to run.
    fn cycles(&self, options: &Options) -> Cycles {
        self.store.redis_cli(&["flushall"]);
        cycles(&self.server, CLIENTS, options.time, SMALL)
    }
}

fn add(row: &mut Row, cycles: &Cycles) {
    row.add(cycles.a_second(), cycles.cost, cycles.count() / 1e3);
    row.latencies.push(cycles.latency());
}
