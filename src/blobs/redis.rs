//! Blobs in Redis: chunks of just under 512 KiB, `share:<id>:chunk:<n>`, each with a TTL of its own. In a cluster `<id>` is
//! written `{<id>}`, so that they lie where their share lies.
//!
//! A single long value would cost its whole length in Redis' output buffer for every slow reader, and end at 512 MiB.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, FuturesOrdered, StreamExt};
use tokio::sync::Semaphore;

use super::filling::{self, Filling};
use super::growth::{Growth, LEAST};
use super::under_way::UnderWay;
use super::{Blobs, Error, Outlet, Pieces, Result, Writer};
use crate::redis::{Failure, Redis, Script};
use crate::share::{ShareId, Timestamp};

/// Bytes in a chunk: with Redis' header it is 512 KiB, where the allocator would round 512 KiB and a header up to 640 KiB.
const CHUNK: u64 = 512 * 1024 - 64;
/// Pieces that one reader has under way or waiting.
const READS_AHEAD: usize = 2;
/// Bytes that all readers together have under way or waiting, but for [`LEAST`] each.
const READS_HOLD: u64 = 8 * 1024 * 1024;
/// Pieces grow to this part of what was read before, or, for who is quick, to this one, up to whole chunks: each costs a trip to Redis.
const GROWTH: (u64, u64) = (64, 8);
/// Fewer bytes than this are copied: while they wait for the rest of a chunk, they would keep the whole buffer that they came in.
const FEW: usize = 32 * 1024;
/// Chunks that all writers together have under way, each in a pipe of its own; where only links go, each is held twice more.
const CHUNKS_UNDER_WAY: usize = 3;
/// Chunks freed, or kept, in one round trip.
const BATCH: u64 = 64;
/// A chunk outlives its blob by this much: the sweeper comes first, and a clock may be off.
const BACKSTOP: Duration = Duration::from_secs(60);

/// A blob that is being written lasts for this much at the least: whoever writes it tends it meanwhile.
const TENDED: Duration = Duration::from_secs(60);

/// Sealed bytes in Redis.
pub struct RedisBlobs {
    redis: Arc<Redis>,
    put: Arc<Script>,
    /// Held by each reader.
    readers: Arc<()>,
    /// Where writers fill a chunk.
    places: Arc<Semaphore>,
    /// What each chunk under way holds one of.
    under_way: Arc<Semaphore>,
}

impl RedisBlobs {
    /// The blobs in `redis`.
    pub fn new(redis: Arc<Redis>) -> Self {
        let put = Arc::new(Script::new(include_str!("redis/put.lua")));
        let under_way = Arc::new(Semaphore::new(CHUNKS_UNDER_WAY));
        Self { redis, put, readers: Arc::default(), places: filling::places(), under_way }
    }

    fn key(&self, id: &ShareId, chunk: u64) -> String {
        key(&self.redis, id, chunk)
    }

    /// [`Error::Missing`] where the blob doesn't reach up to `offset`: writing there would leave a hole.
    async fn reaches(&self, id: &ShareId, offset: u64) -> Result<()> {
        let (chunk, within) = match (offset / CHUNK, offset % CHUNK) {
            (0, 0) => return Ok(()),
            (chunk, 0) => (chunk - 1, CHUNK),
            inside => inside,
        };
        match self.redis.bulk(::redis::cmd("STRLEN").arg(self.key(id, chunk))).await? {
            Value::Int(length) if length.unsigned_abs() >= within => Ok(()),
            _ => Err(Error::Missing),
        }
    }
}

#[async_trait]
impl Blobs for RedisBlobs {
    async fn write(&self, id: &ShareId, offset: u64, until: Timestamp) -> Result<Box<dyn Writer>> {
        self.reaches(id, offset).await?;
        Ok(Box::new(RedisWriter {
            redis: Arc::clone(&self.redis),
            put: Arc::clone(&self.put),
            id: *id,
            synced: offset,
            offset,
            expires_at: until.after(BACKSTOP),
            waiting: Vec::new(),
            waits: 0,
            filling: Filling::new(&self.places),
            under_way: UnderWay::new(Arc::clone(&self.under_way)),
        }))
    }

    async fn read(&self, id: &ShareId, range: Range<u64>, _outlet: Option<Outlet>) -> Result<Pieces> {
        let mut reading = Reading {
            redis: Arc::clone(&self.redis),
            id: *id,
            growth: Growth::new(range.start, GROWTH, CHUNK),
            left: range,
            asked: FuturesOrdered::new(),
            readers: Arc::clone(&self.readers),
        };
        let mut pieces = Box::pin(stream::poll_fn(move |cx| reading.poll_next(cx)).peekable());
        // What is missing from the start is told before anybody is promised anything.
        if let Some(Err(error)) = Pin::as_mut(&mut pieces).peek().await {
            return Err(error.clone());
        }
        Ok(pieces)
    }

    async fn keep(&self, id: &ShareId, until: Timestamp) -> Result<()> {
        let left = Timestamp::from(SystemTime::now()).until(until);
        let first = self.redis.bulk(::redis::cmd("PTTL").arg(self.key(id, 0))).await?;
        // Below 0: there is no chunk, or it has no TTL.
        if !matches!(first, Value::Int(ttl) if ttl >= 0 && u128::from(ttl.unsigned_abs()) < left.as_millis()) {
            return Ok(());
        }
        let expires_at = until.after(BACKSTOP).0;
        let extend = |chunk| {
            let mut extend = ::redis::cmd("PEXPIREAT");
            extend.arg(self.key(id, chunk)).arg(expires_at);
            extend
        };
        // The first chunk comes last, for its TTL tells whether all are done.
        for first in (1..).step_by(BATCH as usize) {
            let moved = self.redis.bulk_all((first..first + BATCH).map(extend).collect()).await?;
            if moved.last() != Some(&Value::Int(1)) {
                break;
            }
        }
        self.redis.bulk(&extend(0)).await?;
        Ok(())
    }

    async fn secure(&self, id: &ShareId, length: u64, until: Timestamp) -> Result<()> {
        self.keep(id, until).await?;
        // All on one connection, and so of one node: what it has now is what its replicas acknowledge, behind a write.
        let (mut time, mut write) = (::redis::cmd("PTTL"), ::redis::cmd("SET"));
        time.arg(self.key(id, 0));
        write.arg(format!("share:{}:secured", self.redis.tag(&id.to_string()))).arg(1).arg("PX").arg(1000);
        let look = lengths(&self.redis, id, 0..length).chain([time, write]).collect();
        let mut answers = self.redis.ask_acknowledged(look).await?;
        let (_, left) = (answers.pop(), answers.pop());
        reach(answers, 0..length)?;
        let wanted = Timestamp::from(SystemTime::now()).until(until).as_millis();
        match left {
            Some(Value::Int(left)) if left == -1 || left >= 0 && u128::from(left.unsigned_abs()) >= wanted => Ok(()),
            _ => Err(Error::Unavailable("the blob's time was lost".to_owned())),
        }
    }

    async fn free(&self, id: &ShareId, reached: u64) -> Result<()> {
        // Each chunk by itself: what names several has to wait while a cluster moves them.
        let each = async |name: &str, batch: u64| {
            let command = |chunk| {
                let mut command = ::redis::cmd(name);
                command.arg(self.key(id, chunk));
                command
            };
            self.redis.bulk_all((batch * BATCH..(batch + 1) * BATCH).map(command).collect()).await
        };
        let mut batches = reached.div_ceil(CHUNK * BATCH);
        while each("EXISTS", batches).await?.contains(&Value::Int(1)) {
            batches += 1;
        }
        // From the end: what an interruption leaves still begins at 0, and is found the next time.
        let mut chunks = 0;
        for batch in (0..batches).rev() {
            chunks += each("UNLINK", batch).await?.iter().filter(|unlinked| **unlinked == Value::Int(1)).count() as u64;
        }
        // The last one may be short.
        self.redis.room().freed(chunks.saturating_sub(1) * CHUNK);
        Ok(())
    }

    async fn room(&self, bytes: u64) -> Result<()> {
        if self.redis.room().fits(bytes) { Ok(()) } else { Err(Error::Full) }
    }

    async fn all(&self) -> Result<Vec<ShareId>> {
        // Other processes write here too, and what nobody tends vanishes by itself.
        Ok(Vec::new())
    }

    async fn written(&self, _id: &ShareId) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.redis.ping().await?)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Unacknowledged { by, of } => Self::Unacknowledged { by, of },
        }
    }
}

struct RedisWriter {
    redis: Arc<Redis>,
    put: Arc<Script>,
    id: ShareId,
    /// Up to where everything was seen to be there.
    synced: u64,
    /// Where what waits begins.
    offset: u64,
    expires_at: Timestamp,
    waiting: Vec<Bytes>,
    waits: u64,
    filling: Filling,
    under_way: UnderWay,
}

impl RedisWriter {
    /// Sends what waits, all of it within one chunk.
    async fn send(&mut self) -> Result<()> {
        self.filling.fill();
        let turn = self.under_way.turn().await?;
        let part = Part { chunk: self.offset / CHUNK, start: self.offset % CHUNK, length: self.waits };
        // An upload may outlive what was thought when it began.
        let soon = Timestamp::from(SystemTime::now()).after(TENDED).after(BACKSTOP);
        let (redis, script) = (Arc::clone(&self.redis), Arc::clone(&self.put));
        let (id, expires_at) = (self.id, self.expires_at.max(soon));
        let pieces = std::mem::take(&mut self.waiting);
        self.under_way.begin(turn, async move { put(&redis, &script, &id, part, pieces, expires_at).await });
        self.offset += self.waits;
        self.waits = 0;
        self.filling.end();
        Ok(())
    }
}

#[async_trait]
impl Writer for RedisWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.filling.go_on();
        while bytes.has_remaining() {
            if self.waits == 0 {
                self.filling.begin().await;
            }
            let room = CHUNK - (self.offset + self.waits) % CHUNK;
            let taken = bytes.split_to(bytes.len().min(room as usize));
            self.waits += taken.len() as u64;
            let full = taken.len() as u64 == room;
            self.waiting.push(if taken.len() < FEW { Bytes::copy_from_slice(&taken) } else { taken });
            if full {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        if self.waits > 0 {
            self.send().await?;
        }
        self.under_way.all().await?;
        // A node that took over meanwhile may lack what the one before it took: the writer goes on from what is recorded.
        let written = self.synced..self.offset;
        if !written.is_empty() {
            let answers = self.redis.bulk_all(lengths(&self.redis, &self.id, written.clone()).collect()).await?;
            reach(answers, written).map_err(|_| Error::Unavailable("bytes were lost on their way".to_owned()))?;
            self.synced = self.offset;
        }
        Ok(())
    }

    async fn stop(&mut self) {
        (self.waits, self.waiting) = (0, Vec::new());
        self.filling.end();
        self.under_way.end().await;
    }
}

/// The bytes of `left`, read as they are taken.
struct Reading {
    redis: Arc<Redis>,
    id: ShareId,
    left: Range<u64>,
    growth: Growth,
    asked: FuturesOrdered<BoxFuture<'static, Result<Bytes>>>,
    readers: Arc<()>,
}

impl Reading {
    /// Bytes that the next piece may have.
    fn most(&self) -> u64 {
        let readers = Arc::strong_count(&self.readers) as u64;
        let share = (READS_HOLD / READS_AHEAD as u64 / readers).max(LEAST);
        self.growth.at(self.left.start).min(1 << share.ilog2())
    }

    /// The next piece. Who is quick finds that it was asked for while the one before was sent; for a slow one nothing is to wait.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        while self.asked.len() < READS_AHEAD {
            let most = self.most();
            if !self.asked.is_empty() && most == LEAST {
                break;
            }
            let Some(part) = first(&self.left, most) else { break };
            self.left.start += part.length;
            self.asked.push_back(piece(Arc::clone(&self.redis), self.id, part).boxed());
        }
        self.asked.poll_next_unpin(cx)
    }
}

/// Bytes of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    chunk: u64,
    start: u64,
    length: u64,
}

/// Cuts a range at the chunks.
fn parts(mut range: Range<u64>) -> impl Iterator<Item = Part> + Send {
    std::iter::from_fn(move || {
        let part = first(&range, CHUNK)?;
        range.start += part.length;
        Some(part)
    })
}

/// The first bytes of a range, as far as they are in one chunk, `most` at the most.
fn first(range: &Range<u64>, most: u64) -> Option<Part> {
    let (chunk, start) = (range.start / CHUNK, range.start % CHUNK);
    let left = range.end.checked_sub(range.start).filter(|left| *left > 0)?;
    Some(Part { chunk, start, length: left.min(CHUNK - start).min(most) })
}

/// Asks how long the chunks are that hold these bytes.
fn lengths(redis: &Redis, id: &ShareId, range: Range<u64>) -> impl Iterator<Item = Cmd> {
    parts(range).map(move |part| {
        let mut ask = ::redis::cmd("STRLEN");
        ask.arg(key(redis, id, part.chunk));
        ask
    })
}

/// [`Error::Missing`] where a chunk is shorter than these bytes want it.
fn reach(lengths: Vec<Value>, range: Range<u64>) -> Result<()> {
    let long = |(length, part): (&Value, Part)| matches!(length, Value::Int(length) if length.unsigned_abs() >= part.start + part.length);
    if lengths.iter().zip(parts(range)).all(long) { Ok(()) } else { Err(Error::Missing) }
}

/// Writes a part of a chunk, with the chunk's TTL in the same step: no crash leaves one without.
async fn put(
    redis: &Redis,
    script: &Script,
    id: &ShareId,
    part: Part,
    pieces: Vec<Bytes>,
    expires_at: Timestamp,
) -> Result<()> {
    let key = key(redis, id, part.chunk);
    // A part never cuts off what another writer of the same bytes has written further on.
    let at = (part.length < CHUNK).then_some(part.start);
    redis.write(key, pieces, at, expires_at, script).await?;
    redis.room().wrote(part.length);
    Ok(())
}

async fn piece(redis: Arc<Redis>, id: ShareId, part: Part) -> Result<Bytes> {
    let key = key(&redis, &id, part.chunk);
    let mut get = Cmd::new();
    if part.length == CHUNK {
        get.arg("GET").arg(key);
    } else {
        get.arg("GETRANGE").arg(key).arg(part.start).arg(part.start + part.length - 1);
    }
    match redis.bulk(&get).await? {
        Value::BulkString(bytes) if bytes.len() as u64 == part.length => Ok(bytes.into()),
        _ => Err(Error::Missing),
    }
}

fn key(redis: &Redis, id: &ShareId, chunk: u64) -> String {
    format!("share:{}:chunk:{chunk}", redis.tag(&id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(chunk: u64, start: u64, length: u64) -> Part {
        Part { chunk, start, length }
    }

    #[test]
    fn a_range_is_cut_at_the_chunks() {
        let cut = |range| parts(range).collect::<Vec<_>>();
        assert_eq!(cut(0..0), []);
        assert_eq!(cut(5..9), [part(0, 5, 4)]);
        assert_eq!(cut(0..CHUNK), [part(0, 0, CHUNK)]);
        assert_eq!(cut(CHUNK - 1..CHUNK + 1), [part(0, CHUNK - 1, 1), part(1, 0, 1)]);
        assert_eq!(cut(1..2 * CHUNK + 1), [part(0, 1, CHUNK - 1), part(1, 0, CHUNK), part(2, 0, 1)]);
    }
}
