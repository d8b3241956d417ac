//! The server's resident set, the binary's pages included.

use std::fs;
use std::thread;

use crate::server::Server;

/// What it holds now, in MiB.
pub(crate) fn held(server: &Server) -> f64 {
    field(server.pid, "VmRSS:")
}

/// Has so many do `work` at once, and gives the most that the server held meanwhile, in MiB.
pub(crate) fn peak(server: &Server, clients: usize, work: impl Fn() + Sync) -> f64 {
    fs::write(format!("/proc/{}/clear_refs", server.pid), "5").expect("our own process");
    thread::scope(|scope| (0..clients).for_each(|_| drop(scope.spawn(&work))));
    field(server.pid, "VmHWM:")
}

/// A field of `/proc/PID/status` in kB, in MiB.
fn field(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("our own process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of every process");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
