//! Certificates for one test: those of an authority that nobody else knows, made by openssl.

use std::path::Path;
use std::process::{Command, Stdio};

fn openssl(folder: &Path, arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).current_dir(folder).stderr(Stdio::null()).status();
    assert!(made.expect("openssl is installed").success(), "openssl {arguments:?}");
}

/// `ca.crt`, and `server.crt` with `server.key` for 127.0.0.1 and for `send.test`, which no resolver knows.
pub fn certify(folder: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=throwaway"];
    openssl(folder, &[&["req", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt"], &key[..]].concat());
    openssl(folder, &[&["req", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat());
    let names = "subjectAltName=IP:127.0.0.1,DNS:send.test\nbasicConstraints=CA:FALSE\n";
    std::fs::write(folder.join("names"), names).expect("written");
    let ca = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"];
    openssl(folder, &[&["x509", "-req", "-days", "2", "-in", "server.csr", "-out", "server.crt"], &ca[..]].concat());
}
