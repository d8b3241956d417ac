//! An upload as one run of bytes, sealed part by part on a thread of its own: the sealed manifest, then the sealed content.
//!
//! Of each part a note is made, durably, before it is handed on (docs/sealing.md, "A writer never seals two plaintexts…").

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::failure::{Exit, Failure};
use super::kept::Kept;
use super::sources::Source;
use crate::seal::{HEADER, OVERHEAD, PLAIN_RECORD, RECORD, RecordSealer, TAG, sealed_len};
use crate::share::Digest;

/// Records of a part: 3 MiB. Each costs a note, which a disk takes its time for.
pub(super) const RECORDS: u64 = 12;
/// Its bytes, but for the first, which has the manifest before them.
const PART: usize = RECORDS as usize * RECORD;
/// Parts of a stream that are held until the server has them: they can't be read again.
pub(super) const HELD: u64 = 4;

/// Why there is no next part.
#[derive(Debug, Clone)]
pub(super) enum Broken {
    /// What is sealed now is not what was sealed before: nothing more may leave under these keys.
    Anew,
    /// It can't go on now; later it can.
    Paused(Failure),
    /// It can't go on at all.
    Failed(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        if failure.exit == Exit::Network { Self::Paused(failure) } else { Self::Failed(failure) }
    }
}

/// A sealed part.
pub(super) struct Part {
    /// Where it begins in the run.
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// Whether it ends the run.
    pub(super) last: bool,
}

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// Where parts lie in the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes before the first record.
    base: u64,
    /// Bytes of content, where they are known.
    plain: Option<u64>,
    /// Bytes of the whole run, where they are known.
    pub(super) length: Option<u64>,
}

impl Layout {
    pub(super) fn new(manifest: usize, plain: Option<u64>) -> Self {
        let manifest = manifest as u64;
        Self { base: manifest + HEADER as u64, plain, length: plain.map(|plain| manifest + sealed_len(plain)) }
    }

    /// The part in which an offset of the run lies.
    pub(super) fn part_of(&self, offset: u64) -> u64 {
        offset.saturating_sub(self.base) / (RECORDS * RECORD as u64)
    }

    /// Where a part begins.
    pub(super) fn start_of(&self, part: u64) -> u64 {
        if part == 0 { 0 } else { self.base + part * RECORDS * RECORD as u64 }
    }

    /// Plain bytes before an offset of the run.
    pub(super) fn plain_before(&self, offset: u64) -> u64 {
        let sealed = offset.saturating_sub(self.base);
        let full = (sealed / RECORD as u64) * PLAIN_RECORD as u64;
        let before = full + (sealed % RECORD as u64).min(PLAIN_RECORD as u64);
        // The last record may be short, and its tag is no content.
        self.plain.map_or(before, |plain| before.min(plain))
    }
}

/// What shows whether a part is still the same: SHA-256 over its number, its length and the tags of its records, behind what
/// stands before them in the first.
///
/// Two plaintexts have one tag, under one key as one record, with a chance of at most 2⁻¹¹⁴ (docs/sealing.md); and tags are
/// a sixteen-thousandth of the bytes.
fn imprint(part: u64, front: &[u8], records: &[u8]) -> Digest {
    let mut text = b"onetimeshare v1 note".to_vec();
    text.extend_from_slice(&part.to_be_bytes());
    text.extend_from_slice(&((front.len() + records.len()) as u64).to_be_bytes());
    records.chunks(RECORD).for_each(|record| text.extend_from_slice(&record[record.len() - TAG..]));
    text.extend_from_slice(front);
    Digest::of(&text)
}

/// The notes of what may have left: the imprint of each part.
pub(super) struct Notes {
    noted: HashMap<u64, String>,
    /// Where they outlive the process, if they do.
    pub(super) kept: Option<Kept>,
}

impl Notes {
    /// Those of lines like `3 e3b0c442…`.
    pub(super) fn new(lines: &[String], kept: Option<Kept>) -> Self {
        let note = |line: &String| {
            let (part, digest) = line.split_once(' ')?;
            Some((part.parse().ok()?, digest.to_owned()))
        };
        Self { noted: lines.iter().filter_map(note).collect(), kept }
    }

    /// Whether a part may have left.
    pub(super) fn has(&self, part: u64) -> bool {
        self.noted.contains_key(&part)
    }

    /// The part may leave, once this returns.
    fn take(&mut self, part: u64, imprint: Digest) -> Result<(), Broken> {
        let digest = imprint.to_string();
        if let Some(known) = self.noted.get(&part) {
            return if *known == digest { Ok(()) } else { Err(Broken::Anew) };
        }
        if let Some(kept) = &mut self.kept {
            let written = kept.add(&format!("{part} {digest}"));
            written.map_err(|error| Broken::Paused(Failure::disk(Path::new("the cache folder"), &error)))?;
        }
        self.noted.insert(part, digest);
        Ok(())
    }
}

/// What is sealed, and under which keys.
pub(super) struct Parts {
    pub(super) manifest: Vec<u8>,
    pub(super) sealer: RecordSealer,
    pub(super) source: Source,
    pub(super) layout: Layout,
    pub(super) notes: Notes,
}

impl Parts {
    /// Seals part `index`, the next to be read from the source, into `buffer`.
    fn seal(&mut self, index: u64, mut buffer: BytesMut) -> Result<Part, Broken> {
        let mut front = 0;
        if index == 0 {
            buffer.clear();
            buffer.extend_from_slice(&self.manifest);
            buffer.extend_from_slice(&self.sealer.header());
            front = buffer.len();
        }
        let (mut at, mut last) = (front, false);
        for record in index * RECORDS..(index + 1) * RECORDS {
            buffer.resize(buffer.len().max(at + RECORD), 0);
            let (count, ends) = self.source.read(&mut buffer[at..at + PLAIN_RECORD])?;
            let end = at + count + OVERHEAD;
            self.sealer.seal(record, ends, &mut buffer[at..end]);
            (at, last) = (end, ends);
            if last {
                break;
            }
        }
        buffer.truncate(at);
        self.notes.take(index, imprint(index, &buffer[..front], &buffer[front..]))?;
        Ok(Part { offset: self.layout.start_of(index), bytes: buffer.freeze(), last })
    }
}

/// Seals ahead of what is sent. [`Ahead::stop`] gives back what it was made of.
pub(super) struct Ahead {
    ready: mpsc::Receiver<Result<Part, Broken>>,
    free: blocking::Sender<BytesMut>,
    thread: JoinHandle<Parts>,
}

impl Ahead {
    /// Begins with the part that holds `offset`; of a stream, that is the one that it stands at.
    ///
    /// Where a part begins there, the one before is sealed too, to see whether it is still what the server has.
    pub(super) fn start(mut parts: Parts, offset: u64) -> Result<Self, Broken> {
        let next = parts.layout.part_of(offset);
        let looks_back = next > 0 && parts.layout.start_of(next) == offset && parts.notes.has(next - 1);
        let first = next - u64::from(looks_back);
        if let Source::Files(files) = &mut parts.source {
            files.seek(first * RECORDS * PLAIN_RECORD as u64)?;
        }
        // Of a stream as many as are held, and one that is sealed meanwhile; else two are on their way, and two are sealed.
        let mut count = HELD + u64::from(matches!(parts.source, Source::Stream(_))) + (next - first);
        if parts.manifest.len() > PART / 4 {
            // Many files' names, and what became of them, take the room of a buffer; only a stream needs all, and it has one name.
            count -= 1;
        }
        // With room for what the first has more: grown, it would be twice as large. Memory is not there until it is written to.
        let room = parts.manifest.len() + HEADER + PART;
        let (sealed, ready) = mpsc::channel(1);
        let (free, buffers) = blocking::channel();
        (0..count).for_each(|_| _ = free.send(BytesMut::with_capacity(room)));
        let thread = thread::spawn(move || {
            for index in first.. {
                let Ok(buffer) = buffers.recv() else { break };
                let part = parts.seal(index, buffer);
                if index < next && part.is_ok() {
                    continue;
                }
                let over = part.as_ref().is_ok_and(|part| part.last) || part.is_err();
                if sealed.blocking_send(part).is_err() || over {
                    break;
                }
            }
            parts
        });
        Ok(Self { ready, free, thread })
    }

    /// The next part; it may be sent.
    pub(super) async fn next(&mut self) -> Result<Part, Broken> {
        let ended = || Err(Failure::other("the sealing thread has ended").into());
        self.ready.recv().await.unwrap_or_else(ended)
    }

    /// Takes back the buffers of parts that left whole, but for the last: they could be sealed again.
    pub(super) fn reclaim(&self, parts: &mut VecDeque<Part>) {
        while parts.len() > 1 && parts.front().is_some_and(|part| part.bytes.is_unique()) {
            parts.pop_front().into_iter().for_each(|part| self.recycle(part));
        }
    }

    /// The server has the part: its buffer may be used again.
    pub(super) fn recycle(&self, part: Part) {
        let buffer = part.bytes.try_into_mut().unwrap_or_else(|_| BytesMut::with_capacity(PART));
        let _ = self.free.send(buffer);
    }

    /// Nothing more is sealed.
    pub(super) fn stop(self) -> Option<Parts> {
        let Self { ready, free, thread } = self;
        drop((ready, free));
        thread.join().ok()
    }
}
