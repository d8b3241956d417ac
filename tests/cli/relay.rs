//! Stands between client and server, at one address whatever becomes of the server: counts bytes, and holds them up at a gate.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::server::until;

/// Bytes of one direction: how many passed, and how many may.
#[derive(Default)]
struct Gate {
    passed: AtomicU64,
    may_pass: Mutex<u64>,
    raised: Condvar,
}

impl Gate {
    /// Waits until so many bytes more may pass.
    fn pass(&self, count: u64) {
        let mut may_pass = self.may_pass.lock().unwrap();
        while *may_pass < self.passed.load(Ordering::SeqCst) + count {
            may_pass = self.raised.wait(may_pass).unwrap();
        }
        self.passed.fetch_add(count, Ordering::SeqCst);
    }

    fn raise(&self, to: u64) {
        *self.may_pass.lock().unwrap() = to;
        self.raised.notify_all();
    }
}

struct Shared {
    server: Mutex<SocketAddr>,
    up: Gate,
    down: Gate,
    /// Bytes from the server after which a connection is cut.
    cut: AtomicU64,
}

/// See the module. Its threads end with the test's process.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    /// Lets everything pass.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (server, cut) = (Mutex::new(server), AtomicU64::new(u64::MAX));
        let shared = Arc::new(Shared { server, up: Gate::default(), down: Gate::default(), cut });
        let relay = Self { address, shared: shared.clone() };
        relay.open();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = *shared.server.lock().unwrap();
                // A server that is away refuses; so does the relay.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (shared.clone(), shared.clone());
                thread::spawn(move || pipe(from, to, &up.up, u64::MAX));
                let left = shared.cut.load(Ordering::SeqCst);
                thread::spawn(move || pipe(server, client, &down.down, left));
            }
        });
        relay
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on to another server.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
    }

    /// So many bytes may go to the server, all in all.
    pub(crate) fn up_to(&self, bytes: u64) {
        self.shared.up.raise(bytes);
    }

    /// So many bytes may come from the server, all in all.
    pub(crate) fn down_to(&self, bytes: u64) {
        self.shared.down.raise(bytes);
    }

    /// From now on every new connection breaks after so many bytes from the server.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.cut.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.up_to(u64::MAX);
        self.down_to(u64::MAX);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.shared.up.passed.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> u64 {
        self.shared.down.passed.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn until_sent(&self, bytes: u64) {
        until("bytes go to the server", Duration::from_secs(60), || self.sent() >= bytes);
    }

    #[track_caller]
    pub(crate) fn until_received(&self, bytes: u64) {
        until("bytes come from the server", Duration::from_secs(60), || self.received() >= bytes);
    }
}

/// So long may what is lost be on its way.
const LOST: Duration = Duration::from_millis(100);

/// Passes on at most `left` bytes, then closes: what was on its way by then is sent, and lost.
fn pipe(mut from: TcpStream, mut to: TcpStream, gate: &Gate, mut left: u64) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        gate.pass(count as u64);
        left -= count as u64;
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        if left == 0 {
            from.set_read_timeout(Some(LOST)).unwrap();
            while let Ok(1..) = from.read(&mut bytes) {}
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
