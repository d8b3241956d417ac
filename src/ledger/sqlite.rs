//! The embedded ledger: SQLite in WAL mode with `synchronous=FULL`, one writing thread, group commit.

mod claims;
mod crowd;
mod ends;
mod lost;
mod publish;
mod record;
mod step;
mod uploads;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use self::record::{Record, locked};
use self::step::{Step, counted, owned, uploaded, waiting};
use self::writer::{Book, Writer};
use super::{
    Advance, Attempt, Charge, ClaimRequest, Error, Grant, Lease, Ledger, NewUpload, Publish, Remains, Result, Revoker,
    Share, Upload,
};
use crate::disk;
use crate::share::{Digest, Ended, History, Network, ShareId, State, Timestamp, random};

/// What `schema.sql` makes.
const SCHEMA: u32 = 2;
/// The disk is asked for so many bytes more than what comes, so that it need not be asked for each share.
const ASKED_FOR: u64 = 4 << 20;

/// A ledger in one file, for one server.
pub struct Sqlite {
    dir: PathBuf,
    /// Bytes that may come before the disk is asked again.
    room: AtomicU64,
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
            // Whole or not at all: half of it would be taken for another version's.
            let schema = include_str!("sqlite/schema.sql");
            db.execute_batch(&format!("BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {SCHEMA}; COMMIT;"))?;
            let held: i64 = db.query_row("SELECT coalesce(sum(held), 0) FROM share", [], |row| row.get(0))?;
            // What it has read is stale after the next commit.
            Ok((db, connect(256)?, held.try_into().unwrap_or(0)))
        };
        let (db, reader, held) = open().with_context(|| format!("can't open the ledger {}", path.display()))?;
        let writer = Writer::start(Book { db, held }).context("can't start the ledger's thread")?;
        Ok(Self {
            dir: dir.to_owned(),
            room: AtomicU64::new(0),
            writer,
            reader: Mutex::new(reader),
            max_storage: max_storage.unwrap_or(u64::MAX),
        })
    }

    /// Takes `bytes` of the disk's room; [`Error::Full`] where there is none.
    fn room(&self, bytes: u64) -> Result<()> {
        if self.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(bytes)).is_ok() {
            return Ok(());
        }
        let has_room = |bytes| disk::has_room(&self.dir, bytes).map_err(|error| Error::Unavailable(error.to_string()));
        if has_room(ASKED_FOR + bytes)? {
            self.room.store(ASKED_FOR, Relaxed);
        } else if !has_room(bytes)? {
            return Err(Error::Full);
        }
        Ok(())
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
        self.writer.run(move |book| publish::begin(book, &upload, max_storage, now)).await
    }

    async fn upload(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Upload> {
        self.read(|db| Ok(uploaded(db, id, token, now)?.upload))
    }

    async fn declare(&self, id: &ShareId, token: &Digest, length: u64, now: Timestamp) -> Result<()> {
        let (id, token, max_storage) = (*id, *token, self.max_storage);
        self.writer.run(move |book| uploads::declare(book, &id, &token, length, max_storage, now)).await
    }

    async fn advance(&self, step: &Advance, now: Timestamp) -> Result<()> {
        let (step, max_storage) = (*step, self.max_storage);
        self.writer.run(move |book| uploads::advance(book, &step, max_storage, now)).await
    }

    async fn publish(&self, publish: &Publish, now: Timestamp) -> Result<Timestamp> {
        if let Some(content) = &publish.inline {
            self.room((publish.manifest.len() + content.len()) as u64)?;
        }
        let (publish, max_storage) = (publish.clone(), self.max_storage);
        self.writer.run(move |book| publish::publish(book, &publish, max_storage, now)).await
    }

    async fn abandon(&self, id: &ShareId, token: &Digest, now: Timestamp) -> Result<Remains> {
        let (id, token) = (*id, *token);
        self.writer.run(move |book| uploads::abandon(book, &id, &token, now)).await
    }

    async fn peek(&self, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Result<Share> {
        let looked = self.read(|db| look(db, id, attempt, now));
        // Looking does not take the writer, counting does; and guesses at a password, right and wrong ones, have all their turn there:
        // of many at once no more are answered than are allowed.
        let counts = match (&looked, attempt) {
            (Err(Error::WrongProof), _) => true,
            (Ok(share), Some(_)) => share.password,
            (Err(Error::Unknown), Some(attempt)) => self.admit(id, &attempt.network, now).await == Ok(true),
            _ => false,
        };
        let Some(attempt) = attempt.filter(|_| counts) else { return looked };
        let (id, attempt) = (*id, *attempt);
        let guess = move |book: &mut Book| {
            let looked = look(&book.db, &id, Some(&attempt), now);
            looked.map_err(|refused| counted(&book.db, &id, &attempt, refused, now))
        };
        self.writer.run(guess).await
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
        self.writer.run(move |book| claims::claim(book, &id, &request, now)).await
    }

    async fn lease(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Lease> {
        let (id, claim) = (*id, *claim);
        self.read_counted(move |db| claims::lease(db, &id, &claim, now)).await
    }

    async fn charge(&self, id: &ShareId, claim: &Digest, charge: &Charge, now: Timestamp) -> Result<Option<Bytes>> {
        let (id, claim, charge) = (*id, *claim, *charge);
        self.writer.run_ahead(move |book| claims::charge(book, &id, &claim, &charge, now)).await
    }

    async fn finish(&self, id: &ShareId, claim: &Digest, now: Timestamp) -> Result<Remains> {
        let (id, claim) = (*id, *claim);
        self.writer.run(move |book| claims::finish(book, &id, &claim, now)).await
    }

    async fn revoke(&self, id: &ShareId, by: Revoker, now: Timestamp) -> Result<Remains> {
        let id = *id;
        self.writer.run(move |book| ends::revoke(book, &id, by, now)).await
    }

    async fn receipt(&self, id: &ShareId, owner: &Digest, now: Timestamp) -> Result<History> {
        let (id, owner) = (*id, *owner);
        let history = self.read_counted(move |db| Ok(owned(db, &id, &owner)?.history)).await?;
        if history.is_kept(now) { Ok(history) } else { Err(Error::Unknown) }
    }

    async fn hit(&self, id: &ShareId, now: Timestamp) -> Result<bool> {
        let id = *id;
        // Where it waits, as `History::state` has it: a look is nothing but this statement.
        let count = move |book: &mut Book| {
            let update = "UPDATE share SET opened = opened + 1
                 WHERE id = ?1 AND expires_at > ?2 AND revoked_at IS NULL AND freed_at IS NULL
                     AND downloads > (SELECT count(*) FROM claim WHERE claim.share = share.number)";
            Ok(book.db.prepare_cached(update)?.execute(params![id.as_bytes(), now.0])? == 1)
        };
        self.writer.run_ahead(count).await
    }

    async fn due(&self, now: Timestamp) -> Result<Vec<(ShareId, Ended)>> {
        // Where all are to be looked at again later, those behind them are not to wait for it.
        loop {
            let (due, more) = self.writer.run(move |book| ends::due(book, now)).await?;
            if !due.is_empty() || !more {
                return Ok(due);
            }
        }
    }

    async fn put_off(&self, id: &ShareId, until: Timestamp) -> Result<()> {
        let id = *id;
        self.writer.run(move |book| ends::put_off(book, &id, until)).await
    }

    async fn freed(&self, id: &ShareId, now: Timestamp) -> Result<bool> {
        let id = *id;
        self.writer.run(move |book| ends::freed(book, &id, now)).await
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

/// What is shown of a share that waits: everything to whoever proves that they have the key.
fn look(db: &Connection, id: &ShareId, attempt: Option<&Attempt>, now: Timestamp) -> Step<Share> {
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
}
