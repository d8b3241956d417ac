//! The start: connect, and refuse a Redis that would lose somebody's share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use anyhow::{Context, bail};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::cluster::{self, Flaw};
use super::connection::{Connection, Way};
use super::link::Link;
use super::room::{Memory, Room, field, text};
use super::script::Script;
use super::{
    ANSWER_WITHIN, BULK_LINKS, BULK_WITHIN, CHUNKS_UNDER_WAY, CLUSTER_LINKS, LEDGER_LINKS, Pool, Redis, Server,
    Settings, Topology,
};

/// Connects to Redis; waits for one that isn't there yet, as long as `settings.patience` says.
///
/// An error is one clear line: a wrong password, nobody there, a cluster with holes, or a Redis that evicts what it keeps.
pub async fn connect(settings: &Settings) -> anyhow::Result<Arc<Redis>> {
    let topology = Topology { way: way(&settings.server)? };
    let mut connection = first_connection(&topology, settings.patience).await?;
    let memory = Memory::ask(&mut connection).await.context("Redis does not answer INFO")?;
    if let Some(evicting) = memory.iter().find(|memory| memory.evicts())
        && !settings.allow_eviction
    {
        bail!(
            "Redis evicts keys when it is full (maxmemory-policy {}), and with them somebody's share: set maxmemory-policy noeviction",
            evicting.policy
        );
    }
    warn_of_what_a_crash_would_lose(&mut connection).await;
    let room = Arc::new(Room::new(settings.max_storage));
    room.take(&memory);
    let is_cluster = matches!(settings.server, Server::Cluster { .. });
    let (ledger, bulk) = if is_cluster { CLUSTER_LINKS } else { (LEDGER_LINKS, BULK_LINKS) };
    let sampler = tokio::spawn(sample(Link::new(topology.clone(), ANSWER_WITHIN, None), Arc::clone(&room)));
    Ok(Arc::new(Redis {
        ledger: Pool::new(&topology, ledger, ANSWER_WITHIN, Some(connection)),
        bulk: Pool::new(&topology, bulk, BULK_WITHIN, None),
        under_way: Arc::new(Semaphore::new(CHUNKS_UNDER_WAY)),
        room,
        is_cluster,
        _sampler: AbortOnDropHandle::new(sampler),
    }))
}

fn way(server: &Server) -> anyhow::Result<Way> {
    let info = match server {
        // The driver's own words for a bad address may repeat it, password and all.
        Server::Url(url) => url.as_str().into_connection_info().map_err(|error| {
            anyhow::anyhow!(
                "the Redis address is not of the form redis://[user:password@]host:port/db ({})",
                error.category()
            )
        })?,
        Server::Parts { host, port, db, username, password } => {
            address(host, *port, false)?.set_redis_settings(login(*db, username.as_deref(), password.as_deref()))
        }
        Server::Cluster { nodes, tls, username, password } => {
            let login = login(0, username.as_deref(), password.as_deref());
            let node = |(host, port): &(String, u16)| Ok(address(host, *port, *tls)?.set_redis_settings(login.clone()));
            return Ok(Way::Cluster(nodes.iter().map(node).collect::<anyhow::Result<_>>()?));
        }
    };
    let info: ConnectionInfo = info.set_tcp_settings(tcp());
    Ok(Way::Node(Client::open(info).context("the Redis address can't be used")?))
}

fn address(host: &str, port: u16, tls: bool) -> anyhow::Result<ConnectionInfo> {
    let host = host.to_owned();
    let address = match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    Ok(address.into_connection_info()?.set_tcp_settings(tcp()))
}

fn login(db: i64, username: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(db);
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    login
}

pub(super) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// A connection to a Redis that can be used; to a cluster, only where every slot has a master.
async fn first_attempt(topology: &Topology) -> Result<Connection, Flaw> {
    if let Way::Cluster(nodes) = &topology.way {
        cluster::look(nodes, ANSWER_WITHIN).await?;
    }
    topology.open(ANSWER_WITHIN).await.map_err(Flaw::Unreachable)
}

async fn first_connection(topology: &Topology, patience: Duration) -> anyhow::Result<Connection> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let line = match first_attempt(topology).await {
            Ok(connection) => return Ok(connection),
            Err(Flaw::Unreachable(error)) if is_refusal(&error) => {
                bail!("Redis refuses the login ({}): check its user name and password", reason(&error))
            }
            Err(Flaw::Unreachable(error)) if matches!(error.kind(), ErrorKind::InvalidClientConfig) => {
                bail!("the Redis settings can't be used: {}", reason(&error))
            }
            Err(Flaw::NoCluster(address)) => {
                bail!("the Redis at {address} is no node of a cluster: set --redis-url for a server by itself")
            }
            Err(Flaw::Unreachable(error)) => format!("Redis can't be reached: {}", reason(&error)),
            // A cluster that is being set up, or fails over just now.
            Err(Flaw::Uncovered(served)) => format!(
                "the Redis cluster serves {served} of {} slots: look at `redis-cli --cluster check`, and repair it",
                cluster::SLOTS
            ),
        };
        if began.elapsed() + pause > patience {
            bail!(line);
        }
        tracing::warn!("{line}; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "NOPERMISSION"))
}

fn reason(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), _) => code.to_owned(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => error.to_string(),
    }
}

/// Says loudly where what is acknowledged might not survive: some hosts forbid `CONFIG`, and then only INFO can tell.
async fn warn_of_what_a_crash_would_lose(connection: &mut Connection) {
    let kept = connection.ask_masters(::redis::cmd("INFO").arg("persistence")).await.unwrap_or_default();
    if kept.into_iter().any(|info| field(&text(info), "aof_enabled") == Some("0")) {
        tracing::warn!(
            "Redis keeps no append-only file: a crash loses shares; set appendonly yes and appendfsync always"
        );
        return;
    }
    let mut config = ::redis::cmd("CONFIG");
    config.arg("GET").arg("appendfsync");
    match connection.ask_masters(&config).await {
        Ok(pairs) => {
            let pairs = pairs.into_iter().filter_map(|pair| ::redis::from_redis_value::<Vec<String>>(pair).ok());
            if let Some(appendfsync) = pairs.filter_map(|pair| pair.into_iter().nth(1)).find(|value| value != "always")
            {
                tracing::warn!(
                    appendfsync,
                    "Redis may lose the last seconds in a crash, and bring a claimed share back: set appendfsync always"
                );
            }
        }
        Err(_) => tracing::warn!("Redis does not tell its appendfsync: only `always` survives every crash"),
    }
}

async fn sample(link: Link, room: Arc<Room>) {
    let sweep = Script::new(include_str!("sweep.lua"));
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = room.sample(&link, &sweep).await {
            tracing::debug!(error = error.category(), "no sample of Redis' memory");
        }
    }
}
