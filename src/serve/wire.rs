//! A connection's bytes: out of memory or a file, cut where the client stops reading, and watched until the kernel has sent the last
//! of them.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use super::reads::Reads;
use crate::blobs::Outlet;
use crate::http::{Connection, Drained, Moving};

/// A client that takes nothing for so long is gone, or means ill; its claim can be taken up again.
const STALLED: Duration = Duration::from_secs(60);
/// How often the kernel is asked whether a client whose write waits has taken something meanwhile.
const LOOKED: Duration = Duration::from_secs(1);
/// How often the kernel is asked, while somebody waits for it to have sent everything.
const ASKED: Duration = Duration::from_millis(200);

/// A TCP connection.
pub(super) struct Wire {
    stream: Take<TcpStream>,
    reads: Reads,
    drained: Drained,
    moving: Moving,
    outlet: Outlet,
    /// Runs while a write waits.
    waiting: Option<Waiting>,
    /// Runs while somebody waits for the kernel.
    ask: Option<Pin<Box<Sleep>>>,
    /// How often in a row the kernel had nothing left.
    empty: u32,
}

/// A write that waits.
struct Waiting {
    look: Pin<Box<Sleep>>,
    /// What the client had not taken at the last look.
    left: Option<i32>,
    /// When it last took something.
    since: Instant,
}

impl Waiting {
    fn begin() -> Self {
        Self { look: Box::pin(tokio::time::sleep(LOOKED)), left: None, since: Instant::now() }
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, reads: Reads, known: &Connection) -> Self {
        let Connection { drained, moving, outlet, .. } = known.clone();
        Self { stream: stream.take(0), reads, drained, moving, outlet, waiting: None, ask: None, empty: 0 }
    }

    /// Lets a write wait while the client takes something within [`STALLED`].
    fn paced<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(Waiting::begin);
        while waiting.look.as_mut().poll(cx).is_ready() {
            let (now, left) = (Instant::now(), unsent(self.stream.get_ref()));
            if waiting.left.replace(left).is_some_and(|before| left < before) {
                waiting.since = now;
                self.moving.took();
            } else if now >= waiting.since + STALLED {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            waiting.look.as_mut().reset(now + LOOKED);
        }
        Poll::Pending
    }

    /// Sends what the next `length` bytes stand in for.
    fn send(&self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let stream = self.stream.get_ref();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || self.outlet.send(stream, length)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Tells whoever waits that everything is sent, once it is. HTTP reads whenever it has nothing to write, so here is the place.
    fn watch(&mut self, cx: &mut Context<'_>) {
        if !self.drained.is_awaited() {
            self.ask = None;
            return;
        }
        let ask = self.ask.get_or_insert_with(|| Box::pin(tokio::time::sleep(ASKED)));
        while ask.as_mut().poll(cx).is_ready() {
            // Twice in a row: between two writes the kernel may have nothing for a moment.
            self.empty = if unsent(self.stream.get_ref()) == 0 { self.empty + 1 } else { 0 };
            if self.empty >= 2 {
                self.drained.sent();
                (self.ask, self.empty) = (None, 0);
                return;
            }
            ask.as_mut().reset(Instant::now() + ASKED);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let stream = self.stream.get_ref();
        let sent = unsent(stream) == 0;
        let late = if sent || !self.drained.is_awaited() { None } else { again(stream).ok() };
        match (late, Handle::try_current()) {
            (Some(stream), Ok(runtime)) => drop(runtime.spawn(see_off(stream, self.drained.clone()))),
            _ => self.drained.closed(sent),
        }
    }
}

/// The same connection once more, which the kernel closes when both are dropped.
fn again(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.as_fd().try_clone_to_owned()?.into())
}

/// Waits until the client has what the kernel still holds for it, breaks off, or takes nothing for [`STALLED`].
async fn see_off(mut stream: TcpStream, drained: Drained) {
    // It fails where the client has broken off.
    let _ = stream.shutdown().await;
    let (mut left, mut since) = (unsent(&stream), Instant::now());
    // A connection that was reset has no peer any more.
    while left > 0 && stream.peer_addr().is_ok() && since.elapsed() < STALLED {
        tokio::time::sleep(ASKED).await;
        let now = unsent(&stream);
        if now < left {
            (left, since) = (now, Instant::now());
        }
    }
    drained.closed(left == 0);
}

/// Bytes that the kernel holds and the client has not acknowledged.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "rustix has no safe wrapper of this ioctl")]
fn unsent(stream: &TcpStream) -> i32 {
    /// `SIOCOUTQ` of tcp(7).
    const OUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: on a TCP socket this ioctl writes one `int` and reads nothing.
    let asked = unsafe { rustix::ioctl::ioctl(stream, rustix::ioctl::Getter::<OUTQ, i32>::new()) };
    asked.unwrap_or(0)
}

/// Elsewhere the kernel is trusted to send what it took.
#[cfg(not(target_os = "linux"))]
fn unsent(_: &TcpStream) -> i32 {
    0
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.watch(cx);
        let (most, before) = (self.reads.most(), buffer.filled().len());
        self.stream.set_limit(most as u64);
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.reads.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let in_memory = slices.iter().position(|bytes| Outlet::is_stand_in(bytes)).unwrap_or(slices.len());
        let written = match slices.first() {
            Some(bytes) if in_memory == 0 => self.send(cx, bytes.len()),
            _ => Pin::new(self.stream.get_mut()).poll_write_vectored(cx, &slices[..in_memory]),
        };
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}
