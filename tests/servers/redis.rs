//! A real Redis of a test's own, on a free port, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use onetimeshare::redis::{Redis, Server, Settings, connect};
use tempfile::TempDir;

pub struct RedisServer {
    process: Child,
    port: u16,
    folder: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts one that is durable; `options` as on Redis' command line.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        // Somebody else may take the port between looking for it and listening on it.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
            if let Some(process) = spawn(port, &folder, &options) {
                return Self { process, port, folder, options };
            }
        }
        panic!("no redis-server could be started");
    }

    pub fn settings(&self) -> Settings {
        Settings {
            server: Server::Url(format!("redis://127.0.0.1:{}", self.port)),
            max_storage: Some(1 << 40),
            has_blobs: true,
            allow_eviction: false,
            acks: 0,
            patience: Duration::ZERO,
        }
    }

    pub async fn connect(&self) -> Arc<Redis> {
        connect(&self.settings()).await.expect("a connection")
    }

    #[allow(dead_code, reason = "not every suite ends its Redis")]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as it is, or lets it go on: `STOP`, `CONT`.
    #[allow(dead_code, reason = "not every suite ends its Redis")]
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// As by `kill -9`.
    #[allow(dead_code, reason = "not every suite ends its Redis")]
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// On the same port, with the same data.
    #[allow(dead_code, reason = "not every suite ends its Redis")]
    pub fn start_again(&mut self) {
        self.process = spawn(self.port, &self.folder, &self.options).expect("the port is still free");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to one process.
#[allow(dead_code, reason = "not every suite ends its Redis")]
pub fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status();
    assert!(sent.expect("kill runs").success(), "kill -{name}");
}

/// `None` where it ended before it was ready.
fn spawn(port: u16, folder: &TempDir, options: &[String]) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .args(["--port", &port.to_string()])
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let output = process.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let ready = lines.any(|line| line.contains("Ready to accept connections"));
    if !ready {
        let _ = process.wait();
        return None;
    }
    // A full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Some(process)
}
