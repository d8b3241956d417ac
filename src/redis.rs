//! Redis, as the ledger and the blobs use it: connections that come back by themselves, and how much room there is.
//!
//! What kind of Redis it is (one node, a master that Sentinels watch, or a cluster) is known here alone. It knows neither shares nor chunks.

mod acks;
mod cluster;
mod connection;
mod link;
mod room;
mod script;
mod sentinel;
mod start;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::{Cmd, Pipeline, RedisError, Value};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use acks::Acks;
use connection::Connection;
use link::Link;
pub(crate) use room::{RESERVED, Room};
pub(crate) use script::{Call, Script};
pub use start::connect;
use topology::{Node, Topology};

/// How long the answer to a transition may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long up to 1 MiB may take, behind others on the same connection.
const BULK_WITHIN: Duration = Duration::from_secs(20);
/// Connections for transitions. Redis takes 16 KiB of each in turn and then syncs its log once for all of them.
const LEDGER_LINKS: usize = 8;
/// Connections for bytes: apart from the ledger's, so that no transition waits behind a chunk.
const BULK_LINKS: usize = 4;
/// Both in a cluster, where each leads to every node.
const CLUSTER_LINKS: (usize, usize) = (3, 2);
/// Chunks that all writers together have under way. The driver holds each up to three times while it is sent.
const CHUNKS_UNDER_WAY: usize = 6;

/// Where Redis is, and what may be kept in it.
#[derive(Clone)]
pub struct Settings {
    /// Where it is.
    pub server: Server,
    /// The most that Redis may hold, in bytes; its own `maxmemory` counts where that is less.
    pub max_storage: Option<u64>,
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
    ledger: Pool,
    bulk: Pool,
    /// Where replicas must acknowledge.
    acks: Option<Arc<Acks>>,
    under_way: Arc<Semaphore>,
    room: Arc<Room>,
    is_cluster: bool,
    _sampler: AbortOnDropHandle<()>,
}

impl Redis {
    /// How `id` is written in the names of keys that belong together: all that has it is one slot in a cluster.
    pub(crate) fn tag(&self, id: &str) -> String {
        if self.is_cluster { format!("{{{id}}}") } else { id.to_owned() }
    }

    /// Runs a transition: one round trip.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Value, Failure> {
        Ok(self.ledger.link().run(call).await?)
    }

    /// Whether replicas must acknowledge.
    pub(crate) fn wants_acks(&self) -> bool {
        self.acks.is_some()
    }

    /// How many replicas there are, and how many must acknowledge; `None` where those are there.
    pub(crate) fn lacks_replicas(&self) -> Option<(u32, u32)> {
        self.acks.as_ref().and_then(|acks| acks.lacks())
    }

    /// Runs a transition that writes, and waits for the replicas: gives its answer, and whether enough of them have it.
    pub(crate) async fn run_acknowledged(&self, call: &Call<'_>) -> Result<(Value, Result<(), Failure>), Failure> {
        let Some(acks) = &self.acks else { return Ok((self.run(call).await?, Ok(()))) };
        let send = async |command: Cmd| acks.send(&pipeline(vec![command])).await;
        let (answers, acknowledged) = match send(call.by_hash().clone()).await {
            Err(error) if script::is_unknown(&error) => send(call.by_text()).await?,
            result => result?,
        };
        Ok((answers.into_iter().next().unwrap_or(Value::Nil), acknowledged))
    }

    /// Sends small commands, of which at least one writes, and waits for the replicas; gives their answers in order.
    pub(crate) async fn ask_acknowledged(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        let Some(acks) = &self.acks else { return self.bulk_all(commands).await };
        let (answers, acknowledged) = acks.send(&pipeline(commands)).await?;
        acknowledged.map(|()| answers)
    }

    /// Sends one small command.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        Ok(self.ledger.link().query(command).await?)
    }

    /// Sends small commands at once; gives their answers in order.
    pub(crate) async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        self.all(self.ledger.link(), commands).await
    }

    /// Sends a command that moves many bytes.
    pub(crate) async fn bulk(&self, command: &Cmd) -> Result<Value, Failure> {
        Ok(self.bulk.link().query(command).await?)
    }

    /// Sends commands about many bytes at once; gives their answers in order.
    pub(crate) async fn bulk_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        self.all(self.bulk.link(), commands).await
    }

    /// Runs a script that is given many bytes.
    pub(crate) async fn bulk_run(&self, call: &Call<'_>) -> Result<Value, Failure> {
        Ok(self.bulk.link().run(call).await?)
    }

    /// In one round trip. In a cluster each goes by itself: not even those about one share stay together while its slot is moved.
    async fn all(&self, link: &Link, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        if self.is_cluster {
            return Ok(try_join_all(commands.iter().map(|command| link.query(command))).await?);
        }
        Ok(link.query_all(&pipeline(commands)).await?)
    }

    /// Bounds the chunks that all writers together have under way: one permit each.
    pub(crate) fn under_way(&self) -> Arc<Semaphore> {
        Arc::clone(&self.under_way)
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

fn pipeline(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    commands.into_iter().for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline
}

/// Connections that take turns.
struct Pool {
    links: Vec<Link>,
    turn: AtomicUsize,
}

impl Pool {
    fn new(topology: &Topology, size: usize, within: Duration, mut first: Option<(Node, Connection)>) -> Self {
        let links = (0..size).map(|_| Link::new(topology.clone(), within, first.take())).collect();
        Self { links, turn: AtomicUsize::new(0) }
    }

    /// The next one that is up; where none is, the next.
    fn link(&self) -> &Link {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |by: usize| &self.links[turn.wrapping_add(by) % self.links.len()];
        (0..self.links.len()).map(in_turn).find(|link| link.is_up()).unwrap_or(in_turn(0))
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
