//! Many connections at once that do little or nothing: slow downloads, and clients that keep theirs open.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect, socket};

use crate::http::head;
use crate::process::Process;
use crate::servers::FORGETFUL;
use crate::share::Share;
use crate::table::Report;
use crate::table::Target::{AtLeast, AtMost};
use crate::{MIB, Options, SMALL};

const DOWNLOADS: usize = 1000;
/// Recipients of one share: no more than a server allows unless told to.
const RECIPIENTS: usize = 100;
/// Bytes that each takes in a second.
const RATE: f64 = 100e3;
/// Bytes of each share: enough for [`HELD`], even with all that the kernel holds on top.
const LENGTH: u64 = 32 * MIB;
const HELD: Duration = Duration::from_secs(10);
/// How often a client takes what it may by then.
const TICK: Duration = Duration::from_millis(50);
/// What the kernel may keep for a slow client: more would be taken from the server, and never by the client.
const RECEIVE_BUFFER: usize = 32 * 1024;

const IDLE: usize = 10_000;
/// Of them, those that ask at the same time: all must be there before the first is closed for being idle.
const ASKING: usize = 100;

/// A thousand downloads at once, each taken at its own slow pace.
pub(crate) fn slow(options: &Options, report: &mut Report) {
    println!();
    slow_on("embedded", None, report);
    if options.redis {
        slow_on("Redis", Some(&Process::redis(FORGETFUL)), report);
    }
}

fn slow_on(store: &str, redis: Option<&Process>, report: &mut Report) {
    let server = Process::ours(redis);
    let (share, mut client) = (Share::for_many(LENGTH, RECIPIENTS as u32), server.client());
    let shares: Vec<_> = (0..DOWNLOADS / RECIPIENTS).map(|_| share.upload(&mut client)).collect();
    let claims: Vec<String> = (0..DOWNLOADS).map(|n| shares[n % shares.len()].claim(&mut client)).collect();
    let before = server.memory("VmRSS:");
    server.forget_peak();
    let mut downloads: Vec<Slow> = claims.iter().map(|claim| Slow::open(server.address, claim)).collect();
    let slowest = hold(&mut downloads);
    let each = (server.memory("VmHWM:") - before) * 1024.0 / DOWNLOADS as f64;
    let name = format!("{DOWNLOADS} slow downloads on {store}");
    report.figure(&format!("{name}: memory of each, at its peak"), "KiB", &[each], Some(AtMost(64.0)));
    report.figure(&format!("{name}: the slowest of them"), "kB/s", &[slowest], Some(AtLeast(RATE / 1e3 * 0.9)));
}

/// Takes from all at their pace for [`HELD`]; gives what the slowest got, in kB/s.
fn hold(downloads: &mut [Slow]) -> f64 {
    let (begun, mut buffer) = (Instant::now(), vec![0; (RATE * HELD.as_secs_f64()) as usize]);
    while begun.elapsed() < HELD {
        let due = (RATE * begun.elapsed().as_secs_f64()) as usize;
        downloads.iter_mut().for_each(|download| download.take(due, &mut buffer));
        sleep(TICK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    downloads.iter().map(|download| download.taken).min().unwrap_or(0) as f64 / seconds / 1e3
}

/// A download whose client reads no more than it is allowed to.
struct Slow {
    stream: TcpStream,
    taken: usize,
}

impl Slow {
    fn open(address: SocketAddr, claim: &str) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER).expect("a size");
        connect(&socket, &address).expect("the server listens");
        let mut stream = TcpStream::from(socket);
        stream.write_all(head("GET", claim, "", 0).as_bytes()).expect("the server reads");
        stream.set_nonblocking(true).expect("a socket");
        Self { stream, taken: 0 }
    }

    /// Takes what is there, until it has `due` bytes in all.
    fn take(&mut self, due: usize, buffer: &mut [u8]) {
        while self.taken < due {
            match self.stream.read(&mut buffer[..due - self.taken]) {
                Ok(0) => panic!("a slow download was cut off"),
                Ok(read) => self.taken += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a slow download failed: {error}"),
            }
        }
    }
}

/// Ten thousand clients that looked at a share, and keep their connection.
pub(crate) fn idle(_: &Options, report: &mut Report) {
    let server = Process::ours(None);
    let path = format!("/s/{}", Share::new(SMALL).upload_at_once(&mut server.client()).id);
    let request = head("GET", &path, "", 0);
    let length = server.client().ask("GET", &path, "", b"").is(200).length();
    let before = server.memory("VmRSS:");
    let mut answer = vec![0; length];
    let (begun, mut connections) = (Instant::now(), Vec::new());
    while connections.len() < IDLE {
        let connect = |_| TcpStream::connect(server.address).expect("the server listens");
        let mut asking: Vec<TcpStream> = (0..ASKING).map(connect).collect();
        asking.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).expect("the server reads"));
        asking.iter_mut().for_each(|stream| stream.read_exact(&mut answer).expect("the server answers"));
        connections.append(&mut asking);
    }
    let each = (server.memory("VmRSS:") - before) * 1024.0 / IDLE as f64;
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert!(connections.iter().all(is_open), "the server closed connections before all were there, in {seconds:.0} s");
    println!();
    report.figure(&format!("{IDLE} idle connections: memory of each"), "KiB", &[each], Some(AtMost(20.0)));
}
