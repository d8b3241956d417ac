//! The one thread that writes: whatever queued while the last commit was syncing shares the next one.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::crowd::Crowd;
use crate::ledger::{Error, Result};

/// Transitions that share a commit at the most.
pub(super) const BATCH: usize = 512;

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

/// Answers after the commit; with an error where there was none.
type Reply = Box<dyn FnOnce(Option<Error>) + Send>;

/// Runs inside the transaction; says whether the database failed, and how to answer.
type Transition = Box<dyn FnOnce(&mut Book) -> (bool, Reply) + Send>;

/// A transition, and the runtime of whoever asked for it.
struct Job {
    run: Transition,
    home: Handle,
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
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || write(book, &queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `transition` in a transaction and answers once that is durable.
    pub(super) async fn run<T, F>(&self, transition: F) -> Result<T>
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
                // A caller that went away has no need of the answer.
                let _ = sender.send(match (result, undone) {
                    (Ok(_), Some(error)) => Err(error),
                    (result, _) => result,
                });
            });
            (failed, reply)
        });
        let stopped = || Error::Unavailable("the ledger takes no writes".into());
        let job = Job { run, home: Handle::current() };
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

fn write(mut book: Book, queue: &mpsc::Receiver<Job>) {
    let (mut jobs, mut crowd) = (VecDeque::new(), Crowd::default());
    loop {
        if jobs.is_empty() {
            let Ok(first) = queue.recv() else { return };
            jobs.push_back(first);
        }
        crowd.gather(&mut jobs, queue);
        let before = book.held;
        if let Err(error) = execute(&book.db, "BEGIN IMMEDIATE") {
            // The jobs are dropped, and with them their answers: the callers learn that the ledger takes no writes.
            tracing::error!(%error, "the ledger can't begin a transaction");
            jobs.clear();
            continue;
        }
        let (mut replies, mut failed) = (Vec::new(), false);
        while !failed && let Some(job) = jobs.pop_front() {
            let (stop, reply) = (job.run)(&mut book);
            replies.push((job.home, reply));
            failed = stop;
        }
        let begun = Instant::now();
        let commit = if failed { None } else { Some(execute(&book.db, "COMMIT")) };
        jobs.extend(queue.try_iter().take(BATCH.saturating_sub(jobs.len())));
        crowd.learn(replies.len() + jobs.len(), begun.elapsed());
        let undone = match commit {
            Some(Ok(())) => None,
            Some(Err(error)) if is_full(&error) => Some(Error::Full),
            Some(Err(error)) => {
                // After a failed sync nobody knows what is on the disk: it is never retried, only a restart may go on.
                tracing::error!(%error, "a commit failed: the store is read-only until the server is restarted");
                return;
            }
            None => Some(Error::Unavailable("a transition beside this one failed".into())),
        };
        if undone.is_some() {
            if !book.db.is_autocommit() {
                let _ = execute(&book.db, "ROLLBACK");
            }
            book.held = before;
        }
        answer(replies, undone.as_ref());
    }
}

fn execute(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}

/// Hands over all answers of a runtime at once: each by itself would wake its thread.
fn answer(replies: Vec<(Handle, Reply)>, undone: Option<&Error>) {
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
