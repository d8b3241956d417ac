//! The servers under test: started on free ports, ended with the value, their cost read from `/proc`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
}

/// What a piece of work took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// CPU seconds of the server, user and system.
    pub(crate) cpu: f64,
    /// CPU seconds of its Redis.
    pub(crate) store_cpu: f64,
}

impl Process {
    /// Our server: on `redis`, or on its embedded store.
    pub(crate) fn ours(redis: Option<&Self>) -> Self {
        let binary = std::env::var("ONETIMESHARE_BIN").unwrap_or(env!("CARGO_BIN_EXE_onetimeshare").to_owned());
        let dir = scratch("ours");
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.join("data")).stdout(Stdio::piped());
        if let Some(redis) = redis {
            command.args(["--redis-url", &format!("redis://{}", redis.address)]);
        }
        if let Ok(extra) = std::env::var("SERVER_FLAGS") {
            command.args(extra.split_whitespace());
        }
        let mut child = command.stderr(log(&dir)).spawn().expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}; see {}", dir.display()));
        Self { address, child, dir, store: redis.map(|redis| redis.child.id()) }
    }

    /// nginx as a WebDAV server: the floor that the file system and the network stack set.
    pub(crate) fn nginx() -> Self {
        let (dir, address) = (scratch("nginx"), free_port());
        fs::create_dir(dir.join("www")).expect("a folder");
        let config = format!(
            "daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes auto;
             events {{ worker_connections 512; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
               client_max_body_size 0; client_body_temp_path {dir}/body; client_body_buffer_size 1m;
               proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
               server {{ listen {address}; root {dir}/www; dav_methods PUT DELETE; }}
             }}",
            dir = dir.display()
        );
        fs::write(dir.join("nginx.conf"), config).expect("a file");
        // Workers drop to `nobody`, who has to get in.
        let _ = Command::new("chmod").args(["-R", "a+rwX"]).arg(&dir).status();
        let mut command = Command::new("nginx");
        command.arg("-e").arg(dir.join("error.log")).arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        Self::spawn(command, address, dir)
    }

    /// A Redis that keeps nothing on disk.
    pub(crate) fn redis() -> Self {
        let (dir, address) = (scratch("redis"), free_port());
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(&dir).stdout(Stdio::null());
        Self::spawn(command, address, dir)
    }

    fn spawn(mut command: Command, address: SocketAddr, dir: PathBuf) -> Self {
        let child = command.stderr(log(&dir)).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{command:?} does not listen");
            sleep(Duration::from_millis(5));
        }
        Self { address, child, dir, store: None }
    }

    /// Milliseconds from the start of our server to its first answer, on an empty folder.
    pub(crate) fn first_answer() -> f64 {
        let begun = Instant::now();
        let server = Self::ours(None);
        let answer = Client::connect(server.address).ask("GET", "/healthz", "", b"");
        assert_eq!(answer.status, 200);
        begun.elapsed().as_secs_f64() * 1e3
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Does `work` and tells what it cost.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, Cost) {
        let (cpu, store, begun) = (self.cpu(), self.store.map_or(0.0, cpu), Instant::now());
        let done = work();
        let seconds = begun.elapsed().as_secs_f64();
        (done, Cost { seconds, cpu: self.cpu() - cpu, store_cpu: self.store.map_or(0.0, crate::process::cpu) - store })
    }

    /// CPU seconds so far, with nginx' workers.
    fn cpu(&self) -> f64 {
        let pid = self.child.id();
        let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        cpu(pid) + workers.split_whitespace().filter_map(|pid| pid.parse().ok()).map(cpu).sum::<f64>()
    }

    /// A field of `/proc/PID/status` in MiB.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        let kib: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
        kib / 1024.0
    }

    /// Lets `VmHWM` begin anew.
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("our own process");
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

/// Touches `bytes` of memory and lets them go: a virtual machine gets back slowly what its host took from it meanwhile.
pub(crate) fn warm(bytes: u64) {
    let dir = scratch("warm");
    let mut file = fs::File::create(dir.join("zeros")).expect("a file");
    std::io::copy(&mut std::io::repeat(0).take(bytes + bytes / 8), &mut file).expect("room");
    fs::remove_dir_all(dir).expect("our own folder");
}

fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn log(dir: &std::path::Path) -> fs::File {
    fs::File::create(dir.join("log")).expect("a file")
}

/// A fresh folder in memory: a disk's speed is not what is measured.
fn scratch(name: &str) -> PathBuf {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let root = std::env::var("SCRATCH").unwrap_or("/dev/shm".to_owned());
    let dir = PathBuf::from(root).join(format!("onetimeshare-bench-{name}-{since}"));
    fs::create_dir_all(&dir).expect("a folder");
    dir
}
