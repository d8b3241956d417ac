//! Several files as one zip, every byte of whose frame is known before a file is read.
//!
//! Pure: it says which bytes stand where, and knows neither files nor HTTP. Stored (method 0) and deterministic: the same
//! entries give the same bytes, so that a length, a Range and a resumed download fit together. After PKWARE's APPNOTE 6.3.10.

use std::ops::Range;

use bytes::{BufMut, Bytes};

/// A 32-bit field of this value says "look into the zip64 extra field" (APPNOTE §4.4.1.4).
const IN_ZIP64: u32 = u32::MAX;
/// The same of a 16-bit field.
const COUNT_IN_ZIP64: u16 = u16::MAX;
/// Reads everything that is stored and below 4 GiB (§4.4.3.2).
const NEEDS_PLAIN: u16 = 10;
/// Reads zip64.
const NEEDS_ZIP64: u16 = 45;
/// Written by Unix, so that the external attributes are a mode (§4.4.2).
const MADE_BY: u16 = 3 << 8 | NEEDS_ZIP64;
/// The name is UTF-8 (§4.4.4, bit 11).
const UTF8: u16 = 1 << 11;
/// 1980-01-01, the first day that DOS knows.
const DATE: u16 = 1 << 5 | 1;
/// A regular file, `rw-r--r--`.
const MODE: u32 = 0o100_644 << 16;
/// Frame bytes are handed out in pieces of about so many.
const PIECE: usize = 64 * 1024;

const LOCAL_LEN: u64 = 30;
const LOCAL_ZIP64_LEN: u64 = 20;
const CENTRAL_LEN: u64 = 46;

/// One file of the zip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative and with `/`. What passes 65 535 bytes, the most that a zip can say, is cut off.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// The CRC-32 of those bytes.
    pub crc32: u32,
}

/// A run of the zip's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes themselves.
    Bytes(Bytes),
    /// These offsets of the content, in which the files lie one after the other in the order of the entries.
    Content(Range<u64>),
}

/// Where everything stands in the zip. Holds the entries and two numbers for each; headers are written when asked for.
#[derive(Debug, Clone)]
pub struct Layout {
    entries: Vec<Placed>,
    /// Where the central directory begins.
    directory: u64,
    /// Where what follows the central directory begins.
    trailer: u64,
    len: u64,
}

#[derive(Debug, Clone)]
struct Placed {
    entry: Entry,
    /// Where its local header stands in the zip.
    local: u64,
    /// Where its bytes begin in the content.
    content: u64,
    /// Where its record of the central directory stands in the zip.
    central: u64,
}

impl Layout {
    /// Lays out `entries`, in their order.
    pub fn new(entries: &[Entry]) -> Self {
        let (mut at, mut content) = (0, 0);
        let mut placed: Vec<Placed> = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut entry = entry.clone();
            entry.name.truncate(entry.name.floor_char_boundary(usize::from(u16::MAX)));
            let next = Placed { entry, local: at, content, central: 0 };
            at += next.local_len() + next.entry.size;
            content += next.entry.size;
            placed.push(next);
        }
        let directory = at;
        for entry in &mut placed {
            entry.central = at;
            at += entry.central_len();
        }
        let mut layout = Self { entries: placed, directory, trailer: at, len: 0 };
        layout.len = at + layout.trailer().len() as u64;
        layout
    }

    /// Bytes of the whole zip.
    #[expect(clippy::len_without_is_empty, reason = "even a zip of nothing has 22 bytes")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The bytes `range` of the zip, in order. What lies past its end is left out.
    pub fn slice(&self, mut range: Range<u64>) -> impl Iterator<Item = Segment> {
        std::iter::from_fn(move || self.take(&mut range))
    }

    /// Takes the next segment off the front of `range`; `None` where nothing is left of it.
    ///
    /// For a stream that owns its layout. Segments of bytes hold about 64 KiB at most, whatever the number of entries.
    pub fn take(&self, range: &mut Range<u64>) -> Option<Segment> {
        let end = range.end.min(self.len);
        let mut frame = Vec::new();
        while range.start < end && frame.len() < PIECE {
            let (start, bytes) = match self.part(range.start) {
                Part::Frame(start, bytes) => (start, bytes),
                Part::Content(_) if !frame.is_empty() => break,
                Part::Content(content) => {
                    let length = (end - range.start).min(content.end - content.start);
                    range.start += length;
                    return Some(Segment::Content(content.start..content.start + length));
                }
            };
            let stop = (end - start).min(bytes.len() as u64);
            frame.extend_from_slice(&bytes[(range.start - start) as usize..stop as usize]);
            range.start = start + stop;
        }
        (!frame.is_empty()).then(|| Segment::Bytes(frame.into()))
    }

    /// What stands at offset `at` of the zip.
    fn part(&self, at: u64) -> Part {
        if at >= self.trailer {
            return Part::Frame(self.trailer, self.trailer());
        }
        if at >= self.directory {
            let entry = &self.entries[self.entries.partition_point(|e| e.central <= at) - 1];
            return Part::Frame(entry.central, entry.central());
        }
        let entry = &self.entries[self.entries.partition_point(|e| e.local <= at) - 1];
        match (at - entry.local).checked_sub(entry.local_len()) {
            None => Part::Frame(entry.local, entry.local()),
            Some(offset) => Part::Content(entry.content + offset..entry.content + entry.entry.size),
        }
    }

    /// The end of the central directory (§4.3.14 to §4.3.16).
    fn trailer(&self) -> Vec<u8> {
        let (count, size) = (self.entries.len(), self.trailer - self.directory);
        let short_count = u16::try_from(count).unwrap_or(COUNT_IN_ZIP64);
        let (short_size, short_directory) = (short(size), short(self.directory));
        let mut out = Vec::with_capacity(98);
        if short_count == COUNT_IN_ZIP64 || short_size == IN_ZIP64 || short_directory == IN_ZIP64 {
            out.put_u32_le(0x0606_4b50);
            out.put_u64_le(44); // of this record, less the signature and this field
            out.put_u16_le(MADE_BY);
            out.put_u16_le(NEEDS_ZIP64);
            out.put_u64_le(0); // this disk, and the directory's
            out.put_u64_le(count as u64);
            out.put_u64_le(count as u64);
            out.put_u64_le(size);
            out.put_u64_le(self.directory);
            out.put_u32_le(0x0706_4b50);
            out.put_u32_le(0);
            out.put_u64_le(self.trailer);
            out.put_u32_le(1); // disks in all
        }
        out.put_u32_le(0x0605_4b50);
        out.put_u32_le(0);
        out.put_u16_le(short_count);
        out.put_u16_le(short_count);
        out.put_u32_le(short_size);
        out.put_u32_le(short_directory);
        out.put_u16_le(0); // comment
        out
    }
}

enum Part {
    /// A header whole, and where it begins in the zip.
    Frame(u64, Vec<u8>),
    /// What remains of a file, as offsets of the content.
    Content(Range<u64>),
}

impl Placed {
    fn is_big(&self) -> bool {
        short(self.entry.size) == IN_ZIP64
    }

    fn is_far(&self) -> bool {
        short(self.local) == IN_ZIP64
    }

    fn local_len(&self) -> u64 {
        LOCAL_LEN + self.entry.name.len() as u64 + if self.is_big() { LOCAL_ZIP64_LEN } else { 0 }
    }

    fn central_len(&self) -> u64 {
        let (big, far) = (16 * u64::from(self.is_big()), 8 * u64::from(self.is_far()));
        CENTRAL_LEN + self.entry.name.len() as u64 + if big + far > 0 { 4 + big + far } else { 0 }
    }

    /// The local file header (§4.3.7).
    fn local(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.local_len() as usize);
        out.put_u32_le(0x0403_4b50);
        self.common(&mut out, if self.is_big() { LOCAL_ZIP64_LEN } else { 0 });
        out.put_slice(self.entry.name.as_bytes());
        if self.is_big() {
            out.put_u16_le(1);
            out.put_u16_le(16);
            out.put_u64_le(self.entry.size);
            out.put_u64_le(self.entry.size);
        }
        out
    }

    /// The record of the central directory (§4.3.12).
    fn central(&self) -> Vec<u8> {
        let extra = self.central_len() - CENTRAL_LEN - self.entry.name.len() as u64;
        let mut out = Vec::with_capacity(self.central_len() as usize);
        out.put_u32_le(0x0201_4b50);
        out.put_u16_le(MADE_BY);
        self.common(&mut out, extra);
        out.put_u16_le(0); // comment
        out.put_u16_le(0); // disk
        out.put_u16_le(0); // internal attributes
        out.put_u32_le(MODE);
        out.put_u32_le(short(self.local));
        out.put_slice(self.entry.name.as_bytes());
        if extra > 0 {
            out.put_u16_le(1);
            out.put_u16_le(extra as u16 - 4);
        }
        if self.is_big() {
            out.put_u64_le(self.entry.size);
            out.put_u64_le(self.entry.size);
        }
        if self.is_far() {
            out.put_u64_le(self.local);
        }
        out
    }

    /// The fields that both headers have in common.
    fn common(&self, out: &mut Vec<u8>, extra: u64) {
        out.put_u16_le(if extra > 0 { NEEDS_ZIP64 } else { NEEDS_PLAIN });
        out.put_u16_le(UTF8);
        out.put_u16_le(0); // stored
        out.put_u16_le(0); // midnight
        out.put_u16_le(DATE);
        out.put_u32_le(self.entry.crc32);
        out.put_u32_le(short(self.entry.size));
        out.put_u32_le(short(self.entry.size));
        out.put_u16_le(self.entry.name.len() as u16);
        out.put_u16_le(extra as u16);
    }
}

/// The 32-bit field for `value`.
fn short(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(IN_ZIP64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Entry {
        Entry { name: name.to_owned(), size: content.len() as u64, crc32: crc32fast::hash(content) }
    }

    fn bytes(layout: &Layout, content: &[u8], range: Range<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in layout.slice(range) {
            match segment {
                Segment::Bytes(bytes) => out.extend_from_slice(&bytes),
                Segment::Content(range) => out.extend_from_slice(&content[range.start as usize..range.end as usize]),
            }
        }
        out
    }

    fn field(bytes: &[u8], at: usize, width: usize) -> u64 {
        bytes[at..at + width].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    #[test]
    fn every_slice_is_that_slice_of_the_whole() {
        let layout = Layout::new(&[entry("a", b"alpha"), entry("leer", b""), entry("d/ö.txt", b"omega")]);
        let whole = bytes(&layout, b"alphaomega", 0..layout.len());
        assert_eq!(whole.len() as u64, layout.len());
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                assert_eq!(
                    bytes(&layout, b"alphaomega", start as u64..end as u64),
                    whole[start..end],
                    "{start}..{end}"
                );
            }
        }
        assert_eq!(bytes(&layout, b"alphaomega", 7..u64::MAX), whole[7..]);
        assert_eq!(layout.slice(layout.len()..u64::MAX).next(), None);
    }

    #[test]
    fn a_zip_of_nothing_is_its_end_record() {
        let layout = Layout::new(&[]);
        assert_eq!(bytes(&layout, b"", 0..22), b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(layout.len(), 22);
    }

    #[test]
    fn a_file_of_4_gib_less_one_byte_needs_zip64_and_one_a_byte_smaller_does_not() {
        for (size, needs) in [(0xffff_fffe, 10), (0xffff_ffff, 45)] {
            let layout = Layout::new(&[Entry { name: "x".to_owned(), size, crc32: 7 }]);
            let Some(Segment::Bytes(header)) = layout.slice(0..LOCAL_LEN).next() else { panic!("a header") };
            assert_eq!(field(&header, 4, 2), needs);
            assert_eq!(field(&header, 18, 4), size.min(0xffff_ffff));
        }
    }

    #[test]
    fn a_5_gib_file_has_its_size_and_what_follows_its_offset_in_zip64_fields() {
        const BIG: u64 = 5 << 30;
        let big = Entry { name: "big".to_owned(), size: BIG, crc32: 1 };
        let layout = Layout::new(&[big, entry("b", b"after")]);
        let parts: Vec<Segment> = layout.slice(0..layout.len()).collect();
        let [
            Segment::Bytes(first),
            Segment::Content(content),
            Segment::Bytes(second),
            Segment::Content(rest),
            Segment::Bytes(end),
        ] = &parts[..]
        else {
            panic!("{parts:?}");
        };
        assert_eq!((content, rest), (&(0..BIG), &(BIG..BIG + 5)));
        assert_eq!((field(first, 28, 2), field(first, 33, 2), field(first, 35, 2)), (20, 1, 16));
        assert_eq!((field(first, 37, 8), field(first, 45, 8)), (BIG, BIG));
        assert_eq!((field(second, 4, 2), field(second, 28, 2)), (10, 0));

        let (central, second_at) = (&end[..], (first.len() as u64) + BIG);
        assert_eq!((field(central, 6, 2), field(central, 30, 2), field(central, 42, 4)), (45, 20, 0));
        assert_eq!((field(central, 53, 8), field(central, 61, 8)), (BIG, BIG));
        let central = &central[46 + 3 + 20..];
        assert_eq!((field(central, 6, 2), field(central, 24, 4), field(central, 30, 2)), (45, 5, 12));
        assert_eq!((field(central, 42, 4), field(central, 51, 8)), (0xffff_ffff, second_at));
        let zip64 = &central[46 + 1 + 12..];
        let directory = second_at + second.len() as u64 + 5;
        assert_eq!((field(zip64, 0, 4), field(zip64, 24, 8), field(zip64, 32, 8)), (0x0606_4b50, 2, 2));
        assert_eq!((field(zip64, 40, 8), field(zip64, 48, 8)), (69 + 59, directory));
        assert_eq!((field(zip64, 56, 4), field(zip64, 64, 8)), (0x0706_4b50, directory + 128));
        assert_eq!((field(zip64, 76, 4), field(zip64, 92, 4)), (0x0605_4b50, 0xffff_ffff));
        assert_eq!(zip64.len(), 98);
        assert_eq!(layout.len(), directory + 128 + 98);
    }

    #[test]
    fn ten_thousand_files_are_framed_in_small_pieces() {
        let entries: Vec<Entry> = (0..10_000).map(|i| entry(&format!("folder/{i}.txt"), b"x")).collect();
        let layout = Layout::new(&entries);
        for segment in layout.slice(0..layout.len()) {
            assert!(!matches!(segment, Segment::Bytes(bytes) if bytes.len() > 2 * PIECE));
        }
    }
}
