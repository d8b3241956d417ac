//! How much is read at once: little for who is slow, or may be.

use std::time::Instant;

/// Bytes that are read at once for somebody slow: each of a thousand holds as many.
pub(super) const LEAST: u64 = 16 * 1024;
/// A piece is no more than its reader took in so many seconds, on the average: so all readers together hold no more than they take in that time.
const AHEAD: f64 = 0.004;

/// The sizes of one reader's pieces.
pub(super) struct Growth {
    start: u64,
    begun: Instant,
    part: u64,
    most: u64,
}

impl Growth {
    /// For a reader who begins at `start` now. Pieces grow to a `part`th of what was read before, so that they are still small when
    /// the kernel has taken all that it takes for somebody slow; and up to `most` bytes.
    pub(super) fn new(start: u64, part: u64, most: u64) -> Self {
        Self { start, begun: Instant::now(), part, most }
    }

    /// Bytes of the piece that begins at `at`: a power of two, so that the memory of one fits the next, or `most`.
    pub(super) fn at(&self, at: u64) -> u64 {
        let before = at - self.start;
        let taken = before as f64 / self.begun.elapsed().as_secs_f64() * AHEAD;
        let grown = (before / self.part).min(taken as u64).max(LEAST);
        if grown >= self.most { self.most } else { 1 << grown.ilog2() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pieces_grow_for_who_is_quick() {
        let growth = Growth::new(5, 100, 1_000_000);
        for (before, bytes) in
            [(0, LEAST), (1, LEAST), (3_300_000, 32_768), (7_000_000, 65_536), (100_000_000, 1_000_000)]
        {
            assert_eq!(growth.at(5 + before), bytes, "after {before}");
        }
    }

    #[test]
    fn pieces_are_small_for_who_is_slow() {
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let growth = Growth { begun, ..Growth::new(0, 100, 1_000_000) };
        assert_eq!(growth.at(30_000_000), LEAST);
        assert_eq!(growth.at(200_000_000), 65_536);
        assert_eq!(growth.at(5_000_000_000), 1_000_000);
    }
}
