//! Reads the sealed content of a claim, through whatever the network does: each time from where it stopped.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::arrive::Arrival;
use super::connection::{STALL, Server};
use super::failure::{Exit, Failure, Result};
use super::retry::Backoff;
use super::terminal::Progress;
use super::trouble::Trouble;
use crate::seal::{HEADER, RECORD};

/// The server's word for a claim that may not be served so many bytes more.
const SPENT: &str = "budget_spent";
/// So many kills before anything came cost the content once.
const BARREN: u64 = 16;
/// By then a server knows that a connection is dead, and has given back what was reserved for it.
const GIVEN_BACK: Duration = Duration::from_secs(120);
/// Less than this is never asked for.
const LEAST: u64 = 16 << 10;

/// A claim that was granted.
pub(super) struct Claimed<'a> {
    pub(super) server: &'a Server,
    /// Its path on the server.
    pub(super) location: String,
    /// Bytes of sealed content.
    pub(super) size: u64,
    /// Another folder, where what came before is.
    pub(super) elsewhere: Option<PathBuf>,
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
        let (mut backoff, mut owed) = (Backoff::patient(), Backoff::within(GIVEN_BACK));
        let mut window = Window::new(self.size);
        while at < end {
            let from = at;
            let done = self.part(&mut at, end.min(from + window.length()), &mut take).await?;
            if at > from {
                backoff.reset();
                owed.reset();
                window.came(at - from);
            }
            let Err(trouble) = done else { continue };
            let spent = matches!(&trouble, Trouble::Refused(problem) if problem.code.as_deref() == Some(SPENT));
            if spent && window.shrinks() {
                continue;
            }
            let (pause, why) = if spent {
                let given_back = Trouble::Unreachable("waiting for what broken connections took".to_owned());
                (owed.next(&given_back).map_err(|_| spent_for_good()), given_back)
            } else {
                window.breaks();
                (backoff.next(&trouble), trouble)
            };
            let pause =
                pause.map_err(|failure| if failure.exit == Exit::Gone { self.told(failure) } else { failure })?;
            self.progress.waits(if spent { self.told(why.into()) } else { why.into() }, pause);
            sleep(pause).await;
        }
        Ok(())
    }

    /// Reads the bytes from `at` on to `until` over one connection, and moves `at`.
    async fn part(
        &self,
        at: &mut u64,
        until: u64,
        take: &mut impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<std::result::Result<(), Trouble>> {
        let mut answer = match self.open(*at, until).await {
            Ok(answer) => answer,
            Err(trouble) => return Ok(Err(trouble)),
        };
        loop {
            match timeout(STALL, answer.chunk()).await {
                // Whatever else it may say: a server that goes on after the end is not listened to.
                _ if *at == until => return Ok(Ok(())),
                Ok(Ok(Some(piece))) => {
                    let piece = &piece[..piece.len().min((until - *at).try_into().unwrap_or(usize::MAX))];
                    *at += piece.len() as u64;
                    take(piece, *at)?;
                }
                Ok(Ok(None)) => return Ok(Err(self.server.broke("the connection ended early"))),
                Ok(Err(error)) => return Ok(Err(self.server.unreachable(&error))),
                Err(_) => return Ok(Err(self.server.broke("nothing moves"))),
            }
        }
    }

    async fn open(&self, at: u64, until: u64) -> std::result::Result<Response, Trouble> {
        let range = format!("bytes={at}-{}", until - 1);
        let request = self.server.request(Method::GET, &self.location).header(RANGE, range);
        let opened = timeout(STALL, self.server.open(request)).await;
        let answer = opened.map_err(|_| self.server.broke("it does not answer"))??;
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            Ok(answer)
        } else {
            Err(self.server.broke("it does not give a part when asked for one"))
        }
    }

    /// Says too where what came before is.
    fn told(&self, failure: Failure) -> Failure {
        match &self.elsewhere {
            Some(folder) => Failure::new(
                failure.exit,
                format_args!("{failure}; what came before is in {}: name it with -o", folder.display()),
            ),
            None => failure,
        }
    }
}

fn spent_for_good() -> Failure {
    Failure::new(Exit::Gone, "so much of it was sent again that the server stops here: ask the sender to send it again")
}

/// How many bytes are asked for at once: as many as came since the connection last broke, and some at first.
///
/// What the server had written into a connection that broke is charged to the claim, which pays for the content twice and for
/// 1 MiB. Like this a break costs no more than what came before it, and all of them together no more than the content once.
struct Window {
    least: u64,
    came: u64,
}

impl Window {
    /// Begins with whole records: of a part of one, a kill leaves nothing.
    fn new(size: u64) -> Self {
        Self { least: (size / BARREN).max(1).next_multiple_of(RECORD as u64), came: 0 }
    }

    fn length(&self) -> u64 {
        self.least.max(self.came)
    }

    fn came(&mut self, bytes: u64) {
        self.came += bytes;
    }

    /// The connection broke, and the next may break sooner.
    fn breaks(&mut self) {
        *self = Self { least: (self.least / 2).max(LEAST), came: 0 };
    }

    /// Asks for as little as it ever does; whether that is less than before.
    fn shrinks(&mut self) -> bool {
        let before = self.length();
        *self = Self { least: LEAST, came: 0 };
        before > LEAST
    }
}
