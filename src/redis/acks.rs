//! Writes that replicas acknowledge, each on a connection that nobody else uses meanwhile.
//!
//! WAIT speaks of the writes of its own connection, and holds up everything behind it.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Semaphore;

use super::link::{Link, RECONNECTED_WITHIN};
use super::room::{field, text};
use super::topology::{Node, Topology, is_over, is_repeatable};
use super::{ANSWER_WITHIN, Failure};

/// How long the replicas have, in ms: less than the answer to it all may take.
const ACKNOWLEDGED_WITHIN: u64 = 3000;
/// The same where they are known to be away: long enough for one that comes back just now.
const BACK_WITHIN: u64 = 500;
/// Connections at once; whoever comes when all are taken waits for one.
const MOST: usize = 64;
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// What was idle for longer is not used again: something on the way may have forgotten it.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// A pool of connections, which grows as they are needed.
pub(super) struct Acks {
    topology: Topology,
    wanted: u32,
    /// Replicas that the master had when it was asked last.
    online: AtomicU32,
    idle: Mutex<Vec<Exclusive>>,
    turns: Semaphore,
}

/// A connection with one user at a time.
struct Exclusive {
    node: Node,
    used: Instant,
    connection: MultiplexedConnection,
    /// Whether replicas can say what is on their disks, too.
    fsyncs: bool,
}

impl Acks {
    /// So many replicas must acknowledge.
    pub(super) fn new(topology: Topology, wanted: u32) -> Self {
        Self { topology, wanted, online: AtomicU32::new(wanted), idle: Mutex::default(), turns: Semaphore::new(MOST) }
    }

    /// How many replicas there are, and how many must acknowledge, where that is more.
    pub(super) fn lacks(&self) -> Option<(u32, u32)> {
        let online = self.online.load(Ordering::Relaxed);
        (online < self.wanted).then_some((online, self.wanted))
    }

    /// Asks the master how many replicas it has.
    pub(super) async fn sample(&self, link: &Link) -> RedisResult<()> {
        let info = text(link.query(::redis::cmd("INFO").arg("replication")).await?);
        let online = info.lines().filter(|line| line.contains("state=online")).count();
        self.online.store(u32::try_from(online).unwrap_or(u32::MAX), Ordering::Relaxed);
        Ok(())
    }

    /// Sends commands, of which at least one writes, and waits for the replicas: gives the answers, and whether enough of
    /// them have it all. `asking` where the slot is only just arriving there. Sent once more where the connection broke, or its node handed the writes over.
    pub(super) async fn send(
        &self,
        commands: &Pipeline,
        asking: bool,
    ) -> RedisResult<(Vec<Value>, Result<(), Failure>)> {
        let turn = tokio::time::timeout(ANSWER_WITHIN, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| RedisError::from((ErrorKind::Client, "too many wait for replicas")))?;
        match self.try_send(commands, asking).await {
            Err(error) if is_repeatable(&error) => {
                self.idle().clear();
                self.try_send(commands, asking).await
            }
            result => result,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Exclusive>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_send(&self, commands: &Pipeline, asking: bool) -> RedisResult<(Vec<Value>, Result<(), Failure>)> {
        // A caller that goes away takes the connection along: nobody else is to read its answers.
        let mut taken = self.take().await?;
        let mut all = Pipeline::new();
        if asking {
            all.cmd("ASKING").ignore();
        }
        commands.cmd_iter().for_each(|command| {
            all.add_command(command.clone());
        });
        let within = if self.lacks().is_some() { BACK_WITHIN } else { ACKNOWLEDGED_WITHIN };
        // What is on a replica's disk has reached it.
        match taken.fsyncs {
            true => all.cmd("WAITAOF").arg(0).arg(self.wanted).arg(within),
            false => all.cmd("WAIT").arg(self.wanted).arg(within),
        };
        let result = taken.node.unless_left(all.query_async::<Vec<Value>>(&mut taken.connection)).await;
        if !result.as_ref().is_err_and(is_over) {
            taken.used = Instant::now();
            self.idle().push(taken);
        }
        let mut answers = result?;
        let by = count(answers.pop());
        let acknowledged =
            if by >= self.wanted { Ok(()) } else { Err(Failure::Unacknowledged { by, of: self.wanted }) };
        Ok((answers, acknowledged))
    }

    /// A connection that is idle, or a new one.
    async fn take(&self) -> RedisResult<Exclusive> {
        while let Some(idle) = self.idle().pop() {
            if idle.node.leads() && idle.used.elapsed() < IDLE {
                return Ok(idle);
            }
        }
        let began = Instant::now();
        loop {
            let node = self.topology.node();
            // A shard whose master was left has no other: whoever knows where its slots are is asked again.
            if !node.leads() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
            }
            match Exclusive::open(&node).await {
                Err(error) if began.elapsed() > RECONNECTED_WITHIN => return Err(error),
                Err(_) => {
                    let _ = tokio::time::timeout(PAUSE, node.left()).await;
                }
                opened => return opened,
            }
        }
    }
}

impl Exclusive {
    async fn open(node: &Node) -> RedisResult<Self> {
        let mut connection = node.open(ANSWER_WITHIN).await?;
        let mut ask = Pipeline::with_capacity(2);
        ask.cmd("COMMAND").arg("INFO").arg("WAITAOF").cmd("INFO").arg("persistence");
        // Some hosts forbid to ask: WAIT is known to all of them.
        let answers: Vec<Value> =
            node.unless_left(ask.query_async(&mut connection)).await.or_else(|error| match is_over(&error) {
                true => Err(error),
                false => Ok(Vec::new()),
            })?;
        // Since Redis 7.2; what isn't known is nil.
        let known = matches!(answers.first(), Some(Value::Array(known)) if matches!(known[..], [Value::Array(_)]));
        let kept = answers.into_iter().nth(1).map(text).unwrap_or_default();
        Ok(Self {
            node: node.clone(),
            used: Instant::now(),
            connection,
            fsyncs: known && field(&kept, "aof_enabled") == Some("1"),
        })
    }
}

/// How many replicas: WAIT gives the number, WAITAOF this server and the number.
fn count(answer: Option<Value>) -> u32 {
    match answer {
        Some(Value::Int(number)) => u32::try_from(number).unwrap_or(0),
        Some(Value::Array(numbers)) => count(numbers.into_iter().nth(1)),
        _ => 0,
    }
}
