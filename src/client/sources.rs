//! What is sent: files as they were found, or a stream that can be read once.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::failure::{Failure, Result};
use super::limits::Limits;
use super::terminal::say;
use crate::names;
use crate::seal::MANIFEST_MAX;

/// Bytes of a file in a manifest, beside its name, at the least.
const LISTED: usize = r#"{"name":"","size":0},"#.len();

/// What a file was when it was found: another size or time, and it is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() }
    }

    pub(super) fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.size.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.nanoseconds.to_be_bytes());
        bytes
    }
}

/// A file to be sent.
#[derive(Debug)]
pub(super) struct Found {
    /// The folder in which it lies, one for all that lie there: paths may be long, and files many.
    folder: Arc<Path>,
    /// Its name there; no symbolic link.
    file: OsString,
    /// What its recipient will call it, with `/` between folders.
    pub(super) name: String,
    pub(super) stamp: Stamp,
}

impl Found {
    fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    /// What tells it from all others here, and from itself under another name.
    pub(super) fn identity(&self) -> [&[u8]; 3] {
        [self.folder.as_os_str().as_encoded_bytes(), self.file.as_encoded_bytes(), self.name.as_bytes()]
    }
}

/// Finds the files at and below `paths`, in their order. What is nothing to send is said, and skipped.
///
/// # Errors
/// Where something can't be read, there are too many names, or there is no file at all.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Found>> {
    let mut search = Search::default();
    paths.iter().try_for_each(|path| search.at(path))?;
    search.ends()
}

/// There are more names than a manifest holds.
pub(super) fn too_many_names() -> Failure {
    Failure::usage(
        "too many names for one share: send an archive of them instead, as by tar c FOLDER | onetimeshare send -",
    )
}

/// What was found so far.
#[derive(Default)]
struct Search {
    found: Vec<Found>,
    /// Bytes that they take in the manifest at the least.
    listed: usize,
    /// Arguments that are nothing to send: what each is, and what to do.
    skipped: Vec<(PathBuf, &'static str, &'static str)>,
}

impl Search {
    /// An argument.
    fn at(&mut self, path: &Path) -> Result<()> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                self.skipped.push((path.to_owned(), "a link that leads nowhere", "there is nothing to send"));
                return Ok(());
            }
            Err(error) => return Err(Failure::disk(path, &error)),
        };
        let metadata = real.metadata().map_err(|error| Failure::disk(path, &error))?;
        // Whoever named a link meant what it points to, but calls it by its own name.
        let called = path.file_name().or(real.file_name()).unwrap_or_default().to_string_lossy().into_owned();
        if metadata.is_dir() {
            return self.below(real, called);
        }
        match (real.parent(), real.file_name()) {
            (Some(folder), Some(file)) if metadata.is_file() => {
                let folder = self.folder(folder);
                self.add(Found { folder, file: file.to_owned(), name: called, stamp: Stamp::of(&metadata) })
            }
            _ => {
                let advice = "send what comes out of it by - from standard input";
                self.skipped.push((path.to_owned(), "a special file", advice));
                Ok(())
            }
        }
    }

    /// Everything below a folder, by name.
    fn below(&mut self, folder: PathBuf, name: String) -> Result<()> {
        let mut waiting = vec![(folder, name)];
        while let Some((folder, prefix)) = waiting.pop() {
            let failed = |error: &io::Error| Failure::disk(&folder, error);
            let entries =
                folder.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|e| failed(&e))?;
            let mut entries = entries;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            if entries.is_empty() {
                says_skipped(&folder, "an empty folder");
            }
            let shared: Arc<Path> = folder.as_path().into();
            let mut folders = Vec::new();
            for entry in entries {
                let path = entry.path();
                let base = entry.file_name().to_string_lossy().into_owned();
                let name = if prefix.is_empty() { base } else { format!("{prefix}/{base}") };
                let metadata = entry.metadata().map_err(|error| Failure::disk(&path, &error))?;
                if metadata.is_dir() {
                    folders.push((path, name));
                } else if metadata.is_file() {
                    let (folder, file) = (shared.clone(), entry.file_name());
                    self.add(Found { folder, file, name, stamp: Stamp::of(&metadata) })?;
                } else {
                    says_skipped(&path, if metadata.is_symlink() { "a symbolic link" } else { "a special file" });
                }
            }
            waiting.extend(folders.into_iter().rev());
        }
        Ok(())
    }

    fn add(&mut self, found: Found) -> Result<()> {
        self.listed += LISTED + found.name.len();
        self.found.push(found);
        if self.listed as u64 > MANIFEST_MAX { Err(too_many_names()) } else { Ok(()) }
    }

    /// The path of a folder, the same for files that come after each other.
    fn folder(&self, path: &Path) -> Arc<Path> {
        let last = self.found.last().filter(|last| *last.folder == *path);
        last.map_or_else(|| path.into(), |last| last.folder.clone())
    }

    /// All files, which can be opened, under names that are told apart.
    fn ends(self) -> Result<Vec<Found>> {
        let Self { mut found, skipped, .. } = self;
        if found.is_empty() {
            return Err(match &skipped[..] {
                [(path, what, advice), ..] => Failure::usage(format_args!("{} is {what}: {advice}", path.display())),
                [] => Failure::usage("there is no file in it: nothing to send"),
            });
        }
        skipped.iter().for_each(|(path, what, _)| says_skipped(path, what));
        for path in found.iter().map(Found::path) {
            open(&path).map_err(|error| Failure::disk(&path, &error))?;
        }
        let names = names::unique(found.iter().map(|file| file.name.as_str()));
        found.iter_mut().zip(names).for_each(|(file, name)| file.name = name);
        Ok(found)
    }
}

fn says_skipped(path: &Path, what: &str) {
    say(format_args!("skipped, {what}: {}", names::visible(&path.to_string_lossy())));
}

/// Opens a file that was found. What took its place since, a link or a pipe, is not followed or waited for.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// Plain bytes, in the order of the manifest.
pub(super) enum Source {
    /// Files, one after the other; can be read from anywhere.
    Files(Files),
    /// A stream; can be read once.
    Stream(Stream),
}

impl Source {
    /// Fills `into` with the next bytes as far as there are any; says how many, and whether nothing follows.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<(usize, bool)> {
        match self {
            Self::Files(files) => files.read(into),
            Self::Stream(stream) => stream.read(into),
        }
    }
}

/// Files, one after the other.
pub(super) struct Files {
    found: Arc<[Found]>,
    /// The file that is being read, and how far it is.
    index: usize,
    at: u64,
    open: Option<File>,
}

impl Files {
    pub(super) fn new(found: Arc<[Found]>) -> Self {
        Self { found, index: 0, at: 0, open: None }
    }

    /// Goes to an offset of all their bytes.
    pub(super) fn seek(&mut self, mut offset: u64) -> Result<()> {
        (self.index, self.open) = (0, None);
        while offset > 0 && self.index < self.found.len() && offset >= self.found[self.index].stamp.size {
            offset -= self.found[self.index].stamp.size;
            self.index += 1;
        }
        self.at = offset;
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(usize, bool)> {
        let mut filled = 0;
        while let Some(found) = self.found.get(self.index) {
            let (path, stamp) = (&found.path(), &found.stamp);
            let failed = |error: io::Error| Failure::disk(path, &error);
            if self.at == stamp.size {
                // One that is empty is opened here: some say so, and are not.
                let mut file = self.open.take().map_or_else(|| open(path), Ok).map_err(failed)?;
                unchanged(path, &file, stamp)?;
                if stamp.size == 0 && file.read(&mut [0]).map_err(failed)? > 0 {
                    return Err(endless(path));
                }
                (self.index, self.at) = (self.index + 1, 0);
                continue;
            }
            if filled == into.len() {
                break;
            }
            if self.open.is_none() {
                let mut file = open(path).map_err(failed)?;
                unchanged(path, &file, stamp)?;
                file.seek(SeekFrom::Start(self.at)).map_err(failed)?;
                self.open = Some(file);
            }
            let most = (into.len() - filled).min((stamp.size - self.at).try_into().unwrap_or(usize::MAX));
            let file = self.open.as_mut().ok_or_else(|| changed(path))?;
            match file.read(&mut into[filled..filled + most]) {
                Ok(0) => return Err(changed(path)),
                Ok(count) => (filled, self.at) = (filled + count, self.at + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((filled, self.index == self.found.len()))
    }
}

fn unchanged(path: &Path, file: &File, stamp: &Stamp) -> Result<()> {
    let metadata = file.metadata().map_err(|error| Failure::disk(path, &error))?;
    if metadata.is_file() && Stamp::of(&metadata) == *stamp { Ok(()) } else { Err(changed(path)) }
}

/// Of a file that has bytes but no size, as in /proc.
fn endless(path: &Path) -> Failure {
    let path = path.display();
    Failure::usage(format_args!("{path} does not say how long it is: cat {path} | onetimeshare send -"))
}

fn changed(path: &Path) -> Failure {
    Failure::other(format_args!(
        "{} changed while it was being sent: nothing was shared, send it again",
        path.display()
    ))
}

/// A stream, and whether it has ended.
pub(super) struct Stream {
    stream: Box<dyn Read + Send>,
    /// The next byte, which was read to see whether there is one.
    next: Option<u8>,
    /// Bytes so far, and what bounds them.
    passed: u64,
    limits: Limits,
}

impl Stream {
    pub(super) fn new(stream: impl Read + Send + 'static, limits: Limits) -> Self {
        Self { stream: Box::new(stream), next: None, passed: 0, limits }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(usize, bool)> {
        let mut filled = 0;
        if let (Some(byte), [first, ..]) = (self.next.take(), &mut *into) {
            (*first, filled) = (byte, 1);
        }
        filled += self.fill(&mut into[filled..])?;
        self.passed += filled as u64;
        self.limits.size(self.passed)?;
        if filled < into.len() {
            return Ok((filled, true));
        }
        let mut next = [0];
        let more = self.fill(&mut next)? == 1;
        self.next = more.then_some(next[0]);
        Ok((filled, !more))
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.stream.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::other(format_args!("can't read standard input: {error}"))),
            }
        }
        Ok(filled)
    }
}
