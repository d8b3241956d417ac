//! Reads what the scripts answer, and the receipts they keep.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use super::super::{Error, Lease, Remains, Result, Terms, Upload};
use crate::share::{Claim, Digest, Ended, History, ShareId, State, Timestamp};

/// What follows the `ok` of a script's answer.
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// The answer of a script, or the error that it names. Who showed the right `verifier` learns what became of the share.
    pub(super) fn of(answer: Value, now: Timestamp, verifier: Option<&Digest>) -> Result<Self> {
        let Value::Array(answer) = answer else { return Err(misread()) };
        let mut reply = Self(answer.into_iter());
        let Some(Value::BulkString(word)) = reply.0.next() else { return Err(misread()) };
        Err(match &word[..] {
            b"ok" => return Ok(reply),
            b"unknown" => Error::Unknown,
            b"gone" => gone(reply.record()?, verifier, now),
            b"claim" => claim_ended(&reply.claim()?, now),
            b"wrong" => Error::WrongProof,
            b"locked" => Error::Locked(Duration::from_millis(reply.number()?)),
            b"conflict" => Error::Conflict(reply.number()?),
            b"published" => Error::Published,
            b"claimed" => Error::Claimed,
            b"spent" => Error::BudgetSpent,
            b"full" => Error::Full,
            _ => misread(),
        })
    }

    pub(super) fn number<N: TryFrom<i64>>(&mut self) -> Result<N> {
        let number = self.0.next().as_ref().and_then(integer).ok_or_else(misread)?;
        N::try_from(number).map_err(|_| misread())
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        self.number::<i64>().map(|number| number == 1)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        self.number().map(Timestamp)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        self.optional().ok_or_else(misread)
    }

    pub(super) fn optional(&mut self) -> Option<Bytes> {
        self.0.next().and_then(bytes_of)
    }

    /// A receipt; `None` where there is none.
    pub(super) fn record(&mut self) -> Result<Option<Record>> {
        self.0.next().map_or(Ok(None), Record::of)
    }

    pub(super) fn lease(mut self, now: Timestamp) -> Result<Lease> {
        let claim = self.claim()?;
        let size = self.0.next().as_ref().and_then(integer).and_then(|size| u64::try_from(size).ok());
        let (Some(size), State::Claimed) = (size, claim.state(now).state) else { return Err(claim_ended(&claim, now)) };
        let (base, blob, manifest) = (self.number()?, self.flag()?, self.bytes()?);
        let Claim { lease_expires_at, served, .. } = claim;
        Ok(Lease { size, base, inline: !blob, manifest, lease_expires_at, served })
    }

    pub(super) fn upload(mut self, token: &Digest, now: Timestamp) -> Result<Upload> {
        let (Some(Value::Array(upload)), Some(Value::Array(receipt))) = (self.0.next(), self.0.next()) else {
            return Err(misread());
        };
        let (mut upload, mut receipt) = (Self(upload.into_iter()), Self(receipt.into_iter()));
        if receipt.optional().is_none_or(|kept| kept[..] != token.0) {
            return Err(Error::Unknown);
        }
        let expires_at = receipt.maybe().map(Timestamp);
        if receipt.maybe().is_some() {
            return Err(Error::Unknown);
        }
        let upload = match (upload.maybe(), receipt.maybe()) {
            (Some(window), _) => {
                let (length, manifest_len) = (upload.maybe().map(i64::unsigned_abs), upload.number()?);
                let offset = upload.number()?;
                let (verifier, password, downloads) = (upload.digest()?, upload.flag()?, upload.number()?);
                let expires_in = Duration::from_millis(upload.number()?);
                let terms = Terms { verifier, password, downloads, expires_in };
                Upload { terms, length, manifest_len, offset, window_ends_at: Timestamp(window), expires_at }
            }
            (None, Some(window)) => {
                // Only an upload that was whole at once has a length in its receipt.
                let Some(length) = receipt.maybe().map(i64::unsigned_abs) else { return Err(Error::Unknown) };
                let manifest_len = receipt.number()?;
                let (verifier, password, downloads) = (receipt.digest()?, receipt.flag()?, receipt.number()?);
                let created = receipt.time()?;
                let expires_in = expires_at.map_or(Duration::ZERO, |at| created.until(at));
                let terms = Terms { verifier, password, downloads, expires_in };
                let window_ends_at = Timestamp(window);
                Upload { terms, length: Some(length), manifest_len, offset: length, window_ends_at, expires_at }
            }
            (None, None) => return Err(Error::Unknown),
        };
        if upload.window_ends_at <= now {
            return Err(Error::Unknown);
        }
        Ok(upload)
    }

    /// A number that may be missing or empty.
    pub(super) fn maybe(&mut self) -> Option<i64> {
        self.0.next().as_ref().and_then(integer)
    }

    fn digest(&mut self) -> Result<Digest> {
        digest(&self.bytes()?)
    }

    fn claim(&mut self) -> Result<Claim> {
        numbered_claim(&self.bytes()?).map(|(_, claim)| claim).ok_or_else(misread)
    }
}

/// A receipt as it is kept.
pub(super) struct Record {
    pub(super) token: Digest,
    pub(super) owner: Digest,
    verifier: Digest,
    /// Whether the blobs hold, or may come to hold, its bytes.
    pub(super) blob: bool,
    pub(super) history: History,
    /// Digests of the claims, in the order of the history's.
    pub(super) claims: Vec<Digest>,
}

impl Record {
    /// Of the answer to HGETALL; `None` where that is empty.
    pub(super) fn of(answer: Value) -> Result<Option<Self>> {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = ::redis::from_redis_value(answer).map_err(|_| misread())?;
        if fields.is_empty() {
            return Ok(None);
        }
        let value = |name: &str| fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| &value[..]);
        let number = |name: &str| value(name).and_then(parse);
        let count = |name: &str| number(name).unwrap_or(0).unsigned_abs();
        let time = |name: &str| number(name).map(Timestamp);
        let known = |name: &str| value(name).ok_or_else(misread).and_then(digest);
        let mut claims = Vec::new();
        for (field, value) in &fields {
            if let [b'c', claim @ ..] = &field[..]
                && let Ok(claim) = <[u8; 32]>::try_from(claim)
            {
                let (number, told) = numbered_claim(value).ok_or_else(misread)?;
                claims.push((number, Digest(claim), told));
            }
        }
        claims.sort_by_key(|(number, ..)| *number);
        let history = History {
            created_at: time("created").ok_or_else(misread)?,
            window_ends_at: time("window").ok_or_else(misread)?,
            abandoned_at: time("abandoned"),
            expires_at: time("expires"),
            revoked_at: time("revoked"),
            size: count("size"),
            downloads: u32::try_from(count("downloads")).map_err(|_| misread())?,
            opened: count("opened"),
            wrong_proofs: count("wrong"),
            claims: claims.iter().map(|(_, _, told)| *told).collect(),
        };
        Ok(Some(Self {
            token: known("token")?,
            owner: known("owner")?,
            verifier: known("verifier")?,
            blob: value("blob").is_some(),
            history,
            claims: claims.into_iter().map(|(_, claim, _)| claim).collect(),
        }))
    }

    pub(super) fn remains(&self, now: Timestamp) -> Remains {
        if self.blob && self.history.free_at(now) <= now { Remains::Blob } else { Remains::Nothing }
    }
}

/// What somebody is told of a share that doesn't wait any more.
fn gone(record: Option<Record>, verifier: Option<&Digest>, now: Timestamp) -> Error {
    let Some(record) = record.filter(|record| Some(&record.verifier) == verifier && record.history.is_kept(now)) else {
        return Error::Unknown;
    };
    let ended = record.history.state(now);
    match (ended.state, record.history.expires_at) {
        (State::Uploading | State::Abandoned, _) | (_, None) => Error::Unknown,
        // Redis' clock was a little ahead of the caller's.
        (State::Ready, Some(at)) => Error::Ended(Ended { state: State::Expired, at }),
        _ => Error::Ended(ended),
    }
}

/// The end of a claim; one that still seems to run has outlived its lease by Redis' clock.
fn claim_ended(claim: &Claim, now: Timestamp) -> Error {
    match claim.state(now) {
        Ended { state: State::Claimed, .. } => Error::Ended(Ended { state: State::Lapsed, at: claim.lease_expires_at }),
        ended => Error::Ended(ended),
    }
}

/// The members of a sorted set of shares, with their scores.
pub(super) fn scored(answer: Value) -> Vec<(ShareId, i64)> {
    let pairs: Vec<(String, f64)> = ::redis::from_redis_value(answer).unwrap_or_default();
    pairs.into_iter().filter_map(|(id, score)| Some((id.parse().ok()?, score as i64))).collect()
}

/// The bytes of an answer that has some.
pub(super) fn bytes_of(answer: Value) -> Option<Bytes> {
    match answer {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

pub(super) fn misread() -> Error {
    Error::Unavailable("redis: an answer of an unknown form".to_owned())
}

/// `number granted ends finished served`, as the scripts write it.
fn numbered_claim(text: &[u8]) -> Option<(i64, Claim)> {
    let mut numbers = std::str::from_utf8(text).ok()?.split(' ').map(|number| number.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    let number = next()?;
    let (claimed_at, lease_expires_at) = (Timestamp(next()?), Timestamp(next()?));
    let finished_at = Some(next()?).filter(|at| *at != 0).map(Timestamp);
    Some((number, Claim { claimed_at, lease_expires_at, finished_at, served: next()?.unsigned_abs() }))
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => parse(text),
        _ => None,
    }
}

fn parse(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn digest(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Result<Digest> {
    bytes.as_ref().try_into().map(Digest).map_err(|_| misread())
}
