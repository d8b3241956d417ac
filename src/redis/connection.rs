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
/// A master that does not answer for so long hangs.
const HANGS: Duration = Duration::from_millis(1500);

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
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
        }
    }
}

/// A connection that any number of calls may use at once.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    /// Follows MOVED and ASK, and masters that change; reads from masters only. Commands in one pipeline must be in one slot.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Sends one command to every node that takes writes, and gives their answers.
    pub(super) async fn ask_masters(&mut self, command: &Cmd) -> RedisResult<Vec<Value>> {
        let Self::Cluster(cluster) = self else { return Ok(vec![command.query_async(self).await?]) };
        let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        match cluster.route_command(command.clone(), masters).await? {
            Value::Map(answers) => answers.into_iter().map(|(_, answer)| answer.extract_error()).collect(),
            answer => Ok(vec![answer]),
        }
    }

    /// `Ok` where it leads somewhere, and no master hangs. One that is gone is the driver's to replace.
    pub(super) async fn check(&mut self) -> RedisResult<()> {
        if let Self::Node(node) = self {
            return ::redis::cmd("PING").exec_async(node).await;
        }
        let hangs = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        match tokio::time::timeout(HANGS, self.ask_masters(&::redis::cmd("PING"))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => self.ask_anyone(::redis::cmd("PING")).await.map(drop).map_err(|_| hangs()),
            Err(_) => Err(hangs()),
        }
    }

    async fn ask_anyone(&mut self, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::Node(node) => command.query_async(node).await,
            Self::Cluster(cluster) => {
                let anyone = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                cluster.route_command(command, anyone).await
            }
        }
    }

    /// Whether a call that failed so shows that the connection is of no use any more. One to a cluster finds other masters by
    /// itself, but not for one that hangs.
    pub(super) fn is_over(&self, error: &RedisError) -> bool {
        match self {
            Self::Node(_) => topology::is_over(error),
            Self::Cluster(_) => error.is_timeout(),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(cluster) => Box::pin(async move {
                let moving = Moving::since_now();
                loop {
                    match cluster.req_packed_command(command).await {
                        Err(error) if moving.goes_on(&error) => tokio::time::sleep(PAUSE).await,
                        result => return result,
                    }
                }
            }),
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
            Self::Cluster(cluster) => Box::pin(async move {
                let moving = Moving::since_now();
                loop {
                    match cluster.req_packed_commands(commands, offset, count).await {
                        Err(error) if moving.goes_on(&error) => tokio::time::sleep(PAUSE).await,
                        result => return result,
                    }
                }
            }),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// A slot may be on its way to another node.
struct Moving(Instant);

impl Moving {
    fn since_now() -> Self {
        Self(Instant::now())
    }

    /// Whether nothing was done because of that, and it is worth another try.
    fn goes_on(&self, error: &RedisError) -> bool {
        use ServerErrorKind::{Ask, Moved, TryAgain};
        matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain)) && self.0.elapsed() < MOVED_WITHIN
    }
}
