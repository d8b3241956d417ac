//! A cluster: which masters it has, asked of all its nodes all the time.
//!
//! The driver's own connection to a cluster is not used: it hangs where many calls at once meet a slot that is moved, leaves
//! room between ASKING and what is asked, and waits for ever for a master that is frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisResult,
};
use anyhow::bail;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::CLUSTER_LINKS;
use super::room::field;
use super::shards::Shard;
use super::start::{Patience, is_refusal, reason, refuse_untrusted};
use super::topology::{Node, Topology, at};

/// How often every node is asked.
const ASKED_EVERY: Duration = Duration::from_millis(300);
/// How long to wait before they are asked again at the least, however many calls were sent elsewhere.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long one may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

type Address = (String, u16);

/// All nodes of a cluster, asked until this is dropped.
pub(super) struct Cluster {
    board: Arc<Board>,
    _asker: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Waits for the cluster that these nodes belong to, and goes on asking.
    ///
    /// # Errors
    /// One clear line, where no node answers in time, some slots have no master, or this is no cluster.
    pub(super) async fn find(named: &[ConnectionInfo], acks: u32, patience: &mut Patience) -> anyhow::Result<Self> {
        let Some(like) = named.first().cloned() else { bail!("no node of the Redis cluster is named") };
        let named = named.iter().filter_map(address).collect();
        let mut asked = Asked { like: like.clone(), named, connections: BTreeMap::new() };
        let view = loop {
            match asked.look(&BTreeSet::new()).await {
                Ok(view) if view.is_whole => break view,
                // It is being set up, or fails over just now.
                Ok(View { served, .. }) => {
                    let why = format!(
                        "it serves {served} of 16384 slots; look at `redis-cli --cluster check`, and repair it"
                    );
                    patience.wait("the Redis cluster is down", &why).await?;
                }
                Err(error) if is_refusal(&error) => {
                    bail!("the Redis cluster refuses the login ({}): check its user name and password", reason(&error))
                }
                Err(error) if error.to_string().contains("cluster support disabled") => {
                    bail!("that Redis is no node of a cluster: set --redis-url for a server by itself")
                }
                Err(error) => {
                    let why = reason(&error);
                    refuse_untrusted("the Redis cluster's", &why)?;
                    patience.wait("no node of the Redis cluster can be reached", &why).await?;
                }
            }
        };
        let board = Arc::new(Board { like, acks, known: Mutex::default(), doubted: Notify::new() });
        board.note(view)?;
        let asker = AbortOnDropHandle::new(tokio::spawn(keep_asking(asked, Arc::clone(&board))));
        Ok(Self { board, _asker: asker })
    }

    /// The master that has the slot, as far as is known now.
    pub(super) fn owner(&self, slot: u16) -> RedisResult<Arc<Shard>> {
        let known = self.board.known();
        let owner = known.slots.iter().find(|(slots, _)| slots.contains(&slot));
        let shard = owner.and_then(|(_, address)| known.shards.get(address)).cloned();
        shard.ok_or_else(|| (ErrorKind::Client, "nobody serves the slot").into())
    }

    /// The master that another one named: what is known is out of date.
    pub(super) fn at(&self, address: &Address) -> RedisResult<Arc<Shard>> {
        self.board.doubted.notify_one();
        self.board.known().shard(&self.board, address)
    }

    /// Every master that has slots.
    pub(super) fn owners(&self) -> Vec<Arc<Shard>> {
        let known = self.board.known();
        let owners: BTreeSet<&Address> = known.slots.iter().map(|(_, owner)| owner).collect();
        owners.into_iter().filter_map(|owner| known.shards.get(owner).cloned()).collect()
    }
}

/// What the nodes said last.
struct Board {
    like: ConnectionInfo,
    acks: u32,
    known: Mutex<Known>,
    /// What is known was found to be out of date.
    doubted: Notify,
}

#[derive(Default)]
struct Known {
    slots: Vec<(RangeInclusive<u16>, Address)>,
    shards: BTreeMap<Address, Arc<Shard>>,
    all: BTreeSet<Address>,
}

impl Known {
    fn shard(&mut self, board: &Board, address: &Address) -> RedisResult<Arc<Shard>> {
        if let Some(shard) = self.shards.get(address) {
            return Ok(Arc::clone(shard));
        }
        let node = Node::only(Client::open(at(&board.like, address))?);
        let shard = Shard::new(Topology::One(node), CLUSTER_LINKS, board.acks);
        self.shards.insert(address.clone(), Arc::clone(&shard));
        Ok(shard)
    }
}

impl Board {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what the nodes say. Nobody is to wait for what is no master any more.
    fn note(&self, view: View) -> RedisResult<()> {
        let mut known = self.known();
        for (_, owner) in &view.slots {
            known.shard(self, owner)?;
        }
        (known.slots, known.all) = (view.slots, view.all);
        known.shards.retain(|address, shard| {
            let stays = view.masters.contains(address);
            if !stays {
                tracing::info!(
                    host = address.0,
                    port = address.1,
                    "this node of the Redis cluster is no master any more"
                );
                shard.leave();
            }
            stays
        });
        Ok(())
    }
}

async fn keep_asking(mut asked: Asked, board: Arc<Board>) {
    loop {
        let _ = tokio::time::timeout(ASKED_EVERY, board.doubted.notified()).await;
        tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        let all = board.known().all.clone();
        if let Err(error) = asked.look(&all).await.and_then(|view| board.note(view)) {
            tracing::debug!(error = error.category(), "no node of the Redis cluster answers");
        }
    }
}

/// The nodes that are asked, connected to when they are.
struct Asked {
    like: ConnectionInfo,
    named: BTreeSet<Address>,
    connections: BTreeMap<Address, MultiplexedConnection>,
}

impl Asked {
    /// The latest view that any node has: of those named at the start, and of `others`.
    async fn look(&mut self, others: &BTreeSet<Address>) -> RedisResult<View> {
        let asking = self.named.union(others).map(|address| {
            let (client, connection) = (Client::open(at(&self.like, address)), self.connections.get(address).cloned());
            async move {
                let asked = async { ask(client?, connection).await };
                let timeout = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                (address.clone(), tokio::time::timeout(ANSWERED_WITHIN, asked).await.unwrap_or_else(timeout))
            }
        });
        let (mut latest, mut failed) = (None::<View>, None::<RedisError>);
        let answers = join_all(asking).await;
        self.connections.clear();
        for (address, answer) in answers {
            match answer {
                Ok((view, connection)) => {
                    self.connections.insert(address, connection);
                    latest = latest.into_iter().chain([view]).max_by_key(|view| (view.is_whole, view.epoch));
                }
                // What a node says tells more than that another is silent.
                Err(error) => failed = failed.filter(|failed| failed.code().is_some()).or(Some(error)),
            }
        }
        latest.ok_or_else(|| failed.unwrap_or_else(|| std::io::Error::other("no node is named").into()))
    }
}

async fn ask(client: Client, known: Option<MultiplexedConnection>) -> RedisResult<(View, MultiplexedConnection)> {
    let mut connection = match known {
        Some(connection) => connection,
        None => {
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            client.get_multiplexed_async_connection_with_config(&config).await?
        }
    };
    let mut ask = Pipeline::with_capacity(2);
    ask.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("NODES");
    let (info, nodes): (String, String) = ask.query_async(&mut connection).await?;
    Ok((View::of(&info, &nodes), connection))
}

/// A cluster as one of its nodes sees it.
#[derive(Debug, PartialEq, Eq)]
struct View {
    /// Grows with each failover.
    epoch: u64,
    /// Whether every slot is served.
    is_whole: bool,
    /// How many are.
    served: u32,
    /// Who has which.
    slots: Vec<(RangeInclusive<u16>, Address)>,
    /// Those that have slots, or may get some.
    masters: BTreeSet<Address>,
    all: BTreeSet<Address>,
}

impl View {
    /// Reads `CLUSTER INFO` and `CLUSTER NODES`.
    fn of(info: &str, nodes: &str) -> Self {
        let number = |name| field(info, name).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        let mut view = Self {
            epoch: number("cluster_current_epoch"),
            is_whole: field(info, "cluster_state") == Some("ok"),
            served: u32::try_from(number("cluster_slots_ok")).unwrap_or(0),
            slots: Vec::new(),
            masters: BTreeSet::new(),
            all: BTreeSet::new(),
        };
        // id host:port@bus,hostname flags master ping pong epoch link slots…
        for node in nodes.lines() {
            let words: Vec<&str> = node.split(' ').collect();
            let address = words.get(1).and_then(|address| address.split('@').next()?.rsplit_once(':'));
            let Some((host, Ok(port))) = address.map(|(host, port)| (host, port.parse())) else { continue };
            let address = (host.to_owned(), port);
            let flags: Vec<&str> = words.get(2).map_or(Vec::new(), |flags| flags.split(',').collect());
            if host.is_empty() {
                continue;
            }
            view.all.insert(address.clone());
            let slots: Vec<_> = words.iter().skip(8).filter_map(|word| range(word)).collect();
            // One that failed keeps its slots until another takes over.
            let failed = flags.iter().any(|flag| matches!(*flag, "fail" | "fail?"));
            if flags.contains(&"master") && !(slots.is_empty() && failed) {
                view.masters.insert(address.clone());
                view.slots.extend(slots.into_iter().map(|slots| (slots, address.clone())));
            }
        }
        view
    }
}

/// `0-5460`, `7`; what is being moved stands in brackets.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn address(node: &ConnectionInfo) -> Option<Address> {
    match node.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_those_that_have_slots() {
        let info = "cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:7\r\n";
        let nodes = "a 10.0.0.1:6379@16379,one myself,master - 0 0 1 connected 0-8191 9000 [5->-b]\n\
                     b 10.0.0.2:6379@16379 master - 0 0 2 connected 8192-16383\n\
                     c 10.0.0.3:6379@16379 slave a 0 0 1 connected\n\
                     d 10.0.0.4:6379@16379 master,fail - 0 0 3 disconnected\n\
                     e :0@0 master,noaddr - 0 0 3 disconnected\n";
        let node = |host: &str| (host.to_owned(), 6379);
        let view = View::of(info, nodes);
        assert_eq!(view.masters, BTreeSet::from([node("10.0.0.1"), node("10.0.0.2")]));
        let slots = [(0..=8191, node("10.0.0.1")), (9000..=9000, node("10.0.0.1")), (8192..=16383, node("10.0.0.2"))];
        assert_eq!(view.slots, slots);
        assert_eq!(view.all.len(), 4);
        assert_eq!((view.epoch, view.is_whole, view.served), (7, true, 16384));
    }
}
