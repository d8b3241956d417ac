//! Reads the sealed content of a claim, through whatever the network does: each time from where it stopped.

use reqwest::header::RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::arrive::Arrival;
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
        let mut bytes = Vec::with_capacity(HEADER);
        self.read(0, HEADER as u64, |piece, _| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        bytes[..].try_into().map_err(|_| Failure::corrupt("the content has no header"))
    }

    /// Hands over all records from `first` on.
    pub(super) async fn records(&self, first: u64, arrival: &mut Arrival) -> Result<()> {
        let from = HEADER as u64 + first * RECORD as u64;
        self.read(from, self.size, |piece, at| arrival.take(piece, at == self.size)).await
    }

    /// Reads the bytes `at..end` of the content; `take` gets them in pieces, and where each ends.
    async fn read(&self, mut at: u64, end: u64, mut take: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
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
                            take(piece, at)?;
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
