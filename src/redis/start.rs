//! The start: connect, and refuse a Redis that would lose somebody's share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError, Value,
};
use anyhow::{Context, bail};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::link::Link;
use super::room::{Memory, Room, field, text};
use super::script::Script;
use super::{
    ANSWER_WITHIN, BULK_LINKS, BULK_WITHIN, CHUNKS_UNDER_WAY, LEDGER_LINKS, Pool, Redis, Server, Settings, Topology,
};

/// Connects to Redis; waits for one that isn't there yet, as long as `settings.patience` says.
///
/// An error is one clear line: a wrong password, nobody there, or a Redis that evicts what it keeps.
pub async fn connect(settings: &Settings) -> anyhow::Result<Arc<Redis>> {
    let topology = Topology { node: client(&settings.server)? };
    let mut connection = first_connection(&topology, settings.patience).await?;
    let memory = Memory::ask(&mut connection).await.context("Redis does not answer INFO")?;
    if memory.evicts() && !settings.allow_eviction {
        bail!(
            "Redis evicts keys when it is full (maxmemory-policy {}), and with them somebody's share: set maxmemory-policy noeviction",
            memory.policy
        );
    }
    warn_of_what_a_crash_would_lose(&mut connection).await;
    let room = Arc::new(Room::new(settings.max_storage, settings.has_blobs));
    room.take(&memory);
    let sampler = tokio::spawn(sample(Link::new(topology.clone(), ANSWER_WITHIN, None), Arc::clone(&room)));
    Ok(Arc::new(Redis {
        ledger: Pool::new(&topology, LEDGER_LINKS, ANSWER_WITHIN, Some(connection)),
        bulk: Pool::new(&topology, BULK_LINKS, BULK_WITHIN, None),
        under_way: Arc::new(Semaphore::new(CHUNKS_UNDER_WAY)),
        room,
        _sampler: AbortOnDropHandle::new(sampler),
    }))
}

fn client(server: &Server) -> anyhow::Result<Client> {
    let info = match server {
        // The driver's own words for a bad address may repeat it, password and all.
        Server::Url(url) => url.as_str().into_connection_info().map_err(|error| {
            anyhow::anyhow!(
                "the Redis address is not of the form redis://[user:password@]host:port/db ({})",
                error.category()
            )
        })?,
        Server::Parts { host, port, db, username, password } => {
            let mut login = RedisConnectionInfo::default().set_db(*db);
            if let Some(username) = username {
                login = login.set_username(username);
            }
            if let Some(password) = password {
                login = login.set_password(password);
            }
            ConnectionAddr::Tcp(host.clone(), *port).into_connection_info()?.set_redis_settings(login)
        }
    };
    let info: ConnectionInfo = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info).context("the Redis address can't be used")
}

async fn first_connection(topology: &Topology, patience: Duration) -> anyhow::Result<MultiplexedConnection> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match topology.open(ANSWER_WITHIN).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if is_refusal(&error) {
            bail!("Redis refuses the login ({}): check its user name and password", reason(&error));
        }
        if matches!(error.kind(), ErrorKind::InvalidClientConfig) {
            bail!("the Redis settings can't be used: {}", reason(&error));
        }
        if began.elapsed() + pause > patience {
            bail!("Redis can't be reached: {}", reason(&error));
        }
        tracing::warn!(reason = reason(&error), "Redis can't be reached yet; trying again");
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
async fn warn_of_what_a_crash_would_lose(connection: &mut MultiplexedConnection) {
    let info = ::redis::cmd("INFO").arg("persistence").query_async::<Value>(connection).await;
    let info = info.map(text).unwrap_or_default();
    if field(&info, "aof_enabled") == Some("0") {
        tracing::warn!(
            "Redis keeps no append-only file: a crash loses shares; set appendonly yes and appendfsync always"
        );
        return;
    }
    let mut config = ::redis::cmd("CONFIG");
    config.arg("GET").arg("appendfsync");
    match config.query_async::<Vec<String>>(connection).await {
        Ok(pair) if pair.get(1).is_some_and(|value| value != "always") => {
            tracing::warn!(
                appendfsync = pair[1],
                "Redis may lose the last seconds in a crash, and bring a claimed share back: set appendfsync always"
            );
        }
        Ok(_) => {}
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
