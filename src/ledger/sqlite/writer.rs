//! The one thread that writes: whatever queued while the last commit was syncing shares the next one.

use std::sync::mpsc;
use std::thread;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::ledger::{Error, Result};

/// Transitions that share a commit at the most.
const BATCH: usize = 512;

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
type Job = Box<dyn FnOnce(&mut Book) -> (bool, Reply) + Send>;

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
        let job: Job = Box::new(move |book| {
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
    while let Ok(first) = queue.recv() {
        let before = book.held;
        if let Err(error) = book.db.execute_batch("BEGIN IMMEDIATE") {
            // The job is dropped, and with it its answer: the caller learns that the ledger takes no writes.
            tracing::error!(%error, "the ledger can't begin a transaction");
            continue;
        }
        let (mut replies, mut failed) = (Vec::new(), false);
        for job in std::iter::once(first).chain(queue.try_iter()).take(BATCH) {
            let (stop, reply) = job(&mut book);
            replies.push(reply);
            failed = stop;
            if failed {
                break;
            }
        }
        let commit = if failed { None } else { Some(book.db.execute_batch("COMMIT")) };
        let undone = match commit {
            Some(Ok(())) => None,
            Some(Err(error)) if !is_full(&error) => {
                // After a failed sync nobody knows what is on the disk: it is never retried, only a restart may go on.
                tracing::error!(%error, "a commit failed: the store is read-only until the server is restarted");
                return;
            }
            _ => Some(Error::Unavailable("the disk failed or is full".into())),
        };
        if undone.is_some() {
            if !book.db.is_autocommit() {
                let _ = book.db.execute_batch("ROLLBACK");
            }
            book.held = before;
        }
        replies.into_iter().for_each(|reply| reply(undone.clone()));
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
