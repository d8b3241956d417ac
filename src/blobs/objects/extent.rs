//! Which object holds which bytes.

use std::ops::Range;

use object_store::ObjectMeta;
use object_store::path::Path;

use super::OBJECT;

/// Bytes that one request reads.
const PIECE: u64 = 1 << 20;

/// The bytes `from..to` of a blob, in one object, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) from: u64,
    pub(super) to: u64,
    /// When it was last written, by the bucket's clock, in ms.
    pub(super) written: i64,
}

impl Extent {
    pub(super) fn new(from: u64, to: u64) -> Self {
        Self { from, to, written: 0 }
    }

    /// `None` for an object that is none.
    pub(super) fn of(object: &ObjectMeta) -> Option<Self> {
        let (from, to) = object.location.filename()?.split_once('-')?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 12);
        let extent = Self { from: number(from)?, to: number(to)?, written: object.last_modified.timestamp_millis() };
        (extent.from < extent.to && extent.to - extent.from == object.size).then_some(extent)
    }

    pub(super) fn name(&self, folder: &str) -> Path {
        Path::from(format!("{folder}{:012x}-{:012x}", self.from, self.to))
    }

    fn holds(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// Some bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) extent: Extent,
    /// Counted from the object's beginning.
    pub(super) within: Range<u64>,
}

impl Part {
    /// The same in pieces, each of one request.
    pub(super) fn pieces(self) -> impl Iterator<Item = Self> {
        let Self { extent, within } = self;
        let cut = move |from: u64| Self { extent, within: from..within.end.min(from + PIECE) };
        (within.start..within.end).step_by(PIECE as usize).map(cut)
    }
}

/// Which of the `extents`, given in order, have the bytes of `range`; `None` where a byte is in none.
///
/// Where several hold a byte, the one written last has it: so it is where a file is written over. Writers of the same bytes
/// may cut them differently, and what a writer left that was cut off before its bytes were recorded is written again.
pub(super) fn cover(extents: &[Extent], range: &Range<u64>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let next = extents.partition_point(|extent| extent.from <= at);
        let near = extents[..next].iter().rev().take_while(|extent| extent.from + OBJECT > at);
        let last = near.filter(|extent| extent.holds(at)).max_by_key(|extent| (extent.written, extent.to))?;
        let newer = extents[next..].iter().take_while(|extent| extent.from < last.to);
        let newer = newer.filter(|extent| extent.written > last.written).map(|extent| extent.from).next();
        let to = newer.unwrap_or(last.to).min(range.end);
        parts.push(Part { extent: *last, within: at - last.from..to - last.from });
        at = to;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(from: u64, to: u64, written: i64) -> Extent {
        Extent { from, to, written }
    }

    /// Which bytes come from the extent with which number, for those that cover `range`.
    fn covered(extents: &[Extent], range: Range<u64>) -> Option<Vec<(usize, Range<u64>)>> {
        let number = |part: &Part| extents.iter().position(|extent| *extent == part.extent).unwrap();
        let bytes = |part: &Part| part.extent.from + part.within.start..part.extent.from + part.within.end;
        Some(cover(extents, &range)?.iter().map(|part| (number(part), bytes(part))).collect())
    }

    #[test]
    fn a_range_is_covered_from_any_byte_to_any_byte() {
        let extents = [extent(0, 10, 1), extent(10, 12, 2), extent(12, 20, 3)];
        assert_eq!(covered(&extents, 0..20), Some(vec![(0, 0..10), (1, 10..12), (2, 12..20)]));
        assert_eq!(covered(&extents, 3..11), Some(vec![(0, 3..10), (1, 10..11)]));
        assert_eq!(covered(&extents, 12..13), Some(vec![(2, 12..13)]));
        assert_eq!(covered(&extents, 5..5), Some(vec![]));
    }

    #[test]
    fn a_hole_is_missing() {
        let extents = [extent(0, 10, 1), extent(11, 20, 2)];
        assert_eq!(covered(&extents, 5..15), None);
        assert_eq!(covered(&extents, 10..11), None);
        assert_eq!(covered(&extents, 15..21), None);
        assert_eq!(covered(&[], 0..1), None);
    }

    #[test]
    fn what_was_written_last_has_a_byte() {
        let newer_within = [extent(0, 10, 1), extent(2, 5, 2)];
        assert_eq!(covered(&newer_within, 0..10), Some(vec![(0, 0..2), (1, 2..5), (0, 5..10)]));
        let older_within = [extent(0, 10, 2), extent(2, 5, 1)];
        assert_eq!(covered(&older_within, 0..10), Some(vec![(0, 0..10)]));
        let three = [extent(0, 10, 1), extent(0, 4, 3), extent(3, 8, 2)];
        assert_eq!(covered(&three, 0..10), Some(vec![(1, 0..4), (2, 4..8), (0, 8..10)]));
    }

    #[test]
    fn differently_cut_bytes_of_one_moment_are_whole() {
        let extents = [extent(0, 8, 1), extent(0, 5, 1), extent(5, 13, 1), extent(8, 16, 1)];
        assert_eq!(covered(&extents, 0..16), Some(vec![(0, 0..8), (3, 8..16)]));
    }

    #[test]
    fn far_objects_are_looked_at_no_more() {
        let mib = 1 << 20;
        let extents: Vec<_> = (0..64).map(|n| extent(n * 8 * mib, (n + 1) * 8 * mib, n as i64)).collect();
        assert_eq!(covered(&extents, 100 * mib..101 * mib), Some(vec![(12, 100 * mib..101 * mib)]));
    }

    #[test]
    fn a_part_is_read_in_pieces_of_a_mebibyte() {
        let part = Part { extent: extent(100, 100 + OBJECT, 1), within: 5..2 * PIECE + 6 };
        let pieces: Vec<_> = part.pieces().map(|piece| piece.within).collect();
        assert_eq!(pieces, [5..PIECE + 5, PIECE + 5..2 * PIECE + 5, 2 * PIECE + 5..2 * PIECE + 6]);
    }
}
