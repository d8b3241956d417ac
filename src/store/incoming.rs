//! Bytes on their way in: written as they come, made durable and recorded every now and then.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Error, Result, Store, now};
use crate::blobs::Writer;
use crate::ledger::{Advance, Upload};
use crate::metrics::Running;
use crate::share::{Digest, ShareId, Timestamp};

/// A crash of the server costs at most this much of an upload that can be resumed.
const STEP: u64 = 32 << 20;
/// So many bytes that nobody reserved are written before it is seen whether there is room for more: others' reservations stand.
const UNRESERVED: u64 = 1 << 20;
/// An upload that dies with its connection is given up when it has not been heard of for so long.
pub(super) const PLAIN_WINDOW: Duration = Duration::from_secs(60);
/// It is heard of this often.
const HEARD: Duration = Duration::from_secs(20);

/// One connection's turn at an upload. Dropped, it leaves the upload at the last recorded offset.
pub struct Incoming {
    store: Arc<Store>,
    blob: Box<dyn Writer>,
    id: ShareId,
    token: Digest,
    /// Tells this turn's repeated calls from another turn's.
    writer: u64,
    resumable: bool,
    /// Where the upload stands in the ledger.
    recorded: u64,
    /// Where it stands with the bytes taken since.
    offset: u64,
    /// Where it was seen to be still open.
    looked: u64,
    /// Whether `end` is the upload's length, for which room is reserved; else it is the most that anything may have.
    reserved: bool,
    /// Until where there is room: reserved, or seen to be there.
    room: u64,
    /// No byte may come after this one.
    end: u64,
    recorded_at: Instant,
    _running: Running,
}

impl Incoming {
    /// Takes up the upload where it stands.
    ///
    /// # Errors
    /// [`Error::Missing`] where bytes recorded before are not there; [`crate::ledger::Error::Unavailable`].
    pub async fn resume(store: &Arc<Store>, id: ShareId, token: Digest, upload: &Upload) -> Result<Self> {
        let most = upload.manifest_len + store.max_sealed();
        let until = upload.window_ends_at.after(upload.terms.expires_in);
        let end = upload.length.unwrap_or(most);
        Self::open(store, id, token, upload.offset..end, upload.length.is_some(), Some(until)).await
    }

    /// `bytes` are the ones still to come, `reserved` whether there is room for them for certain; `until` is when the blob may
    /// vanish by itself, `None` for an upload that can't be resumed.
    pub(super) async fn open(
        store: &Arc<Store>,
        id: ShareId,
        token: Digest,
        bytes: Range<u64>,
        reserved: bool,
        until: Option<Timestamp>,
    ) -> Result<Self> {
        let Range { start: offset, end } = bytes;
        let blob = store.blobs.write(&id, offset, until.unwrap_or_else(|| now().after(PLAIN_WINDOW))).await?;
        Ok(Self {
            store: store.clone(),
            blob,
            id,
            token,
            writer: u64::from_ne_bytes(crate::share::random()),
            resumable: until.is_some(),
            recorded: offset,
            offset,
            looked: offset,
            reserved,
            room: if reserved { end } else { offset },
            end,
            recorded_at: Instant::now(),
            _running: Running::new(&store.metrics),
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for bytes past the upload's end, of which none is taken; [`crate::ledger::Error::Full`];
    /// [`crate::ledger::Error::Conflict`] where another turn got ahead.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.write_unrecorded(bytes).await?;
        if self.offset - self.recorded >= STEP {
            self.record().await?;
        }
        self.be_heard_of().await
    }

    /// Keeps an upload that can't be resumed from being given up while its bytes still come, however slowly.
    pub(super) async fn be_heard_of(&mut self) -> Result<()> {
        if self.resumable || self.recorded_at.elapsed() < HEARD { Ok(()) } else { self.record().await }
    }

    /// Stops without recording anything: nothing is written after it. Gives how far the writer has come, in bytes.
    pub async fn stop(&mut self) -> u64 {
        self.blob.stop().await;
        self.offset
    }

    /// Takes the next bytes, which count only if [`Incoming::end`] is reached: a checksum may yet show that they are wrong.
    ///
    /// # Errors
    /// As [`Incoming::write`].
    pub async fn write_unrecorded(&mut self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        if self.offset + length > self.end {
            return Err(Error::TooLarge);
        }
        if self.offset + length > self.room {
            let more = UNRESERVED.max(length);
            self.store.room(more).await?;
            self.room = self.offset + more;
        }
        self.blob.write(bytes).await?;
        self.offset += length;
        if self.offset - self.looked >= STEP {
            // An upload that ended meanwhile needs no more bytes.
            self.store.ledger.upload(&self.id, &self.token, now()).await?;
            self.looked = self.offset;
        }
        Ok(())
    }

    /// Makes durable and records what came so far.
    ///
    /// # Errors
    /// As [`Incoming::write`].
    pub async fn record(&mut self) -> Result<()> {
        let window_ends_at = (!self.resumable).then(|| now().after(PLAIN_WINDOW));
        if self.resumable {
            self.blob.sync().await?;
        } else {
            self.store.blobs.keep(&self.id, now().after(PLAIN_WINDOW)).await?;
        }
        let Self { id, token, writer, recorded: from, offset: to, .. } = *self;
        if from != to || window_ends_at.is_some() {
            let step = Advance { id, token, writer, from, to, window_ends_at };
            self.store.ledger.advance(&step, now()).await?;
            (self.recorded, self.recorded_at) = (to, Instant::now());
        }
        Ok(())
    }

    /// Ends this turn: records its bytes and, where they are the last, makes the share. Gives the offset reached,
    /// and when the share expires.
    ///
    /// # Errors
    /// As [`Incoming::write`].
    pub async fn end(&mut self) -> Result<(u64, Option<Timestamp>)> {
        self.record().await?;
        if self.reserved && self.offset < self.end {
            return Ok((self.offset, None));
        }
        // The last bytes, or ones of an upload whose length may have been told meanwhile.
        let upload = self.store.ledger.upload(&self.id, &self.token, now()).await?;
        if upload.length != Some(self.offset) {
            return Ok((self.offset, None));
        }
        let expires_at = self.store.complete(&self.id, &self.token, &upload).await?;
        Ok((self.offset, Some(expires_at)))
    }

    /// Makes everything durable, for whoever publishes the share.
    pub(super) async fn whole(&mut self) -> Result<()> {
        let Self { store, blob, id, token, writer, recorded, .. } = self;
        let mut sync = blob.sync();
        // A slow disk may take longer than the window: it is heard of meanwhile.
        loop {
            match tokio::time::timeout(HEARD, &mut sync).await {
                Ok(synced) => return Ok(synced?),
                Err(_) => {
                    let until = now().after(PLAIN_WINDOW);
                    let window_ends_at = Some(until);
                    let (id, token, writer, from, to) = (*id, *token, *writer, *recorded, *recorded);
                    store.blobs.keep(&id, until).await?;
                    store.ledger.advance(&Advance { id, token, writer, from, to, window_ends_at }, now()).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger;
    use crate::store::given;

    #[tokio::test]
    async fn what_has_no_length_takes_no_disk_that_others_have_reserved() {
        let folder = tempfile::tempdir().unwrap();
        let store = given::store(folder.path());
        let (unbounded, vast) = (given::upload(None), given::upload(Some(1 << 49)));
        store.ledger.begin(&unbounded, now()).await.unwrap();
        let (id, token) = (unbounded.id, unbounded.token);
        let upload = store.upload(&id, &token).await.unwrap();
        let mut incoming = Incoming::resume(&store, id, token, &upload).await.unwrap();
        incoming.write(vec![0; UNRESERVED as usize].into()).await.unwrap();
        // More than any disk has.
        store.ledger.begin(&vast, now()).await.unwrap();
        assert_eq!(incoming.write(vec![0].into()).await, Err(ledger::Error::Full.into()));
    }
}
