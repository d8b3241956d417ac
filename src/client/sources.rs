//! What is sent: files as they were found, or a stream that can be read once.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::failure::{Failure, Result};
use super::terminal::say;
use crate::names;

/// What a file was when it was found: another size or time, and it is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() }
    }
}

/// A file to be sent.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Where it lies; no symbolic link.
    pub(super) path: PathBuf,
    /// What its recipient will call it, with `/` between folders.
    pub(super) name: String,
    pub(super) stamp: Stamp,
}

/// Finds the files at and below `paths`, in their order. Symbolic links and special files in folders are said, and skipped.
///
/// # Errors
/// Where something can't be read, is nothing to send, or there is no file at all.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for path in paths {
        let real = path.canonicalize().map_err(|error| Failure::disk(path, &error))?;
        let metadata = real.metadata().map_err(|error| Failure::disk(path, &error))?;
        let own = real.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        // Whoever named a link meant what it points to, but calls it by its own name.
        let called = path.file_name().map_or(own.clone(), |name| name.to_string_lossy().into_owned());
        if metadata.is_dir() {
            walk(real, own, &mut found)?;
        } else if metadata.is_file() {
            found.push(Found { path: real, name: called, stamp: Stamp::of(&metadata) });
        } else {
            return Err(Failure::usage(format_args!(
                "{} is no file and no folder: send what comes out of it by - from standard input",
                path.display()
            )));
        }
    }
    for file in &found {
        open(&file.path).map_err(|error| Failure::disk(&file.path, &error))?;
    }
    let names = names::unique(found.iter().map(|file| file.name.as_str()));
    found.iter_mut().zip(names).for_each(|(file, name)| file.name = name);
    if found.is_empty() { Err(Failure::usage("there is no file in it: nothing to send")) } else { Ok(found) }
}

/// Everything below a folder, by name.
fn walk(folder: PathBuf, name: String, found: &mut Vec<Found>) -> Result<()> {
    let mut waiting = vec![(folder, name)];
    while let Some((folder, prefix)) = waiting.pop() {
        let failed = |error: &io::Error| Failure::disk(&folder, error);
        let entries = folder.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|e| failed(&e))?;
        let mut entries = entries;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.path();
            let base = entry.file_name().to_string_lossy().into_owned();
            let name = if prefix.is_empty() { base } else { format!("{prefix}/{base}") };
            let metadata = entry.metadata().map_err(|error| Failure::disk(&path, &error))?;
            if metadata.is_dir() {
                folders.push((path, name));
            } else if metadata.is_file() {
                found.push(Found { path, name, stamp: Stamp::of(&metadata) });
            } else {
                let what = if metadata.is_symlink() { "symbolic link" } else { "special file" };
                say(format_args!("skipped, a {what}: {}", names::visible(&path.to_string_lossy())));
            }
        }
        waiting.extend(folders.into_iter().rev());
    }
    Ok(())
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
    found: Vec<Found>,
    /// The file that is being read, and how far it is.
    index: usize,
    at: u64,
    open: Option<File>,
}

impl Files {
    pub(super) fn new(found: Vec<Found>) -> Self {
        Self { found, index: 0, at: 0, open: None }
    }

    /// Goes to an offset of all their bytes.
    pub(super) fn seek(&mut self, mut offset: u64) -> Result<()> {
        (self.index, self.open) = (0, None);
        while self.index < self.found.len() && offset >= self.found[self.index].stamp.size {
            offset -= self.found[self.index].stamp.size;
            self.index += 1;
        }
        self.at = offset;
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(usize, bool)> {
        let mut filled = 0;
        while let Some(Found { path, stamp, .. }) = self.found.get(self.index) {
            let failed = |error: io::Error| Failure::disk(path, &error);
            if self.at == stamp.size {
                if let Some(file) = self.open.take() {
                    unchanged(path, &file, stamp)?;
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
}

impl Stream {
    pub(super) fn new(stream: impl Read + Send + 'static) -> Self {
        Self { stream: Box::new(stream), next: None }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(usize, bool)> {
        let mut filled = 0;
        if let (Some(byte), [first, ..]) = (self.next.take(), &mut *into) {
            (*first, filled) = (byte, 1);
        }
        filled += self.fill(&mut into[filled..])?;
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
