//! A cluster: which masters it has, asked of all its nodes all the time.
//!
//! The driver follows slots that move, and replaces a master that is gone. One that hangs it would wait for: who leads
//! instead is seen here, and everybody sent there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, RedisResult};
use anyhow::bail;
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::room::field;
use super::start::{Patience, is_refusal, reason, refuse_untrusted};
use super::topology::{Node, at};

/// How often every node is asked.
const ASKED_EVERY: Duration = Duration::from_millis(300);
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
    pub(super) async fn find(named: Vec<ConnectionInfo>, patience: &mut Patience) -> anyhow::Result<Self> {
        let Some(like) = named.first().cloned() else { bail!("no node of the Redis cluster is named") };
        let mut asked = Asked { like, named: named.iter().filter_map(address).collect(), connections: BTreeMap::new() };
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
        let known = Known { node: Node::cluster(named.clone().into()), masters: view.masters, all: view.all };
        let board = Arc::new(Board { named: named.into(), known: Mutex::new(known) });
        let asker = AbortOnDropHandle::new(tokio::spawn(keep_asking(asked, Arc::clone(&board))));
        Ok(Self { board, _asker: asker })
    }

    /// The masters, as far as is known now.
    pub(super) fn masters(&self) -> Node {
        self.board.known().node.clone()
    }
}

/// What the nodes said last.
struct Board {
    named: Arc<[ConnectionInfo]>,
    known: Mutex<Known>,
}

struct Known {
    node: Node,
    masters: BTreeSet<Address>,
    all: BTreeSet<Address>,
}

impl Board {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what the nodes say. Where one that was a master is none any more, nobody is to wait for it.
    fn note(&self, view: View) {
        let mut known = self.known();
        if !known.masters.is_subset(&view.masters) {
            tracing::info!("the Redis cluster has other masters");
            std::mem::replace(&mut known.node, Node::cluster(Arc::clone(&self.named))).leave();
        }
        (known.masters, known.all) = (view.masters, view.all);
    }
}

async fn keep_asking(mut asked: Asked, board: Arc<Board>) {
    let mut ticks = tokio::time::interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let all = board.known().all.clone();
        match asked.look(&all).await {
            Ok(view) => board.note(view),
            Err(error) => tracing::debug!(error = error.category(), "no node of the Redis cluster answers"),
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
    /// Those that have slots.
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
            masters: BTreeSet::new(),
            all: BTreeSet::new(),
        };
        // id host:port@bus,hostname flags master ping pong epoch link slots…
        for node in nodes.lines() {
            let words: Vec<&str> = node.split(' ').collect();
            let address = words.get(1).and_then(|address| address.split('@').next()?.rsplit_once(':'));
            let Some((host, Ok(port))) = address.map(|(host, port)| (host, port.parse())) else { continue };
            if !host.is_empty() {
                view.all.insert((host.to_owned(), port));
                if words.len() > 8 && words[2].split(',').any(|flag| flag == "master") {
                    view.masters.insert((host.to_owned(), port));
                }
            }
        }
        view
    }
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
        let nodes = "a 10.0.0.1:6379@16379,one myself,master - 0 0 1 connected 0-8191 [5->-b]\n\
                     b 10.0.0.2:6379@16379 master - 0 0 2 connected 8192-16383\n\
                     c 10.0.0.3:6379@16379 slave a 0 0 1 connected\n\
                     d 10.0.0.4:6379@16379 master,fail - 0 0 3 disconnected\n\
                     e :0@0 master,noaddr - 0 0 3 disconnected\n";
        let node = |host: &str| (host.to_owned(), 6379);
        let view = View::of(info, nodes);
        assert_eq!(view.masters, BTreeSet::from([node("10.0.0.1"), node("10.0.0.2")]));
        assert_eq!(view.all.len(), 4);
        assert_eq!((view.epoch, view.is_whole, view.served), (7, true, 16384));
    }
}
