//! Writes that run beside the one who hands them the bytes: a few for each writer, and bounded for all together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::{Error, Result};

/// Writes that one writer has under way.
const AHEAD: usize = 2;

/// The writes of one writer. Dropped, it gives them up.
pub(super) struct UnderWay {
    writes: JoinSet<Result<()>>,
    permits: Arc<Semaphore>,
}

impl UnderWay {
    /// None yet; each takes one of `permits`, which all writers share.
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self { writes: JoinSet::new(), permits }
    }

    /// Waits until one more may begin. An error is that of an earlier one.
    pub(super) async fn turn(&mut self) -> Result<OwnedSemaphorePermit> {
        while self.writes.len() >= AHEAD {
            self.land().await?;
        }
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopped())
    }

    /// Begins one.
    pub(super) fn begin(
        &mut self,
        turn: OwnedSemaphorePermit,
        write: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.writes.spawn(async move {
            let _turn = turn;
            write.await
        });
    }

    /// Waits for all of them.
    pub(super) async fn all(&mut self) -> Result<()> {
        while !self.writes.is_empty() {
            self.land().await?;
        }
        Ok(())
    }

    /// Waits until none runs any more, whether it succeeds or not.
    pub(super) async fn end(&mut self) {
        while !self.writes.is_empty() {
            let _ = self.land().await;
        }
    }

    async fn land(&mut self) -> Result<()> {
        match self.writes.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(stopped()),
        }
    }
}

fn stopped() -> Error {
    Error::Unavailable("the writer was stopped".to_owned())
}
