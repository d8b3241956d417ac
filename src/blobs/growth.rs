//! How much is read at once: little for who is slow, or may be.

use std::time::Instant;

/// Bytes that are read at once for somebody slow: each of a thousand holds as many.
pub(super) const LEAST: u64 = 16 * 1024;
/// Bytes in a second, below which a reader is slow.
const SLOW: f64 = 1e6;
/// Who is quick gets larger pieces, but no more than it took in so many seconds.
const AHEAD: f64 = 0.004;

/// The sizes of one reader's pieces.
pub(super) struct Growth {
    start: u64,
    begun: Instant,
    part: u64,
    quick: u64,
    most: u64,
}

impl Growth {
    /// For a reader who begins at `start` now. Pieces grow to a `part`th of what was read before, so that they are still small when
    /// the kernel has taken all that it takes for somebody slow; for somebody quick to a `quick`th; and up to `most` bytes.
    pub(super) fn new(start: u64, (part, quick): (u64, u64), most: u64) -> Self {
        Self { start, begun: Instant::now(), part, quick, most }
    }

    /// Bytes of the piece that begins at `at`: a power of two, so that the memory of one fits the next, or `most`.
    pub(super) fn at(&self, at: u64) -> u64 {
        let (before, seconds) = (at - self.start, self.begun.elapsed().as_secs_f64());
        if (before as f64) < seconds * SLOW {
            return LEAST;
        }
        let quick = (before / self.quick).min((before as f64 / seconds * AHEAD) as u64);
        let grown = quick.max(before / self.part).max(LEAST);
        if grown >= self.most { self.most } else { 1 << grown.ilog2() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The sizes after so many bytes, for a reader who began so many seconds ago.
    fn sizes<const N: usize>(seconds: u64, before: [u64; N]) -> [u64; N] {
        let begun = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let growth = Growth { begun, ..Growth::new(5, (80, 10), 1_000_000) };
        before.map(|before| growth.at(5 + before))
    }

    #[test]
    fn pieces_grow_at_once_for_who_is_quick() {
        assert_eq!(sizes(0, [0, 1, 330_000, 700_000, 10_000_000]), [LEAST, LEAST, 32_768, 65_536, 1_000_000]);
    }

    #[test]
    fn pieces_grow_later_for_who_takes_a_while() {
        assert_eq!(sizes(1, [1_300_000, 3_000_000, 6_000_000, 80_000_000]), [LEAST, 32_768, 65_536, 1_000_000]);
    }

    #[test]
    fn pieces_are_small_for_who_is_slow() {
        assert_eq!(sizes(60, [50_000_000, 500_000_000]), [LEAST, 1_000_000]);
    }
}
