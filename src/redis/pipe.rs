//! Values of many bytes, sent in the pieces that they came in.
//!
//! A link copies a value twice before the kernel does, and a script's Lua hashes every byte. A pipe does neither, and can do nothing
//! else: it is tried where all is well, and whoever gets an error from it sends the same by a link.

use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ::redis::{Cmd, ErrorKind, RedisResult, RedisWrite};
use bytes::{BufMut, Bytes};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::runtime;
use tokio::time::timeout;

use super::BULK_WITHIN;
use super::acks::IDLE;
use super::shards::here;
use super::topology::{Node, OPENED_WITHIN, Stream, connect, login};

/// Bytes to be written, and when they are to vanish.
pub(super) struct Write {
    pub(super) key: String,
    pub(super) bytes: Vec<Bytes>,
    /// Where they go in a value that may have others; `None` where they are all of it.
    pub(super) at: Option<u64>,
    /// In ms since 1970.
    pub(super) expires_at: i64,
}

impl Write {
    /// For a link, all of a value. Lets go of each piece as soon as it is copied.
    pub(super) fn command(self) -> Cmd {
        let mut command = Cmd::with_capacity(5, self.length() + 128);
        fill(command.arg("SET").arg(self.key), self.bytes);
        command.arg("PXAT").arg(self.expires_at);
        command
    }

    /// What Redis reads before the bytes, and behind them: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. And how many
    /// lines it answers in. A part of a value is written together with its time: no crash leaves one without.
    fn ends(&self) -> (String, String, usize) {
        let argument = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let (key, expires_at) = (argument(&self.key), argument(&self.expires_at.to_string()));
        let length = self.length();
        match self.at {
            None => (format!("*5\r\n$3\r\nSET\r\n{key}${length}\r\n"), format!("\r\n$4\r\nPXAT\r\n{expires_at}"), 1),
            Some(at) => {
                let at = argument(&at.to_string());
                let head = format!("*1\r\n$5\r\nMULTI\r\n*4\r\n$8\r\nSETRANGE\r\n{key}{at}${length}\r\n");
                let tail = format!("\r\n*3\r\n$9\r\nPEXPIREAT\r\n{key}{expires_at}*1\r\n$4\r\nEXEC\r\n");
                // OK, twice QUEUED, and what the two answer.
                (head, tail, 6)
            }
        }
    }

    pub(super) fn length(&self) -> usize {
        self.bytes.iter().map(Bytes::len).sum()
    }
}

/// Makes one argument of the pieces.
pub(super) fn fill(command: &mut Cmd, pieces: Vec<Bytes>) {
    let mut argument = command.bufmut_for_next_arg(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        argument.put(piece);
    }
}

/// The pipes that nobody uses just now; one is made where there is none.
#[derive(Default)]
pub(super) struct Pipes {
    idle: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// Writes bytes. Where that fails, for whatever reason, the pipe is closed; dropped meanwhile, too.
    pub(super) async fn write(&self, node: &Node, write: &Write) -> RedisResult<()> {
        let mut pipe = match self.take() {
            Some(pipe) => pipe,
            None => Pipe::open(node).await?,
        };
        node.unless_left(async { timeout(BULK_WITHIN, pipe.write(write)).await.map_err(io::Error::from)? }).await?;
        pipe.used = Instant::now();
        self.idle().push(pipe);
        Ok(())
    }

    fn take(&self) -> Option<Pipe> {
        let mut idle = self.idle();
        idle.retain(|pipe| pipe.node.leads() && pipe.used.elapsed() < IDLE);
        let at = idle.iter().position(|pipe| pipe.runtime == here())?;
        Some(idle.swap_remove(at))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with one user at a time.
struct Pipe {
    node: Node,
    used: Instant,
    /// Where it was made: its thread is the one that is woken for it.
    runtime: runtime::Id,
    stream: BufReader<Stream>,
}

impl Pipe {
    async fn open(node: &Node) -> RedisResult<Self> {
        let info = node.info();
        let opened = timeout(OPENED_WITHIN, async {
            let stream = BufReader::with_capacity(256, connect(info.addr()).await?);
            let mut pipe = Self { node: node.clone(), used: Instant::now(), runtime: here(), stream };
            for command in login(info) {
                pipe.stream.write_all(&command.get_packed_command()).await?;
                pipe.line().await?;
            }
            Ok(pipe)
        });
        // No timeout by its kind: nothing was written, and a link may do it.
        opened.await.unwrap_or_else(|_| Err((ErrorKind::Client, "no connection in time").into()))
    }

    async fn write(&mut self, write: &Write) -> RedisResult<()> {
        let (head, tail, lines) = write.ends();
        let pieces = write.bytes.iter().map(|piece| &piece[..]);
        let all = [head.as_bytes()].into_iter().chain(pieces).chain([tail.as_bytes()]);
        let mut slices: Vec<IoSlice<'_>> = all.map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.stream.write_vectored(left).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        for _ in 0..lines {
            self.line().await?;
        }
        Ok(())
    }

    /// A line of an answer, or the error that it is.
    async fn line(&mut self) -> RedisResult<()> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        match line.first() {
            // How many answers follow.
            Some(b'*') => Ok(()),
            _ => ::redis::parse_redis_value(&line)?.extract_error().map(drop),
        }
    }
}
