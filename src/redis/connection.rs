//! A connection to what takes writes: one node, or a cluster of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    ServerErrorKind, Value,
};

use tokio::sync::Semaphore;

use super::topology;

/// How long a connection to one node may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// The same in a cluster, where one that hangs is tried twice while the others wait.
const JOINED_WITHIN: Duration = Duration::from_millis(600);
/// How often the driver sends anew what a node of a cluster did not take, redirections among it; by itself it would 16 times.
const RESENT: u32 = 5;
/// Its pauses, in ms.
const PAUSES: (u64, u64) = (10, 200);
/// A call whose slot is being moved is repeated for so long: what needs several keys works again once all have arrived.
const MOVED_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);
/// Calls that one connection to a cluster has under way. The driver queues 50 for each node; what waits beyond that holds up
/// its own look at the slots, and both wait for ever.
const UNDER_WAY: usize = 32;

/// How connections are made.
#[derive(Clone)]
pub(super) enum Way {
    /// To one node.
    Node(Client),
    /// To all nodes that these know of.
    Cluster(Arc<[ConnectionInfo]>),
}

impl Way {
    /// Opens a connection whose answers may each take as long as `within`.
    pub(super) async fn connect(&self, within: Duration) -> RedisResult<Connection> {
        match self {
            Self::Node(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECTED_WITHIN))
                    .set_response_timeout(Some(within))
                    .set_pipeline_buffer_size(1024);
                let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                // A Redis that is still loading its data accepts connections and refuses everything else.
                ::redis::cmd("PING").exec_async(&mut connection).await?;
                Ok(Connection::Node(connection))
            }
            Self::Cluster(nodes) => {
                let client = ClusterClientBuilder::new(nodes.iter().cloned())
                    .connection_timeout(JOINED_WITHIN)
                    .response_timeout(within)
                    .overall_response_timeout(Some(within))
                    .retries(RESENT)
                    .min_retry_wait(PAUSES.0)
                    .max_retry_wait(PAUSES.1)
                    .tcp_settings(super::start::tcp())
                    .build()?;
                Ok(Connection::Cluster(client.get_async_connection().await?, Arc::new(Semaphore::new(UNDER_WAY))))
            }
        }
    }
}

/// A connection that any number of calls may use at once.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    /// Follows MOVED and ASK, and masters that change; reads from masters only. Commands in one pipeline must be in one slot.
    Cluster(ClusterConnection, Arc<Semaphore>),
}

impl Connection {
    /// Sends one command to every node that takes writes, and gives their answers.
    pub(super) async fn ask_masters(&mut self, command: &Cmd) -> RedisResult<Vec<Value>> {
        let Self::Cluster(cluster, _) = self else { return Ok(vec![command.query_async(self).await?]) };
        let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        match cluster.route_command(command.clone(), masters).await? {
            Value::Map(answers) => answers.into_iter().map(|(_, answer)| answer.extract_error()).collect(),
            answer => Ok(vec![answer]),
        }
    }

    /// `Ok` where it leads anywhere at all.
    pub(super) async fn check(&mut self) -> RedisResult<()> {
        let Self::Cluster(cluster, _) = self else { return ::redis::cmd("PING").exec_async(self).await };
        let anyone = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let answer = cluster.route_command(::redis::cmd("PING"), anyone).await;
        // Where nobody is left that it knows, it starts from those named in the settings again.
        answer.map(drop).map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    /// Whether a call that failed so shows that the connection is of no use any more. One to a cluster finds other masters by
    /// itself, but for those that hang.
    pub(super) fn is_over(&self, error: &RedisError) -> bool {
        match self {
            Self::Node(_) => topology::is_over(error),
            Self::Cluster(..) => error.is_timeout(),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(cluster, turns) => {
                let moving = Moving { since: Instant::now(), turns };
                Box::pin(async move {
                    loop {
                        match moving.in_turn(cluster.req_packed_command(command)).await {
                            Err(error) if moving.goes_on(&error) => tokio::time::sleep(PAUSE).await,
                            result => return result,
                        }
                    }
                })
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster, turns) => {
                let moving = Moving { since: Instant::now(), turns };
                Box::pin(async move {
                    loop {
                        match moving.in_turn(cluster.req_packed_commands(commands, offset, count)).await {
                            Err(error) if moving.goes_on(&error) => tokio::time::sleep(PAUSE).await,
                            result => return result,
                        }
                    }
                })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(cluster, _) => cluster.get_db(),
        }
    }
}

/// A call whose slot may be on its way to another node.
struct Moving<'a> {
    since: Instant,
    turns: &'a Semaphore,
}

impl Moving<'_> {
    async fn in_turn<T>(&self, call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let _turn = self.turns.acquire().await;
        call.await
    }

    /// Whether nothing was done because the slot is moved, and it is worth another try.
    fn goes_on(&self, error: &RedisError) -> bool {
        use ServerErrorKind::{Ask, Moved, TryAgain};
        matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain)) && self.since.elapsed() < MOVED_WITHIN
    }
}
