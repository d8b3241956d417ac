//! A server that takes the CPU as long as ours, has one thread that writes, as ours has, and does nothing else: as near to the limit as
//! two cores let anybody come who has as much to do in that order.
//!
//! Clients wait for the network, that for the one that writes, and that one for the disk.

use std::fs::{File, remove_dir_all};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::process::{scratch, spent};

/// What a client asks for in a cycle: two steps that must be on the disk, and one that need not.
const CYCLE: [u8; 3] = [DURABLE, DURABLE, 0];
const DURABLE: u8 = 1;
/// Threads that serve the network.
const SERVING: usize = 2;
/// Where the file begins anew.
const LENGTH: u64 = 8 << 20;

/// CPU time that goes into a cycle, in equal parts into each of its steps.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    /// Of the threads that serve the network.
    pub(crate) serving: Duration,
    /// Of the one that writes.
    pub(crate) writing: Duration,
}

/// What the thread that writes is asked for, and whom it answers.
struct Step {
    durable: bool,
    done: oneshot::Sender<()>,
}

/// CPU time that a cycle takes with no work in it.
pub(crate) fn idle(root: &Path, clients: usize, bytes: u64, time: Duration) -> Work {
    let before = spent();
    let (cycles, writing) = run(root, clients, Work::default(), bytes, time);
    let all = Duration::from_secs_f64(spent() - before);
    Work { serving: all.saturating_sub(writing) / cycles, writing: writing / cycles }
}

/// Cycles a second of so many clients; each durable step writes so many bytes.
pub(crate) fn cycles(root: &Path, clients: usize, work: Work, bytes: u64, time: Duration) -> f64 {
    f64::from(run(root, clients, work, bytes, time).0) / time.as_secs_f64()
}

/// The cycles that were done, and the CPU time of the thread that wrote.
fn run(root: &Path, clients: usize, work: Work, bytes: u64, time: Duration) -> (u32, Duration) {
    let dir = scratch(root, "served");
    let file = File::options().read(true).write(true).create_new(true).open(dir.join("log")).expect("a file");
    let of_a_step = |work: Duration| work / CYCLE.len() as u32;
    let (ask, asked) = channel();
    let done = thread::scope(|scope| {
        let file = &file;
        let writing = scope.spawn(move || write(file, &asked, of_a_step(work.writing), bytes));
        let servers = std::iter::repeat_n(ask, SERVING).enumerate().map(|(at, ask)| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = listener.local_addr().expect("an address");
            scope.spawn(move || serve(listener, (clients + at) / SERVING, &ask, of_a_step(work.serving)));
            address
        });
        let servers: Vec<SocketAddr> = servers.collect();
        let clients = servers.iter().rev().cycle().take(clients);
        let clients: Vec<_> = clients.map(|&server| scope.spawn(move || client(server, time))).collect();
        let cycles = clients.into_iter().map(|client| client.join().expect("a client")).sum::<u32>();
        (cycles, writing.join().expect("it ends with the last client"))
    });
    remove_dir_all(dir).expect("our own folder");
    done
}

/// Asks over and over; gives the cycles.
fn client(server: SocketAddr, time: Duration) -> u32 {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (begun, mut cycles) = (Instant::now(), 0);
    while begun.elapsed() < time {
        for step in CYCLE {
            stream.write_all(&[step]).and_then(|()| stream.read_exact(&mut [0])).expect("it answers");
        }
        cycles += 1;
    }
    cycles
}

/// Serves so many clients until they hang up.
fn serve(listener: TcpListener, clients: usize, ask: &Sender<Step>, work: Duration) {
    listener.set_nonblocking(true).expect("a socket");
    runtime::Builder::new_current_thread().enable_io().build().expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
        let mut connections = JoinSet::new();
        for _ in 0..clients {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.set_nodelay(true).expect("a TCP socket");
            let ask = ask.clone();
            connections.spawn(async move {
                while let Ok(step) = stream.read_u8().await {
                    spin(work);
                    let (done, answer) = oneshot::channel();
                    ask.send(Step { durable: step == DURABLE, done }).expect("it writes");
                    answer.await.expect("it answers");
                    stream.write_u8(0).await.expect("it waits");
                }
            });
        }
        connections.join_all().await;
    });
}

/// Works for all that ask, answers first whom it can, and writes the others' down, with one sync for those who asked meanwhile. Gives the
/// CPU time of the thread.
fn write(file: &File, asked: &Receiver<Step>, work: Duration, bytes: u64) -> Duration {
    let mut at = 0;
    while let Ok(first) = asked.recv() {
        let batch = std::iter::once(first).chain(asked.try_iter());
        let (durable, others): (Vec<_>, Vec<_>) = batch.partition(|step| step.durable);
        for step in others {
            spin(work);
            let _ = step.done.send(());
        }
        if durable.is_empty() {
            continue;
        }
        spin(work * durable.len() as u32);
        let content = vec![1; durable.len() * bytes as usize];
        file.write_all_at(&content, at).and_then(|()| file.sync_data()).expect("room on the disk");
        at = (at + content.len() as u64) % LENGTH;
        for step in durable {
            let _ = step.done.send(());
        }
    }
    thread_time()
}

/// Takes the CPU for so long.
fn spin(work: Duration) {
    let until = thread_time() + work;
    while thread_time() < until {}
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("since the thread began")
}
