//! Uploads under way: they get on, or are given up.

use super::ends::{give_up, release};
use super::record::Record;
use super::step::{Step, hold, signed, uploaded};
use super::writer::Book;
use crate::ledger::{Advance, Error, Remains};
use crate::share::{Digest, ShareId, Timestamp};

/// See [`crate::ledger::Ledger::declare`].
pub(super) fn declare(
    book: &mut Book,
    id: &ShareId,
    token: &Digest,
    length: u64,
    max_storage: u64,
    now: Timestamp,
) -> Step<()> {
    let record = uploaded(&book.db, id, token, now)?;
    match record.upload.length {
        Some(known) if known == length => return Ok(()),
        None if record.upload.offset <= length => {}
        _ => return Err(Error::Conflict(record.upload.offset).into()),
    }
    hold(book, &record, record.held.max(length), max_storage)?;
    let update = "UPDATE share SET length = ?2 WHERE number = ?1";
    book.db.prepare_cached(update)?.execute([record.number, signed(length)])?;
    Ok(())
}

/// See [`crate::ledger::Ledger::advance`].
pub(super) fn advance(book: &mut Book, step: &Advance, max_storage: u64, now: Timestamp) -> Step<()> {
    let record = uploaded(&book.db, &step.id, &step.token, now)?;
    let at = record.upload.offset;
    let writer = step.writer.cast_signed();
    if at != step.from && (at != step.to || record.writer != writer) {
        return Err(Error::Conflict(at).into());
    }
    if record.upload.expires_at.is_some() {
        return if step.to == at { Ok(()) } else { Err(Error::Published.into()) };
    }
    if record.upload.length.is_some_and(|length| record.resumable && step.to > length) {
        return Err(Error::Conflict(at).into());
    }
    hold(book, &record, record.held.max(step.to), max_storage)?;
    let window = step.window_ends_at.unwrap_or(record.upload.window_ends_at).0;
    let update = "UPDATE share SET position = ?2, writer = ?3, window_ends_at = ?4, free_at = ?4 WHERE number = ?1";
    book.db.prepare_cached(update)?.execute([record.number, signed(step.to), writer, window])?;
    Ok(())
}

/// See [`crate::ledger::Ledger::abandon`].
pub(super) fn abandon(book: &mut Book, id: &ShareId, token: &Digest, now: Timestamp) -> Step<Remains> {
    let record = Record::load(&book.db, id)?.filter(|record| record.token == *token).ok_or(Error::Unknown)?;
    if record.upload.expires_at.is_some() {
        return Err(Error::Published.into());
    }
    give_up(book, &record, now)?;
    release(book, id, now)
}
