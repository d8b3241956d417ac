//! From settings to a running server: store, listeners, the accept loop and its end.

mod accept;
mod log;
mod reads;
mod wire;
mod workers;

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use self::log::log;
use self::workers::Workers;
use crate::blobs::Blobs;
use crate::blobs::files::Files;
use crate::blobs::objects::Objects;
use crate::blobs::place::Place;
use crate::blobs::redis::RedisBlobs;
use crate::config::Config;
use crate::http::{self, App};
use crate::ledger::redis::RedisLedger;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::{Ledger, Revoker};
use crate::redis;
use crate::share::ShareId;
use crate::store::{Limits, Store, Sweeper, now};

/// Transfers that run when the server is told to stop may go on for so long.
const DRAIN: Duration = Duration::from_secs(300);
/// A Redis that is started at the same time may take so long.
const REDIS_PATIENCE: Duration = Duration::from_secs(30);
const HEALTHCHECK: Duration = Duration::from_secs(4);

/// Serves until SIGTERM or SIGINT, and then until running transfers are through, or a second signal comes.
///
/// # Errors
/// Where the store can't be opened or the address not be listened on.
pub fn run(config: Config) -> anyhow::Result<()> {
    runtime()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let _lock = if config.uses_redis() { None } else { Some(lock(&config.data_dir)?) };
    // Before anything that takes long: the first process of a container has no default that ends it.
    let mut signals = Signals::new()?;
    let store = tokio::select! {
        store = open(&config) => store?,
        () = signals.next() => return Ok(()),
    };
    let listener = listen(config.listen).await?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let stopping = CancellationToken::new();
    let _sweeper = Sweeper::start(store.clone());
    let app = App::new(store, config, stopping.clone());
    let workers = Arc::new(Workers::start()?);

    // A closed stdout is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?);
    if let Some(metrics) = metrics {
        tracing::info!("metrics on http://{}/metrics", metrics.local_addr()?);
        let router = http::metrics(app.clone());
        tokio::spawn(accept::accept(metrics, router, Arc::clone(&workers), stopping.clone()));
    }
    let connections = tokio::spawn(accept::accept(listener, http::routes(app), workers, stopping.clone()));

    signals.next().await;
    tracing::info!("stopping: no new connections; running transfers have {} s", DRAIN.as_secs());
    stopping.cancel();
    tokio::select! {
        drained = tokio::time::timeout(DRAIN, connections) => match drained {
            Ok(_) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped with transfers still running"),
        },
        () = signals.next() => {
            tracing::warn!("stopped at once: transfers that were running are cut off");
            std::process::exit(1);
        }
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("can't listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Asks the server that `config` starts whether it is ready.
///
/// # Errors
/// Where it is not, or does not answer.
pub fn healthcheck(config: &Config) -> anyhow::Result<()> {
    let ip = match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, config.listen.port());
    let ask = || -> std::io::Result<String> {
        let mut server = std::net::TcpStream::connect_timeout(&address, HEALTHCHECK)?;
        server.set_read_timeout(Some(HEALTHCHECK))?;
        write!(server, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        server.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().with_context(|| format!("no answer from http://{address}"))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") { Ok(()) } else { bail!("http://{address} is not ready: {status}") }
}

/// Ends a share for the operator, beside a running server or without one.
///
/// # Errors
/// Where there is no such share, or the store can't be opened.
pub fn takedown(config: &Config, id: &ShareId) -> anyhow::Result<()> {
    if !config.uses_redis() && !config.data_dir.join("ledger.sqlite").exists() {
        bail!("there is no store in {}: set --data-dir as for the server", config.data_dir.display());
    }
    runtime()?.block_on(async {
        let store = connect(config, false).await?;
        store.revoke(id, Revoker::Operator).await.with_context(|| format!("share {id}"))?;
        println!("share {id} is ended and freed");
        Ok(())
    })
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start the runtime")
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

/// The store of a server that is starting: what died with the one before is freed.
async fn open(config: &Config) -> anyhow::Result<Arc<Store>> {
    if config.uses_redis() {
        // There, what nobody tends vanishes by itself or is swept.
        return connect(config, true).await;
    }
    let (ledger, blobs) = embedded(config).await?;
    let present = blobs.all().await.context("can't list the blobs")?;
    ledger.end_lost(present.iter().copied().collect(), now()).await.with_context(|| {
        format!("can't start on {}: are all of the shares' bytes there, and writable?", config.data_dir.display())
    })?;
    let store = Store::new(Box::new(ledger), blobs, limits(config));
    store.tidy(present).await.context("can't free what the last run left behind")?;
    Ok(store)
}

/// A store beside which others may use the same ledger and blobs; whoever `serves` is told what its settings may lose.
async fn connect(config: &Config, serves: bool) -> anyhow::Result<Arc<Store>> {
    if let Some(server) = config.redis() {
        let settings = redis::Settings {
            server,
            max_storage: config.max_storage(),
            has_blobs: config.blobs_url.is_none(),
            allow_eviction: config.redis_allow_eviction,
            acks: config.redis_acks(),
            patience: REDIS_PATIENCE,
        };
        let redis = redis::connect(&settings).await?;
        if serves {
            redis.warn_of_settings().await;
        }
        let ledger = Box::new(RedisLedger::new(redis.clone()));
        let blobs = match apart(config, &*ledger).await? {
            Some(blobs) => blobs,
            None => Box::new(RedisBlobs::new(redis)),
        };
        return Ok(Store::new(ledger, blobs, limits(config)));
    }
    let (ledger, blobs) = embedded(config).await?;
    Ok(Store::new(Box::new(ledger), blobs, limits(config)))
}

async fn embedded(config: &Config) -> anyhow::Result<(Sqlite, Box<dyn Blobs>)> {
    let ledger = Sqlite::open(&config.data_dir, config.max_storage())?;
    let blobs = match apart(config, &ledger).await? {
        Some(blobs) => blobs,
        None => Box::new(Files::open(&config.data_dir)?),
    };
    Ok((ledger, blobs))
}

/// The blobs of `ledger`, where they lie apart from it.
async fn apart(config: &Config, ledger: &dyn Ledger) -> anyhow::Result<Option<Box<dyn Blobs>>> {
    let Some(place) = &config.blobs_url else { return Ok(None) };
    let ledger = ledger.name().await.context("the ledger does not take writes")?;
    Ok(Some(match place {
        Place::Folder(folder) => {
            // Made here, it would lie on the disk below a mount that is missing.
            ensure!(folder.is_dir(), "the folder {} is not there: mount it, or make it", folder.display());
            Box::new(Files::open(&folder.join(ledger))?)
        }
        Place::Bucket { name, prefix } => Box::new(Objects::open(name, prefix, &ledger, config.of_bucket()).await?),
    }))
}

fn limits(config: &Config) -> Limits {
    Limits { max_size: config.max_size(), lease: config.lease, upload_window: config.upload_window }
}

/// Holds the folder for this process alone, until it ends.
fn lock(dir: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(dir).with_context(|| format!("can't make the data folder {}", dir.display()))?;
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("can't write in the data folder {}", dir.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another server uses the data folder {}: stop it, or set another --data-dir", dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("can't lock {}", path.display())),
    }
}
