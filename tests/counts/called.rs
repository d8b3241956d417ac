//! Instructions and calls of functions, as callgrind counts them.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::server::{PATIENCE, Server};

/// A server run by callgrind.
pub(crate) struct Called {
    server: Server,
    /// What was written so far: callgrind numbers it.
    dumps: u32,
}

/// What a piece of work took.
#[derive(Debug)]
pub(crate) struct Count {
    /// In user space.
    pub(crate) instructions: f64,
    /// Calls of Rust's allocator, for more memory: new, or in place of what was too small.
    pub(crate) allocations: f64,
}

impl Called {
    pub(crate) fn start() -> Self {
        let valgrind = |folder: &std::path::Path| {
            let mut valgrind = Command::new("valgrind");
            let option = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
            valgrind.args(["--tool=callgrind", "--instr-atstart=no"]);
            valgrind.args([option("callgrind-out-file", "calls"), option("vgdb-prefix", "vgdb")]);
            valgrind
        };
        let called = Self { server: Server::start(valgrind, None), dumps: 0 };
        called.tell(&["instrumentation", "on"]);
        called
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.server.address)
    }

    /// Does `work` over a new connection, and tells what each of its `parts` took of the server.
    pub(crate) fn during<T>(&mut self, parts: f64, work: impl FnOnce(&mut Client) -> T) -> (T, Count) {
        self.tell(&["zero"]);
        let done = work(&mut self.client());
        self.tell(&["dump"]);
        self.dumps += 1;
        let dump = self.server.folder().join(format!("calls.{}", self.dumps));
        let Count { instructions, allocations } =
            Count::read(&fs::read_to_string(dump).expect("callgrind has written"));
        (done, Count { instructions: instructions / parts, allocations: allocations / parts })
    }

    /// Has callgrind do something. It looks for orders while the server does something, so the server is asked for something;
    /// vgdb could also stop it and make it look, but that gets stuck now and then.
    fn tell(&self, command: &[&str]) {
        let prefix = format!("--vgdb-prefix={}", self.server.folder().join("vgdb").display());
        let mut vgdb = Command::new("vgdb");
        vgdb.args(["--max-invoke-ms=0", &prefix, &format!("--pid={}", self.server.pid)]).args(command);
        let mut told = vgdb.stderr(Stdio::null()).spawn().expect("vgdb is installed with valgrind");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = told.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = told.kill().and_then(|()| told.wait());
                panic!("vgdb {command:?}: callgrind does not answer");
            }
            self.client().ask("GET", "/healthz", "", b"").is(200);
            sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "vgdb {command:?}: {status}");
    }
}

impl Count {
    /// Reads a profile (valgrind's manual, "Callgrind Format Specification"): each name is written once, `cfn=(7) name`, and later
    /// named by its number; a line `calls=12 …` tells how often the function named before it was called.
    fn read(profile: &str) -> Self {
        let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).and_then(|total| total.parse().ok());
        let (mut allocators, mut called, mut allocations) = (Vec::new(), "", 0.0);
        for line in profile.lines() {
            if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
                let (number, name) = function.split_once(' ').unwrap_or((function, ""));
                if is_allocator(name) {
                    allocators.push(number);
                }
                if line.starts_with('c') {
                    called = number;
                }
            } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| allocators.contains(&called)) {
                allocations += calls.split(' ').next().and_then(|calls| calls.parse::<f64>().ok()).expect("a number");
            }
        }
        assert!(!allocators.is_empty(), "no calls of the allocator: has it another name?");
        Self { instructions: total.expect("a total"), allocations }
    }
}

/// The compiler's names of the allocator's functions.
fn is_allocator(name: &str) -> bool {
    ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"].iter().any(|function| name.ends_with(function))
}
