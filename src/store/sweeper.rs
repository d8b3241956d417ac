//! Frees, every few seconds, the bytes that nobody may read any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Result, Store, now};
use crate::share::{State, Timestamp, random};

/// A lapse, expiry or revocation frees within 60 s; this leaves room for a store that was away.
const EVERY: Duration = Duration::from_secs(5);

/// What lies without a record in the blobs is looked for this often, and up to a tenth later: not by all servers at once.
const ORPHANS_EVERY: Duration = Duration::from_secs(600);
/// Bytes without a record are kept for so long: the ledger may be a Redis that was cut off, and knows nothing of what its
/// successor has recorded since.
const ORPHANS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The tasks that sweep; they end when this is dropped.
pub struct Sweeper {
    due: JoinHandle<()>,
    orphans: JoinHandle<()>,
}

impl Sweeper {
    /// Starts sweeping `store`.
    pub fn start(store: Arc<Store>) -> Self {
        Self { due: tokio::spawn(free_due(store.clone())), orphans: tokio::spawn(free_orphans(store)) }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.due.abort();
        self.orphans.abort();
    }
}

async fn free_due(store: Arc<Store>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep(&store).await {
            store.metrics.store_errors.inc();
            tracing::warn!(%error, "the sweep will be tried again");
        }
    }
}

async fn free_orphans(store: Arc<Store>) {
    loop {
        let before = Timestamp(now().0 - ORPHANS_KEPT.as_millis() as i64);
        if let Err(error) = store.free_orphans(before).await {
            store.metrics.store_errors.inc();
            tracing::warn!(%error, "bytes without a record will be looked for again");
        }
        let [late] = random();
        tokio::time::sleep(ORPHANS_EVERY + ORPHANS_EVERY / 10 * u32::from(late) / 255).await;
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
