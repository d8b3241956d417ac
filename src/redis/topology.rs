//! Which node takes writes, and connections to it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{AsyncStream, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    ServerErrorKind, Value,
};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::sentinel::Sentinels;

/// How long a connection may take to be made and to answer.
pub(super) const OPENED_WITHIN: Duration = Duration::from_secs(2);

/// What there is of Redis.
#[derive(Clone)]
pub(super) enum Topology {
    /// One server.
    One(Node),
    /// A master and its replicas, that Sentinels watch.
    Sentinels(Arc<Sentinels>),
}

impl Topology {
    /// The node that takes writes, as far as is known now.
    pub(super) fn node(&self) -> Node {
        match self {
            Self::One(node) => node.clone(),
            Self::Sentinels(sentinels) => sentinels.master(),
        }
    }

    /// Whether no other node will ever be the one: a cluster's master that was.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::One(node) if !node.leads())
    }
}

/// One Redis server.
#[derive(Clone)]
pub(super) struct Node {
    client: Arc<Client>,
    /// Whether it must say that it is a master before it is used.
    elected: bool,
    /// Cancelled once another node takes the writes: nothing is to be awaited from this one any more.
    left: CancellationToken,
}

impl Node {
    /// A server that takes writes, as its operator says.
    pub(super) fn only(client: Client) -> Self {
        Self { client: Arc::new(client), elected: false, left: CancellationToken::new() }
    }

    /// A server that is the master, as a Sentinel says.
    pub(super) fn elected(client: Client) -> Self {
        Self { client: Arc::new(client), elected: true, left: CancellationToken::new() }
    }

    /// Where it is, and how to log in.
    pub(super) fn info(&self) -> &ConnectionInfo {
        self.client.get_connection_info()
    }

    /// Says that another node takes the writes.
    pub(super) fn leave(&self) {
        self.left.cancel();
    }

    /// Resolves once another node takes the writes.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    /// Whether it takes the writes, as far as is known now.
    pub(super) fn leads(&self) -> bool {
        !self.left.is_cancelled()
    }

    /// Opens a connection whose answers may each take as long as `within`.
    pub(super) async fn open(&self, within: Duration) -> RedisResult<MultiplexedConnection> {
        match tokio::time::timeout(OPENED_WITHIN, self.unless_left(self.connect(within))).await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// What `asked` gives; where another node takes over meanwhile, an error as of a connection that broke.
    pub(super) async fn unless_left<T>(&self, asked: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        tokio::select! {
            biased;
            answer = asked => answer,
            () = self.left() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
        }
    }

    async fn connect(&self, within: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(within))
            .set_pipeline_buffer_size(1024);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        for command in self.greeting() {
            self.believe(command.query_async(&mut connection).await?)?;
        }
        Ok(connection)
    }

    /// What a new connection is asked, and its answers are to be believed. A Redis that is still loading its data accepts
    /// connections and refuses everything else.
    pub(super) fn greeting(&self) -> impl Iterator<Item = Cmd> + use<> {
        [::redis::cmd("PING")].into_iter().chain(self.elected.then(|| ::redis::cmd("ROLE")))
    }

    /// An error where the answer to a greeting is that of a node that takes no writes.
    pub(super) fn believe(&self, answer: Value) -> RedisResult<()> {
        match answer {
            Value::Array(role) if role.first() != Some(&Value::BulkString(b"master".to_vec())) => {
                Err((ErrorKind::Client, "the node that Sentinel names is no master").into())
            }
            _ => Ok(()),
        }
    }
}

/// A connection's bytes.
pub(super) type Stream = Pin<Box<dyn AsyncStream + Send + Sync>>;

/// What is asked first on a new connection.
pub(super) fn login(info: &ConnectionInfo) -> Vec<Cmd> {
    let (login, mut commands) = (info.redis_settings(), Vec::new());
    if let Some(password) = login.password() {
        let mut auth = ::redis::cmd("AUTH");
        auth.arg(login.username()).arg(password);
        commands.push(auth);
    }
    if login.db() != 0 {
        let mut select = ::redis::cmd("SELECT");
        select.arg(login.db());
        commands.push(select);
    }
    commands
}

/// A connection without TLS, nothing said yet.
pub(super) async fn connect(address: &ConnectionAddr) -> RedisResult<Stream> {
    match address {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((&**host, *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::pin(stream))
        }
        ConnectionAddr::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        // TLS copies every byte anyway.
        _ => Err((ErrorKind::Client, "only the driver speaks TLS").into()),
    }
}

/// Another address, connected to in the same way.
pub(super) fn at(like: &ConnectionInfo, address: &(String, u16)) -> ConnectionInfo {
    let (host, port) = address.clone();
    like.clone().set_addr(match like.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    })
}

/// Whether the connection is of no use any more: it is broken, hangs, or leads to a node that takes no writes.
pub(super) fn is_over(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error() || is_demoted(error)
}

/// Whether the same may be asked again at once, on another connection: the answer was lost, or nothing was done.
pub(super) fn is_repeatable(error: &RedisError) -> bool {
    error.is_connection_dropped() || is_demoted(error)
}

/// A master that becomes a replica lets go of those who wait for its replicas.
fn is_demoted(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
        // Redis 6 wraps what fails in a script.
        || error.to_string().contains("-READONLY ")
        || (error.kind() == ErrorKind::Extension && error.to_string().contains("UNBLOCKED"))
}
