//! Blobs as plain files, one per share: `blobs/ab/<id>`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::buffer::spare_capacity;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Blobs, Error, Pieces, Result, Writer};
use crate::share::{ShareId, Timestamp};

/// Bytes that one trip to the blocking pool writes or reads: large enough that the trip costs little.
const PIECE: usize = 256 * 1024;
/// Of the disk, this much stays free, or a twentieth of it where that is less: the ledger must be able to record what is freed.
const FLOOR: u64 = 1 << 30;

/// The folder of all blobs.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Opens `dir/blobs`, making it where there is none.
    ///
    /// # Errors
    /// Where it can't be made or written.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let folder = dir.join("blobs");
        fs::create_dir_all(&folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
        let writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK);
        writable.with_context(|| format!("can't write in the folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    fn path(&self, id: &ShareId) -> PathBuf {
        let name = id.to_string();
        self.folder.join(&name[..2]).join(name)
    }
}

#[async_trait]
impl Blobs for Files {
    async fn write(&self, id: &ShareId, offset: u64, _until: Timestamp) -> Result<Box<dyn Writer>> {
        let path = self.path(id);
        let open = move || {
            if offset == 0 {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
            }
            let file = OpenOptions::new().write(true).create(offset == 0).truncate(false).open(&path)?;
            if file.metadata()?.len() < offset {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok((file, path))
        };
        let (file, path) = blocking(open).await?;
        let made = (offset == 0).then_some(path);
        let file = Arc::new(file);
        Ok(Box::new(FileWriter { file, at: offset, made, pieces: Vec::new(), waiting: 0, writing: None }))
    }

    async fn read(&self, id: &ShareId, range: Range<u64>) -> Result<Pieces> {
        let path = self.path(id);
        let file = blocking(move || File::open(path)).await?;
        Ok(pieces(Arc::new(file), range))
    }

    async fn keep(&self, _id: &ShareId, _until: Timestamp) -> Result<()> {
        Ok(())
    }

    async fn free(&self, id: &ShareId, _reached: u64) -> Result<()> {
        let path = self.path(id);
        match blocking(move || fs::remove_file(path)).await {
            Err(Error::Missing) => Ok(()),
            freed => freed,
        }
    }

    async fn room(&self, bytes: u64) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| failure(error.into()))?;
        let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let floor = FLOOR.min(total / 20);
        if free.saturating_sub(floor) < bytes { Err(Error::Full) } else { Ok(()) }
    }

    async fn all(&self) -> Result<Vec<ShareId>> {
        let folder = self.folder.clone();
        let list = move || {
            let mut ids = Vec::new();
            for entry in fs::read_dir(folder)? {
                for file in fs::read_dir(entry?.path())? {
                    ids.extend(file?.file_name().to_str().and_then(|name| name.parse::<ShareId>().ok()));
                }
            }
            Ok(ids)
        };
        blocking(list).await
    }

    async fn written(&self, id: &ShareId) -> Result<Option<Timestamp>> {
        let path = self.path(id);
        match blocking(move || fs::metadata(path)?.modified()).await {
            Ok(modified) => Ok(Some(modified.into())),
            Err(Error::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ping(&self) -> Result<()> {
        let folder = self.folder.clone();
        let writable = move || Ok(rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK)?);
        blocking(writable).await
    }
}

struct FileWriter {
    file: Arc<File>,
    /// Where the first of `pieces` goes.
    at: u64,
    /// Set until the first sync: the file's name must become durable too.
    made: Option<PathBuf>,
    pieces: Vec<Bytes>,
    waiting: usize,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl FileWriter {
    /// Hands the pieces to the blocking pool, once it is done with those before.
    async fn flush(&mut self) -> Result<()> {
        self.written().await?;
        let (file, at) = (self.file.clone(), self.at);
        let pieces = std::mem::take(&mut self.pieces);
        self.at += std::mem::take(&mut self.waiting) as u64;
        self.writing = Some(spawn_blocking(move || write_all_at(&file, pieces, at)));
        Ok(())
    }

    async fn written(&mut self) -> Result<()> {
        match self.writing.take() {
            Some(writing) => joined(writing.await),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Writer for FileWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.waiting += bytes.len();
        self.pieces.push(bytes);
        if self.waiting >= PIECE { self.flush().await } else { Ok(()) }
    }

    async fn sync(&mut self) -> Result<()> {
        self.flush().await?;
        self.written().await?;
        let (file, made) = (self.file.clone(), self.made.take());
        let sync = move || {
            file.sync_data()?;
            // The name in its folder, and the folder in its own.
            made.iter()
                .flat_map(|path| path.ancestors().skip(1).take(2))
                .try_for_each(|dir| File::open(dir)?.sync_all())
        };
        blocking(sync).await
    }

    async fn stop(&mut self) {
        self.pieces.clear();
        let _ = self.written().await;
    }
}

fn write_all_at(file: &File, pieces: Vec<Bytes>, mut at: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let batch = left.len().min(1024);
        match rustix::io::pwritev(file, &left[..batch], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads one piece ahead of who takes them.
fn pieces(file: Arc<File>, range: Range<u64>) -> Pieces {
    let fetch = move |at: u64| {
        let (file, length) = (file.clone(), (range.end.saturating_sub(at)).min(PIECE as u64) as usize);
        (length > 0).then(|| spawn_blocking(move || read_exact_at(&file, length, at)))
    };
    let first = fetch(range.start);
    let pieces = stream::unfold((first, range.start), move |(reading, at)| {
        let next = at + PIECE as u64;
        let ahead = reading.is_some().then(|| fetch(next)).flatten();
        async move {
            let piece = joined(reading?.await);
            let ahead = if piece.is_ok() { ahead } else { None };
            Some((piece, (ahead, next)))
        }
    });
    pieces.boxed()
}

fn read_exact_at(file: &File, length: usize, at: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(length);
    while piece.len() < length {
        let here = at + piece.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut piece), here) {
            Ok(0) => return Err(io::ErrorKind::NotFound.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    piece.truncate(length);
    Ok(piece.into())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    joined(spawn_blocking(work).await)
}

fn joined<T>(done: std::result::Result<io::Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(failure)
}

fn failure(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        _ => Error::Unavailable(error.to_string()),
    }
}
