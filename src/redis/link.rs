//! One connection that comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::topology::{Node, Topology, is_over, is_repeatable};

/// How long a call waits for a connection that is being made anew.
pub(super) const RECONNECTED_WITHIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Live {
    generation: u64,
    node: Node,
    connection: MultiplexedConnection,
}

impl Live {
    /// Whether it is there, and leads to the node that takes writes.
    fn leads(live: &Option<Self>) -> bool {
        live.as_ref().is_some_and(|live| live.node.leads())
    }
}

/// A connection shared by any number of calls, kept up by a task of its own until it is dropped.
pub(super) struct Link {
    live: Arc<watch::Sender<Option<Live>>>,
    _supervisor: AbortOnDropHandle<()>,
}

impl Link {
    /// A link that starts from `connection`, where there is one already, or else connects in the background.
    pub(super) fn new(topology: Topology, within: Duration, connection: Option<(Node, MultiplexedConnection)>) -> Self {
        let live = connection.map(|(node, connection)| Live { generation: 0, node, connection });
        let live = Arc::new(watch::Sender::new(live));
        let task = tokio::spawn(supervise(topology, within, Arc::clone(&live)));
        Self { live, _supervisor: AbortOnDropHandle::new(task) }
    }

    /// Whether it seems to be connected.
    pub(super) fn is_up(&self) -> bool {
        Live::leads(&self.live.borrow())
    }

    /// The node that it seems to be connected to.
    pub(super) fn node(&self) -> Option<Node> {
        self.live.borrow().as_ref().map(|live| live.node.clone()).filter(Node::leads)
    }

    /// Sends one command. A command whose connection broke, or whose node handed the writes over, is sent once more.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        match self.try_query(command).await {
            Err(error) if is_repeatable(&error) => self.try_query(command).await,
            result => result,
        }
    }

    /// Sends several commands in one round trip. Once more as [`Link::query`] does.
    pub(super) async fn query_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match self.try_query_all(commands).await {
            Err(error) if is_repeatable(&error) => self.try_query_all(commands).await,
            result => result,
        }
    }

    async fn try_query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut live = self.live().await?;
        let result = live.node.unless_left(command.query_async(&mut live.connection)).await;
        result.inspect_err(|error| judge(&self.live, live.generation, error))
    }

    async fn try_query_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let mut live = self.live().await?;
        let result = live.node.unless_left(commands.query_async(&mut live.connection)).await;
        result.inspect_err(|error| judge(&self.live, live.generation, error))
    }

    async fn live(&self) -> RedisResult<Live> {
        if let Some(live) = self.live.borrow().as_ref().filter(|live| live.node.leads()) {
            return Ok(live.clone());
        }
        let mut changes = self.live.subscribe();
        let live = tokio::time::timeout(RECONNECTED_WITHIN, changes.wait_for(Live::leads)).await;
        let away = || RedisError::from((ErrorKind::Client, "away"));
        live.map_err(|_| away())?.map_err(|_| away())?.clone().ok_or_else(away)
    }
}

/// Gives the connection up where `error` says that it is of no use any more.
fn judge(live: &watch::Sender<Option<Live>>, generation: u64, error: &RedisError) {
    if is_over(error) {
        live.send_if_modified(|live| {
            let current = live.as_ref().is_some_and(|live| live.generation == generation);
            if current {
                *live = None;
            }
            current
        });
    }
}

async fn supervise(topology: Topology, within: Duration, live: Arc<watch::Sender<Option<Live>>>) {
    let mut changes = live.subscribe();
    for generation in 1.. {
        watch_over(&live, &mut changes).await;
        let mut pause = FIRST_PAUSE;
        let (node, connection) = loop {
            let node = topology.node();
            if topology.is_over() {
                return;
            }
            match node.open(within).await {
                Ok(connection) => break (node, connection),
                Err(error) => {
                    if pause == LONGEST_PAUSE {
                        tracing::warn!(error = error.category(), "Redis is away; trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = node.left() => pause = FIRST_PAUSE,
            }
        };
        live.send_replace(Some(Live { generation, node, connection }));
    }
}

/// Returns once the connection is given up. A connection that nobody uses is tried every second.
async fn watch_over(live: &watch::Sender<Option<Live>>, changes: &mut watch::Receiver<Option<Live>>) {
    loop {
        let Some(mut current) = live.borrow().clone() else { return };
        let node = current.node.clone();
        let idle = async {
            let gone = changes.wait_for(Option::is_none);
            if tokio::time::timeout(Duration::from_secs(1), gone).await.is_ok() {
                return Ok(());
            }
            ::redis::cmd("PING").query_async::<Value>(&mut current.connection).await.map(drop)
        };
        if let Err(error) = node.unless_left(idle).await {
            judge(live, current.generation, &error);
        }
    }
}
