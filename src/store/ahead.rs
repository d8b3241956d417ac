//! Pieces that are made ahead on a second thread, while those before them leave.

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::second::{Gain, QUICK, Second};

/// Pieces that are made or wait: with one, each side waits for the other by turns.
const MOST: usize = 2;

/// Gives what `made` gives.
pub(super) fn ahead<T: Send + 'static>(made: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send {
    stream::unfold(Ahead::here(made.fuse().boxed()), Ahead::next)
}

/// Where the next piece is made.
enum Ahead<T> {
    /// Here, once it is asked for.
    Here { made: BoxStream<'static, T>, gain: Gain },
    /// On the second thread, which gives back the rest where pieces leave slowly, or where there are none.
    There { pieces: mpsc::Receiver<T>, rest: JoinHandle<BoxStream<'static, T>> },
}

impl<T: Send + 'static> Ahead<T> {
    fn here(made: BoxStream<'static, T>) -> Self {
        Self::Here { made, gain: Gain::begin(false) }
    }

    async fn next(mut self) -> Option<(T, Self)> {
        loop {
            self = match self {
                Self::Here { mut made, mut gain } => match gain.begins().then(Second::free).flatten() {
                    Some(second) => Self::there(second, made),
                    None => {
                        let piece = made.next().await?;
                        gain.ends();
                        return Some((piece, Self::Here { made, gain }));
                    }
                },
                Self::There { mut pieces, rest } => match pieces.recv().await {
                    Some(piece) => return Some((piece, Self::There { pieces, rest })),
                    None => Self::here(rest.await.ok()?),
                },
            }
        }
    }

    fn there(second: Second, mut made: BoxStream<'static, T>) -> Self {
        let (give, pieces) = mpsc::channel(MOST);
        let rest = second.run(async move {
            let mut gain = Gain::begin(true);
            while let Ok(Ok(place)) = timeout(QUICK, give.reserve()).await
                && gain.begins()
            {
                let Some(piece) = made.next().await else { break };
                place.send(piece);
                gain.ends();
            }
            made
        });
        Self::There { pieces, rest }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::store::second::tests::{all_are_free, alone, is_there, work};

    const PIECES: usize = 100;

    /// As many pieces, and how many of them are made.
    fn pieces() -> (Arc<AtomicUsize>, impl Stream<Item = usize> + Send) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let make = move |piece| {
            work();
            count.fetch_add(1, Ordering::SeqCst);
            piece
        };
        (made, stream::iter(0..PIECES).map(make))
    }

    #[tokio::test]
    async fn all_pieces_come_in_order_from_another_thread() {
        let _alone = alone().await;
        let made = pieces().1.map(|piece| (piece, thread::current().id()));
        let (pieces, threads): (Vec<_>, Vec<_>) = ahead(made).unzip().await;
        assert_eq!(pieces, (0..PIECES).collect::<Vec<_>>());
        let elsewhere = threads.into_iter().filter(|&thread| thread != thread::current().id()).count();
        assert_eq!(elsewhere > 0, is_there());
        all_are_free().await;
    }

    #[tokio::test]
    async fn few_are_made_ahead() {
        let _alone = alone().await;
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
        let _alone = alone().await;
        let (_, pieces) = pieces();
        let mut ahead = std::pin::pin!(ahead(pieces));
        let first: Vec<_> = ahead.by_ref().take(PIECES / 2).collect().await;
        all_are_free().await;
        let rest: Vec<_> = ahead.collect().await;
        assert_eq!([first, rest].concat(), (0..PIECES).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_client_that_is_gone_holds_no_thread() {
        let _alone = alone().await;
        let (_, pieces) = pieces();
        assert_eq!(Box::pin(ahead(pieces)).take(PIECES / 2).count().await, PIECES / 2);
        all_are_free().await;
    }
}
