//! Opens sealed records as they come, and puts their plain bytes where they belong; on a thread of its own.

use std::io::Write;
use std::thread::{self, JoinHandle};

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::failure::{Failure, Result};
use super::going::Going;
use super::places::Parts;
use super::terminal::Progress;
use crate::seal::{Opener, PLAIN_RECORD, RECORD};

/// Records that are handed over at once.
pub(super) const RECORDS: usize = 4;
/// Blocks that fill, wait and are opened.
const BLOCKS: usize = 3;
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

/// Sealed records, from one on.
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) bytes: BytesMut,
}

/// What opens records and keeps their bytes.
pub(super) struct Arrival {
    pub(super) sink: Sink,
    pub(super) going: Going,
    pub(super) opener: Opener,
    pub(super) progress: Progress,
}

/// The thread that an [`Arrival`] runs on.
pub(super) struct Arriving {
    blocks: mpsc::Sender<Block>,
    empty: mpsc::Receiver<BytesMut>,
    thread: JoinHandle<(Arrival, Result<()>)>,
}

impl Arriving {
    pub(super) fn start(mut arrival: Arrival) -> Self {
        let (blocks, mut full) = mpsc::channel::<Block>(1);
        let (emptied, empty) = mpsc::channel(BLOCKS);
        (0..BLOCKS).for_each(|_| _ = emptied.try_send(BytesMut::with_capacity(RECORDS * RECORD)));
        let thread = thread::spawn(move || {
            let mut synced = 0;
            while let Some(mut block) = full.blocking_recv() {
                let taken = arrival.take(&mut block).and_then(|()| {
                    synced += block.bytes.len() as u64;
                    if synced < SYNC { Ok(()) } else { arrival.secure(block.end()).map(|()| synced = 0) }
                });
                if taken.is_err() {
                    return (arrival, taken);
                }
                block.bytes.clear();
                let _ = emptied.try_send(block.bytes);
            }
            (arrival, Ok(()))
        });
        Self { blocks, empty, thread }
    }

    /// A block to be filled; `None` where the thread has failed.
    pub(super) async fn empty(&mut self) -> Option<BytesMut> {
        self.empty.recv().await
    }

    /// Hands a block over; `false` where the thread has failed.
    pub(super) async fn take(&self, block: Block) -> bool {
        self.blocks.send(block).await.is_ok()
    }

    /// Waits for what was handed over.
    pub(super) async fn end(self) -> Result<(Arrival, Result<()>)> {
        let Self { blocks, empty, thread } = self;
        drop((blocks, empty));
        let (done, joined) = tokio::sync::oneshot::channel();
        // Writing may take long; whoever interrupts must be heard meanwhile.
        thread::spawn(move || _ = done.send(thread.join()));
        joined
            .await
            .ok()
            .and_then(std::result::Result::ok)
            .ok_or_else(|| Failure::other("the unsealing thread has ended"))
    }
}

impl Block {
    /// Plain bytes before its end, but for the last record, which may be shorter.
    fn end(&self) -> u64 {
        (self.first + self.bytes.len().div_ceil(RECORD) as u64) * PLAIN_RECORD as u64
    }
}

impl Arrival {
    fn take(&mut self, block: &mut Block) -> Result<()> {
        for (record, sealed) in (block.first..).zip(block.bytes.chunks_mut(RECORD)) {
            let length = self
                .opener
                .open(record, sealed)
                .map_err(|error| Failure::corrupt(format_args!("record {record}: {error}")))?;
            let at = record * PLAIN_RECORD as u64;
            match &mut self.sink {
                Sink::Files(parts) => parts.write(at, &sealed[..length])?,
                Sink::Text(text) => text.extend_from_slice(&sealed[..length]),
                Sink::Pipe => std::io::stdout()
                    .write_all(&sealed[..length])
                    .map_err(|error| Failure::other(format_args!("can't write to stdout: {error}")))?,
            }
            self.progress.at(at + length as u64);
        }
        Ok(())
    }

    /// What came so far outlives a power cut, and is noted.
    fn secure(&mut self, plain: u64) -> Result<()> {
        if let Sink::Files(parts) = &mut self.sink {
            parts.sync()?;
            self.going.note(|going| going.synced = plain);
        }
        Ok(())
    }
}
