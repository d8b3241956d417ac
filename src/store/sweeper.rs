//! Frees, every few seconds, the bytes that nobody may read any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Result, Store, now};
use crate::share::State;

/// A lapse, expiry or revocation frees within 60 s; this leaves room for a store that was away.
const EVERY: Duration = Duration::from_secs(5);

/// The task that sweeps; it ends when this is dropped.
pub struct Sweeper(JoinHandle<()>);

impl Sweeper {
    /// Starts sweeping `store`.
    pub fn start(store: Arc<Store>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = sweep(&store).await {
                    store.metrics.store_errors.inc();
                    tracing::warn!(%error, "the sweep will be tried again");
                }
            }
        }))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Frees all that is due. Several servers may sweep one store at once.
async fn sweep(store: &Store) -> Result<()> {
    loop {
        let mut freed = 0;
        for (id, ended) in store.ledger.due(now()).await? {
            if let Err(error) = store.blobs.free(&id, 0).await {
                // The others are not to wait for it.
                store.metrics.store_errors.inc();
                tracing::warn!(%error, "bytes that are due can't be freed yet");
                continue;
            }
            if store.ledger.freed(&id, now()).await? {
                freed += 1;
                store.metrics.freed.inc();
                if ended.state == State::Lapsed {
                    store.metrics.lapses.inc();
                }
            }
        }
        if freed == 0 {
            return Ok(());
        }
    }
}
