//! Threads that share syncs and do nothing else but work: as near to the limit as two cores let anybody come who has as much to do.

use std::fs::{File, remove_dir_all};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::scratch;

/// Where the file begins anew.
const LENGTH: u64 = 8 << 20;

/// What is to be done for a cycle.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Waits for the disk.
    pub(crate) commits: u32,
    /// CPU time, a part of it before each commit.
    pub(crate) before: Duration,
    /// CPU time of the one thread that writes, a part of it with each commit.
    pub(crate) within: Duration,
}

/// Cycles a second of so many clients, each of which works, and then waits until a batch with its `bytes` is on the disk.
pub(crate) fn cycles(root: &Path, clients: usize, work: Work, bytes: u64, time: Duration) -> f64 {
    let dir = scratch(root, "shared");
    let file = File::options().read(true).write(true).create_new(true).open(dir.join("log")).expect("a file");
    let (ask, asked) = channel::<SyncSender<()>>();
    let client = |ask: Sender<SyncSender<()>>| {
        let (answer, answered) = sync_channel(1);
        let (begun, mut cycles) = (Instant::now(), 0_u32);
        while begun.elapsed() < time {
            for _ in 0..work.commits {
                spin(work.before / work.commits);
                ask.send(answer.clone()).expect("it syncs");
                answered.recv().expect("it answers");
            }
            cycles += 1;
        }
        cycles
    };
    let done = thread::scope(|scope| {
        scope.spawn(|| sync(&file, asked, work.within / work.commits, bytes));
        let asking = std::iter::repeat_n(ask, clients);
        let threads: Vec<_> = asking.map(|ask| scope.spawn(|| client(ask))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client")).sum::<u32>()
    });
    remove_dir_all(dir).expect("our own folder");
    f64::from(done) / time.as_secs_f64()
}

/// Works for all that ask and writes that down, with one sync for those who asked meanwhile.
fn sync(file: &File, asked: Receiver<SyncSender<()>>, work: Duration, bytes: u64) {
    let mut at = 0;
    while let Ok(first) = asked.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
        spin(work * batch.len() as u32);
        let content = vec![1; batch.len() * bytes as usize];
        file.write_all_at(&content, at).and_then(|()| file.sync_data()).expect("room on the disk");
        at = (at + content.len() as u64) % LENGTH;
        for answer in batch {
            answer.send(()).expect("it waits");
        }
    }
}

/// Takes the CPU for so long.
fn spin(work: Duration) {
    let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("since the thread began");
    let until = spent() + work;
    while spent() < until {}
}
