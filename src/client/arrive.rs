//! Opens sealed records as they come, and puts their plain bytes where they belong.

use std::io::Write;

use super::failure::{Failure, Result};
use super::going::{Going, Target};
use super::places::Parts;
use super::terminal::Progress;
use crate::seal::{Opener, PLAIN_RECORD, RECORD};

/// Bytes after which what came is made to outlive a power cut.
const SYNC: u64 = 64 << 20;

/// Where plain bytes go.
pub(super) enum Sink {
    Files(Parts),
    /// Standard output.
    Pipe,
    /// A text, to be shown once it is whole.
    Text(Vec<u8>),
}

impl Sink {
    pub(super) fn target(&self) -> Result<Target> {
        Ok(match self {
            Self::Files(parts) => Target::Folder(parts.places().canonical()?.into()),
            Self::Pipe => Target::Pipe,
            Self::Text(_) => Target::Text,
        })
    }
}

/// What opens records and keeps their bytes: on the network's own thread, out of one buffer that stays in the core's cache. The
/// socket's buffers hold what comes meanwhile.
pub(super) struct Arrival {
    pub(super) sink: Sink,
    pub(super) going: Going,
    opener: Opener,
    progress: Progress,
    /// Number of the record that comes next, and what is here of it.
    next: u64,
    sealed: Vec<u8>,
    /// Bytes since the last sync.
    unsynced: u64,
}

impl Arrival {
    /// Of the records from `first` on.
    pub(super) fn new(sink: Sink, going: Going, opener: Opener, progress: Progress, first: u64) -> Self {
        Self { sink, going, opener, progress, next: first, sealed: Vec::with_capacity(RECORD), unsynced: 0 }
    }

    /// Takes what comes next; `last` says that nothing follows.
    ///
    /// # Errors
    /// Where a record does not verify, or its bytes find no room.
    pub(super) fn take(&mut self, mut piece: &[u8], last: bool) -> Result<()> {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(RECORD - self.sealed.len()));
            self.sealed.extend_from_slice(now);
            piece = later;
            if self.sealed.len() == RECORD || (last && piece.is_empty()) {
                self.open()?;
            }
        }
        Ok(())
    }

    /// Opens the record that is here.
    fn open(&mut self) -> Result<()> {
        let corrupt = |error| Failure::corrupt(format_args!("record {}: {error}", self.next));
        let length = self.opener.open(self.next, &mut self.sealed).map_err(corrupt)?;
        let (at, plain) = (self.next * PLAIN_RECORD as u64, &self.sealed[..length]);
        match &mut self.sink {
            Sink::Files(parts) => parts.write(at, plain)?,
            Sink::Text(text) => text.extend_from_slice(plain),
            Sink::Pipe => std::io::stdout().write_all(plain).map_err(|error| Failure::stdout(&error))?,
        }
        self.progress.at(at + length as u64);
        self.next += 1;
        self.sealed.clear();
        self.unsynced += length as u64;
        if self.unsynced < SYNC { Ok(()) } else { self.secure(at + length as u64) }
    }

    /// What came so far outlives a power cut, and is noted.
    fn secure(&mut self, plain: u64) -> Result<()> {
        if let Sink::Files(parts) = &mut self.sink {
            parts.sync().inspect_err(|_| self.going.doubt())?;
            self.going.note(|going| going.synced = plain);
        }
        self.unsynced = 0;
        Ok(())
    }
}
