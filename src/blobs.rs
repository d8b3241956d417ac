//! The blobs: where sealed bytes lie. One blob per share, written from the front, read anywhere.
//!
//! They know nothing of claims and leases, nor of what the bytes mean.

pub mod files;
mod filling;
mod growth;
pub mod objects;
mod outlet;
pub mod place;
pub mod redis;
mod under_way;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use self::outlet::Outlet;
use crate::share::{ShareId, Timestamp};

/// Why bytes could not be written, read or freed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such blob, or it is shorter than was asked for.
    #[error("no such bytes")]
    Missing,
    /// There is no room for them.
    #[error("no room")]
    Full,
    /// The store can't be asked now, or failed.
    #[error("the blobs are unavailable: {0}")]
    Unavailable(String),
    /// The bytes are there, but may not outlive a failover yet.
    #[error("{by} of {of} replicas acknowledged")]
    Unacknowledged {
        /// So many replicas have them.
        by: u32,
        /// So many must have them.
        of: u32,
    },
}

/// What an operation gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Bytes of a blob, in order, in pieces of at most 1 MiB.
pub type Pieces = BoxStream<'static, Result<Bytes>>;

/// Keeps sealed bytes.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Opens the share's blob for writing at `offset` bytes; at 0 it is made where there is none.
    ///
    /// Two writers at once of the same bytes MUST leave those bytes; `until` is when a blob that nobody tends may vanish.
    async fn write(&self, id: &ShareId, offset: u64, until: Timestamp) -> Result<Box<dyn Writer>>;

    /// The bytes of `range`, read at most a few pieces ahead of who takes them. Where they go to an `outlet` as they are, some may
    /// only stand in for what the connection sends.
    async fn read(&self, id: &ShareId, range: Range<u64>, outlet: Option<Outlet>) -> Result<Pieces>;

    /// The blob is not to vanish by itself before `until`. Blobs that never do have nothing to move.
    async fn keep(&self, id: &ShareId, until: Timestamp) -> Result<()>;

    /// Makes sure, before a share is made of it, that all `length` bytes of the blob are there, and neither vanish by themselves
    /// before `until` nor in a failover. [`Error::Missing`] where one took some of them.
    async fn secure(&self, id: &ShareId, length: u64, until: Timestamp) -> Result<()> {
        let _ = length;
        self.keep(id, until).await
    }

    /// Frees the blob; `Ok` where there is none. Interrupted, it can be repeated. `reached` is how far a writer is known to have
    /// come, in bytes: it may have gone on writing after the blob was freed for the first time.
    async fn free(&self, id: &ShareId, reached: u64) -> Result<()>;

    /// [`Error::Full`] where `bytes` more would not fit.
    async fn room(&self, bytes: u64) -> Result<()>;

    /// The shares that have a blob, where what nobody tends does not vanish by itself.
    async fn all(&self) -> Result<Vec<ShareId>>;

    /// When the blob was last written to, by the clock of where it lies; `None` where there is none, or where it vanishes by itself.
    async fn written(&self, id: &ShareId) -> Result<Option<Timestamp>>;

    /// `Ok` where the blobs may be written.
    async fn ping(&self) -> Result<()>;
}

/// Appends to one blob. Memory held is bounded, for one and for all together. Dropped, it leaves what was written so far.
#[async_trait]
pub trait Writer: Send {
    /// Takes the next bytes; they may wait in memory. Waits while the store is behind.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes everything taken so far durable.
    async fn sync(&mut self) -> Result<()>;

    /// Gives up what waits in memory, and waits for what is under way: nothing is written after it.
    async fn stop(&mut self);
}
