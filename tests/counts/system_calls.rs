//! System calls, as strace writes them down.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::http::Client;
use crate::redis_server::RedisServer;
use crate::server::Server;

/// Calls that move bytes between the server, its clients and its store.
const MOVING: [&str; 17] = [
    "copy_file_range",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "sendfile",
    "sendmsg",
    "sendto",
    "splice",
    "write",
    "writev",
];
/// Bytes that a thread writes to wake another one (eventfd(2)): nobody's bytes.
const WAKES: i64 = 8;

/// A server whose system calls are written down.
pub(crate) struct Traced(Server);

impl Traced {
    pub(crate) fn start(redis: Option<&RedisServer>) -> Self {
        Self(Server::start(
            |folder| {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-s", "24", "-e", "signal=none", "-o"]).arg(folder.join("trace"));
                strace
            },
            redis,
        ))
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.0.address)
    }

    /// Marks this moment in what is written down: by a request of a client of its own, that nothing answers to.
    pub(crate) fn mark(&self, name: &str) {
        self.client().ask("GET", &mark(name), "", b"").is(404);
    }

    /// Ends the server; gives what was written down.
    pub(crate) fn end(mut self) -> Trace {
        self.0.end();
        Trace(fs::read_to_string(self.0.folder().join("trace")).expect("strace has written"))
    }
}

fn mark(name: &str) -> String {
    format!("/{name}.mark")
}

/// All that was written down, one line a call.
pub(crate) struct Trace(String);

impl Trace {
    /// The calls that ended between two marks.
    pub(crate) fn between(&self, from: &str, to: &str) -> Calls {
        let at = |name: &str| self.0.find(&format!("\"GET {} ", mark(name))).expect("the server read the mark");
        let mut calls = Calls::default();
        self.0[at(from)..at(to)].lines().skip(1).for_each(|line| calls.add(line));
        calls
    }
}

/// How often each call ended, and how often it moved bytes.
#[derive(Debug, Default)]
pub(crate) struct Calls(BTreeMap<String, [u64; 2]>);

impl Calls {
    /// Counts a line: `1234 read(3, "…", 10) = 10`, or, where another thread came between, `1234 <... read resumed>"…", 10) = 10`.
    fn add(&mut self, line: &str) {
        let Some((_, call)) = line.split_once(' ') else { return };
        let call = call.trim_start().trim_start_matches("<... ");
        let Some((start, result)) = call.rsplit_once(" = ") else { return };
        let name: String = start.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let result = result.split(' ').next().and_then(|result| result.parse::<i64>().ok()).unwrap_or(0);
        let wakes = name == "write" && result == WAKES;
        let moves = result > 0 && MOVING.contains(&&*name) && !wakes;
        let counts = self.0.entry(name).or_default();
        counts[0] += 1;
        counts[1] += u64::from(moves);
    }

    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0.get(name).map_or(0.0, |counts| counts[0] as f64)
    }

    pub(crate) fn all(&self) -> f64 {
        self.0.values().map(|counts| counts[0] as f64).sum()
    }

    pub(crate) fn moving(&self) -> f64 {
        self.0.values().map(|counts| counts[1] as f64).sum()
    }
}
