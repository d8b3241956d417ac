//! Rows read back: a share's record, and its claims.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::{Terms, Upload};
use crate::share::{Claim, Digest, Ended, GUESSES_PER_HOUR, GUESSES_PER_MINUTE, History, Network, ShareId, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A row of `share`, with its claims.
pub(super) struct Record {
    pub(super) number: i64,
    pub(super) id: ShareId,
    pub(super) owner: Digest,
    pub(super) token: Digest,
    pub(super) upload: Upload,
    pub(super) writer: i64,
    pub(super) base: u64,
    pub(super) inline: bool,
    pub(super) held: u64,
    /// When it is to be looked at again; `None` once its bytes are freed.
    pub(super) free_at: Option<Timestamp>,
    freed_at: Option<Timestamp>,
    pub(super) resumable: bool,
    pub(super) history: History,
    /// Digests of the claim tokens, as in `history.claims`.
    pub(super) claims: Vec<Digest>,
}

impl Record {
    /// The share's record; `None` where there never was one, or it is forgotten.
    pub(super) fn load(db: &Connection, id: &ShareId) -> rusqlite::Result<Option<Self>> {
        let mut select = db.prepare_cached(
            "SELECT owner, upload, verifier, password, expires_in, downloads, length, manifest_len, position, writer,
                    size, base, inline, created_at, window_ends_at, abandoned_at, expires_at, revoked_at, opened,
                    wrong_proofs, held, free_at, resumable, number, freed_at
             FROM share WHERE id = ?1",
        )?;
        let Some(mut record) = select.query_row([id.as_bytes()], |row| Self::from_row(*id, row)).optional()? else {
            return Ok(None);
        };
        if record.upload.expires_at.is_some() {
            let mut select = db.prepare_cached(
                "SELECT claimed_at, lease_expires_at, finished_at, served, claim FROM claim
                 WHERE share = ?1 ORDER BY number",
            )?;
            let mut rows = select.query([record.number])?;
            while let Some(row) = rows.next()? {
                record.history.claims.push(claim(row)?);
                record.claims.push(Digest(row.get(4)?));
            }
        }
        Ok(Some(record))
    }

    fn from_row(id: ShareId, row: &Row<'_>) -> rusqlite::Result<Self> {
        let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Timestamp));
        let expires_at = time(16)?;
        let window_ends_at = Timestamp(row.get(14)?);
        let downloads = row.get(5)?;
        Ok(Self {
            number: row.get(23)?,
            id,
            owner: Digest(row.get(0)?),
            token: Digest(row.get(1)?),
            upload: Upload {
                terms: Terms {
                    verifier: Digest(row.get(2)?),
                    password: row.get(3)?,
                    expires_in: Duration::from_millis(unsigned(row.get(4)?)),
                    downloads,
                },
                length: row.get::<_, Option<i64>>(6)?.map(unsigned),
                manifest_len: unsigned(row.get(7)?),
                offset: unsigned(row.get(8)?),
                window_ends_at,
                expires_at,
            },
            writer: row.get(9)?,
            base: unsigned(row.get(11)?),
            inline: row.get(12)?,
            held: unsigned(row.get(20)?),
            free_at: time(21)?,
            freed_at: time(24)?,
            resumable: row.get(22)?,
            history: History {
                created_at: Timestamp(row.get(13)?),
                window_ends_at,
                abandoned_at: time(15)?,
                expires_at,
                revoked_at: time(17)?,
                size: unsigned(row.get(10)?),
                downloads,
                opened: unsigned(row.get(18)?),
                wrong_proofs: unsigned(row.get(19)?),
                claims: Vec::new(),
            },
            claims: Vec::new(),
        })
    }

    /// Where the share stands, see [`no_earlier`].
    pub(super) fn state(&self, now: Timestamp) -> Ended {
        self.history.state(no_earlier(now, self.freed_at))
    }

    /// Whether its upload may go on.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        self.history.abandoned_at.is_none() && no_earlier(now, self.freed_at) < self.upload.window_ends_at
    }

    /// The claim of a token's digest.
    pub(super) fn leased(&self, digest: &Digest) -> Option<Leased> {
        let number = self.claims.iter().position(|claim| claim == digest)?;
        let claim = self.history.claims[number];
        let Self { number: share, base, inline, history, freed_at, .. } = self;
        let (number, size) = (number as i64, history.size);
        Some(Leased { share: *share, number, size, base: *base, inline: *inline, freed_at: *freed_at, claim })
    }
}

/// A claim, and what it reads.
pub(super) struct Leased {
    /// The share's number.
    pub(super) share: i64,
    /// Which of its claims: 0 for the first.
    pub(super) number: i64,
    pub(super) size: u64,
    pub(super) base: u64,
    pub(super) inline: bool,
    freed_at: Option<Timestamp>,
    pub(super) claim: Claim,
}

impl Leased {
    /// The claim of a token's digest; `None` where there never was one, or its share is forgotten.
    pub(super) fn load(db: &Connection, id: &ShareId, digest: &Digest) -> rusqlite::Result<Option<Self>> {
        let mut select = db.prepare_cached(
            "SELECT claimed_at, lease_expires_at, finished_at, served, share, claim.number, size, base, inline, freed_at
             FROM share JOIN claim ON share = share.number WHERE id = ?1 AND claim = ?2",
        )?;
        let leased = |row: &Row<'_>| {
            Ok(Self {
                share: row.get(4)?,
                number: row.get(5)?,
                size: unsigned(row.get(6)?),
                base: unsigned(row.get(7)?),
                inline: row.get(8)?,
                freed_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
                claim: claim(row)?,
            })
        };
        select.query_row(params![id.as_bytes(), digest.0], leased).optional()
    }

    /// Where the claim stands, see [`no_earlier`].
    pub(super) fn state(&self, now: Timestamp) -> Ended {
        self.claim.state(no_earlier(now, self.freed_at))
    }
}

/// `now`, but not before the bytes were freed: what a clock that was ahead has ended does not run again once that is set right.
fn no_earlier(now: Timestamp, freed_at: Option<Timestamp>) -> Timestamp {
    freed_at.map_or(now, |freed_at| now.max(freed_at))
}

/// The claim that a row begins with.
fn claim(row: &Row<'_>) -> rusqlite::Result<Claim> {
    Ok(Claim {
        claimed_at: Timestamp(row.get(0)?),
        lease_expires_at: Timestamp(row.get(1)?),
        finished_at: row.get::<_, Option<i64>>(2)?.map(Timestamp),
        served: unsigned(row.get(3)?),
    })
}

/// How long `network` must wait before it may try another password on the share; `None` where it may.
pub(super) fn locked(
    db: &Connection,
    id: &ShareId,
    network: &Network,
    now: Timestamp,
) -> rusqlite::Result<Option<Duration>> {
    // The guess that must grow old first: the tenth last of the network, the six hundredth last of all.
    let mine = "SELECT at FROM guess WHERE id = ?1 AND at > ?2 AND network = ?3 ORDER BY at DESC LIMIT 1 OFFSET ?4";
    let all = "SELECT at FROM guess WHERE id = ?1 AND at > ?2 AND ?3 NOTNULL ORDER BY at DESC LIMIT 1 OFFSET ?4";
    for (select, window, limit) in [(mine, MINUTE, GUESSES_PER_MINUTE), (all, HOUR, GUESSES_PER_HOUR)] {
        let since = now.0 - i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let parameters = params![id.as_bytes(), since, network.digest().0, limit - 1];
        let at: Option<i64> = db.prepare_cached(select)?.query_row(parameters, |row| row.get(0)).optional()?;
        if let Some(at) = at {
            return Ok(Some(now.until(Timestamp(at).after(window))));
        }
    }
    Ok(None)
}

/// Counts a wrong proof of a waiting share.
pub(super) fn count_wrong(
    db: &Connection,
    id: &ShareId,
    network: &Network,
    password: bool,
    now: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE share SET wrong_proofs = wrong_proofs + 1 WHERE id = ?1")?.execute([id.as_bytes()])?;
    if password { count_guess(db, id, network, now) } else { Ok(()) }
}

/// Counts a wrong password against the limits.
pub(super) fn count_guess(db: &Connection, id: &ShareId, network: &Network, now: Timestamp) -> rusqlite::Result<()> {
    let hour_ago = now.0 - i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
    db.prepare_cached("DELETE FROM guess WHERE id = ?1 AND at <= ?2")?.execute(params![id.as_bytes(), hour_ago])?;
    db.prepare_cached("INSERT INTO guess (id, at, network) VALUES (?1, ?2, ?3)")?.execute(params![
        id.as_bytes(),
        now.0,
        network.digest().0
    ])?;
    Ok(())
}

/// SQLite has signed integers only; ours never go below 0.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
