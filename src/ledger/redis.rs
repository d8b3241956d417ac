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

use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use bytes::Bytes;

use self::apart::is_refused;
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
        let (keys, until) = (self.keys(&upload.id), upload.window_ends_at);
        let terms = &upload.terms;
        let call = self.scripts.begin.call(&[&keys.upload(&upload.token), &keys.receipt()], 512).arg(now.0);
        let call = call.arg(&upload.token.0[..]).arg(&upload.owner.0[..]).arg(&terms.verifier.0[..]);
        let call = call.arg(u8::from(terms.password)).arg(terms.downloads).arg(millis(terms.expires_in));
        let call = call.arg(optional(upload.length)).arg(upload.manifest_len).arg(until.0);
        let call = call.arg(until.after(RECEIPT_KEPT).0);
        let reserve = async {
            match upload.length {
                Some(length) => self.reserve(&upload.token, length, until).await,
                None => Ok(()),
            }
        };
        let (hinted, reserved) = tokio::join!(self.look_first_at(&upload.id, until), reserve);
        let begun = match (&hinted, reserved) {
            (Ok(_), Ok(())) => self.run(call, now).await.map(drop),
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error),
        };
        if is_refused(&begun) {
            self.give_back(&upload.token).await?;
            if hinted == Ok(true) {
                self.look_no_more(&upload.id).await?;
            }
        }
        begun
    }

    async fn upload(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload> {
        let keys = self.keys(id);
        let call = self.scripts.upload.call(&[&keys.upload(token), &keys.receipt()], 0);
        let upload = self.run(call, now).await?.upload(token, now)?;
        if upload.expires_at.is_some() {
            self.acknowledge(&keys, now).await?;
        }
        Ok(upload)
    }

    async fn declare(&self, id: &ShareId, token: &Digest, length: u64, now: Timestamp) -> Result<()> {
        let upload = self.upload(id, token, now).await?;
        if upload.length.is_some_and(|declared| declared != length) {
            return Err(Error::Conflict(upload.offset));
        }
        self.reserve(token, length.saturating_sub(upload.offset), upload.window_ends_at).await?;
        let keys = self.keys(id);
        let call = self.scripts.declare.call(&[&keys.upload(token), &keys.receipt()], 64).arg(now.0).arg(length);
        let declared = self.run(call, now).await.map(drop);
        if is_refused(&declared) {
            self.give_back(token).await?;
        }
        declared
    }

    async fn advance(&self, step: &Advance, now: Timestamp) -> Result<()> {
        let keys = self.keys(&step.id);
        let room = self.redis.room();
        let fits = !room.has_blobs() || room.fits(step.to.saturating_sub(step.from));
        let call = self.scripts.advance.call(&[&keys.upload(&step.token), &keys.receipt()], 256).arg(now.0);
        let call = call.arg(step.writer).arg(step.from).arg(step.to);
        let call = call.arg(optional(step.window_ends_at.map(|at| at.0)));
        let call = call.arg(optional(step.window_ends_at.map(|at| at.after(RECEIPT_KEPT).0)));
        let mut reply = self.run(call.arg(u8::from(fits)), now).await?;
        // A window that moves on needs no hint: the sweeper looks when the first one ends, and then puts it off.
        match reply.maybe() {
            None => Ok(()),
            Some(length) => {
                self.still_to_come(&step.token, length.unsigned_abs().saturating_sub(step.to), reply.time()?).await
            }
        }
    }

    async fn publish(&self, publish: &Publish, now: Timestamp) -> Result<Timestamp> {
        let keys = self.keys(&publish.id);
        let names = [&*keys.share(), &keys.receipt(), &keys.upload(&publish.token)];
        let terms = &publish.terms;
        let expires = now.after(terms.expires_in);
        let content = publish.inline.as_deref().unwrap_or_default();
        let bytes = publish.manifest.len() + content.len();
        let room = self.redis.room();
        // What was begun before has its room reserved, and is not refused for what others reserved since.
        let fits = if publish.begin.is_some() { room.fits(bytes as u64) } else { bytes as u64 <= room.free() };
        let call = self.scripts.publish.call(&names, bytes + 1024).arg(now.0);
        let call = call.arg(&publish.token.0[..]).arg(&terms.verifier.0[..]).arg(u8::from(terms.password));
        let call = call.arg(terms.downloads).arg(expires.0).arg(expires.after(RECEIPT_KEPT).0);
        let call = call.arg(publish.size).arg(publish.base).arg(&publish.manifest[..]);
        let call = call.arg(u8::from(publish.inline.is_some())).arg(content).arg(u8::from(fits));
        let call = match &publish.begin {
            None => call.arg(0),
            Some(begin) => {
                let length = begin.length.unwrap_or(publish.base + publish.size);
                let call = call.arg(1).arg(&begin.owner.0[..]).arg(begin.window_ends_at.0);
                call.arg(length).arg(begin.manifest_len)
            }
        };
        let published = if publish.inline.is_some() {
            self.run_acknowledged(None, call, now).await
        } else {
            // All at once, for a refused call has every byte here too, and an early hint does no harm.
            let (published, hinted, given_back) = tokio::join!(
                self.run_acknowledged(None, call, now),
                self.look_by(&publish.id, expires),
                self.give_back(&publish.token)
            );
            published.and_then(|reply| hinted.and(given_back).map(|()| reply))
        };
        let expires = published?.time()?;
        room.wrote(bytes as u64);
        Ok(expires)
    }

    async fn abandon(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains> {
        let keys = self.keys(id);
        let call = self.scripts.abandon.call(&[&keys.upload(token), &keys.receipt()], 128).arg(now.0);
        let mut reply = self.run(call.arg(&token.0[..]).arg(now.after(RECEIPT_KEPT).0), now).await?;
        if reply.optional().is_none() {
            self.give_back(token).await?;
            return Ok(Remains::Nothing);
        }
        tokio::try_join!(self.give_back(token), self.look_at(id, now))?;
        Ok(Remains::Blob)
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
        let call = call.arg(lease_expires_at.0).arg(kept_for()).arg(&LIMITS);
        let (mut reply, acknowledged) = self.decide(Some(&attempt.verifier), call, now).await?;
        let repeated = reply.flag()?;
        let (size, base, blob, manifest) = (reply.number()?, reply.number()?, reply.flag()?, reply.bytes()?);
        let (lease_expires_at, served) = (reply.time()?, reply.number()?);
        if blob {
            self.look_at(id, lease_expires_at).await?;
        }
        acknowledged?;
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
            let mut write = ::redis::cmd("SET");
            write.arg(self.keys(id).confirmed()).arg(1).arg("PX").arg(1000);
            self.redis.ask_acknowledged(vec![write]).await?;
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
