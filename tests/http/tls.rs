//! Redis and Sentinel over TLS, with a certificate of a CA that only `SSL_CERT_FILE` names.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::certificates::certify;
use crate::client::Request;
use crate::redis_server::RedisServer;
use crate::sentinels::NAME;
use crate::server::{binary, free_port, wait};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary with these flags; gives the first line that it says, on either stream.
fn start(flags: &[&str], ca: Option<&Path>) -> (Ended, String) {
    let mut command = binary();
    command.args(["--listen", "127.0.0.1:0"]).args(flags);
    if let Some(ca) = ca {
        command.env("SSL_CERT_FILE", ca);
    }
    let mut child = Ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    if line.is_empty() {
        wait(&mut child.0);
        BufReader::new(child.0.stderr.take().expect("piped")).read_line(&mut line).expect("read");
    }
    (child, line)
}

#[track_caller]
fn assert_serves(flags: &[&str], ca: &Path) {
    let (_server, line) = start(flags, Some(ca));
    let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
    let address = address.parse().expect("an address");
    Request::new(address, "GET", "/readyz").send().is(200);
    for body in [vec![7], vec![7; 2 << 20]] {
        Request::new(address, "PUT", "/a").body(body).send().is(201);
    }
}

#[test]
fn redis_and_sentinel_are_spoken_to_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (port, sentinel) = (free_port(), free_port());
    let (port_text, crt, key, ca) = (port.to_string(), file("server.crt"), file("server.key"), file("ca.crt"));
    let tls = ["--port", "0", "--tls-cert-file", &crt, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let options = [&tls[..], &["--tls-port", &port_text, "--tls-auth-clients", "no", "--requirepass", "hush"]].concat();
    let _redis = RedisServer::start(&options);
    let settings = format!(
        "port 0\ntls-port {sentinel}\ntls-replication yes\ntls-auth-clients no\ntls-cert-file {crt}\ntls-key-file {key}\n\
         tls-ca-cert-file {ca}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {port} 1\n\
         sentinel auth-pass {NAME} hush\n",
        folder.path().display()
    );
    std::fs::write(folder.path().join("sentinel.conf"), settings).expect("written");
    let mut command = Command::new("redis-sentinel");
    command.arg(file("sentinel.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let _sentinel = Ended(command.spawn().expect("redis-sentinel is installed"));

    let url = format!("rediss://:hush@127.0.0.1:{port}");
    let sentinels = format!("rediss://127.0.0.1:{sentinel}");
    let through = ["--redis-sentinels", &sentinels, "--redis-master-name", NAME, "--redis-password", "hush"];
    assert_serves(&["--redis-url", &url], &folder.path().join("ca.crt"));
    assert_serves(&through, &folder.path().join("ca.crt"));
    for flags in [&["--redis-url", &url][..], &through] {
        let line = start(flags, None).1;
        assert!(line.contains("certificate") && line.contains("SSL_CERT_FILE") && !line.contains("hush"), "{line}");
    }
}
