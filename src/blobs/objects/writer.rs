//! Bytes on their way into a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload, PutPayloadMut};
use tokio::sync::Semaphore;

use super::extent::Extent;
use super::{OBJECT, Shelf, failure};
use crate::blobs::under_way::UnderWay;
use crate::blobs::{Result, Writer};
use crate::share::ShareId;

/// What waits in memory for all writers together: the more there are, the smaller their objects.
const WAITING: u64 = 64 << 20;
/// Objects have this many bytes at the least, however many write. What a client sends in less is an object by itself.
const LEAST: u64 = 512 << 10;
/// What comes in crumbs is put together in blocks of so many bytes.
const BLOCK: usize = 64 << 10;

/// Appends to one blob by an object after the other.
pub(super) struct ObjectWriter {
    shelf: Arc<Shelf>,
    counted: Counted,
    id: ShareId,
    /// Where what waits begins.
    offset: u64,
    waiting: PutPayloadMut,
    under_way: UnderWay,
}

/// One of all that write now.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(writers: Arc<AtomicUsize>) -> Self {
        writers.fetch_add(1, Ordering::Relaxed);
        Self(writers)
    }

    /// How long this one's objects may be.
    fn share(&self) -> u64 {
        share(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A power of two, so that writers of the same bytes cut them alike and write over each other's objects.
fn share(writers: usize) -> u64 {
    let each = (WAITING / writers.max(1) as u64).clamp(LEAST, OBJECT);
    1 << each.ilog2()
}

fn empty() -> PutPayloadMut {
    PutPayloadMut::new().with_block_size(BLOCK)
}

impl ObjectWriter {
    pub(super) fn new(
        shelf: Arc<Shelf>,
        permits: Arc<Semaphore>,
        writers: Arc<AtomicUsize>,
        id: ShareId,
        offset: u64,
    ) -> Self {
        let (counted, under_way) = (Counted::new(writers), UnderWay::new(permits));
        Self { shelf, counted, id, offset, waiting: empty(), under_way }
    }

    /// Sends what waits.
    async fn send(&mut self) -> Result<()> {
        let turn = self.under_way.turn().await?;
        let extent = Extent::new(self.offset, self.offset + self.waiting.content_length() as u64);
        let payload = std::mem::replace(&mut self.waiting, empty()).freeze();
        let (shelf, id) = (Arc::clone(&self.shelf), self.id);
        self.under_way.begin(turn, async move { put(&shelf, &id, extent, payload).await });
        self.offset = extent.to;
        Ok(())
    }
}

async fn put(shelf: &Shelf, id: &ShareId, extent: Extent, payload: PutPayload) -> Result<()> {
    shelf.bucket.put(&extent.name(&shelf.folder(id)), payload).await.map(drop).map_err(failure)
}

#[async_trait]
impl Writer for ObjectWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.counted.share().saturating_sub(self.waiting.content_length() as u64);
            let taken = bytes.split_to(bytes.len().min(room as usize));
            // Copied: a crumb would keep all of the buffer that it came in.
            self.waiting.extend_from_slice(&taken);
            if taken.len() as u64 == room {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.send().await?;
        }
        self.under_way.all().await
    }

    async fn stop(&mut self) {
        self.waiting = empty();
        self.under_way.end().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writers_write_smaller_objects() {
        let mib = 1 << 20;
        for (writers, each) in [(0, 8 * mib), (1, 8 * mib), (8, 8 * mib), (9, 4 * mib), (16, 4 * mib), (100, mib / 2)] {
            assert_eq!(share(writers), each, "{writers} writers");
        }
        assert_eq!(share(100_000), LEAST);
    }
}
