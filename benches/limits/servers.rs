//! Ours, and those that stand beside it: each on a free port, with a scratch folder of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bare;
use crate::process::{Process, in_memory, log, scratch};

/// Redis keeps nothing on disk.
pub(crate) const FORGETFUL: &[&str] = &["--appendonly", "no"];
/// It syncs its log once a second.
pub(crate) const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];
/// It syncs its log before it answers.
pub(crate) const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// The server's binary: that of this build, unless `ONETIMESHARE_BIN` names another.
pub(crate) fn binary() -> PathBuf {
    std::env::var("ONETIMESHARE_BIN").unwrap_or(env!("CARGO_BIN_EXE_onetimeshare").to_owned()).into()
}

impl Process {
    /// Our server: on `redis`, or on its embedded store in memory.
    pub(crate) fn ours(redis: Option<&Self>) -> Self {
        Self::ours_in(&in_memory(), redis)
    }

    /// Our server, its data folder below `root`.
    pub(crate) fn ours_in(root: &Path, redis: Option<&Self>) -> Self {
        let dir = scratch(root, "ours");
        let mut command = Command::new(binary());
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
        Self::listening(child, address, dir).in_front_of(redis)
    }

    /// nginx as a WebDAV server: the floor that the file system and the network stack set.
    pub(crate) fn nginx() -> Self {
        Self::nginx_with(&[], "")
    }

    /// nginx with these files, and these lines more in its configuration.
    pub(crate) fn nginx_with(files: &[(&str, &[u8])], lines: &str) -> Self {
        let (dir, address) = (scratch(&in_memory(), "nginx"), free_port());
        fs::create_dir(dir.join("www")).expect("a folder");
        for (name, content) in files {
            fs::write(dir.join("www").join(name), content).expect("a file");
        }
        let config = format!(
            "daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes auto;
             events {{ worker_connections 512; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
               client_max_body_size 0; client_body_temp_path {dir}/body; client_body_buffer_size 1m;
               proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
               server {{ listen {address}; root {dir}/www; dav_methods PUT DELETE; {lines} }}
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

    /// A server that does nothing but hand bytes on to `redis` and back.
    pub(crate) fn bare(redis: &Self) -> Self {
        let (dir, address) = (scratch(&in_memory(), "bare"), free_port());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([bare::FLAG, &address.to_string(), &redis.address.to_string()]);
        Self::spawn(command, address, dir).in_front_of(Some(redis))
    }

    /// A Redis that is [`FORGETFUL`], syncs [`EVERY_SECOND`] or [`ALWAYS`].
    pub(crate) fn redis(persistence: &[&str]) -> Self {
        let (dir, address) = (scratch(&in_memory(), "redis"), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &address.port().to_string()]);
        command.args(persistence).arg("--dir").arg(&dir).stdout(Stdio::null());
        Self::spawn(command, address, dir)
    }

    /// What redis-cli prints, asked for this command of this Redis.
    pub(crate) fn redis_cli(&self, command: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Commands a second that redis-benchmark sees from this Redis.
    pub(crate) fn redis_benchmark(&self, arguments: &[&str]) -> f64 {
        let port = self.address.port().to_string();
        let output = Command::new("redis-benchmark").args(["-p", &port, "--csv"]).args(arguments).output();
        let text = String::from_utf8_lossy(&output.expect("redis-benchmark").stdout).into_owned();
        let line = text.lines().last().unwrap_or_default();
        let rate = line.split(',').nth(1).and_then(|rate| rate.trim_matches('"').parse().ok());
        rate.unwrap_or_else(|| panic!("no rate in what redis-benchmark printed: {text:?}"))
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
