//! Bytes without a record: what a crash left between the two.

use super::{Result, Store};
use crate::ledger;
use crate::share::{ShareId, Timestamp};

impl Store {
    /// Frees the blobs that have no record and were not written to since `before`: a crash left them. Several servers may do so
    /// at once.
    ///
    /// # Errors
    /// Where ledger or blobs fail, or the ledger is another one than before: one that was emptied may yet be restored.
    pub async fn free_orphans(&self, before: Timestamp) -> Result<()> {
        // Known before there is anything to lose.
        let name = self.ledger.name().await?;
        let present = self.blobs.all().await?;
        if present.is_empty() {
            return Ok(());
        }
        if *self.ledger_name.get_or_init(|| name.clone()) != name {
            let emptied = "the ledger has lost what it held: restore it, or start the servers anew";
            return Err(ledger::Error::Unavailable(emptied.to_owned()).into());
        }
        // In a cluster a part of the ledger may be away, and no other waits for it.
        let mut all = Ok(());
        for id in present {
            match self.is_orphan(&id, before).await {
                Ok(true) if self.free_orphan(&id).await => drop(self.metrics.freed.inc()),
                Ok(_) => {}
                Err(error) => all = Err(error),
            }
        }
        all
    }

    /// Whether a blob has no record, for certain, and was not written to since `before`.
    async fn is_orphan(&self, id: &ShareId, before: Timestamp) -> Result<bool> {
        if self.ledger.holds(id).await? {
            return Ok(false);
        }
        self.ledger.confirm(id).await?;
        let old = self.blobs.written(id).await?.is_some_and(|at| at < before);
        Ok(old && !self.ledger.holds(id).await?)
    }

    /// Frees a blob without a record. Where that fails, the others don't wait for it: `false`.
    async fn free_orphan(&self, id: &ShareId) -> bool {
        let freed = self.blobs.free(id, 0).await;
        if let Err(error) = &freed {
            self.metrics.store_errors.inc();
            tracing::warn!(%error, "bytes without a record can't be freed yet");
        }
        freed.is_ok()
    }

    /// Of the blobs that are `present`, frees those that died with the server before this one. To be called while no other process uses the store.
    ///
    /// # Errors
    /// Where the ledger fails.
    pub async fn tidy(&self, present: Vec<ShareId>) -> Result<()> {
        // As an upload is begun in the ledger before its first byte is written, what has no record will never have one.
        for id in present {
            if !self.ledger.holds(&id).await? {
                self.free_orphan(&id).await;
            }
        }
        Ok(())
    }
}
