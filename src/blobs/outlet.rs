//! The way out of a connection: what the kernel holds of a file goes from there into the socket, and is not copied by us (sendfile(2)).
//!
//! HTTP takes only bytes in memory. It is given some that stand in for those of the file; the connection, where it meets them, sends
//! the file's.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

#[cfg(target_os = "linux")]
use rustix::fs::sendfile;
use rustix::io::Errno;

use super::files::PIECE;

/// What stands in. Its address tells it from all else; nobody reads or writes it, so it takes no memory.
static STAND_IN: LazyLock<Bytes> = LazyLock::new(|| vec![0; PIECE].into());

/// Parts of files that are on their way to one connection, in order.
#[derive(Debug, Clone, Default)]
pub struct Outlet(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Part>,
    /// The longest that a part took since that was asked.
    took: Duration,
}

#[derive(Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    left: usize,
}

impl Outlet {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that stand in for the `length` at `at` of `file`, [`PIECE`] at the most. They must go to this connection next.
    pub(super) fn stand_in(&self, file: Arc<File>, at: u64, length: usize) -> Bytes {
        self.queue().parts.push_back(Part { file, at, left: length });
        STAND_IN.slice(..length)
    }

    /// The longest that it took to send some of a part, since this was last asked: a disk that is busy holds up its connections.
    pub(super) fn took(&self) -> Duration {
        mem::take(&mut self.queue().took)
    }

    /// Whether `bytes` only stand in for a file's.
    pub fn is_stand_in(bytes: &[u8]) -> bool {
        !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
    }

    /// Sends to `socket` what the next `length` bytes stand in for, and says how many it took.
    ///
    /// # Errors
    /// Those of sendfile(2); where the file ends before; where these bytes are not the next.
    pub fn send(&self, socket: impl AsFd, length: usize) -> io::Result<usize> {
        let mut queue = self.queue();
        let begun = Instant::now();
        let Some(part) = queue.parts.front_mut().filter(|part| part.left == length) else {
            return Err(io::Error::other("bytes that stand in for others came out of their turn"));
        };
        let sent = match sendfile(&socket, &part.file, Some(&mut part.at), length) {
            // Not every file system lets it.
            Err(Errno::INVAL | Errno::NOSYS) => part.copy(&socket, length)?,
            sent => sent?,
        };
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.left -= sent;
        if part.left == 0 {
            queue.parts.pop_front();
        }
        queue.took = queue.took.max(begun.elapsed());
        Ok(sent)
    }
}

impl Part {
    /// Sends some of the next `length` bytes by way of our memory.
    fn copy(&mut self, socket: impl AsFd, length: usize) -> rustix::io::Result<usize> {
        let mut bytes = vec![0; length];
        let read = rustix::io::pread(&self.file, &mut bytes, self.at)?;
        let sent = rustix::io::write(socket, &bytes[..read])?;
        self.at += sent as u64;
        Ok(sent)
    }
}

/// Elsewhere all bytes are copied.
#[cfg(not(target_os = "linux"))]
fn sendfile(_: impl AsFd, _: &File, _: Option<&mut u64>, _: usize) -> rustix::io::Result<usize> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    #[test]
    fn what_was_stood_in_for_is_sent_in_order() {
        let (outlet, file) = (Outlet::default(), file(b"0123456789"));
        let pieces = [outlet.stand_in(Arc::clone(&file), 5, 3), outlet.stand_in(file, 0, 2)];
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for piece in pieces {
            assert!(Outlet::is_stand_in(&piece) && Outlet::is_stand_in(&piece[1..]));
            assert_eq!(outlet.send(&ours, piece.len()).unwrap(), piece.len());
        }
        drop(ours);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        assert_eq!(sent, b"56701");
    }

    #[test]
    fn other_bytes_stand_in_for_nothing() {
        assert!(!Outlet::is_stand_in(b"abc") && !Outlet::is_stand_in(&[0; 16]) && !Outlet::is_stand_in(&STAND_IN[..0]));
    }

    #[test]
    fn bytes_out_of_their_turn_are_not_sent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outlet = Outlet::default();
        assert!(outlet.send(&ours, 1).is_err());
        let _ = outlet.stand_in(file(b"0123"), 0, 4);
        assert!(outlet.send(&ours, 3).is_err());
        assert_eq!(outlet.send(&ours, 4).unwrap(), 4);
    }

    #[test]
    fn where_the_kernel_refuses_bytes_are_copied() {
        let (outlet, folder) = (Outlet::default(), tempfile::tempdir().unwrap());
        let _ = outlet.stand_in(file(b"0123456789"), 2, 7);
        // Into a file that is appended to, sendfile(2) fails with EINVAL.
        let end = folder.path().join("end");
        let out = File::options().create(true).append(true).open(&end).unwrap();
        assert_eq!(sendfile(&out, file(b"a"), None, 1), Err(Errno::INVAL));
        assert_eq!(outlet.send(&out, 7).unwrap(), 7);
        assert_eq!(std::fs::read(end).unwrap(), b"2345678");
    }

    #[test]
    fn a_file_that_ends_too_early_is_an_error() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outlet = Outlet::default();
        let _ = outlet.stand_in(file(b"0123"), 4, 1);
        assert_eq!(outlet.send(&ours, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
