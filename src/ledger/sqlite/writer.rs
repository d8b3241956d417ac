//! The one thread that writes: whatever queued while the last commit was syncing shares the next one.
//!
//! Most transitions are answered once they are durable. Some promise nothing that a crash could break, and run ahead: they are first
//! in a transaction, so that they see what is durable and each other, and are answered at once.

use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::crowd::{BATCH, Crowd};
use crate::ledger::{Error, Result};

/// What ran ahead waits so long for a transition to be committed with.
const AHEAD_FOR: Duration = Duration::from_millis(5);

/// What a transition works on: the connection, inside a transaction, and the sum kept beside it.
pub(super) struct Book {
    pub(super) db: Connection,
    /// Bytes that all shares occupy or have reserved.
    pub(super) held: u64,
}

/// Why a transition stopped.
pub(super) enum Stop {
    /// It answers so; what it wrote before (a wrong proof's count) stays.
    Answer(Error),
    /// The database failed: it is undone, and so are those that share its commit.
    Failure(rusqlite::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Answer(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failure(error)
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Answer(error) => error,
            Stop::Failure(error) if is_full(&error) => Self::Full,
            Stop::Failure(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Answers; with an error where the transition was undone.
type Reply = Box<dyn FnOnce(Option<Error>) + Send>;

/// Runs inside the transaction; says whether the database failed, and how to answer.
type Transition = Box<dyn FnOnce(&mut Book) -> (bool, Reply) + Send>;

/// A transition, and the runtime of whoever asked for it.
struct Job {
    run: Transition,
    home: Handle,
    ahead: bool,
}

/// Hands transitions to the writing thread, which ends when this is dropped.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(book: Book) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let desk = Desk { book, queue, waiting: Vec::new(), crowd: Crowd::default(), open: None, commits: true };
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || desk.write())?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `transition` in a transaction and answers once that is durable.
    pub(super) async fn run<T, F>(&self, transition: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Book) -> std::result::Result<T, Stop> + Send + 'static,
    {
        self.ask(transition, false).await
    }

    /// Runs `transition` and answers at once. It sees nothing that might still be undone but what ran ahead, too; a crash
    /// within [`AHEAD_FOR`] undoes it, and so may a transition that fails.
    pub(super) async fn run_ahead<T, F>(&self, transition: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Book) -> std::result::Result<T, Stop> + Send + 'static,
    {
        self.ask(transition, true).await
    }

    async fn ask<T, F>(&self, transition: F, ahead: bool) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Book) -> std::result::Result<T, Stop> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let run = Box::new(move |book: &mut Book| {
            let result = transition(book);
            let failed = matches!(result, Err(Stop::Failure(_)));
            let result = result.map_err(Error::from);
            let reply: Reply = Box::new(move |undone| {
                // A refusal, too, may rest on what was undone; only its own failure does not. A caller that went away has no
                // need of the answer.
                let _ = sender.send(match undone {
                    Some(error) if !failed => Err(error),
                    _ => result,
                });
            });
            (failed, reply)
        });
        let stopped = || Error::Unavailable("the ledger takes no writes".into());
        let job = Job { run, home: Handle::current(), ahead };
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    book: Book,
    queue: mpsc::Receiver<Job>,
    waiting: Vec<Job>,
    crowd: Crowd,
    open: Option<Open>,
    /// Whether the last transaction was committed. After one that was not, as on a full disk, nobody is answered ahead.
    commits: bool,
}

/// The transaction that runs. Between two turns there is nothing in it but what ran ahead.
struct Open {
    /// [`Book::held`] before it.
    held: u64,
    /// When it is committed although nobody waits for that.
    due: Instant,
}

/// Who is to be answered, and on which runtime.
type Replies = Vec<(Handle, Reply)>;

impl Desk {
    fn write(mut self) {
        while self.wait() {
            if !self.turn() {
                return;
            }
        }
        self.end(Vec::new(), false);
    }

    /// Waits until somebody asks, or what ran ahead is to be committed; `false` once nobody can ask any more.
    fn wait(&mut self) -> bool {
        if self.waiting.is_empty() {
            let asked = match &self.open {
                None => self.queue.recv().map_err(RecvTimeoutError::from),
                Some(open) => self.queue.recv_timeout(open.due.saturating_duration_since(Instant::now())),
            };
            match asked {
                Ok(job) => self.waiting.push(job),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.crowd.gather(&mut self.waiting, &self.queue);
        true
    }

    /// Runs all that wait. `false` where nothing can be committed any more.
    fn turn(&mut self) -> bool {
        if self.open.is_none() {
            if let Err(error) = execute(&self.book.db, "BEGIN IMMEDIATE") {
                // The jobs are dropped, and with them their answers: the callers learn that the ledger takes no writes.
                tracing::error!(%error, "the ledger can't begin a transaction");
                self.waiting.clear();
                return true;
            }
            self.open = Some(Open { held: self.book.held, due: Instant::now() + AHEAD_FOR });
        }
        let ahead: Vec<Job> = self.waiting.extract_if(.., |job| job.ahead && self.commits).collect();
        let (replies, failed) = self.run(ahead);
        if failed {
            return self.end(replies, failed);
        }
        answer(replies, None);
        if self.waiting.is_empty() && self.open.as_ref().is_some_and(|open| Instant::now() < open.due) {
            return true;
        }
        let durable = mem::take(&mut self.waiting);
        let (replies, failed) = self.run(durable);
        self.end(replies, failed)
    }

    /// Runs `jobs` until one fails, which is the last that is to be answered: the others wait for another transaction.
    fn run(&mut self, jobs: Vec<Job>) -> (Replies, bool) {
        let (mut replies, mut failed) = (Vec::with_capacity(jobs.len()), false);
        let mut jobs = jobs.into_iter();
        while !failed && let Some(job) = jobs.next() {
            let (stop, reply) = (job.run)(&mut self.book);
            replies.push((job.home, reply));
            failed = stop;
        }
        self.waiting.splice(..0, jobs);
        (replies, failed)
    }

    /// Ends the transaction, where one runs, and answers. `false` where nothing can be committed any more.
    fn end(&mut self, replies: Replies, failed: bool) -> bool {
        let Some(open) = self.open.take() else { return true };
        let begun = Instant::now();
        let commit = if failed { None } else { Some(execute(&self.book.db, "COMMIT")) };
        self.waiting.extend(self.queue.try_iter().take(BATCH.saturating_sub(self.waiting.len())));
        self.crowd.learn(replies.len() + self.waiting.len(), begun.elapsed());
        let undone = match commit {
            Some(Ok(())) => None,
            Some(Err(error)) if is_full(&error) => Some(Error::Full),
            Some(Err(error)) => {
                // After a failed sync nobody knows what is on the disk: it is never retried, only a restart may go on.
                tracing::error!(%error, "a commit failed: the store is read-only until the server is restarted");
                return false;
            }
            None => Some(Error::Unavailable("a transition beside this one failed".into())),
        };
        self.commits = undone.is_none();
        if undone.is_some() {
            if !self.book.db.is_autocommit() {
                let _ = execute(&self.book.db, "ROLLBACK");
            }
            self.book.held = open.held;
        }
        answer(replies, undone.as_ref());
        true
    }
}

fn execute(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}

/// Hands over all answers of a runtime at once: each by itself would wake its thread.
fn answer(replies: Replies, undone: Option<&Error>) {
    if replies.len() == 1 {
        return replies.into_iter().for_each(|(_, reply)| reply(undone.cloned()));
    }
    let mut homes: Vec<(Handle, Vec<Reply>)> = Vec::new();
    for (home, reply) in replies {
        match homes.iter_mut().find(|(known, _)| known.id() == home.id()) {
            Some((_, replies)) => replies.push(reply),
            None => homes.push((home, vec![reply])),
        }
    }
    for (home, replies) in homes {
        let undone = undone.cloned();
        home.spawn(async move { replies.into_iter().for_each(|reply| reply(undone.clone())) });
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests;
