//! What is left of a disk.

use std::io;
use std::path::Path;

/// This much stays free, or a twentieth of the disk where that is less: the ledger must be able to record what is freed.
const FLOOR: u64 = 1 << 30;

/// Whether so many bytes more may go to the disk that `folder` is on.
pub(crate) fn has_room(folder: &Path, bytes: u64) -> io::Result<bool> {
    let disk = rustix::fs::statvfs(folder)?;
    let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    Ok(free.saturating_sub(FLOOR.min(total / 20)) >= bytes)
}
