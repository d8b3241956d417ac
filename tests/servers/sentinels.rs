//! A master, its replicas and three Sentinels of a test's own, on free ports, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use onetimeshare::redis::{Redis, Server, Settings, connect};
use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

use crate::redis_server::{RedisServer, signal};

/// What the Sentinels call the master.
pub const NAME: &str = "shares";
/// A master that is silent for so long is down, to a Sentinel.
pub const DOWN_AFTER: Duration = Duration::from_secs(1);
/// Anything here that takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A group that Sentinels watch.
pub struct Sentinels {
    /// The first is the master, until a failover.
    pub nodes: Vec<RedisServer>,
    pub sentinels: Vec<Sentinel>,
}

impl Sentinels {
    /// One master and two replicas.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same, each node with these options.
    pub fn with(options: &[&str]) -> Self {
        let options = [&["--repl-diskless-sync-delay", "0", "--databases", "1000"], options].concat();
        let master = RedisServer::start(&options);
        let following = format!("127.0.0.1 {}", master.port());
        let replica = || RedisServer::start(&[&options[..], &["--replicaof", &following]].concat());
        let (first, second) = (replica(), replica());
        let sentinels = (0..3).map(|_| Sentinel::start(master.port())).collect();
        let group = Self { nodes: vec![master, first, second], sentinels };
        group.settle();
        group
    }

    /// Waits until each Sentinel knows all nodes and all other Sentinels, and both replicas follow.
    pub fn settle(&self) {
        until("the Sentinels know each other", || self.sentinels.iter().all(Sentinel::knows_everybody));
        until("the replicas follow", || online(self.master()) == self.nodes.len() - 1);
    }

    /// The node that most Sentinels call the master.
    pub fn master(&self) -> &RedisServer {
        &self.nodes[self.master_number()]
    }

    pub fn master_number(&self) -> usize {
        let said: Vec<u16> = self.sentinels.iter().filter_map(Sentinel::master).collect();
        let port = said.iter().copied().max_by_key(|port| said.iter().filter(|other| *other == port).count());
        let port = port.expect("a Sentinel answers");
        self.nodes.iter().position(|node| node.port() == port).expect("a node of this group")
    }

    /// The nodes that follow the master.
    pub fn replicas(&self) -> Vec<usize> {
        let master = self.master_number();
        (0..self.nodes.len()).filter(|number| *number != master).collect()
    }

    /// As `REDIS_SENTINELS` has it.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        addresses.join(",")
    }

    /// Where so many replicas must acknowledge, in this database.
    pub fn settings(&self, acks: u32, db: i64) -> Settings {
        Settings {
            server: Server::Sentinels {
                sentinels: self.sentinels.iter().map(|sentinel| ("127.0.0.1".to_owned(), sentinel.port)).collect(),
                tls: false,
                name: NAME.to_owned(),
                sentinel_password: None,
                db,
                username: None,
                password: None,
            },
            acks,
            ..self.nodes[0].settings()
        }
    }

    pub async fn connect(&self, acks: u32, db: i64) -> Arc<Redis> {
        connect(&self.settings(acks, db)).await.expect("a connection")
    }

    /// Has a Sentinel make another node the master. On a busy machine it may give up: it is told again.
    #[allow(dead_code, reason = "not every suite orders one")]
    pub fn fail_over(&self, sentinel: usize) {
        let switch = self.listen();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let _: Option<String> = ask(self.sentinels[sentinel].port, &["SENTINEL", "FAILOVER", NAME]);
            if switch.switched.recv_timeout(Duration::from_secs(10)).is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "no failover within {PATIENCE:?}");
        }
    }

    /// Listens for the next failover.
    pub fn listen(&self) -> Switch {
        Switch::of(self.sentinels.iter().map(|sentinel| sentinel.port))
    }
}

/// A group for all that run at the same time, and a database of it for the caller alone.
pub fn shared() -> (Arc<Sentinels>, i64) {
    static GROUP: Mutex<(Weak<Sentinels>, i64)> = Mutex::new((Weak::new(), 0));
    let mut group = GROUP.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = group.0.upgrade().unwrap_or_else(|| Arc::new(Sentinels::start()));
    *group = (Arc::downgrade(&shared), group.1 + 1);
    (shared, group.1)
}

/// How many replicas a master has online, as it says.
pub fn online(master: &RedisServer) -> usize {
    let info: String = ask(master.port(), &["INFO", "replication"]).unwrap_or_default();
    info.lines().filter(|line| line.contains("state=online")).count()
}

/// Asks until it is so, for at most [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// One command to whoever listens on the port; `None` without an answer.
pub fn ask<T: FromRedisValue>(port: u16, command: &[&str]) -> Option<T> {
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]).query(&mut inside(port)?).ok()
}

fn inside(port: u16) -> Option<Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("an address");
    let connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(connection)
}

/// One redis-sentinel.
pub struct Sentinel {
    process: Child,
    pub port: u16,
    folder: TempDir,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        for _ in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {NAME} {}\nsentinel failover-timeout {NAME} 6000\n",
                folder.path().display(),
                DOWN_AFTER.as_millis()
            );
            std::fs::write(folder.path().join("sentinel.conf"), settings).expect("written");
            if let Some(process) = spawn(&folder) {
                return Self { process, port, folder };
            }
        }
        panic!("no redis-sentinel could be started");
    }

    pub fn master(&self) -> Option<u16> {
        let address: (String, u16) = ask(self.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])?;
        Some(address.1)
    }

    /// Stops it as it is, or lets it go on: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    fn knows_everybody(&self) -> bool {
        let known: Vec<String> = ask(self.port, &["SENTINEL", "MASTER", NAME]).unwrap_or_default();
        let is = |name: &str, value: &str| known.chunks_exact(2).any(|pair| pair[0] == name && pair[1] == value);
        is("num-slaves", "2") && is("num-other-sentinels", "2") && is("flags", "master")
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    pub fn start_again(&mut self) {
        self.process = spawn(&self.folder).expect("the port is still free");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `None` where it ended before it was ready.
fn spawn(folder: &TempDir) -> Option<Child> {
    let mut process = Command::new("redis-sentinel")
        .arg(folder.path().join("sentinel.conf"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-sentinel is installed");
    let output = process.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("Sentinel ID is")) {
        let _ = process.wait();
        return None;
    }
    // A full pipe would stop it.
    thread::spawn(move || lines.for_each(drop));
    Some(process)
}

/// Listens for `+switch-master` on several Sentinels.
pub struct Switch {
    switched: mpsc::Receiver<Instant>,
    over: Arc<AtomicBool>,
}

impl Switch {
    fn of(ports: impl Iterator<Item = u16>) -> Self {
        let (tell, switched) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let (ready, listening) = mpsc::channel();
        let mut count = 0;
        for port in ports {
            let Some(mut connection) = inside(port) else { continue };
            count += 1;
            let (tell, over, ready) = (tell.clone(), over.clone(), ready.clone());
            thread::spawn(move || {
                let mut pubsub = connection.as_pubsub();
                pubsub.subscribe("+switch-master").expect("subscribed");
                ready.send(()).expect("awaited");
                pubsub.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
                while !over.load(Ordering::Relaxed) {
                    match pubsub.get_message() {
                        Ok(_) => drop(tell.send(Instant::now())),
                        Err(error) if error.is_timeout() => {}
                        Err(_) => return,
                    }
                }
            });
        }
        (0..count).for_each(|_| listening.recv_timeout(PATIENCE).expect("a Sentinel listens"));
        Self { switched, over }
    }

    /// When the first Sentinel said that it switched.
    pub fn wait(&self) -> Instant {
        self.switched.recv_timeout(PATIENCE).expect("a failover")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
