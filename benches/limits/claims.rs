//! How long a claim takes while nothing else happens, and beside an upload and a download at full speed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{percentiles, timed};
use crate::process::Process;
use crate::servers::FORGETFUL;
use crate::share::{Share, Uploaded, finish};
use crate::table::Report;
use crate::table::Target::AtMost;
use crate::{MIB, Options, SMALL};

/// Claims of one measurement at the most; so many shares wait before it begins.
const CLAIMS: usize = 2000;
/// Bytes of what is uploaded and downloaded beside the claims.
const BULK: u64 = 512 * MIB;
/// Recipients of the large share that is downloaded over and over.
const RECIPIENTS: u32 = 100;

/// One client claims one share after the other.
pub(crate) fn claims(options: &Options, report: &mut Report) {
    println!();
    claims_on("embedded", None, options, report);
    if options.redis {
        claims_on("Redis", Some(&Process::redis(FORGETFUL)), options, report);
    }
}

fn claims_on(store: &str, redis: Option<&Process>, options: &Options, report: &mut Report) {
    let server = Process::ours(redis);
    let [mut medians, mut worst, mut loaded_medians, mut loaded_worst, mut ratio] = [const { Vec::new() }; 5];
    for _ in 0..options.runs {
        let (p50, p99) = percentiles(claimed(&server, &waiting(&server), options.time));
        let (loaded_p50, loaded_p99) = percentiles(beside_bulk(&server, options.time));
        medians.push(p50);
        worst.push(p99);
        loaded_medians.push(loaded_p50);
        loaded_worst.push(loaded_p99);
        ratio.push(loaded_p99 / p99);
    }
    for (name, figures) in [
        ("alone, p50", &medians),
        ("alone, p99", &worst),
        ("beside bulk, p50", &loaded_medians),
        ("beside bulk, p99", &loaded_worst),
    ] {
        report.figure(&format!("a claim on {store}, {name}"), "ms", figures, None);
    }
    report.figure(&format!("a claim on {store}, p99 beside bulk"), "× alone", &ratio, Some(AtMost(5.0)));
}

/// Shares that nobody has claimed yet.
fn waiting(server: &Process) -> Vec<Uploaded> {
    let (share, mut client) = (Share::new(SMALL), server.client());
    (0..CLAIMS).map(|_| share.upload_at_once(&mut client)).collect()
}

/// Milliseconds that each claim took: of all that wait, or of as many as `time` allows.
fn claimed(server: &Process, waiting: &[Uploaded], time: Duration) -> Vec<f64> {
    let (mut client, begun) = (server.client(), Instant::now());
    let claims = waiting.iter().take_while(|_| begun.elapsed() < time);
    claims.map(|uploaded| timed(|| uploaded.claim(&mut client)).1).collect()
}

/// The same while one client uploads and another downloads, as fast as they can.
fn beside_bulk(server: &Process, time: Duration) -> Vec<f64> {
    let (waiting, download) = (waiting(server), Share::for_many(BULK, RECIPIENTS));
    let uploaded = download.upload(&mut server.client());
    let measured = AtomicBool::new(false);
    let goes_on = || !measured.load(Ordering::Relaxed);
    let latencies = thread::scope(|scope| {
        scope.spawn(|| {
            let (upload, mut client) = (Share::new(BULK), server.client());
            while goes_on() {
                upload.upload(&mut client).revoke(&mut client);
            }
        });
        scope.spawn(|| {
            let mut client = server.client();
            while goes_on() {
                let claim = uploaded.claim(&mut client);
                download.read(&mut client, &claim);
                finish(&mut client, &claim);
            }
        });
        let _end = OnDrop(&measured);
        claimed(server, &waiting, time)
    });
    uploaded.revoke(&mut server.client());
    latencies
}

/// Set when this is dropped, by a panic too: nobody may wait for threads that nothing stops.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
