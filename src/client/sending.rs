//! Brings one upload to the server, through whatever the network does: waits, asks how far it is, and goes on.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{STALL, Server};
use super::failure::Failure;
use super::parts::{Ahead, Broken, HELD, Layout, Part, Parts};
use super::retry::Backoff;
use super::sources::Source;
use super::terminal::Progress;
use super::trouble::{Problem, TRIES, Trouble};
use super::tus::Upload;

/// Bytes that are handed to the connection at once.
const PIECE: u64 = 256 * 1024;
/// Most parts of a request (96 MiB): the network stands still between two.
const AT_ONCE: u64 = 32;
/// A request that took longer is followed by a short one: whoever passes requests on whole is silent for as long.
const QUICK: Duration = Duration::from_secs(1);
/// Least bytes of a request, where longer ones do not get through.
const LEAST: u64 = 256 * 1024;
/// So long may the answer take once all bytes have left: what lies in buffers goes on moving unseen.
const ANSWER: Duration = Duration::from_secs(60);

/// Why a request did not append.
enum Stopped {
    Trouble(Trouble),
    Broken(Broken),
    /// The server has other bytes than those that are held.
    Moved,
}

impl From<Broken> for Stopped {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// One upload under way.
pub(super) struct Sending<'a> {
    server: &'a Server,
    upload: &'a Upload,
    progress: &'a Progress,
    layout: Layout,
    ahead: Ahead,
    /// Whether parts can be sealed again.
    again: bool,
    /// Parts that the server may not have yet; of those that can be sealed again, the last few.
    held: VecDeque<Part>,
    /// Bytes that the server is known to have.
    offset: u64,
    backoff: Backoff,
    limits: Limits,
}

/// How long requests may be.
#[derive(Clone, Copy)]
struct Limits {
    /// Parts of the next one.
    parts: u64,
    /// Bytes of the next one, and of any.
    most: u64,
    ceiling: u64,
    /// Bytes of the longest that got through.
    passed: u64,
}

impl Limits {
    /// What stands between took the last request for too long, of which so many bytes had left.
    fn shorten(&mut self, left: u64) {
        let shorter = if (1..self.ceiling).contains(&self.passed) { self.passed } else { left / 2 };
        self.ceiling = LEAST.max(shorter);
    }
}

/// Sends what the server does not have from `offset` on. Gives back what it was made of, once all of it is there.
///
/// # Errors
/// [`Broken::Anew`] where this upload can't go on, and another can begin.
pub(super) async fn send(
    server: &Server,
    upload: &Upload,
    progress: &Progress,
    mut parts: Parts,
    mut offset: u64,
) -> Result<Parts, Broken> {
    let layout = parts.layout;
    let again = matches!(parts.source, Source::Files(_));
    let mut limits = Limits { parts: HELD, most: u64::MAX, ceiling: u64::MAX, passed: 0 };
    let (mut futile, mut furthest) = (0, offset);
    while futile < TRIES {
        if layout.length == Some(offset) {
            return Ok(parts);
        }
        let may_go_on = match layout.part_of(offset) {
            part if parts.notes.has(part) => true,
            // Nothing of this part has left.
            part => layout.start_of(part) == offset,
        };
        if !may_go_on {
            return Err(Broken::Anew);
        }
        progress.begins(layout.plain_before(offset));
        let ahead = Ahead::start(parts, offset)?;
        let (held, backoff) = (VecDeque::new(), Backoff::patient());
        let mut sending = Sending { server, upload, progress, layout, ahead, again, held, offset, backoff, limits };
        let ended = || Broken::from(Failure::other("the sealing thread has ended"));
        let asked = match sending.run().await {
            Ok(()) => return sending.ahead.stop().ok_or_else(ended),
            Err(Stopped::Broken(broken)) => Err(broken),
            Err(_) if again => sending.ask().await,
            Err(_) => Err(Broken::Anew),
        };
        if !again {
            // Its thread may wait for bytes that never come.
            return asked.and(Err(Broken::Anew));
        }
        limits = sending.limits;
        parts = sending.ahead.stop().ok_or_else(ended)?;
        offset = asked?;
        futile = if offset > furthest { 0 } else { futile + 1 };
        furthest = furthest.max(offset);
    }
    Err(Broken::Anew)
}

impl Sending<'_> {
    async fn run(&mut self) -> Result<(), Stopped> {
        while self.layout.length.is_none_or(|length| self.offset < length) {
            let (from, left, begun) = (self.offset, Cell::new(0), Instant::now());
            match self.request(&left).await {
                Ok(offset) => {
                    self.reached(offset)?;
                    self.limits.passed = self.limits.passed.max(offset.saturating_sub(from));
                    self.limits.most = self.limits.most.saturating_mul(2).min(self.limits.ceiling);
                    let longer = if begun.elapsed() < QUICK { self.limits.parts * 2 } else { HELD };
                    self.limits.parts = if self.again { longer.min(AT_ONCE) } else { HELD };
                }
                Err(Stopped::Trouble(trouble)) => {
                    let foreign = |problem: &Problem| problem.status == 413 && problem.code.is_none();
                    let too_long =
                        matches!(&trouble, Trouble::Refused(problem) if foreign(problem)) && left.get() > LEAST;
                    if too_long {
                        self.limits.shorten(left.get());
                    } else {
                        wait(&mut self.backoff, trouble, self.progress).await?;
                    }
                    let offset = self.ask().await?;
                    // What stands between may pass on short requests only, or only those that come whole.
                    if too_long {
                        self.limits.most = self.limits.ceiling;
                    } else if left.get() > 0 && offset == from {
                        self.limits.most = LEAST.max(self.limits.ceiling.min(left.get() / 4));
                    }
                    self.limits.parts = HELD;
                    self.reached(offset)?;
                }
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(())
    }

    /// Sends some parts, from the offset on; gives the offset reached. `left` is how many bytes left at the most.
    async fn request(&mut self, left: &Cell<u64>) -> Result<u64, Stopped> {
        if self.held.is_empty() {
            self.held.push_back(self.ahead.next().await?);
        }
        let (from, first) = (self.offset, self.layout.part_of(self.offset));
        let held = self.held.back().map_or(from, Part::end);
        let end = match self.layout.length {
            Some(length) => length.min(self.layout.start_of(first + self.limits.parts)),
            // How long a stream is shows with its last part.
            None => held,
        };
        let end = end.min(from.saturating_add(self.limits.most));
        let whole = self.held.back().filter(|part| self.layout.length.is_none() && part.last).map(Part::end);
        let moved = Cell::new(Instant::now());
        let (feed, pieces) = mpsc::channel(1);
        let mut answer = Box::pin(self.upload.append(self.server, (from, end - from), whole, pieces));
        let (held, ahead, again) = (&mut self.held, &mut self.ahead, self.again);
        let mut pump = Box::pin(async {
            let mut at = from;
            while at < end {
                if held.back().is_none_or(|part| part.end() <= at) {
                    if again {
                        ahead.reclaim(held);
                    }
                    held.push_back(ahead.next().await?);
                }
                let Some(part) = held.iter().find(|part| at < part.end()) else { break };
                let until = (at + PIECE).min(end).min(part.end());
                let piece = part.bytes.slice((at - part.offset) as usize..(until - part.offset) as usize);
                if feed.send(piece).await.is_err() {
                    break;
                }
                at = until;
                left.set(at - from);
                moved.set(Instant::now());
                self.progress.at(self.layout.plain_before(at));
            }
            drop(feed);
            Ok::<_, Broken>(())
        });
        let mut pumped = false;
        loop {
            let patience = if pumped { ANSWER } else { STALL };
            tokio::select! {
                answer = &mut answer => return answer.map_err(Stopped::Trouble),
                fed = &mut pump, if !pumped => {
                    fed?;
                    pumped = true;
                }
                () = sleep_until(moved.get() + patience) => {
                    if moved.get().elapsed() >= patience {
                        return Err(Stopped::Trouble(Trouble::Unreachable(format!("{}: nothing moves", self.server.origin))));
                    }
                }
            }
        }
    }

    /// The server has the bytes before `offset`.
    fn reached(&mut self, offset: u64) -> Result<(), Stopped> {
        let known = self.held.front().map_or(self.offset, |part| part.offset);
        let sent = self.held.back().map_or(self.offset, Part::end);
        if offset < known || offset > sent {
            return Err(Stopped::Moved);
        }
        let mut last = false;
        while self.held.front().is_some_and(|part| part.end() <= offset) {
            let Some(part) = self.held.pop_front() else { break };
            last |= part.last;
            self.ahead.recycle(part);
        }
        if last {
            self.layout.length = Some(offset);
        }
        if offset > self.offset {
            self.backoff.reset();
        }
        self.offset = offset;
        Ok(())
    }

    /// Asks the server how many bytes it has, until it says so.
    async fn ask(&mut self) -> Result<u64, Broken> {
        loop {
            match self.upload.offset(self.server).await {
                Ok(offset) => return Ok(offset),
                Err(trouble) => wait(&mut self.backoff, trouble, self.progress).await?,
            }
        }
    }
}

/// Asks the server how many bytes it has of an upload that another run began.
///
/// # Errors
/// [`Broken::Anew`] where the server has lost it.
pub(super) async fn reached(server: &Server, upload: &Upload, progress: &Progress) -> Result<u64, Broken> {
    let mut backoff = Backoff::first();
    loop {
        match upload.offset(server).await {
            Ok(offset) => return Ok(offset),
            Err(trouble) => wait(&mut backoff, trouble, progress).await?,
        }
    }
}

/// Waits until it may be tried again, and says why.
///
/// # Errors
/// [`Broken::Anew`] where the server has lost the upload.
async fn wait(backoff: &mut Backoff, trouble: Trouble, progress: &Progress) -> Result<(), Broken> {
    let trouble = match trouble {
        Trouble::Refused(Problem { status: 404 | 410, code: Some(_), .. }) => return Err(Broken::Anew),
        // Another connection of this upload still ends, or a proxy gave ours up: its offset tells.
        Trouble::Refused(Problem { status: 400 | 409, code: Some(_), .. }) if backoff.failures < TRIES => {
            Trouble::Unreachable("the server is still busy with what came before".to_owned())
        }
        trouble => trouble,
    };
    let pause = backoff.next(&trouble)?;
    progress.waits(Failure::from(trouble), pause);
    sleep(pause).await;
    Ok(())
}
