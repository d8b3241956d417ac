//! How much connections read at once: much while few bring bytes, less where many do, so that all together hold no more.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes that a connection reads at once at the most: half of it takes an upload a sixth more CPU.
pub(super) const MOST: usize = 512 * 1024;
/// Bytes that a connection may always read at once.
const LEAST: usize = 64 * 1024;
/// Bytes that all who bring many read at once, but for [`LEAST`] each.
const HOLD: usize = 1024 * 1024;
/// Who reads so many bytes at once brings many.
const MANY: usize = 32 * 1024;
/// HTTP doubles a buffer that was filled: this much of it never is.
const SPARE: usize = 4 * 1024;

/// What one connection may read at once.
pub(super) struct Reads {
    /// How many brought many bytes with their last read.
    bulk: Arc<AtomicUsize>,
    /// Whether this is one of them.
    counted: bool,
}

impl Reads {
    /// For a connection that has read nothing; `bulk` is what all share.
    pub(super) fn new(bulk: &Arc<AtomicUsize>) -> Self {
        Self { bulk: Arc::clone(bulk), counted: false }
    }

    /// Bytes of the next read at the most: not quite a power of two.
    pub(super) fn most(&self) -> usize {
        let share = HOLD / self.bulk.load(Relaxed).max(1);
        (1 << share.clamp(LEAST, MOST).ilog2()) - SPARE
    }

    /// Learns that `bytes` were read.
    pub(super) fn read(&mut self, bytes: usize) {
        let counts = bytes >= MANY;
        if counts != self.counted {
            self.counted = counts;
            if counts {
                self.bulk.fetch_add(1, Relaxed)
            } else {
                self.bulk.fetch_sub(1, Relaxed)
            };
        }
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.read(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_bring_many_bytes_share_what_is_held() {
        let bulk = Arc::default();
        let mut all: Vec<Reads> = (0..64).map(|_| Reads::new(&bulk)).collect();
        let quiet = Reads::new(&bulk);
        let mut sizes = Vec::new();
        for (others, reads) in all.iter_mut().enumerate() {
            reads.read(MANY);
            if (others + 1).is_power_of_two() {
                sizes.push((quiet.most() + SPARE) / 1024);
            }
        }
        assert_eq!(sizes, [512, 512, 256, 128, 64, 64, 64]);
        // Who last read little, or is gone, does not count.
        all.truncate(10);
        all[..8].iter_mut().for_each(|reads| reads.read(MANY - 1));
        assert_eq!((bulk.load(Relaxed), quiet.most()), (2, MOST - SPARE));
    }
}
