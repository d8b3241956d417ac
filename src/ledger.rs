//! The ledger: where shares, leases and receipts are recorded, and where "once" is decided.
//!
//! It knows neither HTTP nor where the bytes lie. Tokens and proofs reach it as SHA-256 only.

pub mod redis;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::share::{Digest, Ended, History, Network, ShareId, Timestamp};

/// Why a transition did not happen. Nothing was changed, except that a wrong proof was counted; and see
/// [`Error::Unacknowledged`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such share, upload or claim; or the token is another's.
    #[error("unknown")]
    Unknown,
    /// It was, and whoever asks may know what became of it.
    #[error("ended: {}", .0.state.word())]
    Ended(Ended),
    /// The proof is wrong; it was counted.
    #[error("wrong proof")]
    WrongProof,
    /// Too many wrong proofs on a share with a password.
    #[error("locked for {0:?}")]
    Locked(Duration),
    /// The upload stands elsewhere: another writer was there.
    #[error("the upload is at offset {0}")]
    Conflict(u64),
    /// The upload is published: only the owner token ends it.
    #[error("already published")]
    Published,
    /// The last claim is granted: too late to revoke.
    #[error("already claimed")]
    Claimed,
    /// More bytes than the claim may still be served.
    #[error("the claim's budget is spent")]
    BudgetSpent,
    /// The store has no room for it.
    #[error("the store is full")]
    Full,
    /// The store can't be asked now, or failed; the same call may be repeated.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It was done, but may not outlive a failover yet; the same call may be repeated, and waits again.
    #[error("{by} of {of} replicas acknowledged")]
    Unacknowledged {
        /// So many replicas have it.
        by: u32,
        /// So many must have it.
        of: u32,
    },
}

/// What a transition gives.
pub type Result<T> = std::result::Result<T, Error>;

/// What the sender settles about a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// SHA-256 of the proof.
    pub verifier: Digest,
    /// Whether the recipient needs a password too.
    pub password: bool,
    /// From publishing to expiry.
    pub expires_in: Duration,
    /// How many claims may be granted, at least 1.
    pub downloads: u32,
}

/// An upload about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewUpload {
    /// The share that it will be.
    pub id: ShareId,
    /// Digest of the upload token.
    pub token: Digest,
    /// Digest of the owner token.
    pub owner: Digest,
    /// As settled so far; [`Publish`] has the last word.
    pub terms: Terms,
    /// Bytes of sealed manifest and sealed content together, where known. They are reserved.
    pub length: Option<u64>,
    /// How many of them are the sealed manifest; 0 where it is stored apart.
    pub manifest_len: u64,
    /// Until when it must be published. An upload that can't be resumed lives on by [`Ledger::advance`].
    pub window_ends_at: Timestamp,
    /// Whether a client may come back to it (tus), or it dies with its connection (plain).
    pub resumable: bool,
}

/// An upload as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// As given when it began.
    pub terms: Terms,
    /// Bytes in all, once declared.
    pub length: Option<u64>,
    /// How many of them are the sealed manifest.
    pub manifest_len: u64,
    /// Bytes that are durably here.
    pub offset: u64,
    /// Until when it answers.
    pub window_ends_at: Timestamp,
    /// Once published: when the share expires.
    pub expires_at: Option<Timestamp>,
}

/// One step of a writer: the bytes `from..to` are in the blobs; durably so, where the upload can be resumed.
#[derive(Debug, Clone, Copy)]
pub struct Advance {
    /// The share.
    pub id: ShareId,
    /// Digest of the upload token.
    pub token: Digest,
    /// Tells one writer's repeated call from another writer's.
    pub writer: u64,
    /// The offset that this writer started the step at.
    pub from: u64,
    /// The offset now reached.
    pub to: u64,
    /// The window's new end; `None` leaves it.
    pub window_ends_at: Option<Timestamp>,
}

/// The step that makes a share of an upload.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The share.
    pub id: ShareId,
    /// Digest of the upload token.
    pub token: Digest,
    /// What holds from now on.
    pub terms: Terms,
    /// The sealed manifest.
    pub manifest: Bytes,
    /// Bytes of sealed content.
    pub size: u64,
    /// Where in the blob the sealed content begins.
    pub base: u64,
    /// The sealed content itself, where it is small enough; nothing is in the blobs then.
    pub inline: Option<Bytes>,
    /// Set for an upload that was whole at once: it is begun in the same step.
    pub begin: Option<NewUpload>,
}

/// Somebody shows a proof.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// SHA-256 of the proof shown.
    pub verifier: Digest,
    /// From where: wrong ones are counted by it.
    pub network: Network,
}

/// What a look at a waiting share shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Bytes of sealed content.
    pub size: u64,
    /// Whether a password is needed.
    pub password: bool,
    /// When it expires.
    pub expires_at: Timestamp,
    /// With the right proof only: the sealed manifest, and how many claims are left.
    pub shown: Option<(Bytes, u32)>,
}

/// Somebody wants the share.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest {
    /// Digest of the claim token, which the client made.
    pub claim: Digest,
    /// The proof shown.
    pub attempt: Attempt,
    /// When the lease ends unless bytes move.
    pub lease_expires_at: Timestamp,
}

/// A running lease: what its claim may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Bytes of sealed content.
    pub size: u64,
    /// Where in the blob the sealed content begins.
    pub base: u64,
    /// Whether the content is in the ledger; [`Ledger::charge`] then brings it.
    pub inline: bool,
    /// The sealed manifest.
    pub manifest: Bytes,
    /// When it lapses unless bytes move.
    pub lease_expires_at: Timestamp,
    /// Bytes served so far, reserved ones among them.
    pub served: u64,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What it may read.
    pub lease: Lease,
    /// Whether the same claim was granted before.
    pub repeated: bool,
}

/// Moves the budget of a claim, and its lease with it.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// Bytes to reserve; below 0: bytes to give back.
    pub bytes: i64,
    /// The most that the claim may be served in all.
    pub limit: u64,
    /// The lease's end from now on, as given, sooner or later than before.
    pub lease_expires_at: Timestamp,
}

/// Who withdraws a share.
#[derive(Debug, Clone, Copy)]
pub enum Revoker {
    /// The sender, by the digest of the owner token. Running leases go on.
    Owner(Digest),
    /// The operator. Running leases end too.
    Operator,
}

/// Whether a share's bytes are to be freed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Still needed, or nothing is left of them.
    Nothing,
    /// The blob may be freed; [`Ledger::freed`] then says so.
    Blob,
}

/// Records shares, leases and receipts, and decides who may take what.
///
/// Every method is one atomic transition, safe to repeat with the same arguments: a caller that lost the answer asks again.
/// After `Ok` a transition is durable; [`Ledger::charge`] and [`Ledger::hit`], which only count, may become so a moment later.
/// Cancelling a call leaves the transition either done or not done.
/// Every method may fail with [`Error::Unavailable`]; those that tell of a publishing, a claim or a revocation
/// also with [`Error::Unacknowledged`].
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Begins an upload and reserves its length. [`Error::Full`] where there is no room for it.
    async fn begin(&self, upload: &NewUpload, now: Timestamp) -> Result<()>;

    /// The upload as recorded. [`Error::Unknown`] for another token; after its window, or once given up.
    async fn upload(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload>;

    /// Sets the length of an upload that deferred it, and reserves it. [`Error::Full`]; [`Error::Conflict`] where it has another.
    async fn declare(&self, id: &ShareId, token: &Digest, length: u64, now: Timestamp) -> Result<()>;

    /// Records progress. [`Error::Conflict`] where the upload is not at `from` (nor at `to`, by this writer);
    /// [`Error::Full`] where an undeclared length outgrows the room. A resumable upload's bytes MUST be durable before.
    async fn advance(&self, step: &Advance, now: Timestamp) -> Result<()>;

    /// Makes a share of the upload and gives its expiry; again: the same expiry.
    async fn publish(&self, publish: &Publish, now: Timestamp) -> Result<Timestamp>;

    /// Gives the upload up. [`Error::Published`] where it is a share by now.
    async fn abandon(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains>;

    /// Looks at a waiting share; changes nothing but the count of wrong proofs. Those on a share with a password
    /// that ended count against the limits alone; past them it is [`Error::Unknown`] to the right proof too.
    ///
    /// [`Error::Unknown`]: none waits. [`Error::Ended`]: one was, and the proof is right. [`Error::WrongProof`], [`Error::Locked`].
    async fn peek(&self, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Result<Share>;

    /// Whether the share, waiting or ended, has a password. Asked before a key is derived from one: [`Error::Locked`] where
    /// `network` may not try it now, [`Error::Unknown`] where there is nothing to try.
    async fn admit(&self, id: &ShareId, network: &Network, now: Timestamp) -> Result<bool>;

    /// Grants the right to download to the first callers ever to ask, as many as the terms allow.
    ///
    /// The step that grants the last one deletes the share. The same claim again gets the same grant until it has ended, then
    /// [`Error::Ended`]; everybody else is answered as by [`Ledger::peek`].
    async fn claim(&self, id: &ShareId, request: &ClaimRequest, now: Timestamp) -> Result<Grant>;

    /// The running lease of a claim. [`Error::Ended`] where it finished or lapsed.
    async fn lease(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Lease>;

    /// Reserves bytes, or gives them back, and moves the lease's end; brings the inline content where there is one.
    /// No byte may leave without it: a claim that might not outlive a failover reserves nothing.
    ///
    /// The one transition that is not idempotent: a repeat after a lost answer charges twice, which the budget's slack covers.
    /// [`Error::BudgetSpent`]; [`Error::Ended`] where the claim finished or lapsed.
    async fn charge(&self, id: &ShareId, claim: &Digest, charge: &Charge, now: Timestamp) -> Result<Option<Bytes>>;

    /// The recipient has everything. Again: `Ok`. [`Error::Ended`] where the claim lapsed before.
    async fn finish(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Remains>;

    /// Stops new claims. Again: `Ok`. [`Error::Claimed`] (to the owner) once the last claim is granted. An upload is abandoned.
    async fn revoke(&self, id: &ShareId, by: Revoker, now: Timestamp) -> Result<Remains>;

    /// What happened so far; kept for [`crate::share::RECEIPT_KEPT`] past the end.
    async fn receipt(&self, id: &ShareId, owner: &Digest, now: Timestamp) -> Result<History>;

    /// Counts a look at the receive page of a waiting share; says whether there is one. An unknown id leaves no trace.
    async fn hit(&self, id: &ShareId, now: Timestamp) -> Result<bool>;

    /// Up to 100 shares whose bytes may be freed for certain (see [`Ledger::confirm`]), and what they came to.
    async fn due(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>>;

    /// The share's bytes can't be freed yet: until then [`Ledger::due`] does not name it. Of one whose bytes are gone nothing changes.
    async fn put_off(&self, id: &ShareId, until: Timestamp) -> Result<()>;

    /// The share's bytes are gone from the blobs. `true` for the first to say so.
    async fn freed(&self, id: &ShareId, now: Timestamp) -> Result<bool>;

    /// Bytes that open uploads have reserved and not yet brought; 0 where the blobs know by themselves.
    async fn outstanding(&self) -> Result<u64>;

    /// Whether a record of the share holds, or may come to hold, a blob: what is found in the blobs without one is an orphan.
    async fn holds(&self, id: &ShareId) -> Result<bool>;

    /// What tells this ledger from every other: 16 hex digits, made up when first asked for. Blobs that lie apart from the ledger
    /// are kept under this name, so that no other ledger finds them there without a record and frees them.
    async fn name(&self) -> Result<String>;

    /// Counts the visits of the status page.
    async fn seen(&self) -> Result<u64>;

    /// `Ok` where the ledger answers and takes writes.
    async fn ping(&self) -> Result<()>;

    /// `Ok` where what the ledger tells of the share from now on is what all servers are told. A Redis master that was cut off goes
    /// on answering: bytes that lie elsewhere are not to be freed on its word alone. [`Error::Unacknowledged`].
    async fn confirm(&self, _id: &ShareId) -> Result<()> {
        Ok(())
    }

    /// What whoever runs it should know although the ledger answers, in words; a second old at the most.
    fn caveat(&self) -> Option<String> {
        None
    }
}
