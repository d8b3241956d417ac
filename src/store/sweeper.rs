//! Frees, every few seconds, the bytes that nobody may read any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;

use super::{Result, Store, now};
use crate::share::{Ended, ShareId, State, Timestamp, random};

/// A lapse, expiry or revocation frees within 60 s; this leaves room for a store that was away.
const EVERY: Duration = Duration::from_secs(5);
/// What can't be freed is tried again so much later.
const AGAIN: Duration = Duration::from_secs(30);
/// Shares whose bytes are freed at the same time: a bucket takes its time for each.
const AT_ONCE: usize = 8;

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
        let due = store.ledger.due(now()).await?;
        if due.is_empty() {
            return Ok(());
        }
        // Each of them is freed or put off, and not due any more.
        let seen_to = due.into_iter().map(|(id, ended)| see_to(store, id, ended));
        stream::iter(seen_to).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
}

/// Frees a share's bytes. What can't be freed yet is put off, so that nothing waits behind it.
async fn see_to(store: &Store, id: ShareId, ended: Ended) -> Result<()> {
    match free(store, &id).await {
        Ok(true) => {
            store.metrics.freed.inc();
            if ended.state == State::Lapsed {
                store.metrics.lapses.inc();
            }
        }
        // Another server was first.
        Ok(false) => {}
        Err(error) => {
            store.metrics.store_errors.inc();
            tracing::warn!(%error, "bytes that are due can't be freed yet");
            store.ledger.put_off(&id, now().after(AGAIN)).await?;
        }
    }
    Ok(())
}

async fn free(store: &Store, id: &ShareId) -> Result<bool> {
    store.blobs.free(id, 0).await?;
    Ok(store.ledger.freed(id, now()).await?)
}

#[cfg(test)]
mod tests;
