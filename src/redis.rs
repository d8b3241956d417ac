//! Redis, as the ledger and the blobs use it: connections that come back by themselves, and how much room there is.
//!
//! What kind of Redis it is (one node, a master that Sentinels watch, or a cluster) is known here alone. It knows neither shares nor chunks.

mod acks;
mod answers;
mod cluster;
mod line;
mod link;
mod pipe;
mod room;
mod script;
mod sentinel;
mod shards;
mod start;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, RedisError, Value};
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use pipe::Write;
pub(crate) use room::{RESERVED, Room};
pub(crate) use script::{Call, Script};
use shards::{Kind, Shards};
pub use start::connect;

use crate::share::Timestamp;

/// How long the answer to a transition may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long up to 1 MiB may take, behind others on the same connection.
const BULK_WITHIN: Duration = Duration::from_secs(20);
/// Connections for transitions, for each thread: by one, all that it asks at once arrives at once, and is answered and synced at once.
const LEDGER_LINKS: usize = 1;
/// Connections for bytes, for each thread: apart from the ledger's, so that no transition waits behind a chunk.
const BULK_LINKS: usize = 2;
/// Both for each thread and each master of a cluster.
const CLUSTER_LINKS: (usize, usize) = (1, 1);

/// Where Redis is, and what may be kept in it.
#[derive(Clone)]
pub struct Settings {
    /// Where it is.
    pub server: Server,
    /// The most that Redis may hold, in bytes; its own `maxmemory` counts where that is less.
    pub max_storage: Option<u64>,
    /// Whether sealed bytes are kept in it too, and not only records.
    pub has_blobs: bool,
    /// Whether to run on a Redis that evicts keys when it is full, and with them somebody's share.
    pub allow_eviction: bool,
    /// How many replicas must have a transition that is acknowledged to a client.
    pub acks: u32,
    /// How long to wait for a Redis that isn't there yet at the start.
    pub patience: Duration,
}

/// One Redis server, or several that are one Redis.
#[derive(Clone)]
pub enum Server {
    /// `redis://[[user]:password@]host[:port][/db]`, `rediss://…` for TLS, or `redis+unix:///path`.
    Url(String),
    /// The same in parts.
    Parts {
        /// Name or address.
        host: String,
        /// 6379, as a rule.
        port: u16,
        /// The number of the database.
        db: i64,
        /// With Redis 6 and later.
        username: Option<String>,
        /// As `requirepass` or the user's ACL has it.
        password: Option<String>,
    },
    /// Whichever server these Sentinels call the master.
    Sentinels {
        /// Name or address of each Sentinel, and its port.
        sentinels: Vec<(String, u16)>,
        /// Whether Sentinels and Redis are spoken to over TLS.
        tls: bool,
        /// What the Sentinels call the master.
        name: String,
        /// The Sentinels' own password.
        sentinel_password: Option<String>,
        /// The number of the master's database.
        db: i64,
        /// With Redis 6 and later.
        username: Option<String>,
        /// As the master has it, and each replica that may become one.
        password: Option<String>,
    },
    /// A cluster that these nodes belong to; the others are found.
    Cluster {
        /// Name or address of each, and its port.
        nodes: Vec<(String, u16)>,
        /// Whether all of them are spoken to over TLS.
        tls: bool,
        /// The same on all nodes.
        username: Option<String>,
        /// The same on all nodes.
        password: Option<String>,
    },
}

/// A connected Redis. It reconnects by itself; dropped, it stops doing so.
pub struct Redis {
    shards: Arc<Shards>,
    wants_acks: bool,
    room: Arc<Room>,
    _sampler: AbortOnDropHandle<()>,
}

impl Redis {
    /// How `id` is written in the names of keys that belong together: all that has it is one slot in a cluster.
    pub(crate) fn tag(&self, id: &str) -> String {
        if self.shards.is_cluster() { format!("{{{id}}}") } else { id.to_owned() }
    }

    /// Runs a transition: one round trip.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Value, Failure> {
        Ok(self.shards.run(Kind::Ledger, call).await?)
    }

    /// Runs a transition, and `beside` it, right after, a small command about keys of the same tag: one round trip, but for
    /// a cluster, where either may be first. Gives both answers.
    pub(crate) async fn run_beside(&self, call: &Call<'_>, beside: &Cmd) -> Result<(Value, Value), Failure> {
        let send = async |command: &Cmd| self.shards.query_all(Kind::Ledger, &[command, beside]).await;
        let answers = match send(call.by_hash()).await {
            Err(error) if script::is_unknown(&error) => send(&call.by_text()).await?,
            result => result?,
        };
        let mut answers = answers.into_iter();
        Ok((answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil)))
    }

    /// Whether replicas must acknowledge.
    pub(crate) fn wants_acks(&self) -> bool {
        self.wants_acks
    }

    /// How many replicas a master has, and how many must acknowledge; `None` where those are there.
    pub(crate) fn lacks_replicas(&self) -> Option<(u32, u32)> {
        self.shards.lacks()
    }

    /// Runs a transition that writes, and waits for the replicas: gives its answer, and whether enough of them have it.
    pub(crate) async fn run_acknowledged(&self, call: &Call<'_>) -> Result<(Value, Result<(), Failure>), Failure> {
        if !self.wants_acks {
            return Ok((self.run(call).await?, Ok(())));
        }
        let (answers, acknowledged) = match self.shards.acknowledged(&[call.by_hash()]).await {
            Err(error) if script::is_unknown(&error) => self.shards.acknowledged(&[&call.by_text()]).await?,
            result => result?,
        };
        Ok((answers.into_iter().next().unwrap_or(Value::Nil), acknowledged))
    }

    /// Sends small commands about keys of one tag, of which at least one writes, and waits for the replicas; gives their answers in order.
    pub(crate) async fn ask_acknowledged(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        if !self.wants_acks {
            return self.bulk_all(commands).await;
        }
        let (answers, acknowledged) = self.shards.acknowledged(&commands.iter().collect::<Vec<_>>()).await?;
        acknowledged.map(|()| answers)
    }

    /// Sends one small command.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        Ok(self.shards.query(Kind::Ledger, command).await?)
    }

    /// Sends a command that moves many bytes.
    pub(crate) async fn bulk(&self, command: &Cmd) -> Result<Value, Failure> {
        Ok(self.shards.query(Kind::Bulk, command).await?)
    }

    /// Sends commands about many bytes at once; gives their answers in order.
    pub(crate) async fn bulk_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        Ok(self.shards.query_all(Kind::Bulk, &commands.iter().collect::<Vec<_>>()).await?)
    }

    /// Writes many bytes, which came in pieces, until `expires_at`: all of a value, or, with `script`, from `at` on in one that may have others.
    pub(crate) async fn write(
        &self,
        key: String,
        bytes: Vec<Bytes>,
        at: Option<u64>,
        expires_at: Timestamp,
        script: &Script,
    ) -> Result<(), Failure> {
        Ok(self.shards.write(Write { key, bytes, at, expires_at: expires_at.0 }, script).await?)
    }

    /// How much room there is.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// `Ok` where Redis answers and takes writes: a replica, or one that can't save, refuses any write.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        self.ask(::redis::cmd("PERSIST").arg("seen")).await.map(drop)
    }
}

/// Why Redis did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No memory is left for it; nothing was changed.
    Full,
    /// It is away, can't write, or did not understand: in words, without any of the data.
    Unavailable(String),
    /// It was done, but fewer replicas than must have it have it by now.
    Unacknowledged {
        /// So many have it.
        by: u32,
        /// So many must.
        of: u32,
    },
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        // Redis 6 wraps what a script ran into, and a transaction wraps what its commands did: the text tells in all cases.
        if error.to_string().contains("OOM") {
            return Self::Full;
        }
        Self::Unavailable(match error.code() {
            Some(code) => format!("redis: {code}"),
            None => format!("redis: {}", error.category()),
        })
    }
}
