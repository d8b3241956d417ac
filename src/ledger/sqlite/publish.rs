//! How an upload gets its row, and how that becomes a share.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::params;

use super::record::Record;
use super::step::{Step, hold, make_room, millis, signed, uploaded};
use super::writer::Book;
use crate::ledger::{Error, NewUpload, Publish};
use crate::share::Timestamp;

/// Whether a share's bytes are due is looked at so long after it was published, and then whenever something ends. One that is claimed
/// sooner, for no shorter a lease, need not be moved in the index of what is due.
const FIRST_LOOK: Duration = Duration::from_secs(600);

/// See [`crate::ledger::Ledger::begin`].
pub(super) fn begin(book: &mut Book, upload: &NewUpload, max_storage: u64, now: Timestamp) -> Step<()> {
    match Record::load(&book.db, &upload.id)? {
        Some(record) if record.token == upload.token => Ok(()),
        Some(_) => Err(Error::Unknown.into()),
        None => insert(book, upload, None, upload.length.unwrap_or(0), max_storage, now).map(drop),
    }
}

/// Makes a share of an upload, or of what was never one; says when it expires.
pub(super) fn publish(book: &mut Book, publish: &Publish, max_storage: u64, now: Timestamp) -> Step<Timestamp> {
    let expires_at = now.after(publish.terms.expires_in);
    let small = (publish.manifest.len() + publish.inline.as_ref().map_or(0, Bytes::len)) as u64;
    let number = match &publish.begin {
        Some(begin) if Record::load(&book.db, &publish.id)?.is_none() => {
            insert(book, begin, Some((publish, expires_at)), small, max_storage, now)?
        }
        _ => {
            let record = uploaded(&book.db, &publish.id, &publish.token, now)?;
            if let Some(expires_at) = record.upload.expires_at {
                return Ok(expires_at);
            }
            let end = publish.base + publish.size;
            hold(book, &record, if publish.inline.is_some() { small } else { end }, max_storage)?;
            settle(book, &record, publish, expires_at, now)?;
            record.number
        }
    };
    book.db.prepare_cached("INSERT INTO payload (share, manifest, content) VALUES (?1, ?2, ?3)")?.execute(params![
        number,
        &publish.manifest[..],
        publish.inline.as_deref()
    ])?;
    Ok(expires_at)
}

/// Inserts the row of an upload, which is a share at once where it is `published`. Gives its number.
fn insert(
    book: &mut Book,
    upload: &NewUpload,
    published: Option<(&Publish, Timestamp)>,
    held: u64,
    max_storage: u64,
    now: Timestamp,
) -> Step<i64> {
    make_room(book, held, max_storage)?;
    let terms = published.map_or(&upload.terms, |(publish, _)| &publish.terms);
    let expires_at = published.map(|(_, expires_at)| expires_at.0);
    book.db
        .prepare_cached(
            "INSERT INTO share (id, owner, upload, verifier, password, expires_in, downloads, length, manifest_len, position,
                 writer, resumable, size, base, inline, created_at, window_ends_at, expires_at, opened, wrong_proofs, held, free_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 0, 0, ?18, ?19)",
        )?
        .execute(params![
            upload.id.as_bytes(),
            upload.owner.0,
            upload.token.0,
            terms.verifier.0,
            terms.password,
            millis(terms.expires_in),
            terms.downloads,
            upload.length.or(published.map(|(publish, _)| publish.base + publish.size)).map(signed),
            signed(upload.manifest_len),
            published.map_or(0, |(publish, _)| signed(publish.base + publish.size)),
            upload.resumable,
            published.map_or(0, |(publish, _)| signed(publish.size)),
            published.map_or(0, |(publish, _)| signed(publish.base)),
            published.is_some_and(|(publish, _)| publish.inline.is_some()),
            now.0,
            upload.window_ends_at.0,
            expires_at,
            signed(held),
            published.map_or(upload.window_ends_at, |(_, expires_at)| first_look(expires_at, now)).0,
        ])?;
    book.held += held;
    Ok(book.db.last_insert_rowid())
}

/// Makes a share of the upload's row.
fn settle(book: &mut Book, record: &Record, publish: &Publish, expires_at: Timestamp, now: Timestamp) -> Step<()> {
    let end = publish.base + publish.size;
    book.db
        .prepare_cached(
            "UPDATE share SET verifier = ?2, password = ?3, expires_in = ?4, downloads = ?5, length = ?6, position = ?6,
                 size = ?7, base = ?8, inline = ?9, expires_at = ?10, free_at = ?11 WHERE number = ?1",
        )?
        .execute(params![
            record.number,
            publish.terms.verifier.0,
            publish.terms.password,
            millis(publish.terms.expires_in),
            publish.terms.downloads,
            signed(record.upload.length.unwrap_or(end)),
            signed(publish.size),
            signed(publish.base),
            publish.inline.is_some(),
            expires_at.0,
            first_look(expires_at, now).0,
        ])?;
    Ok(())
}

fn first_look(expires_at: Timestamp, now: Timestamp) -> Timestamp {
    expires_at.min(now.after(FIRST_LOOK))
}
