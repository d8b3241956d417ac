//! Reads the sealed content of a claim, through whatever the network does: each time from where it stopped.

use bytes::BytesMut;
use reqwest::header::RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::arrive::{Arriving, Block, RECORDS};
use super::connection::{STALL, Server};
use super::failure::{Failure, Result};
use super::retry::Backoff;
use super::terminal::Progress;
use super::trouble::Trouble;
use crate::seal::{HEADER, RECORD};

/// A claim that was granted.
pub(super) struct Claimed<'a> {
    pub(super) server: &'a Server,
    /// Its path on the server.
    pub(super) location: String,
    /// Bytes of sealed content.
    pub(super) size: u64,
    pub(super) progress: &'a Progress,
}

impl Claimed<'_> {
    /// The header of the content.
    pub(super) async fn header(&self) -> Result<[u8; HEADER]> {
        let mut bytes = BytesMut::new();
        self.read(0, HEADER as u64, async |piece, _| {
            bytes.extend_from_slice(piece);
            true
        })
        .await?;
        bytes[..].try_into().map_err(|_| Failure::corrupt("the content has no header"))
    }

    /// Hands over all records from `first` on. Ends early where nobody takes them any more.
    pub(super) async fn records(&self, first: u64, arriving: &mut Arriving) -> Result<()> {
        let (from, mut next) = (HEADER as u64 + first * RECORD as u64, first);
        let mut block = BytesMut::new();
        self.read(from, self.size, async |mut piece, at| {
            while !piece.is_empty() {
                if block.capacity() == 0 {
                    let Some(empty) = arriving.empty().await else { return false };
                    block = empty;
                }
                let (now, later) = piece.split_at(piece.len().min(RECORDS * RECORD - block.len()));
                block.extend_from_slice(now);
                piece = later;
                let whole = at == self.size && piece.is_empty();
                if block.len() == RECORDS * RECORD || whole {
                    let bytes = std::mem::take(&mut block);
                    let first = next;
                    next += RECORDS as u64;
                    if !arriving.take(Block { first, bytes }).await {
                        return false;
                    }
                }
            }
            true
        })
        .await
    }

    /// Reads the bytes `at..end` of the content; `take` gets them in pieces, and where each ends, and says whether it goes on.
    async fn read(&self, mut at: u64, end: u64, mut take: impl AsyncFnMut(&[u8], u64) -> bool) -> Result<()> {
        let mut backoff = Backoff::patient();
        while at < end {
            let trouble = match self.open(at, end).await {
                Ok(mut answer) => loop {
                    match timeout(STALL, answer.chunk()).await {
                        Ok(Ok(Some(piece))) => {
                            let piece = &piece[..piece.len().min((end - at).try_into().unwrap_or(usize::MAX))];
                            at += piece.len() as u64;
                            if !piece.is_empty() {
                                backoff.reset();
                            }
                            if !take(piece, at).await {
                                return Ok(());
                            }
                        }
                        Ok(Ok(None)) if at < end => break self.broke("the connection ended early"),
                        Ok(Ok(None)) => return Ok(()),
                        Ok(Err(error)) if at < end => break self.server.unreachable(&error),
                        Ok(Err(_)) => return Ok(()),
                        Err(_) => break self.broke("nothing moves"),
                    }
                },
                Err(trouble) => trouble,
            };
            let pause = backoff.next(&trouble)?;
            self.progress.waits(Failure::from(trouble), pause);
            sleep(pause).await;
        }
        Ok(())
    }

    async fn open(&self, at: u64, end: u64) -> std::result::Result<Response, Trouble> {
        let request = self.server.request(Method::GET, &self.location).header(RANGE, format!("bytes={at}-{}", end - 1));
        let opened = timeout(STALL, self.server.open(request)).await;
        let answer = opened.map_err(|_| self.broke("it does not answer"))??;
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            Ok(answer)
        } else {
            Err(self.broke("it does not give a part when asked for one"))
        }
    }

    fn broke(&self, why: &str) -> Trouble {
        Trouble::Unreachable(format!("{}: {why}", self.server.origin))
    }
}
