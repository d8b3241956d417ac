//! The masters that take writes, which of them a key belongs to, and the way there.
//!
//! One Redis is one shard. In a cluster a call follows MOVED and ASK, and waits while the keys it names are parted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ::redis::{Arg, Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use futures_util::future::try_join_all;
use tokio::runtime::{self, Handle};

use super::acks::Acks;
use super::cluster::Cluster;
use super::link::{Link, pipeline};
use super::pipe::{Pipes, Write};
use super::script::{self, Call, Script};
use super::topology::Topology;
use super::{ANSWER_WITHIN, BULK_WITHIN, Failure};

/// A call whose slot is being moved is repeated for so long: what needs several keys works again once all have arrived.
const MOVED_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// Whatever takes writes.
pub(super) enum Shards {
    /// All keys are in one.
    One(Arc<Shard>),
    /// Each has some of the slots.
    Cluster(Cluster),
}

/// A master, and the connections to it.
pub(super) struct Shard {
    topology: Topology,
    ledger: Pool,
    bulk: Pool,
    pipes: Pipes,
    /// Where replicas must acknowledge.
    acks: Option<Acks>,
}

/// Which connections a call takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Those for transitions.
    Ledger,
    /// Those for many bytes.
    Bulk,
}

impl Shard {
    /// Connects in the background, so many times for each kind.
    pub(super) fn new(topology: Topology, links: (usize, usize), acks: u32) -> Arc<Self> {
        Arc::new(Self {
            ledger: Pool::new(&topology, links.0, ANSWER_WITHIN),
            bulk: Pool::new(&topology, links.1, BULK_WITHIN),
            pipes: Pipes::default(),
            acks: (acks > 0).then(|| Acks::new(topology.clone(), acks)),
            topology,
        })
    }

    /// Says that it takes no writes any more.
    pub(super) fn leave(&self) {
        self.topology.node().leave();
    }

    fn link(&self, kind: Kind) -> Arc<Link> {
        match kind {
            Kind::Ledger => self.ledger.link(),
            Kind::Bulk => self.bulk.link(),
        }
    }
}

impl Shards {
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Every master that has something to take.
    fn all(&self) -> Vec<Arc<Shard>> {
        match self {
            Self::One(shard) => vec![Arc::clone(shard)],
            Self::Cluster(cluster) => cluster.owners(),
        }
    }

    /// Sends one command to every master, and gives their answers.
    pub(super) async fn ask_masters(&self, command: &Cmd) -> RedisResult<Vec<Value>> {
        let shards = self.all();
        try_join_all(shards.iter().map(async |shard| shard.link(Kind::Ledger).query(command).await)).await
    }

    /// Asks every master how many replicas it has.
    pub(super) async fn sample_replicas(&self) -> RedisResult<()> {
        let mut sampled = Ok(());
        for shard in self.all() {
            if let Some(acks) = &shard.acks {
                sampled = sampled.and(acks.sample(&shard.link(Kind::Ledger)).await);
            }
        }
        sampled
    }

    /// How many replicas the master with the fewest has, and how many must acknowledge, where that is more.
    pub(super) fn lacks(&self) -> Option<(u32, u32)> {
        self.all().iter().filter_map(|shard| shard.acks.as_ref()?.lacks()).min()
    }

    /// Sends one command.
    pub(super) async fn query(&self, kind: Kind, command: &Cmd) -> RedisResult<Value> {
        let mut way = Way::to(self, key(command))?;
        loop {
            match send(&way.shard.link(kind), command, way.asking).await {
                Err(error) => way.go_on(error).await?,
                answer => return answer,
            }
        }
    }

    /// Writes bytes: through a pipe where that goes, or else by a link, which knows what to do about the rest: all of a value as it is, a part
    /// of one by `script`. An answer that does not come is not asked for twice.
    pub(super) async fn write(&self, write: Write, script: &Script) -> RedisResult<()> {
        let shard = Way::to(self, write.key.as_bytes())?.shard;
        if let Some(node) = shard.link(Kind::Bulk).node() {
            match shard.pipes.write(&node, &write).await {
                Err(error) if !error.is_timeout() => {}
                result => return result,
            }
        }
        let written = match write.at {
            None => self.query(Kind::Bulk, &write.command()).await,
            Some(at) => {
                let call = script.call(&[&write.key], write.length() + 64).arg(write.expires_at).arg(at);
                self.run(Kind::Bulk, &call.pieces(write.bytes)).await
            }
        };
        written.map(drop)
    }

    /// Sends several commands: to one Redis in one round trip. In a cluster each goes by itself, for not even those about one
    /// share stay together while its slot is moved.
    pub(super) async fn query_all(&self, kind: Kind, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(shard) => shard.link(kind).query_all(commands).await,
            Self::Cluster(_) => {
                let mut asked = Vec::with_capacity(commands.len());
                for command in commands {
                    asked.push(self.query(kind, command));
                }
                try_join_all(asked).await
            }
        }
    }

    /// Runs a script; one that a master has not seen yet, or forgot, is sent with its text.
    pub(super) async fn run(&self, kind: Kind, call: &Call<'_>) -> RedisResult<Value> {
        match self.query(kind, call.by_hash()).await {
            Err(error) if script::is_unknown(&error) => self.query(kind, &call.by_text()).await,
            result => result,
        }
    }

    /// Sends commands about one slot, of which at least one writes, and waits for the replicas.
    pub(super) async fn acknowledged(&self, commands: &[&Cmd]) -> RedisResult<(Vec<Value>, Result<(), Failure>)> {
        let Some(first) = commands.first() else { return Ok((Vec::new(), Ok(()))) };
        let mut way = Way::to(self, key(first))?;
        loop {
            match way.acknowledged(commands).await {
                Err(error) => way.go_on(error).await?,
                answers => return answers,
            }
        }
    }
}

/// Where a call's key is, as far as is known now.
struct Way<'a> {
    /// Where it may move.
    cluster: Option<&'a Cluster>,
    slot: u16,
    since: Instant,
    shard: Arc<Shard>,
    /// Whether the slot is only just arriving there.
    asking: bool,
}

impl<'a> Way<'a> {
    fn to(shards: &'a Shards, key: &[u8]) -> RedisResult<Self> {
        let since = Instant::now();
        match shards {
            Shards::One(shard) => Ok(Self { cluster: None, slot: 0, since, shard: Arc::clone(shard), asking: false }),
            Shards::Cluster(cluster) => {
                let slot = slot(key);
                Ok(Self { cluster: Some(cluster), slot, since, shard: cluster.owner(slot)?, asking: false })
            }
        }
    }

    /// Turns to where `error` says, or gives it back where it says nothing of the kind.
    async fn go_on(&mut self, error: RedisError) -> RedisResult<()> {
        let Some(cluster) = self.cluster.filter(|_| self.since.elapsed() < MOVED_WITHIN) else { return Err(error) };
        (self.shard, self.asking) = match Step::after(&error) {
            Step::To { address, asking } => (cluster.at(&address)?, asking),
            Step::Again => {
                tokio::time::sleep(PAUSE).await;
                (cluster.owner(self.slot)?, false)
            }
            Step::End if !self.shard.topology.node().leads() => (cluster.owner(self.slot)?, false),
            Step::End => return Err(error),
        };
        Ok(())
    }

    async fn acknowledged(&self, commands: &[&Cmd]) -> RedisResult<(Vec<Value>, Result<(), Failure>)> {
        // A node that takes over a slot knows nothing of the keys that are still on their way: several are not asked of it.
        if self.asking && commands.len() > 1 {
            return Err((ErrorKind::Server(ServerErrorKind::TryAgain), "the keys are parted").into());
        }
        match &self.shard.acks {
            Some(acks) => acks.send(&pipeline(commands), self.asking).await,
            None => Ok((self.shard.link(Kind::Bulk).query_all(commands).await?, Ok(()))),
        }
    }
}

/// What to do after an error.
enum Step {
    To { address: (String, u16), asking: bool },
    Again,
    End,
}

impl Step {
    fn after(error: &RedisError) -> Self {
        let asking = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => false,
            ErrorKind::Server(ServerErrorKind::Ask) => true,
            ErrorKind::Server(ServerErrorKind::TryAgain) => return Self::Again,
            _ => return Self::End,
        };
        // Of several commands' errors the first counts, as for the kind.
        let errors = error.clone().into_server_errors().unwrap_or_default();
        let address = errors.first().and_then(|(_, error)| {
            let (host, port) = error.details()?.split(' ').nth(1)?.rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?)).filter(|_| !host.is_empty())
        });
        address.map_or(Self::Again, |address| Self::To { address, asking })
    }
}

async fn send(link: &Link, command: &Cmd, asking: bool) -> RedisResult<Value> {
    if !asking {
        return link.query(command).await;
    }
    // In one go: on a connection that others use, too, theirs might come in between.
    Ok(link.query_all(&[&::redis::cmd("ASKING"), command]).await?.pop().unwrap_or(Value::Nil))
}

/// The first key that a command names.
fn key(command: &Cmd) -> &[u8] {
    let mut args = command.args_iter().map(|arg| match arg {
        Arg::Simple(arg) => arg,
        _ => b"",
    });
    let at = if matches!(args.next(), Some(b"EVALSHA" | b"EVAL")) { 2 } else { 0 };
    args.nth(at).unwrap_or_default()
}

/// The slot of a key: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let length = key[open + 1..].iter().position(|byte| *byte == b'}').filter(|length| *length > 0)?;
        Some(&key[open + 1..open + 1 + length])
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % 16384
}

/// Connections for each runtime that asks for some: what is asked and answered on one thread wakes no other.
struct Pool {
    topology: Topology,
    size: usize,
    within: Duration,
    runtimes: RwLock<HashMap<runtime::Id, Turns>>,
}

impl Pool {
    fn new(topology: &Topology, size: usize, within: Duration) -> Self {
        let pool = Self { topology: topology.clone(), size, within, runtimes: RwLock::default() };
        pool.make();
        pool
    }

    /// The next one that is up; until one is, another thread's will do.
    fn link(&self) -> Arc<Link> {
        let known = || self.runtimes.read().unwrap_or_else(PoisonError::into_inner);
        let own = known().get(&here()).map(Turns::next);
        let own = own.unwrap_or_else(|| self.make());
        if own.is_up() {
            return own;
        }
        known().values().map(Turns::next).find(|link| link.is_up()).unwrap_or(own)
    }

    fn make(&self) -> Arc<Link> {
        let mut runtimes = self.runtimes.write().unwrap_or_else(PoisonError::into_inner);
        runtimes.entry(here()).or_insert_with(|| Turns::new(&self.topology, self.size, self.within)).next()
    }
}

/// The runtime that asks.
pub(super) fn here() -> runtime::Id {
    Handle::current().id()
}

/// Connections that take turns.
struct Turns {
    links: Vec<Arc<Link>>,
    turn: AtomicUsize,
}

impl Turns {
    fn new(topology: &Topology, size: usize, within: Duration) -> Self {
        let links = (0..size).map(|_| Arc::new(Link::new(topology.clone(), within))).collect();
        Self { links, turn: AtomicUsize::new(0) }
    }

    fn next(&self) -> Arc<Link> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |by: usize| &self.links[turn.wrapping_add(by) % self.links.len()];
        Arc::clone((0..self.links.len()).map(in_turn).find(|link| link.is_up()).unwrap_or(in_turn(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_redis_computes() {
        for (key, expected) in [("123456789", 12739), ("foo", 12182), ("bar", 5061), ("receipt:{foo}:x", 12182)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{}foo"), slot(b"{}foo"));
        assert_ne!(slot(b"{}foo"), slot(b""));
    }

    #[test]
    fn the_key_of_a_script_is_its_first() {
        let mut get = ::redis::cmd("GET");
        get.arg("a");
        assert_eq!(key(&get), b"a");
        let mut run = ::redis::cmd("EVALSHA");
        run.arg("hash").arg(2).arg("b").arg("c").arg("argument");
        assert_eq!(key(&run), b"b");
    }
}
