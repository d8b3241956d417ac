//! A server under test: ended with its value, its cost read from `/proc`.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http::Client;

/// Clock ticks of `/proc/PID/stat` in a second; 100 on every Linux that people run.
const TICKS: f64 = 100.0;

/// A running server and its scratch folder; both end with it.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
    dir: PathBuf,
    /// Whose CPU is counted apart: the Redis behind this server.
    store: Option<u32>,
    /// Pieces of work that are measured at the moment.
    measuring: AtomicUsize,
}

/// What a piece of work took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// CPU seconds of the server, user and system.
    pub(crate) cpu: f64,
    /// CPU seconds of its Redis.
    pub(crate) store_cpu: f64,
    /// The most memory that the server held meanwhile, in MiB; of several processes the largest one. Where other work is measured
    /// at the same time, since the first of it began.
    pub(crate) peak: f64,
}

impl Process {
    /// Takes charge of a process that already listens.
    pub(crate) fn listening(child: Child, address: SocketAddr, dir: PathBuf) -> Self {
        Self { address, child, dir, store: None, measuring: AtomicUsize::new(0) }
    }

    /// Starts a process, and waits until it listens on `address`.
    pub(crate) fn spawn(mut command: Command, address: SocketAddr, dir: PathBuf) -> Self {
        let child = command.stderr(log(&dir)).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let process = Self::listening(child, address, dir);
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{command:?} does not listen");
            sleep(Duration::from_millis(5));
        }
        process
    }

    /// Counts the CPU of the Redis behind it apart.
    pub(crate) fn in_front_of(mut self, redis: Option<&Self>) -> Self {
        self.store = redis.map(|redis| redis.child.id());
        self
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Does `work` and tells what it cost.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, Cost) {
        if self.measuring.fetch_add(1, Relaxed) == 0 {
            self.forget_peak();
        }
        let (cpu, store_cpu, begun) = (self.cpu(), self.store.map_or(0.0, cpu), Instant::now());
        let done = work();
        let seconds = begun.elapsed().as_secs_f64();
        let (cpu, store_cpu) = (self.cpu() - cpu, self.store.map_or(0.0, crate::process::cpu) - store_cpu);
        let peak = self.memory("VmHWM:");
        self.measuring.fetch_sub(1, Relaxed);
        (done, Cost { seconds, cpu, store_cpu, peak })
    }

    /// CPU seconds so far.
    fn cpu(&self) -> f64 {
        self.pids().into_iter().map(cpu).sum()
    }

    /// CPU seconds so far of its thread of this name.
    pub(crate) fn thread_cpu(&self, name: &str) -> f64 {
        let pid = self.child.id();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten().map(|thread| thread.path());
        let named = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let thread = threads.into_iter().find(named).expect("a thread of that name");
        ticks(&format!("{pid}/task/{}", thread.file_name().expect("its id").display()), 11)
    }

    /// A field of `/proc/PID/status` in MiB; of several processes the largest.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        self.pids().into_iter().map(|pid| memory(pid, field)).fold(0.0, f64::max)
    }

    /// Lets `VmHWM` begin anew.
    pub(crate) fn forget_peak(&self) {
        self.pids().into_iter().for_each(|pid| {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own process");
        });
    }

    /// The process, and nginx' workers.
    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(workers.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..200 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn cpu(pid: u32) -> f64 {
    ticks(&pid.to_string(), 11)
}

/// CPU seconds of this process.
pub(crate) fn spent() -> f64 {
    ticks("self", 11)
}

/// CPU seconds of all processes that this one has waited for.
pub(crate) fn waited_for() -> f64 {
    ticks("self", 13)
}

/// Seconds, user and system, from two neighbouring fields of `/proc/PID/stat`, counted behind the name.
fn ticks(pid: &str, field: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[field..field + 2].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    let kib: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
    kib / 1024.0
}

/// Where a server writes what it has to say.
pub(crate) fn log(dir: &Path) -> fs::File {
    fs::File::create(dir.join("log")).expect("a file")
}

/// The folder for everything that is to be in memory.
pub(crate) fn in_memory() -> PathBuf {
    std::env::var("SCRATCH").unwrap_or("/dev/shm".to_owned()).into()
}

/// A fresh folder below `root`.
pub(crate) fn scratch(root: &Path, name: &str) -> PathBuf {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let dir = root.join(format!("onetimeshare-bench-{name}-{since}"));
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}

/// Touches `bytes` of memory and lets them go: a virtual machine gets back slowly what its host took from it meanwhile.
pub(crate) fn warm(bytes: u64) {
    let dir = scratch(&in_memory(), "warm");
    let mut file = fs::File::create(dir.join("zeros")).expect("a file");
    std::io::copy(&mut std::io::repeat(0).take(bytes + bytes / 8), &mut file).expect("room");
    fs::remove_dir_all(dir).expect("our own folder");
}
