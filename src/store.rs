//! The store: the choreography of ledger and blobs, written once for all backends.
//!
//! It knows neither HTTP nor any backend. Bytes are durable before the ledger speaks of them, and freed after it has let go.

mod ahead;
mod behind;
mod incoming;
mod metered;
mod orphans;
mod sealing;
mod second;
mod sweeper;
mod unsealing;
mod whole;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;

pub use incoming::Incoming;
pub use metered::{Metered, Settle};
pub use sealing::{Sealing, Settled};
pub use sweeper::Sweeper;
use unsealing::Checksums;
pub use unsealing::{unsealed, with_checksums};
pub(crate) use whole::whole;

use crate::blobs::{self, Blobs};
use crate::ledger::{self, ClaimRequest, Grant, Lease, Ledger, NewUpload, Publish, Remains, Revoker, Upload};
use crate::metrics::Metrics;
use crate::seal;
use crate::share::{Digest, ShareId, Timestamp};

/// Claims of small shares that are remembered for their first read.
const FRESH_KEPT: usize = 4096;

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The ledger's answer.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// More bytes than a share may have.
    #[error("larger than a share may be")]
    TooLarge,
    /// The manifest does not fit into its limit.
    #[error("too many names, or too long a note")]
    ManifestTooLong,
    /// Sealed bytes that do not open.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// Bytes that should be there are not.
    #[error("stored bytes are missing")]
    Missing,
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        match error {
            blobs::Error::Missing => Self::Missing,
            blobs::Error::Full => ledger::Error::Full.into(),
            blobs::Error::Unavailable(why) => ledger::Error::Unavailable(why).into(),
            blobs::Error::Unacknowledged { by, of } => ledger::Error::Unacknowledged { by, of }.into(),
        }
    }
}

/// What the store gives.
pub type Result<T> = std::result::Result<T, Error>;

/// What holds for every share.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Plain bytes of a share at the most.
    pub max_size: u64,
    /// How long a claim lasts without a byte moving.
    pub lease: Duration,
    /// How long a resumable upload may take.
    pub upload_window: Duration,
}

/// Shares, whatever they lie on.
pub struct Store {
    /// Where "once" is decided.
    pub ledger: Box<dyn Ledger>,
    blobs: Box<dyn Blobs>,
    /// The ledger that the blobs belong to, once it was asked.
    ledger_name: OnceLock<String>,
    /// What holds for every share.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
    /// How many connections to this server read a claim now.
    readers: Mutex<HashMap<Digest, usize>>,
    /// Small shares that were claimed here and not read yet.
    fresh: Mutex<HashMap<Digest, (ShareId, Lease)>>,
    checksums: Checksums,
}

impl Store {
    /// A store on these two.
    pub fn new(ledger: Box<dyn Ledger>, blobs: Box<dyn Blobs>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            blobs,
            ledger_name: OnceLock::new(),
            limits,
            metrics: Metrics::default(),
            readers: Mutex::default(),
            fresh: Mutex::default(),
            checksums: Checksums::default(),
        })
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection less reads the claim; says whether it was the last.
    fn leave(&self, claim: &Digest) -> bool {
        let mut readers = self.readers();
        match readers.get_mut(claim) {
            Some(number) if *number > 1 => {
                *number -= 1;
                false
            }
            _ => {
                readers.remove(claim);
                true
            }
        }
    }

    /// Sealed content of one share, in bytes at the most.
    pub fn max_sealed(&self) -> u64 {
        seal::sealed_len(self.limits.max_size)
    }

    /// Begins an upload whose length, where known, is reserved.
    ///
    /// # Errors
    /// [`ledger::Error::Full`]; [`Error::TooLarge`].
    pub async fn begin(&self, upload: &NewUpload) -> Result<()> {
        let Some(length) = upload.length else { return Ok(self.ledger.begin(upload, now()).await?) };
        self.check_length(length, upload.manifest_len)?;
        self.blobs.room(length).await?;
        self.ledger.begin(upload, now()).await?;
        self.check_reserved(&upload.id, &upload.token).await
    }

    /// Sets the length of an upload that deferred it.
    ///
    /// # Errors
    /// [`ledger::Error::Full`]; [`Error::TooLarge`]; [`ledger::Error::Conflict`] where it has another.
    pub async fn declare(&self, id: &ShareId, token: &Digest, upload: &Upload, length: u64) -> Result<()> {
        if upload.length == Some(length) {
            return Ok(());
        }
        self.check_length(length, upload.manifest_len)?;
        self.room(length.saturating_sub(upload.offset)).await?;
        self.ledger.declare(id, token, length, now()).await?;
        self.check_reserved(id, token).await
    }

    /// Whether there is room for so many bytes beside those that are reserved.
    ///
    /// # Errors
    /// [`ledger::Error::Full`].
    async fn room(&self, bytes: u64) -> Result<()> {
        Ok(self.blobs.room(bytes + self.ledger.outstanding().await?).await?)
    }

    /// Whether there is room for what an upload has just reserved: others may have reserved the same at the same time.
    ///
    /// # Errors
    /// [`ledger::Error::Full`]; the upload is given up then.
    async fn check_reserved(&self, id: &ShareId, token: &Digest) -> Result<()> {
        match self.room(0).await {
            Err(Error::Ledger(ledger::Error::Full)) => {
                self.abandon(id, token).await?;
                Err(ledger::Error::Full.into())
            }
            room => room,
        }
    }

    /// Whether an upload of `length` bytes may come, of which the first `manifest_len` are the manifest.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn check_length(&self, length: u64, manifest_len: u64) -> Result<()> {
        if length.saturating_sub(manifest_len) > self.max_sealed() { Err(Error::TooLarge) } else { Ok(()) }
    }

    /// The upload as it stands. Where all bytes are here but a crash came before the publishing, that is made up for.
    ///
    /// # Errors
    /// [`ledger::Error::Unknown`].
    pub async fn upload(&self, id: &ShareId, token: &Digest) -> Result<Upload> {
        let mut upload = self.ledger.upload(id, token, now()).await?;
        if upload.expires_at.is_none() && upload.length == Some(upload.offset) {
            upload.expires_at = Some(self.complete(id, token, &upload).await?);
        }
        Ok(upload)
    }

    /// Makes a share of an upload whose bytes are all durable.
    async fn complete(&self, id: &ShareId, token: &Digest, upload: &Upload) -> Result<Timestamp> {
        let base = upload.manifest_len;
        let read = async { self.blobs.read(id, 0..base, None).await?.try_collect::<Vec<Bytes>>().await };
        let pieces = match read.await {
            Err(blobs::Error::Missing) => return Err(self.lost(id, token).await),
            pieces => pieces?,
        };
        let publish = Publish {
            id: *id,
            token: *token,
            terms: upload.terms,
            manifest: pieces.concat().into(),
            size: upload.offset - base,
            base,
            inline: None,
            begin: None,
        };
        self.publish(&publish).await
    }

    /// Makes a share, and says when it expires.
    ///
    /// # Errors
    /// As [`Ledger::publish`].
    pub async fn publish(&self, publish: &Publish) -> Result<Timestamp> {
        if publish.inline.is_none() {
            // Where blobs vanish by themselves, their time was the upload's window until now.
            let until = now().after(publish.terms.expires_in);
            match self.blobs.secure(&publish.id, publish.base + publish.size, until).await {
                Err(blobs::Error::Missing) => return Err(self.lost(&publish.id, &publish.token).await),
                secured => secured?,
            }
        }
        let expires_at = self.ledger.publish(publish, now()).await?;
        self.metrics.uploads.inc();
        Ok(expires_at)
    }

    /// Gives an upload up and frees what came of it.
    ///
    /// # Errors
    /// [`ledger::Error::Unknown`]; [`ledger::Error::Published`].
    pub async fn abandon(&self, id: &ShareId, token: &Digest) -> Result<()> {
        let remains = match self.ledger.abandon(id, token, now()).await {
            // A disk so full that not even this can be written down: its bytes go first. The answer to whom they don't belong may have been
            // the same, for what it rested on could not be committed either.
            Err(ledger::Error::Full) => {
                if self.ledger.upload(id, token, now()).await?.expires_at.is_some() {
                    return Err(ledger::Error::Published.into());
                }
                self.blobs.free(id, 0).await?;
                self.ledger.abandon(id, token, now()).await?
            }
            remains => remains?,
        };
        self.free(id, remains).await
    }

    /// Gives up an upload of which a failover took bytes that had been recorded: only a new one can bring them.
    async fn lost(&self, id: &ShareId, token: &Digest) -> Error {
        let lost = ledger::Error::Unavailable("bytes of an upload were lost".to_owned());
        self.abandon(id, token).await.err().unwrap_or(lost.into())
    }

    /// Asks for the right to download.
    ///
    /// # Errors
    /// As [`Ledger::claim`].
    pub async fn claim(&self, id: &ShareId, request: &ClaimRequest) -> Result<Grant> {
        let grant = self.ledger.claim(id, request, now()).await?;
        if !grant.repeated {
            self.metrics.claims.inc();
        }
        if grant.lease.inline {
            self.remember(*id, request.claim, &grant.lease);
        } else {
            self.blobs.keep(id, grant.lease.lease_expires_at).await?;
        }
        Ok(grant)
    }

    fn remember(&self, id: ShareId, claim: Digest, lease: &Lease) {
        let Ok(mut fresh) = self.fresh.lock() else { return };
        if fresh.len() >= FRESH_KEPT {
            fresh.clear();
        }
        // A manifest may be long, and whoever claimed has it.
        fresh.insert(claim, (id, Lease { manifest: Bytes::new(), ..lease.clone() }));
    }

    /// Size and place of what a claim may read, to be charged next: only that tells whether it still may. The first read of a small
    /// share that was claimed here asks nobody.
    ///
    /// # Errors
    /// As [`Ledger::lease`].
    pub async fn readable(&self, id: &ShareId, claim: &Digest) -> Result<Lease> {
        let fresh = self.fresh.lock().ok().and_then(|mut fresh| fresh.remove(claim));
        match fresh {
            Some((known, lease)) if known == *id => Ok(lease),
            _ => Ok(self.ledger.lease(id, claim, now()).await?),
        }
    }

    /// The recipient has everything: the bytes are freed unless somebody else may still come.
    ///
    /// # Errors
    /// [`ledger::Error::Unknown`]; [`ledger::Error::Ended`] where the claim lapsed before.
    pub async fn finish(&self, id: &ShareId, claim: &Digest) -> Result<()> {
        let remains = self.ledger.finish(id, claim, now()).await?;
        self.metrics.finishes.inc();
        self.free(id, remains).await
    }

    /// Withdraws the share.
    ///
    /// # Errors
    /// [`ledger::Error::Unknown`]; [`ledger::Error::Claimed`].
    pub async fn revoke(&self, id: &ShareId, by: Revoker) -> Result<()> {
        let remains = self.ledger.revoke(id, by, now()).await?;
        self.free(id, remains).await
    }

    /// Frees the bytes that nobody may read any more. Where that fails the sweep does it later, so the caller's deed stands.
    async fn free(&self, id: &ShareId, remains: Remains) -> Result<()> {
        if remains == Remains::Blob {
            match self.blobs.free(id, 0).await {
                Ok(()) => drop(self.ledger.freed(id, now()).await),
                Err(error) => tracing::warn!(%error, "bytes are left for the sweep to free"),
            }
        }
        Ok(())
    }

    /// Frees what a writer left that was still writing when its upload ended, and had come up to `reached` bytes.
    pub async fn forsake(&self, id: &ShareId, reached: u64) {
        if self.ledger.holds(id).await == Ok(false)
            && let Err(error) = self.blobs.free(id, reached).await
        {
            tracing::warn!(%error, "bytes of an upload that ended are left behind");
        }
    }

    /// The sealed bytes of a lease whose content is in the blobs, from `range.start` on.
    ///
    /// # Errors
    /// [`Error::Missing`] where they are not all there.
    pub async fn content(
        &self,
        id: &ShareId,
        lease: &Lease,
        range: std::ops::Range<u64>,
        outlet: Option<blobs::Outlet>,
    ) -> Result<blobs::Pieces> {
        let range = lease.base + range.start..lease.base + range.end;
        Ok(self.blobs.read(id, range, outlet).await?)
    }

    /// `Ok` where ledger and blobs answer.
    ///
    /// # Errors
    /// [`ledger::Error::Unavailable`].
    pub async fn ping(&self) -> Result<()> {
        self.ledger.ping().await?;
        Ok(self.blobs.ping().await?)
    }
}

/// The time by the system's clock.
pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// What the tests of the rooms below begin with.
#[cfg(test)]
mod given {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::blobs::files::Files;
    use crate::ledger::Terms;
    use crate::ledger::sqlite::Sqlite;
    use crate::share::Token;

    pub(super) const HOUR: Duration = Duration::from_secs(3600);

    pub(super) fn store(folder: &Path) -> Arc<Store> {
        let (ledger, blobs) = (Sqlite::open(folder, None).unwrap(), Files::open(folder).unwrap());
        let limits = Limits { max_size: 1 << 30, lease: HOUR, upload_window: HOUR };
        Store::new(Box::new(ledger), Box::new(blobs), limits)
    }

    pub(super) fn upload(length: Option<u64>) -> NewUpload {
        let digest = || Token::random().digest();
        let terms = Terms { verifier: digest(), password: false, expires_in: HOUR, downloads: 1 };
        let (id, token, owner, window_ends_at) = (ShareId::random(), digest(), digest(), now().after(HOUR));
        NewUpload { id, token, owner, terms, length, manifest_len: 100, window_ends_at, resumable: true }
    }
}
