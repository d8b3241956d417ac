//! One connection that comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::line::Line;
use super::topology::{Node, Topology, is_over, is_repeatable};

/// How long a call waits for a connection that is being made anew.
pub(super) const RECONNECTED_WITHIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Live {
    generation: u64,
    node: Node,
    connection: Connection,
}

#[derive(Clone)]
enum Connection {
    Own(Line),
    /// The driver's, for TLS.
    Driven(MultiplexedConnection),
}

impl Live {
    /// Whether it is there, and leads to the node that takes writes.
    fn leads(live: &Option<Self>) -> bool {
        live.as_ref().is_some_and(|live| live.node.leads())
    }

    /// Connects; an answer may take as long as `within`.
    async fn open(generation: u64, node: &Node, within: Duration) -> RedisResult<Self> {
        let connection = match node.info().addr() {
            ConnectionAddr::TcpTls { .. } => Connection::Driven(node.open(within).await?),
            _ => Connection::Own(node.unless_left(Line::open(node, within)).await?),
        };
        Ok(Self { generation, node: node.clone(), connection })
    }

    async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        match &mut self.connection {
            Connection::Own(line) => line.query(command).await,
            Connection::Driven(driven) => self.node.unless_left(command.query_async(driven)).await,
        }
    }

    async fn query_all(&mut self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        match &mut self.connection {
            Connection::Own(line) => line.query_all(commands).await,
            Connection::Driven(driven) => self.node.unless_left(pipeline(commands).query_async(driven)).await,
        }
    }
}

/// A connection shared by any number of calls, kept up by a task of its own until it is dropped.
pub(super) struct Link {
    live: Arc<watch::Sender<Option<Live>>>,
    _supervisor: AbortOnDropHandle<()>,
}

impl Link {
    /// A link that connects in the background.
    pub(super) fn new(topology: Topology, within: Duration) -> Self {
        let live = Arc::new(watch::Sender::new(None));
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
    pub(super) async fn query_all(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        match self.try_query_all(commands).await {
            Err(error) if is_repeatable(&error) => self.try_query_all(commands).await,
            result => result,
        }
    }

    async fn try_query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut live = self.live().await?;
        live.query(command).await.inspect_err(|error| judge(&self.live, live.generation, error))
    }

    async fn try_query_all(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let mut live = self.live().await?;
        live.query_all(commands).await.inspect_err(|error| judge(&self.live, live.generation, error))
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

/// The same commands, as the driver takes several.
pub(super) fn pipeline(commands: &[&Cmd]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command((*command).clone());
    }
    pipeline
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
        let opened = loop {
            let node = topology.node();
            if topology.is_over() {
                return;
            }
            match Live::open(generation, &node, within).await {
                Ok(opened) => break opened,
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
        live.send_replace(Some(opened));
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
            current.query(&::redis::cmd("PING")).await.map(drop)
        };
        if let Err(error) = node.unless_left(idle).await {
            judge(live, current.generation, &error);
        }
    }
}
