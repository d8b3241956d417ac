//! Rows read back: a share's record, and its claims.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::{Terms, Upload};
use crate::share::{Claim, Digest, GUESSES_PER_HOUR, GUESSES_PER_MINUTE, History, Network, ShareId, Timestamp};

/// A row of `share`, with its claims.
pub(super) struct Record {
    pub(super) id: ShareId,
    pub(super) owner: Digest,
    pub(super) token: Digest,
    pub(super) upload: Upload,
    pub(super) writer: i64,
    pub(super) base: u64,
    pub(super) inline: bool,
    pub(super) held: u64,
    pub(super) freed: bool,
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
                    wrong_proofs, held, freed_at
             FROM share WHERE id = ?1",
        )?;
        let Some(mut record) = select.query_row([id.as_bytes()], |row| Self::from_row(*id, row)).optional()? else {
            return Ok(None);
        };
        if record.upload.expires_at.is_some() {
            let mut select = db.prepare_cached(
                "SELECT claim, claimed_at, lease_expires_at, finished_at, served FROM claim
                 WHERE id = ?1 ORDER BY number",
            )?;
            let mut rows = select.query([id.as_bytes()])?;
            while let Some(row) = rows.next()? {
                record.claims.push(Digest(row.get(0)?));
                record.history.claims.push(Claim {
                    claimed_at: Timestamp(row.get(1)?),
                    lease_expires_at: Timestamp(row.get(2)?),
                    finished_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
                    served: unsigned(row.get(4)?),
                });
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
            freed: row.get::<_, Option<i64>>(21)?.is_some(),
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

    /// The claim of a token's digest.
    pub(super) fn claim(&self, digest: &Digest) -> Option<&Claim> {
        self.claims.iter().position(|claim| claim == digest).map(|at| &self.history.claims[at])
    }
}

/// How long `network` must wait before it may try another proof on the share; `None` where it may.
pub(super) fn locked(
    db: &Connection,
    id: &ShareId,
    network: &Network,
    now: Timestamp,
) -> rusqlite::Result<Option<Duration>> {
    for (network, limit, window) in limits(network) {
        let mut select = db.prepare_cached("SELECT since, count FROM guess WHERE id = ?1 AND network = ?2")?;
        let guess: Option<(i64, u32)> =
            select.query_row(params![id.as_bytes(), network], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((since, count)) = guess {
            let until = Timestamp(since).after(window);
            if count >= limit && now < until {
                return Ok(Some(now.until(until)));
            }
        }
    }
    Ok(None)
}

/// Counts a wrong proof, in the windows of the network and of the share.
pub(super) fn count_wrong(
    db: &Connection,
    id: &ShareId,
    network: &Network,
    password: bool,
    now: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE share SET wrong_proofs = wrong_proofs + 1 WHERE id = ?1")?.execute([id.as_bytes()])?;
    if !password {
        return Ok(());
    }
    for (network, _, window) in limits(network) {
        let window_began = now.0 - i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        db.prepare_cached(
            "INSERT INTO guess (id, network, since, count) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (id, network) DO UPDATE SET
                 count = CASE WHEN since <= ?4 THEN 1 ELSE count + 1 END,
                 since = CASE WHEN since <= ?4 THEN ?3 ELSE since END",
        )?
        .execute(params![id.as_bytes(), network, now.0, window_began])?;
    }
    Ok(())
}

fn limits(network: &Network) -> [(Vec<u8>, u32, Duration); 2] {
    [
        (network.digest().0.to_vec(), GUESSES_PER_MINUTE, Duration::from_secs(60)),
        (Vec::new(), GUESSES_PER_HOUR, Duration::from_secs(3600)),
    ]
}

/// SQLite has signed integers only; ours never go below 0.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
