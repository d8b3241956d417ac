//! The start: connect, and refuse a Redis that would lose somebody's share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use anyhow::{Context, bail, ensure};
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;
use super::room::{Memory, Room, field, text};
use super::script::Script;
use super::sentinel::Sentinels;
use super::shards::{Shard, Shards};
use super::topology::{Node, Topology};
use super::{ANSWER_WITHIN, BULK_LINKS, LEDGER_LINKS, Redis, Server, Settings};

/// Connects to Redis; waits for one that isn't there yet, as long as `settings.patience` says.
///
/// An error is one clear line: a wrong password, nobody there, Sentinels that know no such master, a cluster with holes, a
/// certificate that isn't trusted, or a Redis that evicts what it keeps.
pub async fn connect(settings: &Settings) -> anyhow::Result<Arc<Redis>> {
    crate::tls::choose();
    let mut patience = Patience::new(settings.patience);
    let shards = Arc::new(shards(settings, &mut patience).await?);
    let memory = memory(&shards, &mut patience).await?;
    if let Some(evicting) = memory.iter().find(|memory| memory.evicts()) {
        ensure!(
            settings.allow_eviction,
            "Redis evicts keys when it is full (maxmemory-policy {}), and with them somebody's share: set maxmemory-policy noeviction",
            evicting.policy
        );
        evicting.complain();
    }
    let room = Arc::new(Room::new(settings.max_storage, settings.has_blobs));
    room.take(&memory);
    let sampler = tokio::spawn(sample(Arc::clone(&shards), Arc::clone(&room)));
    Ok(Arc::new(Redis { shards, wants_acks: settings.acks > 0, room, _sampler: AbortOnDropHandle::new(sampler) }))
}

async fn shards(settings: &Settings, patience: &mut Patience) -> anyhow::Result<Shards> {
    if let Server::Cluster { nodes, tls, username, password } = &settings.server {
        let login = login(0, username.as_deref(), password.as_deref());
        let node = |(host, port): &(String, u16)| Ok(address(host, *port, *tls)?.set_redis_settings(login.clone()));
        let nodes = nodes.iter().map(node).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(Shards::Cluster(Cluster::find(&nodes, settings.acks, patience).await?));
    }
    let topology = topology(&settings.server, patience).await?;
    try_connection(&topology, patience).await?;
    Ok(Shards::One(Shard::new(topology, (LEDGER_LINKS, BULK_LINKS), settings.acks)))
}

async fn topology(server: &Server, patience: &mut Patience) -> anyhow::Result<Topology> {
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
        Server::Sentinels { sentinels, tls, name, sentinel_password, db, username, password } => {
            let sentinels = sentinels.iter().map(|(host, port)| {
                Ok(address(host, *port, *tls)?.set_redis_settings(login(0, None, sentinel_password.as_deref())))
            });
            let sentinels = sentinels.collect::<anyhow::Result<Vec<_>>>()?;
            let master = address("", 0, *tls)?;
            let master = master.set_redis_settings(login(*db, username.as_deref(), password.as_deref()));
            return Ok(Topology::Sentinels(Arc::new(Sentinels::find(&sentinels, name, master, patience).await?)));
        }
        Server::Cluster { .. } => bail!("a cluster has several masters"),
    };
    let info = info.set_tcp_settings(tcp());
    Ok(Topology::One(Node::only(Client::open(info).context("the Redis address can't be used")?)))
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

/// An error where a connection failed for the other side's certificate.
pub(super) fn refuse_untrusted(whose: &str, why: &str) -> anyhow::Result<()> {
    ensure!(
        !why.contains("certificate"),
        "{whose} certificate isn't trusted ({why}): name a file with its CA in SSL_CERT_FILE"
    );
    Ok(())
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Whether it can be reached and used: what is wrong is better told now than on every call.
async fn try_connection(topology: &Topology, patience: &mut Patience) -> anyhow::Result<()> {
    loop {
        let Err(error) = topology.node().open(ANSWER_WITHIN).await else { return Ok(()) };
        if is_refusal(&error) {
            bail!("Redis refuses the login ({}): check its user name and password", reason(&error));
        }
        if error.code() == Some("ERR") && !is_crowded(&error) {
            bail!("Redis refuses the settings ({}): correct them", error.detail().unwrap_or("ERR"));
        }
        if matches!(error.kind(), ErrorKind::InvalidClientConfig) {
            bail!("the Redis settings can't be used: {}", reason(&error));
        }
        let why = reason(&error);
        refuse_untrusted("Redis'", &why)?;
        patience.wait("Redis can't be reached", &why).await?;
    }
}

/// What Redis says of its memory; one that has just started may still be busy.
async fn memory(shards: &Shards, patience: &mut Patience) -> anyhow::Result<Vec<Memory>> {
    loop {
        match Memory::ask(shards).await {
            Ok(memory) => return Ok(memory),
            Err(error) if is_refusal(&error) => bail!("Redis refuses INFO ({}): allow it to the user", reason(&error)),
            Err(error) => patience.wait("Redis does not answer INFO", &reason(&error)).await?,
        }
    }
}

/// What is left of the time in which all that must be there may come.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: Duration::from_millis(100) }
    }

    /// Waits before another attempt; an error where there is no time for one.
    pub(super) async fn wait(&mut self, what: &str, why: &str) -> anyhow::Result<()> {
        if Instant::now() + self.pause > self.until {
            bail!("{what}: {why}");
        }
        tracing::warn!(why, "{what}; trying again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(2));
        Ok(())
    }
}

pub(super) fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "NOPERMISSION"))
}

/// Whether it has no place for another connection just now.
fn is_crowded(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with("max number of clients"))
}

pub(super) fn reason(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), _) => code.to_owned(),
        (None, Some(detail)) => detail.to_owned(),
        (None, None) => error.to_string(),
    }
}

impl Redis {
    /// Says loudly which settings might lose what is acknowledged.
    pub async fn warn_of_settings(&self) {
        if self.room.is_endless() {
            tracing::warn!(
                "Redis has no maxmemory: once memory is full it is killed, where it could have refused; set maxmemory"
            );
        }
        warn_of_what_a_crash_would_lose(&self.shards).await;
    }
}

/// Some hosts forbid `CONFIG`, and then only INFO can tell.
async fn warn_of_what_a_crash_would_lose(shards: &Shards) {
    let kept = shards.ask_masters(::redis::cmd("INFO").arg("persistence")).await.unwrap_or_default();
    if kept.into_iter().any(|info| field(&text(info), "aof_enabled") == Some("0")) {
        tracing::warn!(
            "Redis keeps no append-only file: a crash loses shares; set appendonly yes and appendfsync always"
        );
        return;
    }
    let Ok(pairs) = shards.ask_masters(::redis::cmd("CONFIG").arg("GET").arg("appendfsync")).await else {
        tracing::warn!("Redis does not tell its appendfsync: only `always` survives every crash");
        return;
    };
    let value = |pair| ::redis::from_redis_value::<Vec<String>>(pair).ok()?.into_iter().nth(1);
    if let Some(appendfsync) = pairs.into_iter().filter_map(value).find(|value| value != "always") {
        tracing::warn!(
            appendfsync,
            "Redis may lose the last seconds in a crash, and bring a claimed share back: set appendfsync always"
        );
    }
}

async fn sample(shards: Arc<Shards>, room: Arc<Room>) {
    let sweep = Script::new(include_str!("sweep.lua"));
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = room.sample(&shards, &sweep).await {
            tracing::debug!(error = error.category(), "no sample of Redis' memory");
        }
        if let Err(error) = shards.sample_replicas().await {
            tracing::debug!(error = error.category(), "no count of Redis' replicas");
        }
    }
}
