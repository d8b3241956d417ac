//! What is kept of all shares together: `due`, the times at which to look after their bytes, and `reserved`, the room for
//! open uploads.
//!
//! In a cluster these lie on other nodes than most shares, so no script of a share can write them: each is a command of its
//! own, before the share's script, beside it, or after it. What a crash between the two leaves:
//!
//! - `due` is a hint. The sweeper asks the receipt whether the time has come, and moves the hint where it has not: too early
//!   is never wrong, and a hint without a receipt goes when its time comes. So `begin` writes it first, for the end of the
//!   window: from then on no bytes are lost track of. `publish` lowers it to the expiry. What ends sooner than was thought
//!   (claim, finish, abandon, revoke, a lease cut short) moves it afterwards, since a refused call must leave no trace: after
//!   a crash right there bytes are freed when the hint from before says so, unless the caller asks again, which every caller does
//!   who got no answer, and which writes the hint again.
//! - `reserved` is set to what is still to come, never changed by a difference: repeated, it is the same. `begin` and
//!   `declare` reserve first and give back what is refused; the others tell afterwards what is left. What a crash leaves
//!   there counts against others until the upload's window ends, and no longer.

use std::collections::HashSet;
use std::time::Duration;

use ::redis::Value;
use futures_util::future::join_all;

use super::super::{Error, Ledger, Result};
use super::decode::{self, Record};
use super::{RedisLedger, optional};
use crate::redis::RESERVED;
use crate::share::{Digest, Ended, ShareId, State, Timestamp};

const DUE: &str = "due";
/// How many shares [`super::Ledger::due`] gives at once.
const DUE_AT_ONCE: usize = 100;
/// A receipt that can't be read is tried again so much later.
const UNREADABLE: Duration = Duration::from_secs(30);

impl RedisLedger {
    /// Looks after the share's bytes at `at`, unless another time was set before: `false`. [`Error::Full`] where Redis is full.
    pub(super) async fn look_first_at(&self, id: &ShareId, at: Timestamp) -> Result<bool> {
        let added = self.redis.ask(::redis::cmd("ZADD").arg(DUE).arg("NX").arg(at.0).arg(self.keys(id).id())).await?;
        Ok(added == Value::Int(1))
    }

    /// Looks after the share's bytes at `at` at the latest. [`Error::Full`] where Redis is full.
    pub(super) async fn look_by(&self, id: &ShareId, at: Timestamp) -> Result<()> {
        let lowered = self.redis.ask(::redis::cmd("ZADD").arg(DUE).arg("LT").arg(at.0).arg(self.keys(id).id())).await;
        Ok(lowered.map(drop)?)
    }

    /// Looks after the share's bytes at `at`, even where Redis is full.
    pub(super) async fn look_at(&self, id: &ShareId, at: Timestamp) -> Result<()> {
        let call = self.scripts.due.call(&[DUE], 64).arg(self.keys(id).id()).arg(at.0);
        Ok(self.redis.run(&call).await.map(drop)?)
    }

    /// The share's bytes need no looking after; `true` where they did.
    pub(super) async fn look_no_more(&self, id: &ShareId) -> Result<bool> {
        let removed = self.redis.ask(::redis::cmd("ZREM").arg(DUE).arg(self.keys(id).id())).await?;
        Ok(removed == Value::Int(1))
    }

    /// Looks after the share's bytes at `at`, where they are to be looked after at all; where it was `seen` when, unless somebody moved
    /// it since.
    pub(super) async fn look_later(&self, id: &ShareId, seen: Option<i64>, at: Timestamp) -> Result<()> {
        let call = self.scripts.defer.call(&[DUE], 64).arg(self.keys(id).id()).arg(optional(seen)).arg(at.0);
        Ok(self.redis.run(&call).await.map(drop)?)
    }

    /// Up to [`DUE_AT_ONCE`] shares whose bytes may be freed, and what they came to. Bytes that lie elsewhere are asked after twice: before
    /// and after this master is known to be the one that all servers believe. [`Error::Unacknowledged`] where it is that of none.
    pub(super) async fn due_for_certain(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>> {
        let mut due = self.overdue(now).await?;
        if !self.is_doubted() {
            return Ok(due);
        }
        let (mut confirmed, mut doubted) = (HashSet::new(), None);
        for (id, _) in due.drain(..) {
            match self.confirm(&id).await {
                Ok(()) => drop(confirmed.insert(id)),
                Err(error) => doubted = Some(error),
            }
        }
        if !confirmed.is_empty() {
            due = self.overdue(now).await?;
            due.retain(|(id, _)| confirmed.contains(id));
        }
        match doubted {
            Some(error) if due.is_empty() => Err(error),
            _ => Ok(due),
        }
    }

    /// As far as this master knows.
    async fn overdue(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>> {
        let mut due = Vec::new();
        // What is put off leaves the range, so that each round sees others; a few rounds are enough for one sweep.
        for _ in 0..8 {
            let mut range = ::redis::cmd("ZRANGEBYSCORE");
            range.arg(DUE).arg("-inf").arg(now.0).arg("WITHSCORES").arg("LIMIT").arg(0).arg(DUE_AT_ONCE);
            let listed = decode::scored(self.redis.ask(&range).await?);
            if listed.is_empty() {
                break;
            }
            // In a cluster some may be away, and no others wait for them.
            let receipts = join_all(listed.iter().map(async |(id, _)| self.record(&self.keys(id)).await)).await;
            due.clear();
            let mut put_off = false;
            for ((id, seen), receipt) in listed.iter().zip(receipts) {
                match verdict(receipt, *seen, now) {
                    Ok(ended) => due.push((*id, ended)),
                    Err(later) => {
                        put_off = true;
                        self.look_later(id, Some(*seen), later).await?;
                    }
                }
            }
            if !put_off || due.len() == DUE_AT_ONCE {
                break;
            }
        }
        Ok(due)
    }

    /// Reserves the room for `bytes` that an upload still has to bring before `until`; what it had reserved counts no more.
    /// [`Error::Full`] where they don't fit.
    pub(super) async fn reserve(&self, upload: &Digest, bytes: u64, until: Timestamp) -> Result<()> {
        self.set_reserved(upload, bytes, until, Some(self.redis.room().for_blobs())).await
    }

    /// What an upload still has to bring, and until when; at 0 nothing is reserved for it any more.
    pub(super) async fn still_to_come(&self, upload: &Digest, bytes: u64, until: Timestamp) -> Result<()> {
        self.set_reserved(upload, bytes, until, None).await
    }

    /// Nothing more is to come of an upload.
    pub(super) async fn give_back(&self, upload: &Digest) -> Result<()> {
        self.still_to_come(upload, 0, Timestamp(0)).await
    }

    async fn set_reserved(&self, upload: &Digest, bytes: u64, until: Timestamp, free: Option<u64>) -> Result<()> {
        let call = self.scripts.reserve.call(&[RESERVED], 128).arg(&upload.0[..]).arg(bytes).arg(until.0);
        match self.redis.run(&call.arg(optional(free))).await? {
            Value::Int(0) => Err(Error::Full),
            _ => Ok(()),
        }
    }
}

/// What the share of a hint that was `seen` came to, by its receipt; or when to look again.
fn verdict(receipt: Result<Option<Record>>, seen: i64, now: Timestamp) -> std::result::Result<Ended, Timestamp> {
    match receipt {
        Ok(Some(record)) if record.history.free_at(now) > now => Err(record.history.free_at(now)),
        Ok(Some(record)) => Ok(record.history.state(now)),
        Ok(None) => Ok(Ended { state: State::Abandoned, at: Timestamp(seen) }),
        // It is away, or what an eviction has left of it. The others are not to wait for that.
        Err(error) => {
            tracing::warn!(%error, "a receipt can't be read");
            Err(now.after(UNREADABLE))
        }
    }
}

/// Whether a call was refused, and so changed nothing for certain.
pub(super) fn is_refused<T>(result: &Result<T>) -> bool {
    !matches!(result, Ok(_) | Err(Error::Unavailable(_)))
}
