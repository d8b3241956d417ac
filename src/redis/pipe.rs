//! Values of many bytes, sent in the pieces that they came in.
//!
//! The driver copies a value three times before the kernel does. A pipe copies nothing, and can do nothing else: it is tried
//! where all is well, and whoever gets an error from it sends the same by a link.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::aio::AsyncStream;
use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisResult, RedisWrite};
use bytes::{BufMut, Bytes};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::time::timeout;

use super::BULK_WITHIN;
use super::shards::here;
use super::topology::{Node, OPENED_WITHIN};

/// A value to be set, and when it is to vanish.
pub(super) struct Set {
    pub(super) key: String,
    pub(super) value: Vec<Bytes>,
    /// In ms since 1970.
    pub(super) expires_at: i64,
}

impl Set {
    /// For a link. Lets go of each piece as soon as it is copied.
    pub(super) fn command(self) -> Cmd {
        let mut command = Cmd::with_capacity(5, self.length() + 128);
        fill(command.arg("SET").arg(self.key), self.value);
        command.arg("PXAT").arg(self.expires_at);
        command
    }

    /// What Redis reads before the value, and behind it: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
    fn ends(&self) -> (String, String) {
        let (key, expires_at) = (&self.key, self.expires_at.to_string());
        let head = format!("*5\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), self.length());
        (head, format!("\r\n$4\r\nPXAT\r\n${}\r\n{expires_at}\r\n", expires_at.len()))
    }

    fn length(&self) -> usize {
        self.value.iter().map(Bytes::len).sum()
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
    /// Sets a value. Where that fails, for whatever reason, the pipe is closed; dropped meanwhile, too.
    pub(super) async fn set(&self, node: &Node, set: &Set) -> RedisResult<()> {
        let mut pipe = match self.take() {
            Some(pipe) => pipe,
            None => Pipe::open(node).await?,
        };
        node.unless_left(async { timeout(BULK_WITHIN, pipe.set(set)).await.map_err(io::Error::from)? }).await?;
        self.idle().push(pipe);
        Ok(())
    }

    fn take(&self) -> Option<Pipe> {
        let mut idle = self.idle();
        idle.retain(|pipe| pipe.node.leads());
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
    /// Where it was made: its thread is the one that is woken for it.
    runtime: runtime::Id,
    stream: BufReader<Pin<Box<dyn AsyncStream + Send + Sync>>>,
}

impl Pipe {
    async fn open(node: &Node) -> RedisResult<Self> {
        let info = node.info();
        let opened = timeout(OPENED_WITHIN, async {
            let stream = BufReader::with_capacity(256, connect(info.addr()).await?);
            let mut pipe = Self { node: node.clone(), runtime: here(), stream };
            pipe.log_in(info).await?;
            Ok(pipe)
        });
        opened.await.unwrap_or_else(|_| Err((ErrorKind::Client, "no connection in time").into()))
    }

    async fn log_in(&mut self, info: &ConnectionInfo) -> RedisResult<()> {
        let login = info.redis_settings();
        if let Some(password) = login.password() {
            let mut auth = ::redis::cmd("AUTH");
            self.ask(auth.arg(login.username()).arg(password)).await?;
        }
        match login.db() {
            0 => Ok(()),
            db => self.ask(::redis::cmd("SELECT").arg(db)).await,
        }
    }

    async fn ask(&mut self, command: &Cmd) -> RedisResult<()> {
        self.stream.write_all(&command.get_packed_command()).await?;
        self.answer().await
    }

    async fn set(&mut self, set: &Set) -> RedisResult<()> {
        let (head, tail) = set.ends();
        let pieces = set.value.iter().map(|piece| &piece[..]);
        let all = [head.as_bytes()].into_iter().chain(pieces).chain([tail.as_bytes()]);
        let mut slices: Vec<IoSlice<'_>> = all.map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.stream.write_vectored(left).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        self.answer().await
    }

    /// `+OK`, or an error: what is sent here is answered in one line.
    async fn answer(&mut self) -> RedisResult<()> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        ::redis::parse_redis_value(&line)?.extract_error().map(drop)
    }
}

async fn connect(address: &ConnectionAddr) -> RedisResult<Pin<Box<dyn AsyncStream + Send + Sync>>> {
    match address {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((&**host, *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::pin(stream))
        }
        ConnectionAddr::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        // TLS copies every byte anyway.
        _ => Err((ErrorKind::Client, "only links speak TLS").into()),
    }
}
