//! Bytes on their way out: charged to their claim as they are written, and renewing its lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use super::{Result, Store, now, whole};
use crate::ledger::{self, Charge, Lease};
use crate::metrics::Running;
use crate::share::{Digest, PLAIN_REMAINS, ShareId};

/// Bytes reserved at a time: what a crash of the server may cost the claim.
const STEP: u64 = 16 << 20;
/// What a claim may be served beyond twice its size.
const SLACK: u64 = 1 << 20;

/// Called when the last byte is handed over; resolves once the connection has sent everything, or to `false` where it broke off before.
pub type Settle = Box<dyn FnOnce() -> BoxFuture<'static, bool> + Send + Sync>;

/// The meter of one answer. Dropped, it gives back what it reserved and did not need.
pub struct Metered {
    store: Arc<Store>,
    id: ShareId,
    claim: Digest,
    limit: u64,
    /// Of the answer, what is not yet reserved.
    unreserved: u64,
    /// Reserved, and not yet written.
    reserved: u64,
    /// Not yet written.
    remaining: u64,
    charged_at: Instant,
    /// Set for a plain download, whose recipient can't finish the claim.
    settle: Option<Settle>,
    _running: Running,
}

impl Metered {
    /// Reserves the first bytes of an answer of `length` bytes; `total` bytes is what the whole would have. Gives the sealed
    /// content too, where the ledger holds it. `settle` shortens the lease to [`PLAIN_REMAINS`] once everything is sent.
    ///
    /// # Errors
    /// [`ledger::Error::BudgetSpent`] before any byte; [`ledger::Error::Ended`].
    pub async fn start(
        store: &Arc<Store>,
        id: ShareId,
        claim: Digest,
        lease: &Lease,
        (length, total): (u64, u64),
        settle: Option<Settle>,
    ) -> Result<(Self, Option<Bytes>)> {
        let limit = 2 * lease.size.max(total) + SLACK;
        if lease.served + length > limit {
            return Err(ledger::Error::BudgetSpent.into());
        }
        if !lease.inline {
            store.blobs.keep(&id, now().after(store.limits.lease)).await?;
        }
        store.readers().entry(claim).and_modify(|readers| *readers += 1).or_insert(1);
        let mut meter = Self {
            store: store.clone(),
            id,
            claim,
            limit,
            unreserved: length,
            reserved: 0,
            remaining: length,
            charged_at: Instant::now(),
            settle,
            _running: Running::new(&store.metrics),
        };
        // An empty answer, too, needs the content that the ledger holds: its header says that it is one.
        let inline = match lease.inline && length == 0 {
            true => meter.charge(0).await?,
            false => meter.reserve(if lease.inline { length } else { STEP }).await?,
        };
        Ok((meter, inline))
    }

    /// Passes `pieces` on, `length` bytes in all, as long as the claim pays for them.
    pub fn pass(self, pieces: impl Stream<Item = Result<Bytes>> + Send + 'static) -> BoxStream<'static, Result<Bytes>> {
        stream::unfold(Some((self, pieces.boxed())), |state| async move {
            let (mut meter, mut pieces) = state?;
            match pieces.next().await? {
                Ok(piece) => match meter.count(piece.len() as u64).await {
                    Ok(()) => Some((Ok(piece), Some((meter, pieces)))),
                    Err(error) => Some((Err(error), None)),
                },
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// Renews the lease now and then, as long as somebody reads the claim: to be called while bytes move that were counted before.
    pub fn renewal(&self) -> impl FnMut() + Send + 'static {
        let (store, id, claim, limit) = (self.store.clone(), self.id, self.claim, self.limit);
        let mut renewed_at = self.charged_at;
        move || {
            if !is_stale(renewed_at, store.limits.lease) || !store.readers().contains_key(&claim) {
                return;
            }
            renewed_at = Instant::now();
            let store = store.clone();
            tokio::spawn(async move {
                let lease_expires_at = now().after(store.limits.lease);
                let charge = Charge { bytes: 0, limit, lease_expires_at };
                if store.ledger.charge(&id, &claim, &charge, now()).await.is_ok() {
                    let _ = store.blobs.keep(&id, lease_expires_at).await;
                }
            });
        }
    }

    async fn count(&mut self, bytes: u64) -> Result<()> {
        let lease = self.store.limits.lease;
        let stale = is_stale(self.charged_at, lease);
        let renews = stale || bytes > self.reserved;
        if bytes > self.reserved {
            self.reserve(STEP.max(bytes - self.reserved)).await?;
        } else if stale {
            self.charge(0).await?;
        }
        if renews {
            self.store.blobs.keep(&self.id, now().after(lease)).await?;
        }
        self.reserved -= bytes;
        self.remaining -= bytes;
        self.store.metrics.served.inc_by(bytes);
        Ok(())
    }

    async fn reserve(&mut self, bytes: u64) -> Result<Option<Bytes>> {
        let bytes = bytes.min(self.unreserved);
        if bytes == 0 {
            return Ok(None);
        }
        let inline = self.charge(i64::try_from(bytes).unwrap_or(i64::MAX)).await?;
        self.unreserved -= bytes;
        self.reserved += bytes;
        Ok(inline)
    }

    async fn charge(&mut self, bytes: i64) -> Result<Option<Bytes>> {
        let lease_expires_at = now().after(self.store.limits.lease);
        let charge = Charge { bytes, limit: self.limit, lease_expires_at };
        let (store, id, claim) = (self.store.clone(), self.id, self.claim);
        let (charged, answer) = oneshot::channel();
        // Where the connection ends meanwhile, what was charged for nothing is given back.
        whole(async move {
            let inline = store.ledger.charge(&id, &claim, &charge, now()).await;
            if let Err(Ok(_)) = charged.send(inline)
                && bytes > 0
            {
                let _ = store.ledger.charge(&id, &claim, &Charge { bytes: -bytes, ..charge }, now()).await;
            }
        })
        .await;
        let inline = answer.await.map_err(|_| ledger::Error::Unavailable("it was not charged".into()))??;
        self.charged_at = Instant::now();
        Ok(inline)
    }
}

/// Whether a lease that was renewed then is to be renewed again. Another server may cut it short where its part of a plain download was
/// the last.
fn is_stale(renewed_at: Instant, lease: Duration) -> bool {
    renewed_at.elapsed() > lease.min(PLAIN_REMAINS) / 3
}

impl Drop for Metered {
    fn drop(&mut self) {
        let last = self.store.leave(&self.claim);
        // Only the last of several connections that read a claim can have been its download's end.
        let settle = self.settle.take().filter(|_| self.remaining == 0 && last);
        if self.reserved == 0 && settle.is_none() {
            return;
        }
        let (store, id, claim, limit) = (self.store.clone(), self.id, self.claim, self.limit);
        let back = -i64::try_from(self.reserved).unwrap_or(0);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Asked at once: the connection may look whether somebody waits before the task runs.
        let settle = settle.map(|settle| settle());
        runtime.spawn(async move {
            let lease = store.limits.lease;
            // Whatever the lease is, the bytes stay as long.
            let charge = async |bytes, rest| -> Result<()> {
                let lease_expires_at = now().after(rest);
                store.ledger.charge(&id, &claim, &Charge { bytes, limit, lease_expires_at }, now()).await?;
                let _ = store.blobs.keep(&id, lease_expires_at).await;
                Ok(())
            };
            let Some(mut settle) = settle else {
                return drop(charge(back, lease).await);
            };
            // What the kernel still holds for a slow recipient keeps the lease alive.
            let sent = loop {
                match tokio::time::timeout(lease / 3, &mut settle).await {
                    Ok(sent) => break sent,
                    Err(_) if charge(0, lease).await.is_err() => return,
                    Err(_) => {}
                }
            };
            let read_again = store.readers().contains_key(&claim);
            let rest = if read_again || !sent { lease } else { PLAIN_REMAINS.min(lease) };
            let _ = charge(back, rest).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::ledger::{Attempt, ClaimRequest, NewUpload, Publish};
    use crate::share::{Network, Token};
    use crate::store::given::{self, HOUR};

    const SIZE: u64 = 3 << 20;

    /// A share in the blobs of `store`, claimed.
    async fn claimed(store: &Store) -> (ShareId, Digest) {
        let (upload, claim) = (given::upload(None), Token::random().digest());
        let NewUpload { id, token, terms, .. } = upload;
        store.ledger.begin(&upload, now()).await.unwrap();
        let (manifest, inline, begin) = (Bytes::new(), None, None);
        let publish = Publish { id, token, terms, manifest, size: SIZE, base: 0, inline, begin };
        store.ledger.publish(&publish, now()).await.unwrap();
        let attempt =
            Attempt { verifier: terms.verifier, network: Network::from(std::net::IpAddr::from([127, 0, 0, 1])) };
        let request = ClaimRequest { claim, attempt, lease_expires_at: now().after(HOUR) };
        store.ledger.claim(&id, &request, now()).await.unwrap();
        (id, claim)
    }

    #[tokio::test]
    async fn a_read_that_is_cut_off_while_it_is_charged_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = given::store(folder.path());
        let (id, claim) = claimed(&store).await;
        let lease = async || store.ledger.lease(&id, &claim, now()).await.unwrap();
        let before = lease().await;
        let start = || Box::pin(Metered::start(&store, id, claim, &before, (SIZE, SIZE), None));
        // Asked behind the charges, the ledger tells of them; what gives them back are tasks of their own.
        let given_back = async || {
            while lease().await.served > 0 {
                tokio::task::yield_now().await;
            }
        };
        for _ in 0..3 {
            // Waits for the ledger, and is dropped with its connection; where the ledger was quicker, another one.
            while start().now_or_never().is_some() {
                given_back().await;
            }
        }
        given_back().await;
        assert!(start().await.is_ok());
    }
}
