//! How much work the server makes of a piece of work, counted: what a clock tells depends on the machine and its mood, a count
//! does not. A change for the worse fails here. Each bound stands beside what was seen when it was set.
//!
//! Needs strace and valgrind, and leave to trace processes.

#[path = "../../benches/limits/http.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod http;
#[path = "../servers/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "other suites use the rest")]
mod redis_server;
#[path = "../../benches/limits/share.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod share;

mod called;
mod memory;
mod server;
mod system_calls;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::called::Called;
use crate::http::Client;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::share::{Share, finish};
use crate::system_calls::{Calls, Traced};

const MIB: u64 = 1 << 20;
/// A large share, in MiB.
const LARGE: u64 = 64;
/// Bytes of a small one.
const SMALL: u64 = 4096;
/// Transfers at the same time.
const AT_ONCE: usize = 16;
/// Small shares whose counts are averaged.
const CYCLES: u32 = 100;

/// A count that was once seen, and what it may be.
struct Bound {
    seen: f64,
    most: f64,
}

/// A count that is always the same, but for what goes on in the background.
const fn same(seen: f64) -> Bound {
    Bound { seen, most: seen * 1.03 }
}

/// A count that differs a little between processors.
const fn nearly(seen: f64) -> Bound {
    Bound { seen, most: seen * 1.06 }
}

/// A count that depends a little on what the kernel has ready.
const fn about(seen: f64) -> Bound {
    Bound { seen, most: seen * 1.2 }
}

/// A count that depends on how often threads wait for each other.
const fn roughly(seen: f64) -> Bound {
    Bound { seen, most: seen * 1.6 }
}

impl Bound {
    /// Fails where the count is too high, with `detail` for whoever looks for the cause.
    #[track_caller]
    fn check(&self, count: f64, what: &str, detail: &dyn Debug) {
        let Self { seen, most } = self;
        println!("{what}: {count:.2}, seen {seen}, at most {most:.2}");
        assert!(count <= *most, "{what}: {count:.2}, more than {most:.2} ({seen} once): {detail:#?}");
    }
}

/// Held by each test: beside another it would be slower, and somebody slow is served in smaller pieces.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates, claims and reads small shares over one connection.
fn cycles(client: &mut Client, count: u32) {
    let share = Share::new(SMALL);
    for _ in 0..count {
        let claim = share.upload_at_once(client).claim(client);
        share.read(client, &claim);
    }
}

/// System calls of a large share's way up and its way down.
fn bulk(redis: Option<&RedisServer>) -> [Calls; 2] {
    let traced = Traced::start(redis);
    let (mut client, share) = (traced.client(), Share::new(LARGE * MIB));
    traced.mark("up");
    let uploaded = share.upload(&mut client);
    traced.mark("claim");
    let claim = uploaded.claim(&mut client);
    traced.mark("down");
    share.read(&mut client, &claim);
    traced.mark("end");
    finish(&mut client, &claim);
    let trace = traced.end();
    [trace.between("up", "claim"), trace.between("down", "end")]
}

/// `bounds`: for up and down, of the calls that move bytes and of all, in a MiB.
fn check_bulk(store: &str, calls: &[Calls; 2], bounds: &[[Bound; 2]; 2]) {
    for ((way, calls), [moving, all]) in ["up", "down"].iter().zip(calls).zip(bounds) {
        let mib = LARGE as f64;
        moving.check(calls.moving() / mib, &format!("{store}, {way}: system calls that move bytes, in a MiB"), calls);
        all.check(calls.all() / mib, &format!("{store}, {way}: system calls in a MiB"), calls);
    }
}

#[test]
fn system_calls_of_a_large_embedded_share() {
    let _alone = alone();
    let bounds = [[about(5.4), roughly(10.4)], [roughly(14.3), roughly(32.0)]];
    check_bulk("embedded", &bulk(None), &bounds);
}

#[test]
fn system_calls_of_a_large_share_in_redis() {
    let _alone = alone();
    let bounds = [[roughly(8.0), roughly(11.4)], [roughly(13.2), roughly(19.4)]];
    check_bulk("Redis", &bulk(Some(&in_memory())), &bounds);
}

#[test]
fn system_calls_of_a_small_embedded_share() {
    let _alone = alone();
    let traced = Traced::start(None);
    let mut client = traced.client();
    cycles(&mut client, 1);
    traced.mark("begin");
    cycles(&mut client, CYCLES);
    traced.mark("end");
    for group in 0..10 {
        traced.mark(&group.to_string());
        cycles(&mut client, 10);
    }
    let trace = traced.end();
    let syncs = (1..10).map(|group| {
        let calls = trace.between(&(group - 1).to_string(), &group.to_string());
        (calls.of("fsync") + calls.of("fdatasync")) as u32
    });
    // Two for each, as the benchmark takes it, too (`benches/limits/disk.rs`), and what the last of the group counted. The least:
    // what is asked 5 ms later finds the count before it committed by itself.
    let syncs = syncs.min().expect("some");
    about(21.0).check(syncs.into(), "syncs for ten small shares", &syncs);
    let calls = trace.between("begin", "end");
    let each = |count: f64| count / f64::from(CYCLES);
    about(25.4).check(each(calls.moving()), "system calls that move bytes, for a small share", &calls);
    roughly(62.0).check(each(calls.all()), "system calls for a small share", &calls);
}

#[test]
fn commands_for_a_small_share_in_redis() {
    let _alone = alone();
    let redis = in_memory();
    let server = Server::start(|_| Command::new("env"), Some(&redis));
    let mut client = Client::connect(server.address);
    cycles(&mut client, 1);
    let counts = (0..CYCLES).map(|_| {
        let before = commands(&redis);
        cycles(&mut client, 1);
        let mut calls = commands(&redis);
        calls.iter_mut().for_each(|(name, calls)| *calls -= before.get(name).unwrap_or(&0));
        calls.retain(|name, _| name != "info" && name != "ping");
        (calls.remove("evalsha").unwrap_or(0), calls.values().sum::<u64>())
    });
    // The least of them: now and then the server looks beside it at the room that is left.
    let (sent, called) = counts.min().expect("some");
    same(3.0).check(sent as f64, "scripts for a small share in Redis", &sent);
    same(15.0).check(called as f64, "commands that they call, and the one beside them", &called);
}

/// A Redis that does not wait for a disk.
fn in_memory() -> RedisServer {
    RedisServer::start(&["--appendonly", "no"])
}

/// Calls of each command so far, those by scripts included.
fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", redis.port())).expect("an address");
    let mut connection = client.get_connection().expect("it answers");
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).expect("it tells");
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(calls).collect()
}

#[test]
fn memory_of_many_transfers_at_once() {
    let _alone = alone();
    // Where Redis is slow, more chunks wait for it.
    let on_redis = Bound { seen: 6.0, most: 18.0 };
    for (store, redis, bound) in [("embedded", None, roughly(4.0)), ("Redis", Some(in_memory()), on_redis)] {
        let server = Server::start(|_| Command::new("env"), redis.as_ref());
        let transfer = || {
            let (mut client, share) = (Client::connect(server.address), Share::new(LARGE * MIB));
            let claim = share.upload(&mut client).claim(&mut client);
            share.read(&mut client, &claim);
            finish(&mut client, &claim);
        };
        // What the first one takes stays.
        transfer();
        let before = memory::held(&server);
        let peaks = [(); 3].map(|()| memory::peak(&server, AT_ONCE, transfer) - before);
        let least = peaks.iter().copied().fold(f64::INFINITY, f64::min);
        bound.check(least, &format!("{store}: MiB held for {AT_ONCE} transfers at once"), &peaks);
    }
}

#[test]
fn instructions_and_allocations() {
    let _alone = alone();
    let mut called = Called::start();
    cycles(&mut called.client(), 5);
    let ((), small) = called.during(f64::from(CYCLES), |client| cycles(client, CYCLES));
    nearly(2.34e6).check(small.instructions, "instructions for a small share", &small);
    same(210.7).check(small.allocations, "allocations for a small share", &small);

    // Not down: callgrind makes everything slow, and somebody slow is served in smaller pieces.
    let (_, up) = called.during(LARGE as f64, |client| Share::new(LARGE * MIB).upload(client));
    about(0.22e6).check(up.instructions, "instructions for a MiB up", &up);
    about(15.0).check(up.allocations, "allocations for a MiB up", &up);
}
