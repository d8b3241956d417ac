//! The work that is measured, each kind against ours and against the limit.

use std::fs::File;
use std::io::{Write, sink};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use onetimeshare::share::Token;

use crate::http::{Client, Payload};
use crate::process::{Cost, Process};
use crate::share::{Share, finish, put, take};

/// Up and down again.
pub(crate) struct Trip {
    pub(crate) up: Cost,
    pub(crate) down: Cost,
}

/// Sealed by the client, over tus.
pub(crate) fn sealed(server: &Process, size: u64) -> Trip {
    sealed_into(server, size, &mut sink())
}

/// The same; what comes down is written to `content`.
pub(crate) fn sealed_into(server: &Process, size: u64, content: &mut impl Write) -> Trip {
    let (share, mut client) = (Share::new(size), server.client());
    let (uploaded, up) = server.measure(|| share.upload(&mut client));
    let (claim, down) = server.measure(|| {
        let claim = uploaded.claim(&mut client);
        share.read_into(&mut client, &claim, content);
        claim
    });
    finish(&mut client, &claim);
    Trip { up, down }
}

/// Brings a share out of a file of so many bytes, and seals it on the way; gives what bringing it cost.
pub(crate) fn sealing(server: &Process, size: u64, source: &File) -> Cost {
    let (share, mut client) = (Share::new(size), server.client());
    let (uploaded, up) = server.measure(|| share.upload_sealing(&mut client, source));
    uploaded.revoke(&mut client);
    up
}

/// Sealed and unsealed by the server, as for curl. What it leaves is freed a minute later.
pub(crate) fn plain(server: &Process, size: u64) -> Trip {
    let (payload, mut client) = (Payload::new(Vec::new(), size), server.client());
    let (link, up) = server.measure(|| put(&mut client, &payload));
    let (length, down) = server.measure(|| take(&mut client, &link));
    assert_eq!(length, size);
    Trip { up, down }
}

/// The same bytes through nginx.
pub(crate) fn webdav(nginx: &Process, size: u64) -> Trip {
    let (payload, mut client) = (Payload::new(Vec::new(), size), nginx.client());
    let name = format!("/{}", Token::random());
    let (_, up) = nginx.measure(|| client.send("PUT", &name, "", &payload, 0..size).is(201));
    let (length, down) = nginx.measure(|| client.fetch(&name));
    assert_eq!(length, size);
    client.ask("DELETE", &name, "", b"").is(204);
    Trip { up, down }
}

/// Does `work` in `count` threads at once.
pub(crate) fn at_once(count: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(&work))));
}

/// Cycles that many clients did, and how long each cycle took.
pub(crate) struct Cycles {
    pub(crate) cost: Cost,
    latencies: Vec<f64>,
}

impl Cycles {
    pub(crate) fn count(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub(crate) fn a_second(&self) -> f64 {
        self.count() / self.cost.seconds
    }

    /// Milliseconds that the median took, and the 99th in a hundred.
    pub(crate) fn latency(&self) -> (f64, f64) {
        percentiles(self.latencies.clone())
    }
}

/// The median, and the 99th in a hundred.
pub(crate) fn percentiles(mut latencies: Vec<f64>) -> (f64, f64) {
    latencies.sort_by(f64::total_cmp);
    (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100])
}

/// How long it took, in milliseconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed().as_secs_f64() * 1e3)
}

/// `create`, `claim`, `read`, over and over, by `clients` with a connection each.
pub(crate) fn cycles(server: &Process, clients: usize, time: Duration, size: u64) -> Cycles {
    let share = Share::new(size);
    repeat(server, clients, time, |client| {
        let claim = share.upload_at_once(client).claim(client);
        share.read(client, &claim);
    })
}

/// PUT, GET and DELETE through nginx.
pub(crate) fn webdav_cycles(nginx: &Process, clients: usize, time: Duration, size: u64) -> Cycles {
    let payload = Payload::new(Vec::new(), size);
    repeat(nginx, clients, time, |client| {
        let name = format!("/{}", Token::random());
        client.send("PUT", &name, "", &payload, 0..size).is(201);
        assert_eq!(client.fetch(&name), size);
        client.ask("DELETE", &name, "", b"").is(204);
    })
}

fn repeat(server: &Process, clients: usize, time: Duration, cycle: impl Fn(&mut Client) + Sync) -> Cycles {
    let barrier = Barrier::new(clients);
    let client = || {
        let (mut client, mut latencies) = (server.client(), Vec::new());
        cycle(&mut client);
        barrier.wait();
        let begun = Instant::now();
        while begun.elapsed() < time {
            latencies.push(timed(|| cycle(&mut client)).1);
        }
        latencies
    };
    let (latencies, cost) = server.measure(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect::<Vec<f64>>()
        })
    });
    Cycles { cost: Cost { seconds: time.as_secs_f64(), ..cost }, latencies }
}
