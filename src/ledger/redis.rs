//! The ledger in Redis: one script per transition, so that any number of web replicas may share it.
//!
//! Keys: `share:<id>` while it waits, `share:<id>:lease:<claim>` while a claim runs, `share:<id>:hits` and `:guesses`,
//! `upload:<id>:<token>`, `receipt:<id>`, which outlives them all; and for everything together `due`, `reserved`, `seen`,
//! `ledger` (its name).
//! In a cluster `<id>` is written `{<id>}`, so that all of one share is in one slot; a script touches one slot only.
//! A script decides by the caller's time: a key's TTL only cleans up behind it.

mod apart;
mod decode;
mod keys;
mod scripts;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use bytes::Bytes;

use self::decode::{Record, Reply, bytes_of};
use self::keys::Keys;
use self::scripts::Scripts;
use super::{
    Advance, Attempt, Charge, ClaimRequest, Error, Grant, Lease, Ledger, NewUpload, Publish, Remains, Result, Revoker,
    Share, Upload,
};
use crate::redis::{Call, Failure, RESERVED, Redis};
use crate::share::{
    Digest, Ended, GUESSES_PER_HOUR, GUESSES_PER_MINUTE, History, Network, RECEIPT_KEPT, ShareId, Timestamp, random,
};

const SEEN: &str = "seen";
const NAME: &str = "ledger";

/// Shares, leases and receipts in Redis.
pub struct RedisLedger {
    redis: Arc<Redis>,
    scripts: Scripts,
}

impl RedisLedger {
    /// The ledger in `redis`.
    pub fn new(redis: Arc<Redis>) -> Self {
        Self { redis, scripts: Scripts::new() }
    }

    fn keys(&self, id: &ShareId) -> Keys {
        Keys::of(id, &self.redis)
    }

    async fn run(&self, call: Call<'_>, now: Timestamp) -> Result<Reply> {
        Reply::of(self.redis.run(&call).await?, now, None)
    }

    /// Runs a transition for somebody who shows a proof, and may then know what became of the share.
    async fn run_for(&self, verifier: &Digest, call: Call<'_>, now: Timestamp) -> Result<Reply> {
        Reply::of(self.redis.run(&call).await?, now, Some(verifier))
    }

    /// Runs a transition that a client is told of only once enough replicas have it. That the share has ended is told no sooner:
    /// who hears that never asks again, and what ended it may be what a failover takes back.
    async fn run_acknowledged(&self, verifier: Option<&Digest>, call: Call<'_>, now: Timestamp) -> Result<Reply> {
        let (reply, acknowledged) = self.decide(verifier, call, now).await?;
        acknowledged.map(|()| reply)
    }

    /// As [`RedisLedger::run_acknowledged`], for a transition that more must follow, whether enough replicas have it or not: they
    /// will have it.
    async fn decide(&self, verifier: Option<&Digest>, call: Call<'_>, now: Timestamp) -> Result<(Reply, Result<()>)> {
        let (answer, acknowledged) = self.redis.run_acknowledged(&call).await?;
        match Reply::of(answer, now, verifier) {
            Ok(reply) => Ok((reply, acknowledged.map_err(Error::from))),
            Err(Error::Ended(ended)) => Err(acknowledged.map_or_else(Error::from, |()| Error::Ended(ended))),
            Err(error) => Err(error),
        }
    }

    /// Before somebody is told that a share was published or revoked whom its replicas kept from being told so then.
    async fn acknowledge(&self, keys: &Keys, now: Timestamp) -> Result<()> {
        if !self.redis.wants_acks() {
            return Ok(());
        }
        let call = self.scripts.acknowledge.call(&[&keys.receipt()], 0);
        self.run_acknowledged(None, call, now).await.map(drop)
    }

    /// Whether bytes lie elsewhere, and this master may be one that was cut off: bytes that lie here are its own.
    fn is_doubted(&self) -> bool {
        self.redis.wants_acks() && !self.redis.room().has_blobs()
    }

    async fn record(&self, keys: &Keys) -> Result<Option<Record>> {
        Record::of(self.redis.ask(&keys.get_receipt()).await?)
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn begin(&self, upload: &NewUpload, now: Timestamp) -> Result<()> {
        uploads::begin(self, upload, now).await
    }

    async fn upload(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload> {
        uploads::upload(self, id, token, now).await
    }

    async fn declare(&self, id: &ShareId, token: &Digest, length: u64, now: Timestamp) -> Result<()> {
        uploads::declare(self, id, token, length, now).await
    }

    async fn advance(&self, step: &Advance, now: Timestamp) -> Result<()> {
        uploads::advance(self, step, now).await
    }

    async fn publish(&self, publish: &Publish, now: Timestamp) -> Result<Timestamp> {
        uploads::publish(self, publish, now).await
    }

    async fn abandon(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains> {
        uploads::abandon(self, id, token, now).await
    }

    async fn peek(&self, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Result<Share> {
        let keys = self.keys(id);
        let call = self.scripts.peek.call(&[&keys.share(), &keys.receipt(), &keys.guesses()], 128).arg(now.0);
        let Some(attempt) = attempt else {
            let mut reply = self.run(call.arg(""), now).await?;
            let (size, password, expires_at) = (reply.number()?, reply.flag()?, reply.time()?);
            return Ok(Share { size, password, expires_at, shown: None });
        };
        let call = call.arg(&attempt.verifier.0[..]).arg(&network(&attempt.network)[..]).arg(&LIMITS);
        let mut reply = self.run_for(&attempt.verifier, call, now).await?;
        let (size, password, expires_at) = (reply.number()?, reply.flag()?, reply.time()?);
        Ok(Share { size, password, expires_at, shown: Some((reply.bytes()?, reply.number()?)) })
    }

    async fn admit(&self, id: &ShareId, from: &Network, now: Timestamp) -> Result<bool> {
        let keys = self.keys(id);
        let call = self.scripts.admit.call(&[&keys.share(), &keys.receipt(), &keys.guesses()], 128);
        self.run(call.arg(now.0).arg(&network(from)[..]).arg(&LIMITS), now).await?.flag()
    }

    async fn claim(&self, id: &ShareId, request: &ClaimRequest, now: Timestamp) -> Result<Grant> {
        let keys = self.keys(id);
        let lease = keys.lease(&request.claim);
        let names = [&*keys.share(), &keys.receipt(), &lease, &keys.hits(), &keys.guesses()];
        let ClaimRequest { claim, attempt, lease_expires_at } = request;
        let call = self.scripts.claim.call(&names, 256).arg(now.0).arg(&claim.0[..]);
        let call = call.arg(&attempt.verifier.0[..]).arg(&network(&attempt.network)[..]);
        let call = call.arg(lease_expires_at.0).arg(kept_for()).arg(&LIMITS).arg(self.redis.room().unreserved());
        let decided = self.decide(Some(&attempt.verifier), call, now).await.map_err(|error| match error {
            // Others' leases end: it is worth asking again.
            Error::Full => Error::Unavailable("Redis has no room for another lease of this share".into()),
            error => error,
        });
        let (mut reply, acknowledged) = decided?;
        let repeated = reply.flag()?;
        let (size, base, blob, manifest) = (reply.number()?, reply.number()?, reply.flag()?, reply.bytes()?);
        let (lease_expires_at, served) = (reply.time()?, reply.number()?);
        if blob {
            self.look_at(id, lease_expires_at).await?;
        }
        acknowledged?;
        if !repeated {
            self.redis.room().wrote(manifest.len() as u64);
        }
        Ok(Grant { lease: Lease { size, base, inline: !blob, manifest, lease_expires_at, served }, repeated })
    }

    async fn lease(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Lease> {
        let keys = self.keys(id);
        let call = self.scripts.lease.call(&[&keys.receipt(), &keys.lease(claim)], 32).arg(&claim.0[..]);
        self.run(call, now).await?.lease(now)
    }

    async fn charge(&self, id: &ShareId, claim: &Digest, charge: &Charge, now: Timestamp) -> Result<Option<Bytes>> {
        let keys = self.keys(id);
        let names = [&*keys.receipt(), &keys.lease(claim)];
        // Or gives back.
        let takes = charge.bytes >= 0;
        let mut content = ::redis::cmd("HGET");
        content.arg(names[1]).arg("inline");
        let attempt = async |claimed: &str| {
            let call = self.scripts.charge.call(&names, 256).arg(now.0).arg(&claim.0[..]).arg(charge.bytes);
            let call = call.arg(charge.limit).arg(charge.lease_expires_at.0).arg(kept_for()).arg(claimed);
            if !takes {
                return Ok((self.run(call, now).await?, None));
            }
            let (answer, content) = self.redis.run_beside(&call, &content).await?;
            Ok::<_, Error>((Reply::of(answer, now, None)?, bytes_of(content)))
        };
        // What is given back was charged, and so acknowledged, before.
        let doubts = self.redis.wants_acks() && takes;
        let (mut reply, mut content) = attempt(if doubts { "doubted" } else { "" }).await?;
        if !reply.flag()? {
            let call = self.scripts.confirm.call(&names, 64).arg(now.0).arg(&claim.0[..]);
            self.run_acknowledged(None, call, now).await?;
            (reply, content) = attempt("acknowledged").await?;
            reply.flag()?;
        }
        // It was finished between the two.
        if reply.flag()? && content.is_none() && takes {
            return Err(Error::Unknown);
        }
        // A lease that goes on needs no hint: the sweeper puts it off.
        if reply.flag()? {
            self.look_at(id, charge.lease_expires_at).await?;
        }
        Ok(content)
    }

    async fn finish(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Remains> {
        let keys = self.keys(id);
        let call = self.scripts.finish.call(&[&keys.receipt(), &keys.lease(claim)], 128).arg(now.0);
        let call = call.arg(&claim.0[..]).arg(now.after(RECEIPT_KEPT).0);
        let (mut reply, acknowledged) = self.decide(None, call, now).await?;
        let Some(record) = reply.record()? else { return acknowledged.map(|()| Remains::Nothing) };
        self.look_at(id, now).await?;
        acknowledged.map(|()| record.remains(now))
    }

    async fn revoke(&self, id: &ShareId, by: Revoker, now: Timestamp) -> Result<Remains> {
        let keys = self.keys(id);
        let names = [&*keys.receipt(), &keys.share(), &keys.hits(), &keys.guesses()];
        let call = self.scripts.revoke.call(&names, 128).arg(now.0);
        let call = match by {
            Revoker::Owner(owner) => call.arg(&owner.0[..]),
            Revoker::Operator => call.arg(""),
        };
        let (mut reply, acknowledged) = self.decide(None, call.arg(now.after(RECEIPT_KEPT).0), now).await?;
        let Some(record) = reply.record()? else { return Err(Error::Unknown) };
        // The receipt has ended these, and they would expire by themselves; a script can't name keys that it has to look up.
        let mut ended: Vec<String> = match by {
            Revoker::Owner(_) => Vec::new(),
            Revoker::Operator => record.claims.iter().map(|claim| keys.lease(claim)).collect(),
        };
        if record.history.expires_at.is_none() {
            ended.push(keys.upload(&record.token));
            self.give_back(&record.token).await?;
        }
        if !ended.is_empty() {
            self.redis.ask(::redis::cmd("UNLINK").arg(&ended)).await?;
        }
        if record.blob {
            self.look_at(id, now).await?;
        }
        acknowledged.map(|()| record.remains(now))
    }

    async fn receipt(&self, id: &ShareId, owner: &Digest, now: Timestamp) -> Result<History> {
        let keys = self.keys(id);
        let record = self.record(&keys).await?.filter(|record| record.owner == *owner && record.history.is_kept(now));
        let history = record.ok_or(Error::Unknown)?.history;
        if history.revoked_at.is_some() {
            self.acknowledge(&keys, now).await?;
        }
        Ok(history)
    }

    async fn hit(&self, id: &ShareId, now: Timestamp) -> Result<bool> {
        let keys = self.keys(id);
        let call = self.scripts.hit.call(&[&keys.share(), &keys.receipt(), &keys.hits()], 16).arg(now.0);
        Ok(self.redis.run(&call).await? == Value::Int(1))
    }

    async fn due(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>> {
        self.due_for_certain(now).await
    }

    async fn put_off(&self, id: &ShareId, until: Timestamp) -> Result<()> {
        self.look_later(id, None, until).await
    }

    async fn freed(&self, id: &ShareId, _now: Timestamp) -> Result<bool> {
        // The hint goes last: after a crash between the two the sweep comes by once more.
        self.redis.ask(::redis::cmd("HDEL").arg(self.keys(id).receipt()).arg("blob")).await?;
        self.look_no_more(id).await
    }

    async fn outstanding(&self) -> Result<u64> {
        if self.redis.room().has_blobs() {
            return Ok(0);
        }
        match self.redis.ask(::redis::cmd("HGET").arg(RESERVED).arg("total")).await? {
            Value::BulkString(total) => {
                Ok(std::str::from_utf8(&total).ok().and_then(|total| total.parse().ok()).unwrap_or(0))
            }
            _ => Ok(0),
        }
    }

    async fn holds(&self, id: &ShareId) -> Result<bool> {
        let exists = self.redis.ask(::redis::cmd("HEXISTS").arg(self.keys(id).receipt()).arg("blob")).await?;
        Ok(exists == Value::Int(1))
    }

    async fn name(&self) -> Result<String> {
        let made_up = format!("{:016x}", u64::from_ne_bytes(random()));
        self.redis.ask(::redis::cmd("SETNX").arg(NAME).arg(made_up)).await?;
        match self.redis.ask(::redis::cmd("GET").arg(NAME)).await? {
            Value::BulkString(name) => String::from_utf8(name).map_err(|_| decode::misread()),
            _ => Err(decode::misread()),
        }
    }

    async fn seen(&self) -> Result<u64> {
        match self.redis.run(&self.scripts.seen.call(&[SEEN], 0)).await? {
            Value::Int(seen) => Ok(seen.unsigned_abs()),
            _ => Err(decode::misread()),
        }
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.redis.ping().await?)
    }

    async fn confirm(&self, id: &ShareId) -> Result<()> {
        if self.is_doubted() {
            let (_, acknowledged) =
                self.redis.run_acknowledged(&self.scripts.certain.call(&[&self.keys(id).confirmed()], 0)).await?;
            acknowledged?;
        }
        Ok(())
    }

    fn caveat(&self) -> Option<String> {
        if let Some((has, wanted)) = self.redis.lacks_replicas() {
            return Some(format!("nothing can be published, claimed or revoked: {has} of {wanted} replicas are there"));
        }
        self.redis.room().evicts().then(|| "Redis may evict shares: set maxmemory-policy noeviction".into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Unacknowledged { by, of } => Self::Unacknowledged { by, of },
        }
    }
}

const LIMITS: [u32; 2] = [GUESSES_PER_MINUTE, GUESSES_PER_HOUR];

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn kept_for() -> u64 {
    millis(RECEIPT_KEPT)
}

/// A network as guesses are counted by it; half a digest tells networks apart well enough.
fn network(network: &Network) -> [u8; 16] {
    let digest = network.digest();
    *digest.0.first_chunk().expect("a digest has 32 bytes")
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
