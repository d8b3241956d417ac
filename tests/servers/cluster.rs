//! A real cluster of a test's own: three masters, a replica for each, on free ports, ended with the test.

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use onetimeshare::redis::{Redis, Server, Settings, connect};
use redis::{Client, Connection, FromRedisValue};
use tempfile::TempDir;
use tokio::sync::MutexGuard;

const MASTERS: usize = 3;
/// A node that is silent for so long is given up by the others, in ms.
const NODE_TIMEOUT: &str = "1500";
const PATIENCE: Duration = Duration::from_secs(30);

/// Six nodes: the first three start as masters, the others as their replicas, in the same order.
pub struct Cluster {
    nodes: Vec<Node>,
}

/// A turn at the cluster that all tests of a binary share, empty at first.
pub struct Turn {
    cluster: Arc<Cluster>,
    _turn: MutexGuard<'static, Option<Arc<Cluster>>>,
}

static SHARED: tokio::sync::Mutex<Option<Arc<Cluster>>> = tokio::sync::Mutex::const_new(None);

impl Turn {
    pub async fn take() -> Self {
        let mut turn = SHARED.lock().await;
        let cluster = Arc::clone(turn.get_or_insert_with(|| {
            let (done, started) = std::sync::mpsc::channel();
            // Its processes end with the thread that started them, and this one ends with the process.
            std::thread::spawn(move || {
                let _ = done.send(Arc::new(Cluster::start()));
                loop {
                    std::thread::park();
                }
            });
            started.recv().expect("a cluster")
        }));
        cluster.clear();
        Self { cluster, _turn: turn }
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

/// Asks until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    /// Starts one in which every slot has a master, and every master a replica that has all it has.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same; `options` for every node, as on Redis' command line.
    pub fn with(options: &[&str]) -> Self {
        let cluster = Self { nodes: (0..2 * MASTERS).map(|_| Node::start(options)).collect() };
        let (masters, replicas) = cluster.nodes.split_at(MASTERS);
        for (number, node) in cluster.nodes.iter().enumerate() {
            node.say(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            node.say(&["CLUSTER", "MEET", "127.0.0.1", &masters[0].port.to_string(), &masters[0].bus.to_string()]);
        }
        for (number, master) in masters.iter().enumerate() {
            let slot = |number: usize| number * 16384 / MASTERS;
            let (first, last) = (slot(number).to_string(), (slot(number + 1) - 1).to_string());
            master.say(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for (master, replica) in masters.iter().zip(replicas) {
            let id: String = master.ask(&["CLUSTER", "MYID"]);
            until("the replica knows its master", || {
                replica.ask::<String>(&["CLUSTER", "NODES"]).contains(&id)
                    && replica.try_ask::<()>(&["CLUSTER", "REPLICATE", &id]).is_ok()
            });
        }
        cluster.settle();
        cluster
    }

    /// Waits until all running nodes agree that every slot is served, and all replicas follow.
    pub fn settle(&self) {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| node.runs()).collect();
        until("the cluster serves every slot", || {
            running.iter().all(|node| node.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                && running.iter().all(|node| node.ask::<String>(&["CLUSTER", "NODES"]).lines().count() == 2 * MASTERS)
                && running.iter().all(|node| node.is_master() || node.follows())
        });
    }

    pub fn settings(&self) -> Settings {
        Settings {
            server: Server::Cluster {
                nodes: self.nodes.iter().map(|node| ("127.0.0.1".to_owned(), node.port)).collect(),
                tls: false,
                username: None,
                password: None,
            },
            max_storage: Some(1 << 40),
            has_blobs: true,
            allow_eviction: false,
            acks: 0,
            patience: Duration::ZERO,
        }
    }

    /// A connection by which so many replicas must acknowledge.
    pub async fn connect(&self, acks: u32) -> Arc<Redis> {
        connect(&Settings { acks, ..self.settings() }).await.expect("a connection")
    }

    /// `host:port,…` of all nodes, as REDIS_CLUSTER has it.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The running masters.
    pub fn masters(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.runs() && node.is_master()).collect()
    }

    /// The master that has the slot of `key`.
    pub fn master_of(&self, key: &str) -> &Node {
        let slot: u16 = self.masters()[0].ask(&["CLUSTER", "KEYSLOT", key]);
        self.masters().into_iter().find(|node| node.slots().contains(&slot)).expect("every slot has a master")
    }

    /// All keys that match, on all masters.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.masters()
            .iter()
            .flat_map(|node| node.ask::<Vec<Vec<u8>>>(&["KEYS", pattern]))
            .map(|key| String::from_utf8_lossy(&key).into_owned())
            .collect()
    }

    /// Whether every replica has all that its master has.
    pub fn is_replicated(&self) -> bool {
        let offsets = |info: String| -> HashSet<String> {
            let offset = |line: &str| {
                Some(line.split_once("offset")?.1.trim_start_matches(['=', ':']).split(',').next()?.trim().to_owned())
            };
            let told = |line: &&str| {
                line.starts_with("slave") && line.contains("offset=") || line.starts_with("master_repl_offset")
            };
            info.lines().filter(told).filter_map(offset).collect()
        };
        self.masters().iter().all(|node| offsets(node.ask(&["INFO", "replication"])).len() == 1)
    }

    /// Empties it.
    pub fn clear(&self) {
        self.masters().iter().for_each(|node| node.say(&["FLUSHALL"]));
    }

    /// Moves the slot of `key` to another master, key by key, and does `while_open` in the middle.
    pub fn move_slot(&self, key: &str, while_open: impl FnOnce()) {
        let masters = self.masters();
        let slot: u16 = masters[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let at = masters.iter().position(|node| node.slots().contains(&slot)).expect("every slot has a master");
        let (from, to) = (masters[at], masters[(at + 1) % masters.len()]);
        let (from_id, to_id): (String, String) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        to.say(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.say(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        let mut while_open = Some(while_open);
        loop {
            let keys: Vec<Vec<u8>> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "2"]);
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(to.port).arg("").arg(0).arg(5000).arg("KEYS").arg(keys);
            migrate.query::<String>(&mut from.inside()).expect("migrated");
            if let Some(while_open) = while_open.take() {
                while_open();
            }
        }
        for node in [to, from].into_iter().chain(masters.iter().copied()) {
            node.say(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}

/// Moves slots that have keys between the masters, all the time, until it is dropped.
pub struct Mover {
    stopped: Arc<AtomicBool>,
    moved: Arc<Mutex<usize>>,
    task: Option<JoinHandle<()>>,
}

impl Mover {
    pub fn start(cluster: Arc<Cluster>) -> Self {
        let (stopped, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let task = std::thread::spawn({
            let (stopped, moved) = (Arc::clone(&stopped), Arc::clone(&moved));
            move || {
                let mut turn = 0;
                while !stopped.load(Ordering::Relaxed) {
                    turn += 1;
                    let masters = cluster.masters();
                    // By turns: most slots have no keys, and to move those would show nothing.
                    let key: Option<Vec<u8>> = masters[turn % masters.len()].ask(&["RANDOMKEY"]);
                    let Some(key) = key.and_then(|key| String::from_utf8(key).ok()) else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    // What comes in the middle finds a part of its keys here and a part there.
                    cluster.move_slot(&key, || std::thread::sleep(Duration::from_millis(5)));
                    *moved.lock().expect("nobody panics with it") += 1;
                    // A slot that came round to where it was before a call has made its hop would be lost on any client.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        Self { stopped, moved, task: Some(task) }
    }

    /// How many slots it has moved so far.
    pub fn moved(&self) -> usize {
        *self.moved.lock().expect("nobody panics with it")
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let ended = self.task.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(!matches!(ended, Some(Err(_))), "a slot could not be moved");
        }
    }
}

/// One node of a cluster.
pub struct Node {
    pub port: u16,
    bus: u16,
    process: Mutex<Child>,
    _folder: TempDir,
}

impl Node {
    /// Starts a node that belongs to no cluster yet.
    pub fn start(options: &[&str]) -> Self {
        // Somebody else may take a port between looking for it and listening on it.
        for _ in 0..20 {
            let free = || TcpListener::bind("127.0.0.1:0").expect("a port");
            let (port, bus) = (free(), free());
            let number = |socket: TcpListener| socket.local_addr().expect("an address").port();
            let (port, bus) = (number(port), number(bus));
            let folder = tempfile::tempdir().expect("a folder");
            let process = spawn(port, bus, &folder, options);
            let mut node = Self { port, bus, process: Mutex::new(process), _folder: folder };
            if node.answers() {
                return node;
            }
        }
        panic!("no redis-server could be started");
    }

    /// Waits until it answers, or has ended.
    fn answers(&mut self) -> bool {
        let mut answered = false;
        until("redis-server answers", || {
            answered = self.client().get_connection().is_ok();
            answered || !self.runs()
        });
        answered
    }

    fn client(&self) -> Client {
        Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address")
    }

    /// The node as its operator sees it.
    pub fn inside(&self) -> Connection {
        self.client().get_connection().expect("a connection")
    }

    /// Sends one command to this very node.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_ask(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    #[track_caller]
    pub fn say(&self, command: &[&str]) {
        self.ask::<redis::Value>(command);
    }

    fn try_ask<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.client().get_connection()?)
    }

    pub fn runs(&self) -> bool {
        self.process.lock().expect("nobody panics with it").try_wait().expect("a child").is_none()
    }

    fn is_master(&self) -> bool {
        self.try_ask::<String>(&["INFO", "replication"]).is_ok_and(|info| info.contains("role:master"))
    }

    /// Whether it has what its master has; one whose master is gone has none to follow.
    fn follows(&self) -> bool {
        self.try_ask::<String>(&["INFO", "replication"]).is_ok_and(|info| info.contains("master_link_status:up"))
    }

    /// The slots that it serves.
    fn slots(&self) -> Vec<u16> {
        let nodes: String = self.ask(&["CLUSTER", "NODES"]);
        let own = nodes.lines().find(|line| line.contains("myself")).expect("every node knows itself");
        let ranges = own.split(' ').skip(8).filter(|range| !range.starts_with('['));
        let number = |text: &str| text.parse::<u16>().expect("a slot");
        ranges
            .flat_map(|range| match range.split_once('-') {
                Some((first, last)) => number(first)..=number(last),
                None => number(range)..=number(range),
            })
            .collect()
    }

    /// Stops it as it is, or lets it go on: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.lock().expect("nobody panics with it").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success(), "kill -{name}");
    }

    /// As by `kill -9`.
    pub fn kill(&self) {
        let mut process = self.process.lock().expect("nobody panics with it");
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// It ends with the thread that started it, too: a cluster that several tests share is dropped by none of them.
fn spawn(port: u16, bus: u16, folder: &TempDir, options: &[&str]) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server"])
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()])
        .args(["--cluster-node-timeout", NODE_TIMEOUT, "--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv and redis-server are installed")
}
