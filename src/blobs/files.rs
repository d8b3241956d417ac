//! Blobs as plain files, one per share: `blobs/ab/<id>`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::buffer::spare_capacity;
use tokio::task::spawn_blocking;

use super::growth::Growth;
use super::{Blobs, Error, Outlet, Pieces, Result, Writer};
use crate::disk;
use crate::share::{ShareId, Timestamp};

/// Bytes that are written or read at once: large enough that a trip to another thread costs little, small enough for a core's cache.
pub(super) const PIECE: usize = 128 * 1024;
/// Pieces grow to this part of what was read before.
const GROWTH: u64 = 128;
/// Memory takes or gives a piece in a fraction of this; a disk that is busy takes longer.
const QUICK: Duration = Duration::from_millis(5);
/// Bytes that are moved before others on the same thread have their turn: half a millisecond's worth.
const TURN: usize = 512 * 1024;
/// So many pieces go by way of another thread before it is tried again without.
const DETOURS: u32 = 128;

/// The folder of all blobs.
pub struct Files {
    folder: PathBuf,
    /// Set once a sync failed: nobody knows then what is on the disk, and only a restart may go on.
    lost: Arc<AtomicBool>,
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
        Ok(Self { folder, lost: Arc::default() })
    }

    /// Whether no sync has failed.
    fn check_sound(&self) -> Result<()> {
        let lost = || Error::Unavailable("a sync failed: nothing is written until the server is restarted".to_owned());
        if self.lost.load(Ordering::Relaxed) { Err(lost()) } else { Ok(()) }
    }

    fn path(&self, id: &ShareId) -> PathBuf {
        let name = id.to_string();
        self.folder.join(&name[..2]).join(name)
    }
}

#[async_trait]
impl Blobs for Files {
    async fn write(&self, id: &ShareId, offset: u64, _until: Timestamp) -> Result<Box<dyn Writer>> {
        self.check_sound()?;
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
        let (file, lost) = (Arc::new(file), Arc::clone(&self.lost));
        Ok(Box::new(FileWriter { file, at: offset, made, waiting: Vec::new(), pace: Pace::default(), lost }))
    }

    async fn read(&self, id: &ShareId, range: Range<u64>, outlet: Option<Outlet>) -> Result<Pieces> {
        let path = self.path(id);
        let file = blocking(move || File::open(path)).await?;
        let growth = Growth::new(range.start, (GROWTH, GROWTH), PIECE as u64);
        let reader = FileReader { file: Arc::new(file), range, growth, outlet, pace: Pace::default() };
        Ok(stream::try_unfold(reader, FileReader::next).boxed())
    }

    async fn keep(&self, _id: &ShareId, _until: Timestamp) -> Result<()> {
        Ok(())
    }

    async fn free(&self, id: &ShareId, _reached: u64) -> Result<()> {
        let path = self.path(id);
        let unlink = move || {
            // Where it can't be opened, the pages go with the name.
            let file = File::open(&path).ok();
            fs::remove_file(path).map(|()| file)
        };
        match blocking(unlink).await {
            // Nobody can open it any more. That the system takes its time to give back a large file's pages need hold nobody up.
            Ok(file) => drop(spawn_blocking(move || drop(file))),
            Err(Error::Missing) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn room(&self, bytes: u64) -> Result<()> {
        match disk::has_room(&self.folder, bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Full),
            Err(error) => Err(of_folder(failure(error))),
        }
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
        self.check_sound()?;
        let folder = self.folder.clone();
        let writable = move || Ok(rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK)?);
        blocking(writable).await.map_err(of_folder)
    }
}

/// Whether a file's bytes move at memory's pace. Then they are moved where that is asked for: to have another thread do it costs half
/// as much again. Else that thread waits for the disk, and nobody's claim waits with it.
#[derive(Default)]
struct Pace {
    detours: u32,
    /// Bytes since others had their turn.
    moved: usize,
}

impl Pace {
    fn is_quick(&self) -> bool {
        self.detours == 0
    }

    /// Learns how long a piece took that was moved here.
    fn learn(&mut self, took: Duration) {
        if took > QUICK {
            self.detours = DETOURS;
        }
    }

    /// Lets others have their turn, before `length` bytes more are moved here.
    async fn turn(&mut self, length: usize) {
        self.moved += length;
        if self.moved > TURN {
            self.moved = length;
            tokio::task::yield_now().await;
        }
    }

    /// Moves a piece, here or there.
    async fn pass<T, F>(&mut self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        if !self.is_quick() {
            self.detours -= 1;
            return blocking(work).await;
        }
        let begun = Instant::now();
        let done = work();
        self.learn(begun.elapsed());
        done.map_err(failure)
    }
}

struct FileWriter {
    file: Arc<File>,
    /// Where what waits goes.
    at: u64,
    /// Set until the first sync: the file's name must become durable too.
    made: Option<PathBuf>,
    /// Few bytes, copied: crumbs would keep whole the buffers that they came in.
    waiting: Vec<u8>,
    pace: Pace,
    /// That of [`Files`].
    lost: Arc<AtomicBool>,
}

impl FileWriter {
    /// Writes what waits.
    async fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            // The buffer is used again.
            self.waiting = self.put(waiting).await?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Writes `bytes`, and gives them back.
    async fn put<B: AsRef<[u8]> + Send + 'static>(&mut self, bytes: B) -> Result<B> {
        let (file, at, length) = (self.file.clone(), self.at, bytes.as_ref().len());
        self.at += length as u64;
        self.pace.turn(length).await;
        self.pace.pass(move || file.write_all_at(bytes.as_ref(), at).map(|()| bytes)).await
    }
}

#[async_trait]
impl Writer for FileWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.len() < PIECE / 4 {
            self.waiting.extend_from_slice(&bytes);
            return if self.waiting.len() < PIECE { Ok(()) } else { self.flush().await };
        }
        self.flush().await?;
        self.put(bytes).await.map(drop)
    }

    async fn sync(&mut self) -> Result<()> {
        self.flush().await?;
        let (file, made) = (self.file.clone(), self.made.clone());
        let sync = move || {
            // The name in its folder, and the folder in its own. Opened first: where they can't be, nothing has failed to sync.
            let folders = made.iter().flat_map(|path| path.ancestors().skip(1).take(2)).map(File::open);
            let folders = folders.collect::<io::Result<Vec<_>>>()?;
            Ok(file.sync_data().and_then(|()| folders.iter().try_for_each(File::sync_all)))
        };
        let synced = blocking(sync).await?.map_err(failure);
        self.made = None;
        if let Err(error) = &synced
            && *error != Error::Full
        {
            tracing::error!(%error, "a sync failed: the store is read-only until the server is restarted");
            self.lost.store(true, Ordering::Relaxed);
        }
        synced
    }

    async fn stop(&mut self) {
        self.waiting.clear();
    }
}

struct FileReader {
    file: Arc<File>,
    /// What is left to read.
    range: Range<u64>,
    growth: Growth,
    /// Where the bytes go, where that can take them from the file.
    outlet: Option<Outlet>,
    pace: Pace,
}

impl FileReader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let (at, left) = (self.range.start, self.range.end.saturating_sub(self.range.start));
        if left == 0 {
            return Ok(None);
        }
        let (file, length) = (self.file.clone(), left.min(self.growth.at(at)) as usize);
        self.pace.turn(length).await;
        self.pace.learn(self.outlet.as_ref().map_or(Duration::ZERO, Outlet::took));
        let piece = match &self.outlet {
            Some(outlet) if self.pace.is_quick() => outlet.stand_in(file, at, length),
            _ => self.pace.pass(move || read_exact_at(&file, length, at)).await?,
        };
        self.range.start += piece.len() as u64;
        Ok(Some((piece, self)))
    }
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
    spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(failure)
}

/// What was asked of the folder of all blobs: no one of them is missing.
fn of_folder(error: Error) -> Error {
    match error {
        Error::Missing => Error::Unavailable("the folder of the blobs is not there".into()),
        error => error,
    }
}

fn failure(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        _ => Error::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_sync_that_failed_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let (id, until) = (ShareId::random(), Timestamp(0));
        files.write(&id, 0, until).await.unwrap().sync().await.unwrap();
        assert_eq!(files.ping().await, Ok(()));
        // A device that can't sync stands in for a disk that does not.
        let file = Arc::new(OpenOptions::new().write(true).open("/dev/null").unwrap());
        let (lost, pace) = (Arc::clone(&files.lost), Pace::default());
        assert!(FileWriter { file, at: 0, made: None, waiting: Vec::new(), pace, lost }.sync().await.is_err());
        assert!(matches!(files.ping().await, Err(Error::Unavailable(_))));
        assert!(matches!(files.write(&id, 0, until).await.err(), Some(Error::Unavailable(_))));
    }
}
