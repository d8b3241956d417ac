//! What the server holds while it works and while it waits; how soon it is there, and how large.

use std::fs;

use crate::load::{at_once, cycles, plain, sealed, timed};
use crate::process::Process;
use crate::servers::{FORGETFUL, binary};
use crate::table::Report;
use crate::table::Target::AtMost;
use crate::{CLIENTS, MIB, Options, SMALL};

const AT_ONCE: usize = 16;
const STARTS: usize = 10;

/// Peaks of the resident set, the binary's own pages included.
pub(crate) fn memory(options: &Options, report: &mut Report) {
    println!();
    on("embedded", None, options, report);
    if options.redis {
        on("Redis", Some(&Process::redis(FORGETFUL)), options, report);
    }
}

fn on(store: &str, redis: Option<&Process>, options: &Options, report: &mut Report) {
    let server = Process::ours(redis);
    server.client().ask("GET", "/healthz", "", b"").is(200);
    let idle = server.memory("VmRSS:");
    report.figure(&format!("memory on {store}: idle"), "MiB", &[idle], Some(AtMost(12.0)));
    let mut peak = |what: &str, target: Option<f64>, work: &(dyn Fn() + Sync)| {
        let (_, cost) = server.measure(work);
        report.figure(&format!("memory on {store}: {what}, peak"), "MiB", &[cost.peak], target.map(AtMost));
    };
    let size = options.size;
    peak(&format!("1 × {} MiB sealed", size / MIB), None, &|| _ = sealed(&server, size));
    peak(&format!("1 × {} MiB plain", size / MIB), None, &|| _ = plain(&server, size));
    peak("4 KiB cycles, 32 clients", None, &|| _ = cycles(&server, CLIENTS, options.time, SMALL));
    let sizes = if options.full { vec![64, 640] } else { vec![64] };
    for size in sizes {
        let sealed = || at_once(AT_ONCE, || _ = sealed(&server, size * MIB));
        peak(&format!("{AT_ONCE} × {size} MiB up and down, sealed"), Some(32.0), &sealed);
        let plain = || at_once(AT_ONCE, || _ = plain(&server, size * MIB));
        peak(&format!("{AT_ONCE} × {size} MiB up and down, plain"), Some(32.0), &plain);
    }
}

/// From the start of the process, on an empty folder, to its first answer.
pub(crate) fn start(_: &Options, report: &mut Report) {
    let first_answer = || {
        let (server, milliseconds) = timed(|| {
            let server = Process::ours(None);
            server.client().ask("GET", "/healthz", "", b"").is(200);
            server
        });
        drop(server);
        milliseconds
    };
    let starts: Vec<f64> = (0..STARTS).map(|_| first_answer()).collect();
    let size = fs::metadata(binary()).expect("the binary").len() as f64 / 1e6;
    println!();
    report.figure("start to first answer", "ms", &starts, Some(AtMost(10.0)));
    report.figure("binary", "MB", &[size], Some(AtMost(12.0)));
}
