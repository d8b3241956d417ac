//! Claims: who gets the share, what that may read, and that it arrived.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::ends::{look_by, release};
use super::record::{Leased, Record};
use super::step::{Step, admitted, counted, signed};
use super::writer::{Book, Stop};
use crate::ledger::{Charge, ClaimRequest, Error, Grant, Lease, Remains};
use crate::share::{Claim, Digest, Ended, ShareId, State, Timestamp};

/// See [`crate::ledger::Ledger::claim`].
pub(super) fn claim(book: &mut Book, id: &ShareId, request: &ClaimRequest, now: Timestamp) -> Step<Grant> {
    let record = Record::load(&book.db, id)?.ok_or(Error::Unknown)?;
    if let Some(leased) = record.leased(&request.claim) {
        return Ok(Grant { lease: read_by(&book.db, &running(leased, now)?)?, repeated: true });
    }
    let mut record = admitted(&book.db, record, Some(&request.attempt), now)
        .map_err(|refused| counted(&book.db, id, &request.attempt, refused, now))?;
    let granted = Claim { claimed_at: now, lease_expires_at: request.lease_expires_at, finished_at: None, served: 0 };
    book.db
        .prepare_cached(
            "INSERT INTO claim (share, number, claim, claimed_at, lease_expires_at, served) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
        )?
        .execute(params![
            record.number,
            record.claims.len() as i64,
            request.claim.0,
            now.0,
            request.lease_expires_at.0
        ])?;
    record.claims.push(request.claim);
    record.history.claims.push(granted);
    look_by(&book.db, &record, record.history.free_at(now))?;
    let leased = record.leased(&request.claim).ok_or(Error::Unknown)?;
    Ok(Grant { lease: read_by(&book.db, &leased)?, repeated: false })
}

/// See [`crate::ledger::Ledger::lease`].
pub(super) fn lease(db: &Connection, id: &ShareId, claim: &Digest, now: Timestamp) -> Step<Lease> {
    read_by(db, &leased(db, id, claim, now)?)
}

/// See [`crate::ledger::Ledger::charge`].
pub(super) fn charge(
    book: &mut Book,
    id: &ShareId,
    claim: &Digest,
    charge: &Charge,
    now: Timestamp,
) -> Step<Option<Bytes>> {
    let Leased { share, number, inline, claim, .. } = leased(&book.db, id, claim, now)?;
    let served = claim.served.saturating_add_signed(charge.bytes);
    if charge.bytes > 0 && served > charge.limit {
        return Err(Error::BudgetSpent.into());
    }
    book.db
        .prepare_cached("UPDATE claim SET served = ?3, lease_expires_at = ?4 WHERE share = ?1 AND number = ?2")?
        .execute([share, number, signed(served), charge.lease_expires_at.0])?;
    // `free_at` is when to look again, so that a lease that moves on need not move it too.
    if charge.lease_expires_at < claim.lease_expires_at {
        book.db
            .prepare_cached("UPDATE share SET free_at = min(free_at, ?2) WHERE number = ?1")?
            .execute([share, charge.lease_expires_at.0])?;
    }
    if !inline || charge.bytes < 0 {
        return Ok(None);
    }
    let mut select = book.db.prepare_cached("SELECT content FROM payload WHERE share = ?1")?;
    let content: Option<Vec<u8>> = select.query_row([share], |row| row.get(0)).optional()?;
    Ok(Some(content.ok_or(Error::Unknown)?.into()))
}

/// See [`crate::ledger::Ledger::finish`].
pub(super) fn finish(book: &mut Book, id: &ShareId, claim: &Digest, now: Timestamp) -> Step<Remains> {
    let leased = match leased(&book.db, id, claim, now) {
        Err(Stop::Answer(Error::Ended(Ended { state: State::Finished, .. }))) => return release(book, id, now),
        leased => leased?,
    };
    let update = "UPDATE claim SET finished_at = ?3 WHERE share = ?1 AND number = ?2";
    book.db.prepare_cached(update)?.execute([leased.share, leased.number, now.0])?;
    release(book, id, now)
}

/// A claim that runs.
fn leased(db: &Connection, id: &ShareId, claim: &Digest, now: Timestamp) -> Step<Leased> {
    running(Leased::load(db, id, claim)?.ok_or(Error::Unknown)?, now)
}

/// The claim, if it runs.
fn running(leased: Leased, now: Timestamp) -> Step<Leased> {
    let stands = leased.state(now);
    if stands.state == State::Claimed { Ok(leased) } else { Err(Error::Ended(stands).into()) }
}

/// What a claim may read.
fn read_by(db: &Connection, leased: &Leased) -> Step<Lease> {
    let select = "SELECT manifest FROM payload WHERE share = ?1";
    // A payload that is missing is no failure of the database: that would undo what others asked for.
    let manifest: Option<Vec<u8>> =
        db.prepare_cached(select)?.query_row([leased.share], |row| row.get(0)).optional()?;
    Ok(Lease {
        size: leased.size,
        base: leased.base,
        inline: leased.inline,
        manifest: manifest.ok_or(Error::Unknown)?.into(),
        lease_expires_at: leased.claim.lease_expires_at,
        served: leased.claim.served,
    })
}
