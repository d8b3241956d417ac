//! A second thread for a transfer that is alone and whose client is quick: there the next pieces are made, while those before them leave.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Half as many as there are cores: each works beside a connection's thread.
static THREADS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get) / 2));
/// For a client that takes longer for a piece, nobody need work ahead.
const QUICK: Duration = Duration::from_millis(20);
/// So many pieces must have left quickly: a small transfer is over by then.
const AFTER: u32 = 8;
/// Pieces that are made or wait: with one, each side waits for the other by turns.
const MOST: usize = 2;

/// Gives what `made` gives.
pub(super) fn ahead<T: Send + 'static>(made: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send {
    stream::unfold(Ahead::here(made.fuse().boxed()), Ahead::next)
}

/// Where the next piece is made.
enum Ahead<T> {
    /// Here, once it is asked for.
    Here {
        made: BoxStream<'static, T>,
        given: Instant,
        /// How many in a row left quickly.
        quick: u32,
    },
    /// On the other thread, which gives back the rest where pieces leave slowly, or where there are none.
    There { pieces: mpsc::Receiver<T>, rest: JoinHandle<BoxStream<'static, T>> },
}

impl<T: Send + 'static> Ahead<T> {
    fn here(made: BoxStream<'static, T>) -> Self {
        Self::Here { made, given: Instant::now(), quick: 0 }
    }

    async fn next(mut self) -> Option<(T, Self)> {
        loop {
            self = match self {
                Self::Here { mut made, given, quick } => {
                    let quick = if given.elapsed() < QUICK { quick + 1 } else { 0 };
                    match THREADS.try_acquire() {
                        Ok(thread) if quick > AFTER => Self::there(thread, made),
                        _ => {
                            let piece = made.next().await?;
                            return Some((piece, Self::Here { made, given: Instant::now(), quick }));
                        }
                    }
                }
                Self::There { mut pieces, rest } => match pieces.recv().await {
                    Some(piece) => return Some((piece, Self::There { pieces, rest })),
                    None => Self::here(rest.await.ok()?),
                },
            }
        }
    }

    fn there(thread: SemaphorePermit<'static>, mut made: BoxStream<'static, T>) -> Self {
        let (give, pieces) = mpsc::channel(MOST);
        let runtime = Handle::current();
        let work = async move {
            while let Ok(Ok(place)) = timeout(QUICK, give.reserve()).await {
                let Some(piece) = made.next().await else { break };
                place.send(piece);
            }
            made
        };
        let rest = spawn_blocking(move || {
            let _thread = thread;
            runtime.block_on(work)
        });
        Self::There { pieces, rest }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Mutex;

    use super::*;

    const PIECES: usize = 100;

    /// The threads are there for the whole process: one test at a time.
    static ALONE: Mutex<()> = Mutex::const_new(());

    /// As many pieces, and how many of them are made.
    fn pieces() -> (Arc<AtomicUsize>, impl Stream<Item = usize> + Send) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        (made, stream::iter(0..PIECES).inspect(move |_| _ = count.fetch_add(1, Ordering::SeqCst)))
    }

    /// How many threads there are for it.
    fn all() -> usize {
        thread::available_parallelism().map_or(1, NonZero::get) / 2
    }

    /// Resolves once no thread works ahead any more.
    async fn all_are_free() {
        drop(THREADS.acquire_many(all() as u32).await.unwrap());
    }

    #[tokio::test]
    async fn all_pieces_come_in_order_from_another_thread() {
        let _alone = ALONE.lock().await;
        let made = stream::iter(0..PIECES).map(|piece| (piece, thread::current().id()));
        let (pieces, threads): (Vec<_>, Vec<_>) = ahead(made).unzip().await;
        assert_eq!(pieces, (0..PIECES).collect::<Vec<_>>());
        let elsewhere = threads.into_iter().filter(|&thread| thread != thread::current().id()).count();
        assert_eq!(elsewhere > 0, all() > 0);
        all_are_free().await;
    }

    #[tokio::test]
    async fn few_are_made_ahead() {
        let _alone = ALONE.lock().await;
        let (made, pieces) = pieces();
        let mut given = 0;
        let mut ahead = std::pin::pin!(ahead(pieces));
        while ahead.next().await.is_some() {
            given += 1;
            assert!(made.load(Ordering::SeqCst) <= given + MOST);
        }
        assert_eq!(given, PIECES);
    }

    #[tokio::test]
    async fn a_client_that_becomes_slow_holds_no_thread_and_misses_no_piece() {
        let _alone = ALONE.lock().await;
        let (_, pieces) = pieces();
        let mut ahead = std::pin::pin!(ahead(pieces));
        let first: Vec<_> = ahead.by_ref().take(PIECES / 2).collect().await;
        all_are_free().await;
        let rest: Vec<_> = ahead.collect().await;
        assert_eq!([first, rest].concat(), (0..PIECES).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_client_that_is_gone_holds_no_thread() {
        let _alone = ALONE.lock().await;
        let (_, pieces) = pieces();
        assert_eq!(Box::pin(ahead(pieces)).take(PIECES / 2).count().await, PIECES / 2);
        all_are_free().await;
    }
}
