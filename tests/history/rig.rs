//! The processes of a history: Redis with its replicas, Sentinels, and three web servers, all connected through the proxy.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::proxy::{self, Links, Node};
use crate::server::{binary, signal};

pub const WEBS: usize = 3;
pub const SENTINELS: usize = 3;
const MASTER_NAME: &str = "shares";
/// A Sentinel calls a master that doesn't answer for so long down.
pub const DOWN_AFTER: Duration = Duration::from_secs(1);

/// What a rig consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One Redis.
    Alone,
    /// A master, two replicas and three Sentinels; the value of `REDIS_MIN_ACKS`.
    Sentinels(String),
}

impl Shape {
    /// `alone`, or the value of `REDIS_MIN_ACKS`.
    pub fn of(acks: &str) -> Self {
        if acks == "alone" { Self::Alone } else { Self::Sentinels(acks.to_owned()) }
    }

    pub fn acks(&self) -> &str {
        if let Self::Sentinels(acks) = self { acks } else { "alone" }
    }
}

/// A process, its address, and the proxy's address that leads to it.
struct Process {
    node: Node,
    port: u16,
    announced: u16,
    log: PathBuf,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    child: Mutex<Option<Child>>,
}

impl Process {
    fn start(&self, links: &Links) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = (self.command)();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.node));
        links.is_process(self.node, child.id());
        *self.child.lock().expect("nobody panics with it") = Some(child);
    }

    fn kill(&self) {
        if let Some(mut child) = self.child.lock().expect("nobody panics with it").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The id, as long as it runs.
    fn pid(&self) -> Option<u32> {
        let mut child = self.child.lock().expect("nobody panics with it");
        let child = child.as_mut()?;
        child.try_wait().expect("a child can be waited for").is_none().then(|| child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All processes. Dropped, it ends them.
pub struct Rig {
    pub links: Arc<Links>,
    processes: Vec<Process>,
    _proxies: Runtime,
    _folder: TempDir,
}

impl Rig {
    /// Starts everything and waits until it works. What the processes print goes to files in `logs`.
    pub fn start(shape: &Shape, logs: &Path) -> Self {
        fs::create_dir_all(logs).expect("a folder for logs");
        let (redises, sentinels) = if *shape == Shape::Alone { (1, 0) } else { (3, SENTINELS) };
        let nodes: Vec<Node> = (0..redises)
            .map(Node::Redis)
            .chain((0..sentinels).map(Node::Sentinel))
            .chain((0..WEBS).map(Node::Web))
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        let links = Links::new(&nodes);
        let proxies =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut rig = Self { links, processes: Vec::new(), _proxies: proxies, _folder: folder };
        for node in nodes {
            let port = free_port();
            let announced = rig.proxied(node, port);
            let command = rig.command(shape, node, port, announced);
            let log = logs.join(format!("{node:?}.log").replace(['(', ')'], ""));
            let process = Process { node, port, announced, log, command, child: Mutex::default() };
            process.start(&rig.links);
            rig.processes.push(process);
            if let Node::Redis(_) | Node::Sentinel(_) = node {
                rig.wait("it answers", || rig.ask::<Value>(node, &["PING"]).is_some());
            }
        }
        rig.settle();
        rig
    }

    /// A proxy that leads to `port`, which is `node`.
    fn proxied(&self, node: Node, port: u16) -> u16 {
        if matches!(node, Node::Web(_)) {
            return port;
        }
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
        listener.set_nonblocking(true).expect("for tokio");
        let announced = listener.local_addr().expect("it listens").port();
        let links = Arc::clone(&self.links);
        self._proxies.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("within the runtime");
            proxy::serve(listener, node, local(port), links).await;
        });
        announced
    }

    fn command(&self, shape: &Shape, node: Node, port: u16, announced: u16) -> Box<dyn Fn() -> Command + Send + Sync> {
        let folder = self._folder.path().join(format!("{node:?}"));
        fs::create_dir_all(&folder).expect("a folder");
        let announced_by = |node| self.process(node).announced;
        match node {
            Node::Redis(number) => {
                let of = (number > 0).then(|| announced_by(Node::Redis(0)));
                let file = folder.join("redis.conf");
                fs::write(&file, redis_settings(&folder, port, announced, of)).expect("its settings");
                Box::new(move || with("redis-server", &file))
            }
            Node::Sentinel(_) => {
                let file = folder.join("sentinel.conf");
                let settings = sentinel_settings(&folder, port, announced, announced_by(Node::Redis(0)));
                fs::write(&file, settings).expect("its settings");
                Box::new(move || with("redis-sentinel", &file))
            }
            Node::Web(_) => {
                let mut settings = vec![("LISTEN", local(port).to_string())];
                match shape {
                    Shape::Alone => {
                        settings.push(("REDIS_URL", format!("redis://{}/", local(announced_by(Node::Redis(0))))));
                    }
                    Shape::Sentinels(acks) => {
                        let sentinels =
                            (0..SENTINELS).map(|number| local(announced_by(Node::Sentinel(number))).to_string());
                        settings.push(("REDIS_SENTINELS", sentinels.collect::<Vec<_>>().join(",")));
                        settings.push(("REDIS_MASTER_NAME", MASTER_NAME.to_owned()));
                        settings.push(("REDIS_MIN_ACKS", acks.clone()));
                        settings.push(("REDIS_REPLICAS", "2".to_owned()));
                    }
                }
                Box::new(move || {
                    let mut command = binary();
                    command.envs(settings.iter().cloned()).current_dir(&folder);
                    command
                })
            }
        }
    }

    fn process(&self, node: Node) -> &Process {
        self.processes.iter().find(|process| process.node == node).expect("it is part of the rig")
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.processes.iter().map(|process| process.node)
    }

    pub fn redises(&self) -> impl Iterator<Item = Node> + '_ {
        self.nodes().filter(|node| matches!(node, Node::Redis(_)))
    }

    pub fn sentinels(&self) -> impl Iterator<Item = Node> + '_ {
        self.nodes().filter(|node| matches!(node, Node::Sentinel(_)))
    }

    /// Where a web server listens, running or not.
    pub fn web(&self, number: usize) -> SocketAddr {
        local(self.process(Node::Web(number)).port)
    }

    /// `kill -9`.
    pub fn kill(&self, node: Node) {
        self.process(node).kill();
    }

    pub fn freeze(&self, node: Node) {
        if let Some(pid) = self.process(node).pid() {
            signal("STOP", pid);
        }
    }

    /// Every link passes, and every process runs.
    pub fn heal(&self) {
        self.links.heal();
        for process in &self.processes {
            match process.pid() {
                Some(pid) => signal("CONT", pid),
                None => process.start(&self.links),
            }
        }
    }

    /// Who takes writes, as the Sentinel with the latest news says; never through the proxy.
    pub fn master(&self) -> Node {
        let known = self.sentinels().filter_map(|sentinel| {
            let said = self.told(sentinel)?;
            Some((said["config-epoch"].parse::<u64>().ok()?, said["port"].parse::<u16>().ok()?))
        });
        let Some((_, port)) = known.max() else { return Node::Redis(0) };
        let process = self.processes.iter().find(|process| process.announced == port);
        process.map_or(Node::Redis(0), |process| process.node)
    }

    /// What a Sentinel knows of the master and its surroundings.
    fn told(&self, sentinel: Node) -> Option<HashMap<String, String>> {
        self.ask(sentinel, &["SENTINEL", "MASTER", MASTER_NAME])
    }

    /// Whether a Sentinel knows everybody, and finds nothing wrong with the master.
    fn is_content(&self, sentinel: Node) -> bool {
        self.told(sentinel).is_some_and(|said| {
            said["num-slaves"] == "2" && said["num-other-sentinels"] == "2" && said["flags"] == "master"
        })
    }

    /// How many replicas follow the master.
    pub fn replicas(&self) -> usize {
        match self.ask::<Vec<Value>>(self.master(), &["ROLE"]).as_deref() {
            Some([Value::BulkString(role), _, Value::Array(replicas)]) if role == b"master" => replicas.len(),
            _ => 0,
        }
    }

    /// Waits until every replica follows the master, and every web server is ready.
    pub fn settle(&self) {
        self.wait("the Sentinels know everybody", || self.sentinels().all(|sentinel| self.is_content(sentinel)));
        let replicas = self.redises().count() - 1;
        self.wait("every replica follows the master", || self.replicas() == replicas);
        for number in 0..WEBS {
            self.wait("the web servers are ready", || {
                let ready = crate::client::Request::new(self.web(number), "GET", "/readyz");
                ready.within(Duration::from_secs(5)).try_send().is_ok_and(|answer| answer.status == 200)
            });
        }
    }

    /// Asks a Redis or a Sentinel directly; `None` where it does not answer.
    fn ask<T: FromRedisValue>(&self, node: Node, command: &[&str]) -> Option<T> {
        let patience = Duration::from_millis(500);
        let client = redis::Client::open(format!("redis://{}/", local(self.process(node).port))).expect("an address");
        let mut connection = client.get_connection_with_timeout(patience).ok()?;
        connection.set_read_timeout(Some(patience)).ok()?;
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).ok()
    }

    #[track_caller]
    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !is_so() {
            assert!(Instant::now() < deadline, "not within 90 s: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn with(program: &str, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(file);
    command
}

fn redis_settings(folder: &Path, port: u16, announced: u16, replica_of: Option<u16>) -> String {
    let replica_of = replica_of.map(|master| format!("replicaof 127.0.0.1 {master}\n")).unwrap_or_default();
    format!(
        "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nappendonly yes\nappendfsync always\n\
         replica-announce-ip 127.0.0.1\nreplica-announce-port {announced}\nrepl-diskless-sync-delay 0\n{replica_of}",
        folder.display()
    )
}

fn sentinel_settings(folder: &Path, port: u16, announced: u16, master: u16) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\ndir {}\nsentinel announce-ip 127.0.0.1\nsentinel announce-port {announced}\n\
         sentinel monitor {MASTER_NAME} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER_NAME} {}\nsentinel failover-timeout {MASTER_NAME} 5000\n\
         sentinel parallel-syncs {MASTER_NAME} 2\n",
        folder.display(),
        DOWN_AFTER.as_millis()
    )
}

/// A port that nobody has: below those that the system gives to connections, so that a server that was killed can come back to it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 10_000;
    loop {
        let port = 12_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if Listener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
