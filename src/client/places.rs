//! Where files go: below one folder, never through a link, never over anything unasked; as a `.part` until all of it is
//! verified.
//!
//! Each step down opens a folder by its handle and follows no symbolic link, so that nobody who changes names meanwhile leads
//! it elsewhere.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fstatvfs, mkdirat, open, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::failure::{Exit, Failure, Result};
use super::terminal;
use crate::names;
use crate::seal::Manifest;
use crate::share::{Digest, Token};

/// Bytes that common file systems allow a name.
const NAME_MAX: usize = 255;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// The folder that files go to.
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

/// The files of a share below their folder.
pub(super) struct Places {
    folder: Folder,
    places: Vec<Place>,
    /// Bytes of all of them.
    pub(super) size: u64,
}

struct Place {
    /// Its number in the manifest.
    number: usize,
    /// Relative, with `/`, harmless.
    path: String,
    /// Where its bytes begin in the content.
    start: u64,
    size: u64,
}

impl Place {
    fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }

    /// The file of that name, where it may be all of this one.
    fn found(&self, folder: &OwnedFd, name: &str) -> Option<Stat> {
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        (is_file && u64::try_from(found.st_size) == Ok(self.size)).then_some(found)
    }
}

impl Folder {
    /// Makes the folder where it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                Failure::other(format_args!("{}: {error}: -o names a folder, or - for standard output", path.display()))
            }
            _ => Failure::disk(path, &error),
        })?;
        Self::existing(path)
    }

    pub(super) fn existing(path: &Path) -> Result<Self> {
        let handle = open(path, FOLDER, Mode::empty()).map_err(|error| Failure::disk(path, &error.into()))?;
        Ok(Self { path: path.to_owned(), handle })
    }
}

impl Places {
    /// Names for the files of a manifest, made safe and told apart.
    pub(super) fn new(folder: Folder, manifest: &Manifest) -> Self {
        let safe: Vec<String> = manifest.files.iter().map(|file| names::safe_path(&file.name)).collect();
        let mut size = 0;
        let place = |(number, (path, file)): (usize, (String, &crate::seal::File))| {
            let start = size;
            size += file.size.unwrap_or(0);
            Place { number, path, start, size: file.size.unwrap_or(0) }
        };
        let unique = names::unique(safe.iter().map(String::as_str));
        let places = unique.into_iter().zip(&manifest.files).enumerate().map(place).collect();
        Self { folder, places, size }
    }

    /// The paths, as the user may type them.
    pub(super) fn paths(&self) -> impl Iterator<Item = String> {
        let below = |place: &Place| self.folder.path.join(&place.path);
        self.places.iter().map(move |place| {
            below(place).strip_prefix("./").map_or(below(place), Path::to_owned).display().to_string()
        })
    }

    /// The one path that leads to their folder through no link.
    pub(super) fn canonical(&self) -> Result<PathBuf> {
        let path = &self.folder.path;
        fs::canonicalize(path).map_err(|error| Failure::disk(path, &error))
    }

    /// What is already there under one of the names: the file's number, and the path.
    ///
    /// # Errors
    /// Where something stands in the way of a folder.
    pub(super) fn taken(&self) -> Result<Vec<(usize, String)>> {
        let mut taken = Vec::new();
        for place in &self.places {
            let Some(folder) = self.parent(place, false)? else { continue };
            match statat(&folder, place.split().1, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                    return Err(self.in_the_way(&place.path, "a folder of that name is there"));
                }
                Ok(_) => taken.push((place.number, self.folder.path.join(&place.path).display().to_string())),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed(place, error)),
            }
        }
        Ok(taken)
    }

    /// Fails where the disk has no room for what is still to come.
    pub(super) fn fits(&self, present: u64) -> Result<()> {
        let Ok(disk) = fstatvfs(&self.folder.handle) else { return Ok(()) };
        let (free, missing) = (disk.f_bavail.saturating_mul(disk.f_frsize), self.size - present.min(self.size));
        if missing <= free {
            return Ok(());
        }
        let (free, missing) = (terminal::size(free), terminal::size(missing));
        let folder = self.folder.path.display();
        Err(Failure::new(
            Exit::Full,
            format_args!(
                "{folder} has room for {free}, and {missing} are to come: make room, or name another folder with -o"
            ),
        ))
    }

    /// The handle of the folder that a file goes to; `None` where it is missing and not to be made.
    fn parent(&self, place: &Place, make: bool) -> Result<Option<OwnedFd>> {
        let (handle, arrived) = self.towards(place, make)?;
        Ok(arrived.then_some(handle))
    }

    /// The handle of the innermost folder that is there on the way to a file, and whether it is the file's own.
    fn towards(&self, place: &Place, make: bool) -> Result<(OwnedFd, bool)> {
        let mut handle = self.folder.handle.try_clone().map_err(|error| Failure::disk(&self.folder.path, &error))?;
        for name in place.split().0.split('/').filter(|name| !name.is_empty()) {
            if make {
                match mkdirat(&handle, name, FOLDER_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(self.failed(place, error)),
                }
            }
            handle = match openat(&handle, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(handle) => handle,
                Err(Errno::NOENT) if !make => return Ok((handle, false)),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(self.in_the_way(&place.path, &format!("{name} is there, and no folder")));
                }
                Err(error) => return Err(self.failed(place, error)),
            };
        }
        Ok((handle, true))
    }

    fn made_parent(&self, place: &Place) -> Result<OwnedFd> {
        self.parent(place, true)?.ok_or_else(|| self.failed(place, Errno::NOENT))
    }

    /// All of the disk at once: file by file, ten thousand small ones would take a minute.
    fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.folder.handle)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }

    fn failed(&self, place: &Place, error: Errno) -> Failure {
        Failure::disk(&self.folder.path.join(&place.path), &error.into())
    }

    fn in_the_way(&self, path: &str, what: &str) -> Failure {
        let path = self.folder.path.join(path);
        Failure::other(format_args!(
            "{} can't be made: {what}: move it away, or name another folder with -o",
            path.display()
        ))
    }
}

/// The files while they arrive, under names that only this claim uses.
pub(super) struct Parts {
    places: Places,
    tag: String,
    /// The file that is being written.
    open: Option<(usize, File)>,
}

impl Parts {
    pub(super) fn new(places: Places, claim: &Token) -> Self {
        Self { places, tag: claim.digest().to_string()[..8].to_owned(), open: None }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// `report.pdf.1b4f0e98-0.part`: its number tells apart names that are the same once they are cut.
    fn name(&self, place: &Place) -> String {
        let end = format!(".{}-{}.part", self.tag, place.number);
        let name = place.split().1;
        format!("{}{end}", &name[..name.floor_char_boundary(NAME_MAX - end.len())])
    }

    /// Fails where no file could be made: makes and removes one in each folder that is there.
    pub(super) fn try_out(&self) -> Result<()> {
        let mut tried = None;
        for place in &self.places.places {
            let folder = place.split().0;
            if tried.replace(folder) == Some(folder) {
                continue;
            }
            let (handle, name) = (self.places.towards(place, false)?.0, self.name(place));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = openat(&handle, name.as_str(), flags, FILE_MODE);
            let tried = made.and_then(|_| unlinkat(&handle, name.as_str(), AtFlags::empty()));
            tried.map_err(|error| self.places.failed(place, error))?;
        }
        Ok(())
    }

    /// What tells these files from all others, by whichever of their names: a digest of sizes and times. `None` where one of them
    /// is missing.
    pub(super) fn imprint(&self) -> Result<Option<String>> {
        let mut text = String::new();
        for place in &self.places.places {
            let Some(folder) = self.places.parent(place, false)? else { return Ok(None) };
            let part = place.found(&folder, &self.name(place));
            let Some(found) = part.or_else(|| place.found(&folder, place.split().1)) else { return Ok(None) };
            let _ = write!(text, "{} {}.{:09} ", found.st_size, found.st_mtime, found.st_mtime_nsec);
        }
        Ok(Some(Digest::of(text.as_bytes()).to_string()))
    }

    /// How many bytes an earlier run wrote, from the front without a gap.
    pub(super) fn present(&self) -> Result<u64> {
        let mut present = 0;
        for place in self.places.places.iter().filter(|place| place.size > 0) {
            let Some(folder) = self.places.parent(place, false)? else { break };
            let Ok(found) = statat(&folder, self.name(place).as_str(), AtFlags::SYMLINK_NOFOLLOW) else { break };
            let length = found.st_size.cast_unsigned();
            // One that is longer than it can be is not ours any more.
            if length > place.size || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                break;
            }
            present += length;
            if length < place.size {
                break;
            }
        }
        Ok(present)
    }

    /// Takes away what an earlier run wrote from an offset of the content on.
    pub(super) fn cut(&self, at: u64) -> Result<()> {
        for place in self.places.places.iter().filter(|place| place.start + place.size > at) {
            let Some(folder) = self.places.parent(place, false)? else { continue };
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match openat(&folder, self.name(place).as_str(), flags, Mode::empty()) {
                Ok(file) => File::from(file)
                    .set_len(at.saturating_sub(place.start))
                    .map_err(|error| Failure::disk(&self.places.folder.path.join(&place.path), &error))?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.places.failed(place, error)),
            }
        }
        Ok(())
    }

    /// Writes bytes at an offset of the content.
    pub(super) fn write(&mut self, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let index = self.places.places.partition_point(|place| place.start + place.size <= at);
            let place = self.places.places.get(index).ok_or_else(|| Failure::corrupt("more came than was promised"))?;
            let (offset, left) = (at - place.start, place.start + place.size - at);
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            let path = self.places.folder.path.join(&place.path);
            self.file(index)?.write_all_at(now, offset).map_err(|error| Failure::disk(&path, &error))?;
            (at, bytes) = (at + now.len() as u64, later);
        }
        Ok(())
    }

    fn file(&mut self, index: usize) -> Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            self.open = Some((index, self.make(index)?));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| Failure::other("no file is open"))
    }

    fn make(&self, index: usize) -> Result<File> {
        let place = &self.places.places[index];
        let folder = self.places.made_parent(place)?;
        // What became a pipe meanwhile is refused, not waited for.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let made = openat(&folder, self.name(place).as_str(), flags, FILE_MODE);
        made.map(File::from).map_err(|error| self.places.failed(place, error))
    }

    /// What was written so far outlives a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        let failed = |error: io::Error| Failure::disk(&self.places.folder.path, &error);
        match (&self.open, &self.places.places[..]) {
            (Some((_, file)), [_]) => file.sync_data().map_err(failed),
            _ => self.places.sync().map_err(failed),
        }
    }

    /// All bytes are here and verified: makes the files that have none, and everything durable.
    pub(super) fn complete(&mut self) -> Result<()> {
        let places = &self.places.places;
        (0..places.len()).filter(|&index| places[index].size == 0).try_for_each(|index| self.make(index).map(drop))?;
        for place in &self.places.places {
            let (folder, part) = (self.places.made_parent(place)?, self.name(place));
            if place.found(&folder, &part).is_none() {
                return Err(Failure::other(format_args!(
                    "{part} was changed meanwhile: the same command fetches it again"
                )));
            }
        }
        self.sync()
    }

    /// Gives the files their names; those that have them already stay. What is there may be replaced by the files numbered in `over`.
    pub(super) fn rename(&self, over: &[usize]) -> Result<()> {
        for place in &self.places.places {
            let (folder, part, name) = (self.places.made_parent(place)?, self.name(place), place.split().1);
            let renamed = match over.contains(&place.number) {
                true => renameat(&folder, part.as_str(), &folder, name),
                false => {
                    renameat_with(&folder, part.as_str(), &folder, name, RenameFlags::NOREPLACE).or_else(|error| {
                        match error {
                            // A file system that can't: what is there is looked for first.
                            Errno::INVAL | Errno::NOSYS | Errno::NOTSUP => {
                                match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                                    Ok(_) => Err(Errno::EXIST),
                                    Err(_) => renameat(&folder, part.as_str(), &folder, name),
                                }
                            }
                            error => Err(error),
                        }
                    })
                }
            };
            match renamed {
                Ok(()) => {}
                Err(Errno::NOENT) if place.found(&folder, name).is_some() => {}
                Err(Errno::NOENT) => {
                    return Err(Failure::other(format_args!("{part} is gone: the same command fetches it again")));
                }
                Err(Errno::EXIST) => {
                    return Err(self.places.in_the_way(
                        &place.path,
                        &format!("something of that name came meanwhile (all of it is in {part})"),
                    ));
                }
                Err(error) => return Err(self.places.failed(place, error)),
            }
        }
        // Where names can't be made durable, the files still are.
        let _ = match &self.places.places[..] {
            [only] => rustix::fs::fsync(self.places.made_parent(only)?).map_err(io::Error::from),
            _ => self.places.sync(),
        };
        Ok(())
    }
}

/// Tells one start of this machine from the next: what was written before outlives a kill, but perhaps not a power cut.
pub(super) fn boot() -> Option<String> {
    let read: io::Result<String> = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.ok().map(|id| id.trim().to_owned())
}
