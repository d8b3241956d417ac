//! A plain download: unsealed as its bytes stream out. Nothing that fails to verify leaves.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::ahead::ahead;
use super::{Error, Result, Store};
use crate::blobs::Pieces;
use crate::ledger::Lease;
use crate::seal::{self, File, HEADER, Keys, Manifest, Opener, PLAIN_RECORD, RECORD};
use crate::share::ShareId;

/// The plain bytes `range` of a share, a record at a time. `inline` is the sealed content, where the ledger held it.
///
/// # Errors
/// [`Error::Seal`] for a wrong key or changed bytes, at once or in the stream; [`Error::Missing`].
pub async fn unsealed(
    store: &Store,
    id: &ShareId,
    lease: &Lease,
    inline: Option<Bytes>,
    keys: &Keys,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
    let sealed = |range: Range<u64>| {
        let inline = inline.clone();
        async move {
            match inline {
                Some(content) => Ok(slice(&content, range)),
                None => store.content(id, lease, range, None).await,
            }
        }
    };
    let header: Vec<Bytes> = sealed(0..(HEADER as u64).min(lease.size)).await?.try_collect().await?;
    let header = header.concat().try_into().map_err(|_| Error::Missing)?;
    let opener = Opener::new(&keys.content, &header, lease.size)?;
    if lease.size == seal::sealed_len(0) {
        // Nothing leaves, but that nothing is all there was is sealed too.
        let last: Vec<Bytes> = sealed(HEADER as u64..lease.size).await?.try_collect().await?;
        opener.open(0, &mut last.concat())?;
    }

    let (record, plain_record) = (RECORD as u64, PLAIN_RECORD as u64);
    let (first, after) = (range.start / plain_record, range.end.div_ceil(plain_record));
    let begin = HEADER as u64 + first * record;
    let end = (HEADER as u64 + after * record).min(lease.size).max(begin);
    let state = Records { pieces: sealed(begin..end).await?, opener, next: first, sealed: Vec::new() };
    let plain = ahead(stream::try_unfold(state, Records::open_next));
    Ok(plain.map_ok(move |(at, mut plain)| {
        let (start, length) = (at * plain_record, plain.len() as u64);
        plain.truncate(range.end.saturating_sub(start).min(length) as usize);
        plain.split_off((range.start.saturating_sub(start) as usize).min(plain.len()))
    }))
}

struct Records {
    pieces: Pieces,
    opener: Opener,
    next: u64,
    sealed: Vec<u8>,
}

impl Records {
    /// Opens the next record: its number and its plain bytes.
    async fn open_next(mut self) -> Result<Option<((u64, Bytes), Self)>> {
        while self.sealed.len() < RECORD {
            match self.pieces.try_next().await? {
                Some(piece) => self.sealed.extend_from_slice(&piece),
                None => break,
            }
        }
        if self.sealed.is_empty() {
            return Ok(None);
        }
        let rest = self.sealed.split_off(self.sealed.len().min(RECORD));
        let mut record = std::mem::replace(&mut self.sealed, rest);
        let length = self.opener.open(self.next, &mut record)?;
        record.truncate(length);
        let opened = (self.next, Bytes::from(record));
        self.next += 1;
        Ok(Some((opened, self)))
    }
}

fn slice(content: &Bytes, range: Range<u64>) -> Pieces {
    let fits = range.start <= range.end && range.end <= content.len() as u64;
    let piece = fits.then(|| content.slice(range.start as usize..range.end as usize));
    stream::iter([piece.ok_or(crate::blobs::Error::Missing)]).boxed()
}

/// Shares whose computed checksums are remembered.
const CHECKSUMS_KEPT: usize = 256;

/// Checksums that had to be computed, by share: a zip is asked for more than once.
#[derive(Default)]
pub(super) struct Checksums(Mutex<HashMap<ShareId, Arc<Computed>>>);

/// Of each file, once somebody has computed them; or why the content does not open.
type Computed = OnceCell<std::result::Result<Vec<u32>, seal::Error>>;

impl Checksums {
    fn of(&self, id: &ShareId) -> Arc<Computed> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHECKSUMS_KEPT && !known.contains_key(id) {
            // Those that somebody waits for stay.
            known.retain(|_, checksums| Arc::strong_count(checksums) > 1);
        }
        known.entry(*id).or_default().clone()
    }
}

/// Adds the checksums that a zip needs and the manifest lacks: whoever sealed it need not have known them. Reads such a share whole,
/// once for all that ask meanwhile, and not again where it does not verify.
///
/// # Errors
/// As [`unsealed`].
pub async fn with_checksums(
    store: &Store,
    id: &ShareId,
    lease: &Lease,
    inline: Option<Bytes>,
    keys: &Keys,
    manifest: &mut Manifest,
) -> Result<()> {
    let known = store.checksums.of(id);
    let computed =
        known.get_or_try_init(async || match computed(store, id, lease, inline, keys, &manifest.files).await {
            Err(Error::Seal(error)) => Ok(Err(error)),
            checksums => checksums.map(Ok),
        });
    let computed = computed.await?.as_ref().map_err(|error| *error)?;
    manifest.files.iter_mut().zip(computed).for_each(|(file, checksum)| file.crc32 = Some(*checksum));
    Ok(())
}

/// The checksums of all files of a share.
async fn computed(
    store: &Store,
    id: &ShareId,
    lease: &Lease,
    inline: Option<Bytes>,
    keys: &Keys,
    files: &[File],
) -> Result<Vec<u32>> {
    let total = seal::plain_len(lease.size).ok_or(seal::Error::Truncated)?;
    let mut plain = std::pin::pin!(unsealed(store, id, lease, inline, keys, 0..total).await?);
    let (mut checksums, mut piece) = (Vec::with_capacity(files.len()), Bytes::new());
    for file in files {
        let (mut left, mut checksum) = (file.size.unwrap_or(0), crc32fast::Hasher::new());
        while left > 0 {
            if piece.is_empty() {
                piece = plain.try_next().await?.ok_or(seal::Error::Truncated)?;
            }
            let taken = piece.split_to(left.min(piece.len() as u64) as usize);
            left -= taken.len() as u64;
            checksum.update(&taken);
        }
        checksums.push(checksum.finalize());
    }
    Ok(checksums)
}
