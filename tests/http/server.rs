//! The real binary on a free port, with a data directory or a Redis of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::Request;

/// Starting and stopping may not take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server keeps its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

/// Asks until it is so, for at most `patience`.
#[track_caller]
pub(crate) fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// The binary, with nothing of this environment but the path.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onetimeshare"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Sends a signal to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Waits for a process to end.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the process ends", PATIENCE, || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    status.expect("it ended")
}

fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> mpsc::Receiver<String> {
    let (first, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut all = into.lock().expect("nobody panics with it");
            all.push_str(&line);
            all.push('\n');
            let _ = first.send(line);
        }
    });
    lines
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) redis: Option<Arc<Redis>>,
    child: Child,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    printed: Arc<Mutex<String>>,
    folder: Arc<TempDir>,
}

impl Server {
    pub(crate) fn start(store: Store) -> Self {
        Self::with(store, &[])
    }

    pub(crate) fn with(store: Store, flags: &[&str]) -> Self {
        Self::with_variables(store, flags, Vec::new())
    }

    /// With variables in its environment, too.
    pub(crate) fn with_variables(store: Store, flags: &[&str], variables: Vec<(String, String)>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let redis = (store == Store::Redis).then(|| Arc::new(Redis::start()));
        Self::launch(folder, redis, flags, variables)
    }

    /// An embedded server on a data directory that the caller made.
    pub(crate) fn in_folder(folder: TempDir, flags: &[&str]) -> Self {
        Self::launch(Arc::new(folder), None, flags, Vec::new())
    }

    /// A second process on the same Redis.
    pub(crate) fn beside(&self) -> Self {
        let redis = self.redis.clone().expect("only Redis serves two");
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        Self::launch(Arc::new(tempfile::tempdir().expect("a folder")), Some(redis), &flags, self.variables.clone())
    }

    fn launch(
        folder: Arc<TempDir>,
        redis: Option<Arc<Redis>>,
        flags: &[&str],
        variables: Vec<(String, String)>,
    ) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let printed = Arc::default();
        let (child, address) = spawn(&folder, redis.as_deref(), &flags, &variables, &printed);
        Self { address, redis, child, flags, variables, printed, folder }
    }

    /// `kill -9`, and the same settings and store again, on another port.
    pub(crate) fn crash(&mut self) {
        self.kill();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn start_again(&mut self) {
        let Self { folder, redis, flags, variables, printed, .. } = self;
        (self.child, self.address) = spawn(folder, redis.as_deref(), flags, variables, printed);
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.child.id());
    }

    /// SIGINT, as Ctrl-C sends it.
    pub(crate) fn interrupt(&self) {
        signal("INT", self.child.id());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Another command of the binary with this server's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let listen = self.address.to_string();
        let mut command = binary();
        command.args(arguments).args(settings(&self.folder, self.redis.as_deref(), &listen)).args(&self.flags);
        command.envs(self.variables.clone()).current_dir(self.folder.path()).output().expect("the binary runs")
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn data(&self) -> PathBuf {
        data(&self.folder)
    }

    /// All that the process wrote to stdout and stderr so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    pub(crate) fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    pub(crate) fn head(&self, target: &str) -> Request {
        self.request("HEAD", target)
    }

    pub(crate) fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    pub(crate) fn put(&self, target: &str) -> Request {
        self.request("PUT", target)
    }

    pub(crate) fn delete(&self, target: &str) -> Request {
        self.request("DELETE", target)
    }

    pub(crate) fn patch(&self, target: &str) -> Request {
        self.request("PATCH", target)
    }

    /// What holds sealed bytes: the blobs' files, or the chunks in Redis.
    pub(crate) fn blobs(&self) -> BTreeSet<String> {
        match &self.redis {
            Some(redis) => redis.keys("share:*:chunk:*"),
            None => files(&self.data().join("blobs")).iter().map(|path| path.display().to_string()).collect(),
        }
    }

    /// The most memory that the process ever held, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let printed = self.printed();
        if thread::panicking() {
            eprintln!("the server printed:\n{printed}");
        } else {
            assert!(!printed.contains("panicked"), "the server panicked:\n{printed}");
        }
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn settings(folder: &TempDir, redis: Option<&Redis>, listen: &str) -> Vec<String> {
    let mut settings = vec!["--listen".to_string(), listen.to_string()];
    match redis {
        Some(redis) => settings.extend(["--redis-url".into(), redis.url()]),
        None => settings.extend(["--data-dir".into(), data(folder).display().to_string()]),
    }
    settings
}

fn spawn(
    folder: &TempDir,
    redis: Option<&Redis>,
    flags: &[String],
    variables: &[(String, String)],
    printed: &Arc<Mutex<String>>,
) -> (Child, SocketAddr) {
    let mut command = binary();
    command.args(settings(folder, redis, "127.0.0.1:0")).args(flags).current_dir(folder.path());
    command.envs(variables.iter().cloned());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let lines = collect(child.stdout.take().expect("piped"), printed.clone());
    collect(child.stderr.take().expect("piped"), printed.clone());
    let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = child.kill();
        panic!("it says where it listens; printed: {}", printed.lock().expect("nobody panics with it"))
    });
    let address = line.strip_prefix("listening on http://").and_then(|address| address.trim().parse().ok());
    (child, address.unwrap_or_else(|| panic!("the first line is `listening on http://…`, not {line:?}")))
}

/// All files under a folder; none where there is no such folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// A real redis-server that loses nothing it acknowledged.
pub(crate) struct Redis {
    port: u16,
    child: Mutex<Child>,
    folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        loop {
            // The port is free now; where somebody else takes it first, redis-server ends and another port is tried.
            let port = free_port();
            let mut child = launch_redis(port, folder.path());
            if answers(port, &mut child) {
                return Self { port, child: Mutex::new(child), folder };
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().expect("nobody panics with it");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Starts it on the same port and files.
    pub(crate) fn start_again(&self) {
        let mut child = self.child.lock().expect("nobody panics with it");
        *child = launch_redis(self.port, self.folder.path());
        assert!(answers(self.port, &mut child), "redis-server starts again");
    }

    /// Sends one command.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("redis-server answers");
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query(&mut connection).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub(crate) fn keys(&self, pattern: &str) -> BTreeSet<String> {
        self.ask::<Vec<Vec<u8>>>(&["KEYS", pattern])
            .iter()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch_redis(port: u16, folder: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    command.args(["--save", "", "--loglevel", "warning", "--dir"]).arg(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// Waits until it answers, or has ended.
fn answers(port: u16, child: &mut Child) -> bool {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("a URL");
    let mut answered = false;
    until("redis-server answers", PATIENCE, || {
        let pong = client.get_connection().and_then(|mut c| redis::cmd("PING").query::<String>(&mut c));
        answered = pong.is_ok();
        answered || child.try_wait().expect("a child can be waited for").is_some()
    });
    answered
}
