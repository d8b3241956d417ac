//! The real binary, run by a tool that counts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::redis_server::{RedisServer, signal};

/// A server that is being counted may take so long to do what it is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, and the tool that runs it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    tool: Child,
    /// The server: the tool itself, or its child.
    pub(crate) pid: u32,
    folder: TempDir,
}

impl Server {
    /// Starts `tool` with the server's command line at the end of its own. It may write into the folder that it is given.
    pub(crate) fn start(tool: impl FnOnce(&Path) -> Command, redis: Option<&RedisServer>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = tool(folder.path());
        command.arg(env!("CARGO_BIN_EXE_onetimeshare")).args(["--listen", "127.0.0.1:0"]);
        match redis {
            Some(redis) => command.args(["--redis-url", &format!("redis://127.0.0.1:{}", redis.port())]),
            None => command.arg("--data-dir").arg(folder.path().join("data")),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log).expect("a file"));
        let name = command.get_program().display().to_string();
        let mut tool = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}: install it"));
        let mut line = String::new();
        let _ = BufReader::new(tool.stdout.take().expect("a pipe")).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = tool.kill();
            let _ = tool.wait();
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("{name} can't run the server; where it may not trace (ptrace), it must be allowed to: {log}");
        };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", tool.id())).unwrap_or_default();
        let pid = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(tool.id());
        Self { address, tool, pid, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the server, and waits until the tool has written everything.
    pub(crate) fn end(&mut self) {
        let sent = Command::new("kill").arg(self.pid.to_string()).status();
        assert!(sent.expect("kill runs").success());
        let deadline = Instant::now() + PATIENCE;
        while self.tool.try_wait().expect("a child can be waited for").is_none() {
            assert!(Instant::now() < deadline, "the server does not end");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.tool.try_wait().is_ok_and(|ended| ended.is_none()) {
            // The tool alone would leave the server behind.
            let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
            signal(&self.tool, "KILL");
            let _ = self.tool.wait();
        }
    }
}
