//! Bytes that are taken on a second thread, while the next ones come.

use bytes::Bytes;
use tokio::sync::mpsc::{self, error::SendError};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::second::{Gain, QUICK, Second};
use super::{Error, Result};
use crate::ledger;

/// Something that bytes go into.
pub(super) trait Take: Send + 'static {
    /// Takes the next bytes.
    fn take(&mut self, bytes: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Where bytes are taken; `None` once the thread has failed.
pub(super) struct Behind<W>(Option<Place<W>>);

enum Place<W> {
    /// Here, as they come.
    Here { work: W, gain: Gain },
    /// On the second thread, which gives `work` back where bytes come slowly, or can't be taken.
    There { pieces: mpsc::Sender<Bytes>, work: JoinHandle<(W, Result<()>)> },
}

impl<W: Take> Behind<W> {
    pub(super) fn new(work: W) -> Self {
        Self(Some(Place::Here { work, gain: Gain::begin(false) }))
    }

    /// Has the next bytes taken.
    ///
    /// # Errors
    /// Why these, or some of those before them, could not be.
    pub(super) async fn take(&mut self, bytes: Bytes) -> Result<()> {
        let bytes = match &self.0 {
            Some(Place::There { pieces, .. }) => match pieces.send(bytes).await {
                Ok(()) => return Ok(()),
                Err(SendError(bytes)) => bytes,
            },
            _ => bytes,
        };
        self.back().await?;
        let Some(Place::Here { work, gain }) = &mut self.0 else { return Err(failed()) };
        if gain.begins()
            && let Some(second) = Second::free()
        {
            self.0 = self.0.take().map(|place| place.there(second, bytes));
            return Ok(());
        }
        let taken = work.take(bytes).await;
        gain.ends();
        taken
    }

    /// Waits for the second thread.
    async fn back(&mut self) -> Result<()> {
        let Some(Place::There { pieces, work }) = self.0.take_if(|place| matches!(place, Place::There { .. })) else {
            return Ok(());
        };
        drop(pieces);
        let (work, taken) = work.await.map_err(|_| failed())?;
        self.0 = Some(Place::Here { work, gain: Gain::begin(false) });
        taken
    }

    /// What the bytes went into, once all of them are taken.
    ///
    /// # Errors
    /// As [`Behind::take`].
    pub(super) async fn here(&mut self) -> Result<&mut W> {
        self.back().await?;
        match &mut self.0 {
            Some(Place::Here { work, .. }) => Ok(work),
            _ => Err(failed()),
        }
    }

    /// What the bytes went into, whether all of them could be taken or not.
    pub(super) async fn end(mut self) -> Option<W> {
        let _ = self.back().await;
        match self.0 {
            Some(Place::Here { work, .. }) => Some(work),
            _ => None,
        }
    }
}

impl<W: Take> Place<W> {
    /// Hands over to the second thread.
    fn there(self, second: Second, first: Bytes) -> Self {
        let Self::Here { mut work, .. } = self else { return self };
        let (pieces, mut came) = mpsc::channel(1);
        let work = second.run(async move {
            let (mut gain, mut next) = (Gain::begin(true), Some(first));
            while let Some(bytes) = next {
                if !gain.begins() {
                    // What is given meanwhile is still taken.
                    came.close();
                }
                if let Err(error) = work.take(bytes).await {
                    return (work, Err(error));
                }
                gain.ends();
                next = match timeout(QUICK, came.recv()).await {
                    Ok(next) => next,
                    Err(_) => {
                        came.close();
                        came.recv().await
                    }
                };
            }
            (work, Ok(()))
        });
        Self::There { pieces, work }
    }
}

fn failed() -> Error {
    ledger::Error::Unavailable("a thread has failed".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::store::second::tests::{all_are_free, alone, is_there, work};

    const PIECES: u8 = 100;

    /// What was taken, and by which threads; it fails at one piece.
    #[derive(Default)]
    struct Taken {
        pieces: Vec<u8>,
        threads: Vec<ThreadId>,
        fails_at: Option<u8>,
    }

    impl Take for Taken {
        async fn take(&mut self, bytes: Bytes) -> Result<()> {
            if self.fails_at == Some(bytes[0]) {
                return Err(Error::TooLarge);
            }
            work();
            self.pieces.push(bytes[0]);
            self.threads.push(thread::current().id());
            Ok(())
        }
    }

    async fn give(behind: &mut Behind<Taken>, pieces: std::ops::Range<u8>) -> Result<()> {
        for piece in pieces {
            behind.take(vec![piece].into()).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn all_pieces_are_taken_in_order_on_another_thread() {
        let _alone = alone().await;
        let mut behind = Behind::new(Taken::default());
        give(&mut behind, 0..PIECES).await.unwrap();
        let taken = behind.here().await.unwrap();
        assert_eq!(taken.pieces, (0..PIECES).collect::<Vec<_>>());
        let elsewhere = taken.threads.iter().filter(|&&thread| thread != thread::current().id()).count();
        assert_eq!(elsewhere > 0, is_there());
        all_are_free().await;
    }

    #[tokio::test]
    async fn a_piece_that_can_not_be_taken_is_told_and_none_after_it_is_taken() {
        let _alone = alone().await;
        for fails_at in [0, PIECES / 2, PIECES - 1] {
            let mut behind = Behind::new(Taken { fails_at: Some(fails_at), ..Taken::default() });
            let given = give(&mut behind, 0..PIECES).await;
            let told = match given {
                Ok(()) => behind.here().await.map(drop),
                given => given,
            };
            assert_eq!(told, Err(Error::TooLarge));
            assert_eq!(behind.end().await.unwrap().pieces, (0..fails_at).collect::<Vec<_>>());
        }
        all_are_free().await;
    }

    #[tokio::test]
    async fn a_client_that_becomes_slow_holds_no_thread_and_loses_no_piece() {
        let _alone = alone().await;
        let mut behind = Behind::new(Taken::default());
        give(&mut behind, 0..PIECES / 2).await.unwrap();
        all_are_free().await;
        give(&mut behind, PIECES / 2..PIECES).await.unwrap();
        assert_eq!(behind.end().await.unwrap().pieces, (0..PIECES).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_client_that_is_gone_holds_no_thread() {
        let _alone = alone().await;
        let mut behind = Behind::new(Taken::default());
        give(&mut behind, 0..PIECES / 2).await.unwrap();
        drop(behind);
        all_are_free().await;
    }
}
