//! Uploads: begun, brought, made a share, or given up.

use super::apart::is_refused;
use super::{RedisLedger, millis, optional};
use crate::ledger::{Advance, Error, NewUpload, Publish, Remains, Result, Upload};
use crate::share::{Digest, RECEIPT_KEPT, ShareId, Timestamp};

/// See [`crate::ledger::Ledger::begin`].
pub(super) async fn begin(ledger: &RedisLedger, upload: &NewUpload, now: Timestamp) -> Result<()> {
    let (keys, until) = (ledger.keys(&upload.id), upload.window_ends_at);
    let terms = &upload.terms;
    let call = ledger.scripts.begin.call(&[&keys.upload(&upload.token), &keys.receipt()], 512).arg(now.0);
    let call = call.arg(&upload.token.0[..]).arg(&upload.owner.0[..]).arg(&terms.verifier.0[..]);
    let call = call.arg(u8::from(terms.password)).arg(terms.downloads).arg(millis(terms.expires_in));
    let call = call.arg(optional(upload.length)).arg(upload.manifest_len).arg(until.0);
    let call = call.arg(until.after(RECEIPT_KEPT).0);
    let reserve = async {
        match upload.length {
            Some(length) => ledger.reserve(&upload.token, length, until).await,
            None => Ok(()),
        }
    };
    let (hinted, reserved) = tokio::join!(ledger.look_first_at(&upload.id, until), reserve);
    let begun = match (&hinted, reserved) {
        (Ok(_), Ok(())) => ledger.run(call, now).await.map(drop),
        (Err(error), _) => Err(error.clone()),
        (_, Err(error)) => Err(error),
    };
    if is_refused(&begun) {
        ledger.give_back(&upload.token).await?;
        if hinted == Ok(true) {
            ledger.look_no_more(&upload.id).await?;
        }
    }
    begun
}

/// See [`crate::ledger::Ledger::upload`].
pub(super) async fn upload(ledger: &RedisLedger, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload> {
    let keys = ledger.keys(id);
    let call = ledger.scripts.upload.call(&[&keys.upload(token), &keys.receipt()], 0);
    let upload = ledger.run(call, now).await?.upload(token, now)?;
    if upload.expires_at.is_some() {
        ledger.acknowledge(&keys, now).await?;
    }
    Ok(upload)
}

/// See [`crate::ledger::Ledger::declare`].
pub(super) async fn declare(
    ledger: &RedisLedger,
    id: &ShareId,
    token: &Digest,
    length: u64,
    now: Timestamp,
) -> Result<()> {
    let upload = upload(ledger, id, token, now).await?;
    if upload.length.is_some_and(|declared| declared != length) {
        return Err(Error::Conflict(upload.offset));
    }
    ledger.reserve(token, length.saturating_sub(upload.offset), upload.window_ends_at).await?;
    let keys = ledger.keys(id);
    let call = ledger.scripts.declare.call(&[&keys.upload(token), &keys.receipt()], 64).arg(now.0).arg(length);
    let declared = ledger.run(call, now).await.map(drop);
    if is_refused(&declared) {
        // Where another request declared a length meanwhile, that one's bytes stay reserved.
        match self::upload(ledger, id, token, now).await {
            Ok(Upload { length: Some(length), offset, window_ends_at, .. }) => {
                ledger.still_to_come(token, length.saturating_sub(offset), window_ends_at).await?;
            }
            _ => ledger.give_back(token).await?,
        }
    }
    declared
}

/// See [`crate::ledger::Ledger::advance`].
pub(super) async fn advance(ledger: &RedisLedger, step: &Advance, now: Timestamp) -> Result<()> {
    let keys = ledger.keys(&step.id);
    let room = ledger.redis.room();
    let fits = !room.has_blobs() || room.fits(step.to.saturating_sub(step.from));
    let call = ledger.scripts.advance.call(&[&keys.upload(&step.token), &keys.receipt()], 256).arg(now.0);
    let call = call.arg(step.writer).arg(step.from).arg(step.to);
    let call = call.arg(optional(step.window_ends_at.map(|at| at.0)));
    let call = call.arg(optional(step.window_ends_at.map(|at| at.after(RECEIPT_KEPT).0)));
    let mut reply = ledger.run(call.arg(u8::from(fits)), now).await?;
    // A window that moves on needs no hint: the sweeper looks when the first one ends, and then puts it off.
    match reply.maybe() {
        None => Ok(()),
        Some(length) => {
            ledger.still_to_come(&step.token, length.unsigned_abs().saturating_sub(step.to), reply.time()?).await
        }
    }
}

/// See [`crate::ledger::Ledger::publish`].
pub(super) async fn publish(ledger: &RedisLedger, publish: &Publish, now: Timestamp) -> Result<Timestamp> {
    let keys = ledger.keys(&publish.id);
    let names = [&*keys.share(), &keys.receipt(), &keys.upload(&publish.token)];
    let terms = &publish.terms;
    let expires = now.after(terms.expires_in);
    let content = publish.inline.as_deref().unwrap_or_default();
    let bytes = publish.manifest.len() + content.len();
    let room = ledger.redis.room();
    // What was begun before has its room reserved, or took it while there was some.
    let fits = publish.begin.is_none() || room.fits(bytes as u64);
    let call = ledger.scripts.publish.call(&names, bytes + 1024).arg(now.0);
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
        ledger.run_acknowledged(None, call, now).await
    } else {
        // All at once, for a refused call has every byte here too, and an early hint does no harm.
        let (published, hinted, given_back) = tokio::join!(
            ledger.run_acknowledged(None, call, now),
            ledger.look_by(&publish.id, expires),
            ledger.give_back(&publish.token)
        );
        published.and_then(|reply| hinted.and(given_back).map(|()| reply))
    };
    let expires = published?.time()?;
    room.wrote(bytes as u64);
    Ok(expires)
}

/// See [`crate::ledger::Ledger::abandon`].
pub(super) async fn abandon(ledger: &RedisLedger, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains> {
    let keys = ledger.keys(id);
    let call = ledger.scripts.abandon.call(&[&keys.upload(token), &keys.receipt()], 128).arg(now.0);
    let mut reply = ledger.run(call.arg(&token.0[..]).arg(now.after(RECEIPT_KEPT).0), now).await?;
    if reply.optional().is_none() {
        ledger.give_back(token).await?;
        return Ok(Remains::Nothing);
    }
    tokio::try_join!(ledger.give_back(token), ledger.look_at(id, now))?;
    Ok(Remains::Blob)
}
