//! What a transfer needs to be gone on with after the process was killed: a file of lines in the user's cache.
//!
//! A line is durable before [`Kept::add`] returns. Only the user can read it: it holds what opens the share.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use etcetera::BaseStrategy;

use super::failure::{Exit, Failure, Result};
use super::terminal;

/// Nothing can be gone on with after so long: by default uploads and leases end before.
const FORGOTTEN: Duration = Duration::from_secs(8 * 24 * 3600);
/// As many transfers of the same thing may run at once, and be gone on with.
const AT_ONCE: u32 = 8;

/// One transfer's file, held by this process alone.
pub(super) struct Kept {
    file: File,
    path: PathBuf,
}

impl Kept {
    /// The file of the transfer called `name` among those of a `kind`, and the lines in it.
    ///
    /// `None`, which is said, where nothing can be kept here; it then goes on without.
    pub(super) fn open(kind: &str, name: &str) -> Option<(Self, Vec<String>)> {
        match Self::find(kind, name) {
            Ok(found) => Some(found),
            Err(error) => {
                terminal::say(format_args!(
                    "onetimeshare: can't keep notes in the cache folder ({error}): a transfer that is killed will begin anew"
                ));
                None
            }
        }
    }

    /// As [`Kept::open`], for what can't go on without.
    pub(super) fn open_needed(kind: &str, name: &str) -> Result<(Self, Vec<String>)> {
        Self::find(kind, name).map_err(|error| needed(&error))
    }

    fn find(kind: &str, name: &str) -> io::Result<(Self, Vec<String>)> {
        let folder = folder(kind)?;
        tidy(&folder, name);
        let paths: Vec<PathBuf> = (0..AT_ONCE).map(|number| folder.join(format!("{name}.{number}"))).collect();
        // One that goes on comes before one that begins.
        let begun = paths.iter().filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0));
        let mut failed = None;
        for path in begun.chain(&paths) {
            match take(path) {
                Ok(Some(kept)) => return Self::read(kept),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("too many at once")))
    }

    fn read(mut kept: Self) -> io::Result<(Self, Vec<String>)> {
        let mut text = Vec::new();
        kept.file.read_to_end(&mut text)?;
        // A line that a crash cut off was never relied on.
        text.truncate(text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1));
        kept.file.set_len(text.len() as u64)?;
        kept.file.seek(SeekFrom::End(0))?;
        let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        Ok((kept, lines))
    }

    /// Adds a line, durably. Where that fails, nothing of it is left for the next to be added to.
    pub(super) fn add(&mut self, line: &str) -> io::Result<()> {
        let before = self.file.stream_position()?;
        let added = self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        if added.is_err() {
            let _ = self.file.set_len(before).and_then(|()| self.file.seek(SeekFrom::Start(before)));
        }
        added
    }

    /// Forgets all lines.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// The transfer is over: nothing is left of it here.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what was kept at `path`, unless another process goes on with it.
    pub(super) fn forget(path: &Path) {
        if let Ok(Some(kept)) = take(path) {
            kept.remove();
        }
    }
}

/// What is said where nothing can be kept that has to be.
pub(super) fn needed(error: &io::Error) -> Failure {
    let exit = Failure::disk(Path::new(""), error).exit;
    let room = if exit == Exit::Full { "make room there, or " } else { "" };
    Failure::new(
        exit,
        format_args!(
            "can't keep notes in the cache folder ({error}), and a download that is killed would be lost: {room}name another \
             folder in XDG_CACHE_HOME"
        ),
    )
}

/// Opens and locks a file; `None` where another process has it.
fn take(path: &Path) -> io::Result<Option<Kept>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    match file.try_lock() {
        // Whoever had it may just have removed it.
        Ok(()) if file.metadata()?.nlink() > 0 => Ok(Some(Kept { file, path: path.to_owned() })),
        Ok(()) | Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The folder for a kind of transfer, which nobody else may look into.
fn folder(kind: &str) -> io::Result<PathBuf> {
    let folders = etcetera::choose_base_strategy().map_err(io::Error::other)?;
    let own = folders.cache_dir().join("onetimeshare");
    let folder = own.join(kind);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    for folder in [&own, &folder] {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(folder)
}

/// Removes what was left behind long ago, but nothing of what is asked for: a clock may have jumped.
fn tidy(folder: &Path, asked: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let old = |modified: SystemTime| modified.elapsed().is_ok_and(|age| age > FORGOTTEN);
    for entry in entries.flatten() {
        let is_asked = entry.file_name().to_string_lossy().starts_with(asked);
        if !is_asked && entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(old) {
            Kept::forget(&entry.path());
        }
    }
}
