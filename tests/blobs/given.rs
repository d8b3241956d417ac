//! What the promises start from.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use onetimeshare::blobs::{Blobs, Result};
use onetimeshare::share::{ShareId, Timestamp};

pub const MIB: usize = 1 << 20;
/// Sizes and offsets around which a store that cuts blobs into chunks may err.
pub const EDGES: [usize; 9] = [1, 64, MIB - 65, MIB - 64, MIB - 63, MIB - 1, MIB, MIB + 1, 2 * MIB - 128];

pub fn until() -> Timestamp {
    Timestamp::from(SystemTime::now()).after(Duration::from_secs(3600))
}

/// Bytes no two stretches of which are alike.
pub fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Writes `content` from `offset` on, in pieces of 100 000 bytes, and makes it durable.
pub async fn write(blobs: &dyn Blobs, id: &ShareId, offset: usize, content: &Bytes) -> Result<()> {
    let mut writer = blobs.write(id, offset as u64, until()).await?;
    for start in (0..content.len()).step_by(100_000) {
        writer.write(content.slice(start..content.len().min(start + 100_000))).await?;
    }
    writer.sync().await
}

pub async fn read(blobs: &dyn Blobs, id: &ShareId, range: Range<usize>) -> Result<Vec<u8>> {
    let pieces = blobs.read(id, range.start as u64..range.end as u64, None).await?;
    let add = |mut all: Vec<u8>, piece: Bytes| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    };
    pieces.try_fold(Vec::new(), add).await
}

/// A blob of so many bytes.
pub async fn blob(blobs: &dyn Blobs, length: usize) -> (ShareId, Bytes) {
    let (id, content) = (ShareId::random(), content(length));
    write(blobs, &id, 0, &content).await.expect("written");
    (id, content)
}

/// Compared without printing megabytes.
pub async fn assert_holds(blobs: &dyn Blobs, id: &ShareId, content: &Bytes) {
    let read = read(blobs, id, 0..content.len()).await.expect("read");
    assert!(read[..] == content[..], "other bytes than were written");
}
