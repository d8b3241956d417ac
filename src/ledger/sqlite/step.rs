//! The steps that transitions are made of: what they look up, and what they move.

use std::time::Duration;

use rusqlite::Connection;

use super::record::{Record, count_guess, count_wrong, locked};
use super::writer::{Book, Stop};
use crate::ledger::{Attempt, Error};
use crate::share::{Digest, ShareId, State, Timestamp};

/// What a step gives, or why its transition stops.
pub(super) type Step<T> = std::result::Result<T, Stop>;

/// What whoever shows a proof learns of a share that does not wait.
fn gone(record: &Record, attempt: &Attempt, now: Timestamp) -> Error {
    if record.history.expires_at.is_some() && attempt.verifier == record.upload.terms.verifier {
        Error::Ended(record.state(now))
    } else {
        Error::Unknown
    }
}

/// Counts a proof that [`waiting`] refused, where it is to be counted, and passes the refusal on.
pub(super) fn counted(db: &Connection, id: &ShareId, attempt: &Attempt, refused: Stop, now: Timestamp) -> Stop {
    let count = || -> rusqlite::Result<()> {
        let Some(record) = Record::load(db, id)? else { return Ok(()) };
        let password = record.upload.terms.password;
        match &refused {
            Stop::Answer(Error::WrongProof) => count_wrong(db, id, &attempt.network, password, now),
            Stop::Answer(Error::Unknown)
                if password
                    && record.history.expires_at.is_some()
                    && attempt.verifier != record.upload.terms.verifier =>
            {
                if locked(db, id, &attempt.network, now)?.is_some() {
                    return Ok(());
                }
                count_guess(db, id, &attempt.network, now)
            }
            _ => Ok(()),
        }
    };
    match count() {
        Ok(()) => refused,
        Err(failure) => failure.into(),
    }
}

/// The record of a waiting share, for somebody who may show a proof.
pub(super) fn waiting(db: &Connection, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Step<Record> {
    admitted(db, Record::load(db, id)?.ok_or(Error::Unknown)?, attempt, now)
}

/// As [`waiting`], of a record that is loaded.
pub(super) fn admitted(db: &Connection, record: Record, attempt: Option<&Attempt>, now: Timestamp) -> Step<Record> {
    let id = &record.id;
    let waits = record.state(now).state == State::Ready;
    let Some(attempt) = attempt else { return if waits { Ok(record) } else { Err(Error::Unknown.into()) } };
    let has_password = record.upload.terms.password && record.history.expires_at.is_some();
    if has_password && let Some(wait) = locked(db, id, &attempt.network, now)? {
        // Of a share that ended, the answer would tell a right password: whoever has tried too many finds nothing.
        return Err(if waits { Error::Locked(wait) } else { Error::Unknown }.into());
    }
    if !waits {
        return Err(gone(&record, attempt, now).into());
    }
    if attempt.verifier != record.upload.terms.verifier {
        return Err(Error::WrongProof.into());
    }
    Ok(record)
}

pub(super) fn owned(db: &Connection, id: &ShareId, owner: &Digest) -> Step<Record> {
    Ok(Record::load(db, id)?.filter(|record| record.owner == *owner).ok_or(Error::Unknown)?)
}

/// The record of an upload that answers to `token`.
pub(super) fn uploaded(db: &Connection, id: &ShareId, token: &Digest, now: Timestamp) -> Step<Record> {
    let answers = |record: &Record| record.token == *token && record.is_open(now);
    Ok(Record::load(db, id)?.filter(answers).ok_or(Error::Unknown)?)
}

/// Moves what the share occupies to `held` bytes.
pub(super) fn hold(book: &mut Book, record: &Record, held: u64, max_storage: u64) -> Step<()> {
    make_room(book, held.saturating_sub(record.held), max_storage)?;
    if held != record.held {
        book.db
            .prepare_cached("UPDATE share SET held = ?2 WHERE number = ?1")?
            .execute([record.number, signed(held)])?;
        book.held = book.held.saturating_sub(record.held).saturating_add(held);
    }
    Ok(())
}

/// Whether `more` bytes fit. The sum is taken anew before anybody is refused: a takedown frees beside a running server.
pub(super) fn make_room(book: &mut Book, more: u64, max_storage: u64) -> Step<()> {
    if more > 0 && book.held.saturating_add(more) > max_storage {
        let sum = "SELECT coalesce(sum(held), 0) FROM share";
        book.held = book.db.query_row(sum, [], |row| row.get::<_, i64>(0))?.cast_unsigned();
        if book.held.saturating_add(more) > max_storage {
            return Err(Error::Full.into());
        }
    }
    Ok(())
}

/// SQLite has signed integers only.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
