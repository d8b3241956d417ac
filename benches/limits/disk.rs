//! Small shares on a real disk, where each step waits for a sync, beside what syncs allow.

use std::fs::{File, remove_dir_all};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::cycles;
use crate::process::{Process, scratch, spent};
use crate::served::{self, Work};
use crate::table::{Report, Row};
use crate::{Options, SMALL};

const CLIENTS: [usize; 4] = [1, 8, 32, 128];
/// Commits of one cycle that must be durable before it goes on: the share, the claim.
/// `tests/counts.rs` counts them.
const COMMITS: u32 = 2;
/// How much slower than the limit it may be.
const WITHIN: f64 = 1.3;
/// For how long syncs are measured, each time.
const SYNCING: Duration = Duration::from_millis(500);
/// `f_type` of a file system in memory (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// Cycles of so many clients, on disk and in memory.
///
/// The limit: a store that commits all that waits with one `fdatasync`. However many clients share a sync, each of them
/// waits for [`COMMITS`] of them in a cycle, and for its own requests, which take as long as a lone client's in memory. So
/// many clients come to `clients / (COMMITS × sync + lone cycle)` a second, unless the CPU ends it sooner: never to more
/// than as many clients do in memory. To come near, all clients would have to be in every batch; one that asks while a sync
/// runs waits for the rest of that, too, and whoever is answered waits for a core. How much of the limit that leaves, a server
/// shows that does nothing but take the CPU as long as ours does for a cycle: in memory, and the one thread that writes on the disk.
pub(crate) fn disk(options: &Options, report: &mut Report) {
    let root = on_disk();
    println!("\non disk: {}", root.display());
    let (server, in_memory) = (Process::ours_in(&root, None), Process::ours(None));
    for clients in CLIENTS {
        let mut limit = Row::new("what one fdatasync per batch allows");
        let mut bare = Row::new("a server that only works as long");
        let mut own = Row::at_least("embedded, on disk", (100.0 / WITHIN).floor() / 100.0);
        let (mut appended, mut rewritten) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            let lone = cycles(&in_memory, 1, SYNCING, SMALL).a_second();
            let ledger = |server: &Process| Duration::from_secs_f64(server.thread_cpu("ledger"));
            let (before, written) = (spent(), ledger(&in_memory));
            let most = cycles(&in_memory, clients, options.time, SMALL);
            let all = Duration::from_secs_f64(spent() - before + most.cost.cpu);
            let serving = (all - (ledger(&in_memory) - written)).div_f64(most.count());
            let syncs = Syncs::measure(&root, clients as u64 * SMALL);
            let written = ledger(&server);
            let done = cycles(&server, clients, options.time, SMALL);
            let writing = (ledger(&server) - written).div_f64(done.count());
            let syncs = syncs.and(Syncs::measure(&root, clients as u64 * SMALL));
            let idle = served::idle(&root, clients, SMALL, SYNCING);
            let work =
                Work { serving: serving.saturating_sub(idle.serving), writing: writing.saturating_sub(idle.writing) };
            bare.figures.push(served::cycles(&root, clients, work, SMALL, options.time));
            let cycle = f64::from(COMMITS) * syncs.quickest() + 1.0 / lone;
            limit.figures.push(most.a_second().min(clients as f64 / cycle));
            own.add(done.a_second(), done.cost, done.count() / 1e3);
            own.latencies.push(done.latency());
            appended.push(syncs.appended * 1e3);
            rewritten.push(syncs.rewritten * 1e3);
        }
        let clients = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        report.table(&format!("on disk, {clients}, 4 KiB cycles/s"), "CPU ms/cycle", &[&limit, &bare, &own]);
        report.figure(&format!("  fdatasync of a batch of {clients}, appended"), "ms", &appended, None);
        report.figure(&format!("  fdatasync of a batch of {clients}, over what was there"), "ms", &rewritten, None);
    }
}

/// Seconds that a write and its `fdatasync` take: at the end of a file, and over what was written before, which spares
/// the file system a record of the new length. SQLite's log is written over again and again.
struct Syncs {
    appended: f64,
    rewritten: f64,
}

impl Syncs {
    fn measure(root: &Path, bytes: u64) -> Self {
        let dir = scratch(root, "syncs");
        let file = File::options().read(true).write(true).create_new(true).open(dir.join("log")).expect("a file");
        let batch = vec![1; bytes as usize];
        let write = |at| file.write_all_at(&batch, at).and_then(|()| file.sync_data()).expect("room on the disk");
        let mut batches = 0;
        let appended = mean(|| {
            write(batches * bytes);
            batches += 1;
        });
        let mut next = 0;
        let rewritten = mean(|| {
            write(next % batches * bytes);
            next += 1;
        });
        remove_dir_all(dir).expect("our own folder");
        Self { appended, rewritten }
    }

    /// The mean with those of another time.
    fn and(self, other: Self) -> Self {
        let middle = |a, b| f64::midpoint(a, b);
        Self { appended: middle(self.appended, other.appended), rewritten: middle(self.rewritten, other.rewritten) }
    }

    fn quickest(&self) -> f64 {
        self.appended.min(self.rewritten)
    }
}

/// Seconds that `work` takes in the mean, done over and over for [`SYNCING`].
fn mean(mut work: impl FnMut()) -> f64 {
    let (begun, mut count) = (Instant::now(), 0.0);
    while begun.elapsed() < SYNCING {
        work();
        count += 1.0;
    }
    begun.elapsed().as_secs_f64() / count
}

/// A folder that is not in memory: in the build's, or in that for temporary files.
fn on_disk() -> PathBuf {
    let folders = [PathBuf::from(env!("CARGO_TARGET_TMPDIR")), std::env::temp_dir()];
    let is_disk = |folder: &PathBuf| rustix::fs::statfs(folder).is_ok_and(|system| system.f_type != TMPFS);
    folders.into_iter().find(is_disk).expect("a folder on a disk: set TMPDIR to one")
}
