//! Ends: withdrawn, given up or run out; and the bytes let go of.

use rusqlite::Connection;

use super::record::Record;
use super::step::{Step, hold, millis, owned};
use super::writer::Book;
use crate::ledger::{Error, Remains, Revoker};
use crate::share::{Ended, RECEIPT_KEPT, ShareId, State, Timestamp};

/// Shares that are looked at in one transaction.
const SWEPT_AT_ONCE: usize = 100;

/// See [`crate::ledger::Ledger::revoke`].
pub(super) fn revoke(book: &mut Book, id: &ShareId, by: Revoker, now: Timestamp) -> Step<Remains> {
    let record = match by {
        Revoker::Owner(owner) => owned(&book.db, id, &owner)?,
        Revoker::Operator => Record::load(&book.db, id)?.ok_or(Error::Unknown)?,
    };
    let spent = record.claims.len() >= record.history.downloads as usize;
    match (by, record.history.state(now).state) {
        (Revoker::Owner(_), _) if spent => return Err(Error::Claimed.into()),
        (_, State::Uploading | State::Abandoned) => give_up(book, &record, now)?,
        (_, State::Ready) => {
            let update = "UPDATE share SET revoked_at = ?2 WHERE number = ?1";
            book.db.prepare_cached(update)?.execute([record.number, now.0])?;
        }
        _ => {}
    }
    if matches!(by, Revoker::Operator) {
        let update =
            "UPDATE claim SET lease_expires_at = min(lease_expires_at, ?2) WHERE share = ?1 AND finished_at IS NULL";
        book.db.prepare_cached(update)?.execute([record.number, now.0])?;
    }
    release(book, id, now)
}

/// Shares whose bytes may be freed, and whether there are more to look at. Receipts that were kept long enough go.
pub(super) fn due(book: &mut Book, now: Timestamp) -> Step<(Vec<(ShareId, Ended)>, bool)> {
    let old = now.0 - millis(RECEIPT_KEPT);
    for delete in [
        "DELETE FROM claim WHERE share IN (SELECT number FROM share WHERE freed_at < ?1)",
        "DELETE FROM guess WHERE id IN (SELECT id FROM share WHERE freed_at < ?1)",
        "DELETE FROM share WHERE freed_at < ?1",
    ] {
        book.db.execute(delete, [old])?;
    }
    let ids: Vec<[u8; 16]> = book
        .db
        .prepare_cached("SELECT id FROM share WHERE free_at <= ?1 LIMIT ?2")?
        .query_map([now.0, SWEPT_AT_ONCE as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let more = ids.len() == SWEPT_AT_ONCE;
    let mut due = Vec::new();
    for id in ids.into_iter().map(ShareId::from_bytes) {
        let Some(record) = Record::load(&book.db, &id)? else { continue };
        let free_at = record.history.free_at(now);
        if free_at <= now {
            due.push((id, record.history.state(now)));
        } else {
            look_at(&book.db, &record, free_at)?;
        }
    }
    Ok((due, more))
}

/// See [`crate::ledger::Ledger::put_off`].
pub(super) fn put_off(book: &mut Book, id: &ShareId, until: Timestamp) -> Step<()> {
    match Record::load(&book.db, id)? {
        Some(record) if record.free_at.is_some() => look_at(&book.db, &record, until),
        _ => Ok(()),
    }
}

/// See [`crate::ledger::Ledger::freed`].
pub(super) fn freed(book: &mut Book, id: &ShareId, now: Timestamp) -> Step<bool> {
    match Record::load(&book.db, id)? {
        Some(record) if record.free_at.is_some() && record.history.free_at(now) <= now => {
            forget(book, &record, now)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Ends an upload: what it had reserved and not yet filled is free for others at once.
pub(super) fn give_up(book: &mut Book, record: &Record, now: Timestamp) -> Step<()> {
    hold(book, record, record.held.min(record.upload.offset), u64::MAX)?;
    let update = "UPDATE share SET abandoned_at = coalesce(abandoned_at, ?2) WHERE number = ?1 AND window_ends_at > ?2";
    book.db.prepare_cached(update)?.execute([record.number, now.0])?;
    Ok(())
}

/// Lets go of the bytes where nobody may read them any more, and says what is left to free.
pub(super) fn release(book: &mut Book, id: &ShareId, now: Timestamp) -> Step<Remains> {
    let Some(record) = Record::load(&book.db, id)? else { return Ok(Remains::Nothing) };
    let free_at = record.history.free_at(now);
    if record.free_at.is_none() || free_at > now {
        look_by(&book.db, &record, free_at)?;
        return Ok(Remains::Nothing);
    }
    if record.inline {
        forget(book, &record, now)?;
        return Ok(Remains::Nothing);
    }
    look_by(&book.db, &record, now)?;
    Ok(Remains::Blob)
}

/// Has the share looked at by `at`, where it would be later.
pub(super) fn look_by(db: &Connection, record: &Record, at: Timestamp) -> Step<()> {
    if record.free_at.is_some_and(|planned| at < planned) { look_at(db, record, at) } else { Ok(()) }
}

fn look_at(db: &Connection, record: &Record, at: Timestamp) -> Step<()> {
    db.prepare_cached("UPDATE share SET free_at = ?2 WHERE number = ?1")?.execute([record.number, at.0])?;
    Ok(())
}

/// The share occupies nothing any more.
fn forget(book: &mut Book, record: &Record, now: Timestamp) -> Step<()> {
    book.db.prepare_cached("DELETE FROM payload WHERE share = ?1")?.execute([record.number])?;
    book.db
        .prepare_cached("UPDATE share SET held = 0, free_at = NULL, freed_at = ?2 WHERE number = ?1")?
        .execute([record.number, now.0])?;
    book.held = book.held.saturating_sub(record.held);
    Ok(())
}
