//! The embedded ledger: SQLite in WAL mode with `synchronous=FULL`, one writing thread, group commit.

mod crowd;
mod lost;
mod publish;
mod record;
mod step;
mod writer;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use self::record::{Leased, Record, locked};
use self::step::{
    Step, admitted, counted, forget, give_up, hold, lease, leased, look_by, millis, owned, release, signed, uploaded,
    waiting,
};
use self::writer::{Book, Stop, Writer};
use super::{
    Advance, Attempt, Charge, ClaimRequest, Error, Grant, Lease, Ledger, NewUpload, Publish, Remains, Result, Revoker,
    Share, Upload,
};
use crate::share::{Digest, Ended, History, Network, RECEIPT_KEPT, ShareId, State, Timestamp, random};

/// Shares a sweep looks at.
const SWEPT_AT_ONCE: usize = 100;
/// What `schema.sql` makes.
const SCHEMA: u32 = 2;

/// A ledger in one file, for one server.
pub struct Sqlite {
    writer: Writer,
    /// Looks things up without waiting for a commit. A look-up takes microseconds, so it runs where it is asked for.
    reader: Mutex<Connection>,
    max_storage: u64,
}

impl Sqlite {
    /// Opens the ledger in the folder `dir`, making it where there is none.
    ///
    /// `max_storage`: the bytes that all shares together may occupy.
    ///
    /// # Errors
    /// Where the file can't be opened, or is no ledger.
    pub fn open(dir: &Path, max_storage: Option<u64>) -> anyhow::Result<Self> {
        let path = dir.join("ledger.sqlite");
        let connect = |cache_kib: i64| -> rusqlite::Result<Connection> {
            let db = Connection::open(&path)?;
            db.pragma_update(None, "cache_size", -cache_kib)?;
            db.busy_timeout(Duration::from_secs(10))?;
            db.set_prepared_statement_cache_capacity(64);
            // Else a statement is planned anew whenever its parameters change.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            db.execute_batch(
                "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 PRAGMA secure_delete = FAST; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 2000;",
            )?;
            Ok(db)
        };
        let open = || -> anyhow::Result<(Connection, Connection, u64)> {
            let db = connect(4096)?;
            let tables: u32 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            let schema: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if tables > 0 && schema != SCHEMA {
                bail!(
                    "another version of onetimeshare made it: let that one finish its shares, then move the file away"
                );
            }
            db.execute_batch(include_str!("sqlite/schema.sql"))?;
            db.pragma_update(None, "user_version", SCHEMA)?;
            let held: i64 = db.query_row("SELECT coalesce(sum(held), 0) FROM share", [], |row| row.get(0))?;
            // What it has read is stale after the next commit.
            Ok((db, connect(256)?, held.try_into().unwrap_or(0)))
        };
        let (db, reader, held) = open().with_context(|| format!("can't open the ledger {}", path.display()))?;
        let writer = Writer::start(Book { db, held }).context("can't start the ledger's thread")?;
        Ok(Self { writer, reader: Mutex::new(reader), max_storage: max_storage.unwrap_or(u64::MAX) })
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> Step<T>) -> Result<T> {
        let db = self.reader.lock().map_err(|_| Error::Unavailable("a look-up failed before".into()))?;
        Ok(look(&db)?)
    }

    /// As [`Sqlite::read`], of what was counted and is not yet committed, too. A ledger that takes no writes can still be read.
    async fn read_counted<T, F>(&self, look: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Step<T> + Clone + Send + 'static,
    {
        let counted = look.clone();
        match self.writer.run_ahead(move |book| counted(&book.db)).await {
            Err(Error::Unavailable(_) | Error::Full) => self.read(look),
            read => read,
        }
    }
}

#[async_trait]
impl Ledger for Sqlite {
    async fn begin(&self, upload: &NewUpload, now: Timestamp) -> Result<()> {
        let (upload, max_storage) = (*upload, self.max_storage);
        self.writer
            .run(move |book| match Record::load(&book.db, &upload.id)? {
                Some(record) if record.token == upload.token => Ok(()),
                Some(_) => Err(Error::Unknown.into()),
                None => publish::begin(book, &upload, upload.length.unwrap_or(0), max_storage, now),
            })
            .await
    }

    async fn upload(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload> {
        self.read(|db| Ok(uploaded(db, id, token, now)?.upload))
    }

    async fn declare(&self, id: &ShareId, token: &Digest, length: u64, now: Timestamp) -> Result<()> {
        let (id, token, max_storage) = (*id, *token, self.max_storage);
        let declare = move |book: &mut Book| {
            let record = uploaded(&book.db, &id, &token, now)?;
            match record.upload.length {
                Some(known) if known == length => return Ok(()),
                None if record.upload.offset <= length => {}
                _ => return Err(Error::Conflict(record.upload.offset).into()),
            }
            hold(book, &record, record.held.max(length), max_storage)?;
            let update = "UPDATE share SET length = ?2 WHERE number = ?1";
            book.db.prepare_cached(update)?.execute([record.number, signed(length)])?;
            Ok(())
        };
        self.writer.run(declare).await
    }

    async fn advance(&self, step: &Advance, now: Timestamp) -> Result<()> {
        let (step, max_storage) = (*step, self.max_storage);
        let advance = move |book: &mut Book| {
            let record = uploaded(&book.db, &step.id, &step.token, now)?;
            let at = record.upload.offset;
            let writer = step.writer.cast_signed();
            if at != step.from && (at != step.to || record.writer != writer) {
                return Err(Error::Conflict(at).into());
            }
            if step.to != at && record.upload.expires_at.is_some() {
                return Err(Error::Published.into());
            }
            if record.upload.length.is_some_and(|length| record.resumable && step.to > length) {
                return Err(Error::Conflict(at).into());
            }
            hold(book, &record, record.held.max(step.to), max_storage)?;
            let window = step.window_ends_at.unwrap_or(record.upload.window_ends_at).0;
            let update =
                "UPDATE share SET position = ?2, writer = ?3, window_ends_at = ?4, free_at = ?4 WHERE number = ?1";
            book.db.prepare_cached(update)?.execute([record.number, signed(step.to), writer, window])?;
            Ok(())
        };
        self.writer.run(advance).await
    }

    async fn publish(&self, publish: &Publish, now: Timestamp) -> Result<Timestamp> {
        let (publish, max_storage) = (publish.clone(), self.max_storage);
        self.writer.run(move |book| publish::publish(book, &publish, max_storage, now)).await
    }

    async fn abandon(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains> {
        let (id, token) = (*id, *token);
        let abandon = move |book: &mut Book| {
            let record = Record::load(&book.db, &id)?.filter(|record| record.token == token).ok_or(Error::Unknown)?;
            if record.upload.expires_at.is_some() {
                return Err(Error::Published.into());
            }
            give_up(book, &record, now)?;
            release(book, &id, now)
        };
        self.writer.run(abandon).await
    }

    async fn peek(&self, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Result<Share> {
        let looked = self.read(|db| {
            let record = waiting(db, id, attempt, now)?;
            let mut select = db.prepare_cached("SELECT manifest FROM payload WHERE share = ?1")?;
            let manifest: Option<Vec<u8>> = match attempt {
                Some(_) => select.query_row([record.number], |row| row.get(0)).optional()?,
                None => None,
            };
            let left = record.history.downloads.saturating_sub(record.claims.len() as u32);
            Ok(Share {
                size: record.history.size,
                password: record.upload.terms.password,
                expires_at: record.history.expires_at.unwrap_or(now),
                shown: manifest.map(|manifest| (manifest.into(), left)),
            })
        });
        // Counting takes the writer; looking does not.
        let counts = match (&looked, attempt) {
            (Err(Error::WrongProof), _) => true,
            (Err(Error::Unknown), Some(attempt)) => self.admit(id, &attempt.network, now).await == Ok(true),
            _ => false,
        };
        let Some(attempt) = attempt.filter(|_| counts) else { return looked };
        let (id, attempt) = (*id, *attempt);
        let count = move |book: &mut Book| match waiting(&book.db, &id, Some(&attempt), now) {
            Err(refused) => Err(counted(&book.db, &id, &attempt, refused, now)),
            Ok(_) => Err(Error::WrongProof.into()),
        };
        self.writer.run(count).await
    }

    async fn admit(&self, id: &ShareId, network: &Network, now: Timestamp) -> Result<bool> {
        self.read(|db| {
            let record = Record::load(db, id)?.filter(|r| r.history.expires_at.is_some()).ok_or(Error::Unknown)?;
            if !record.upload.terms.password {
                return Ok(false);
            }
            match locked(db, id, network, now)? {
                None => Ok(true),
                Some(wait) if record.history.state(now).state == State::Ready => Err(Error::Locked(wait).into()),
                Some(_) => Err(Error::Unknown.into()),
            }
        })
    }

    async fn claim(&self, id: &ShareId, request: &ClaimRequest, now: Timestamp) -> Result<Grant> {
        let (id, request) = (*id, *request);
        let claim = move |book: &mut Book| {
            let record = Record::load(&book.db, &id)?.ok_or(Error::Unknown)?;
            if let Some(leased) = record.leased(&request.claim) {
                return match leased.claim.state(now) {
                    Ended { state: State::Claimed, .. } => {
                        Ok(Grant { lease: lease(&book.db, &leased)?, repeated: true })
                    }
                    ended => Err(Error::Ended(ended).into()),
                };
            }
            let mut record = admitted(&book.db, record, Some(&request.attempt), now)
                .map_err(|refused| counted(&book.db, &id, &request.attempt, refused, now))?;
            let granted = crate::share::Claim {
                claimed_at: now,
                lease_expires_at: request.lease_expires_at,
                finished_at: None,
                served: 0,
            };
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
            Ok(Grant { lease: lease(&book.db, &leased)?, repeated: false })
        };
        self.writer.run(claim).await
    }

    async fn lease(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Lease> {
        let (id, claim) = (*id, *claim);
        let look = move |db: &Connection| {
            let (leased, stands) = leased(db, &id, &claim, now)?;
            if stands.state != State::Claimed {
                return Err(Error::Ended(stands).into());
            }
            lease(db, &leased)
        };
        self.read_counted(look).await
    }

    async fn charge(&self, id: &ShareId, claim: &Digest, charge: &Charge, now: Timestamp) -> Result<Option<Bytes>> {
        let (id, claim, charge) = (*id, *claim, *charge);
        let transition = move |book: &mut Book| {
            let (Leased { share, number, inline, claim, .. }, stands) = leased(&book.db, &id, &claim, now)?;
            if stands.state != State::Claimed {
                return Err(Error::Ended(stands).into());
            }
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
            Ok(Some(Bytes::from(select.query_row([share], |row| row.get::<_, Vec<u8>>(0))?)))
        };
        self.writer.run_ahead(transition).await
    }

    async fn finish(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Remains> {
        let (id, claim) = (*id, *claim);
        let finish = move |book: &mut Book| {
            let (leased, stands) = leased(&book.db, &id, &claim, now)?;
            match stands.state {
                State::Claimed => {}
                State::Finished => return release(book, &id, now),
                _ => return Err(Error::Ended(stands).into()),
            }
            let update = "UPDATE claim SET finished_at = ?3 WHERE share = ?1 AND number = ?2";
            book.db.prepare_cached(update)?.execute([leased.share, leased.number, now.0])?;
            release(book, &id, now)
        };
        self.writer.run(finish).await
    }

    async fn revoke(&self, id: &ShareId, by: Revoker, now: Timestamp) -> Result<Remains> {
        let id = *id;
        let revoke = move |book: &mut Book| {
            let record = match by {
                Revoker::Owner(owner) => owned(&book.db, &id, &owner)?,
                Revoker::Operator => Record::load(&book.db, &id)?.ok_or(Error::Unknown)?,
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
                let update = "UPDATE claim SET lease_expires_at = min(lease_expires_at, ?2) WHERE share = ?1 AND finished_at IS NULL";
                book.db.prepare_cached(update)?.execute([record.number, now.0])?;
            }
            release(book, &id, now)
        };
        self.writer.run(revoke).await
    }

    async fn receipt(&self, id: &ShareId, owner: &Digest, now: Timestamp) -> Result<History> {
        let (id, owner) = (*id, *owner);
        let history = self.read_counted(move |db| Ok(owned(db, &id, &owner)?.history)).await?;
        let Ended { state, at } = history.state(now);
        let runs = matches!(state, State::Uploading | State::Ready | State::Claimed);
        if runs || now < at.after(RECEIPT_KEPT) { Ok(history) } else { Err(Error::Unknown) }
    }

    async fn hit(&self, id: &ShareId, now: Timestamp) -> Result<bool> {
        let id = *id;
        let count = move |book: &mut Book| {
            let record = match waiting(&book.db, &id, None, now) {
                Err(Stop::Answer(Error::Unknown)) => return Ok(false),
                record => record?,
            };
            let update = "UPDATE share SET opened = opened + 1 WHERE number = ?1";
            book.db.prepare_cached(update)?.execute([record.number])?;
            Ok(true)
        };
        self.writer.run_ahead(count).await
    }

    async fn due(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>> {
        let look = move |book: &mut Book| {
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
                    let update = "UPDATE share SET free_at = ?2 WHERE number = ?1";
                    book.db.prepare_cached(update)?.execute([record.number, free_at.0])?;
                }
            }
            Ok((due, more))
        };
        // Where all are to be looked at again later, those behind them are not to wait for it.
        loop {
            let (due, more) = self.writer.run(look).await?;
            if !due.is_empty() || !more {
                return Ok(due);
            }
        }
    }

    async fn freed(&self, id: &ShareId, now: Timestamp) -> Result<bool> {
        let id = *id;
        let freed = move |book: &mut Book| match Record::load(&book.db, &id)? {
            Some(record) if record.free_at.is_some() && record.history.free_at(now) <= now => {
                forget(book, &record, now)?;
                Ok(true)
            }
            _ => Ok(false),
        };
        self.writer.run(freed).await
    }

    async fn outstanding(&self) -> Result<u64> {
        let sum = "SELECT coalesce(sum(max(held - position, 0)), 0) FROM share
             WHERE expires_at IS NULL AND freed_at IS NULL AND abandoned_at IS NULL";
        self.read(|db| Ok(db.prepare_cached(sum)?.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned()))
    }

    async fn holds(&self, id: &ShareId) -> Result<bool> {
        self.read(|db| Ok(Record::load(db, id)?.is_some_and(|record| record.free_at.is_some() && !record.inline)))
    }

    async fn name(&self) -> Result<String> {
        let name = |book: &mut Book| {
            let insert = "INSERT INTO tally (name, count) VALUES ('ledger', ?1) ON CONFLICT (name) DO NOTHING";
            book.db.execute(insert, [i64::from_ne_bytes(random())])?;
            let select = "SELECT count FROM tally WHERE name = 'ledger'";
            Ok(format!("{:016x}", book.db.query_row(select, [], |row| row.get::<_, i64>(0))?))
        };
        self.writer.run(name).await
    }

    async fn seen(&self) -> Result<u64> {
        let count = |book: &mut Book| {
            let upsert = "INSERT INTO tally (name, count) VALUES ('seen', 1)
                 ON CONFLICT (name) DO UPDATE SET count = count + 1 RETURNING count";
            Ok(book.db.prepare_cached(upsert)?.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned())
        };
        self.writer.run(count).await
    }

    async fn ping(&self) -> Result<()> {
        let look = |book: &mut Book| Ok(book.db.query_row("SELECT 1", [], |_| Ok(()))?);
        self.writer.run(look).await
    }
}
