//! The only reader of flags and environment. Everything is checked once, at the start.

#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "the comments on settings are the text of --help"
)]

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::blobs::place::Place;
use crate::redis::Server;

/// Settings of the server; each flag has its environment variable.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address and port to serve on, or :PORT of 127.0.0.1; port 0 picks a free one
    #[arg(long, env, default_value = "127.0.0.1:8080", value_parser = listen)]
    pub listen: SocketAddr,
    /// Folder of the embedded store
    #[arg(long, env, default_value = "./data")]
    pub data_dir: PathBuf,
    /// Address that links begin with, such as https://send.example.org [default: the one that the request came to]
    #[arg(long, env)]
    pub public_url: Option<String>,

    /// Redis to keep shares in, instead of the embedded store: redis://[user[:password]@]host[:port][/db]; rediss:// for TLS
    #[arg(long, env, hide_env_values = true)]
    pub redis_url: Option<String>,
    /// Host of the Redis to keep shares in; instead of --redis-url
    #[arg(long, env)]
    pub redis_host: Option<String>,
    /// Port of that Redis [default: 6379]
    #[arg(long, env, value_parser = port)]
    pub redis_port: Option<u16>,
    /// Number of its database [default: 0]
    #[arg(long, env, value_parser = clap::value_parser!(i64).range(0..))]
    pub redis_db: Option<i64>,
    /// User to log in as
    #[arg(long, env)]
    pub redis_username: Option<String>,
    /// Password to log in with
    #[arg(long, env, hide_env_values = true)]
    pub redis_password: Option<String>,
    /// Sentinels that know the Redis to keep shares in, such as a:26379,b:26379,c:26379; rediss://a:26379,… for TLS everywhere
    #[arg(long, env, value_delimiter = ',')]
    pub redis_sentinels: Vec<String>,
    /// What the Sentinels call their master
    #[arg(long, env)]
    pub redis_master_name: Option<String>,
    /// Password of the Sentinels themselves
    #[arg(long, env, hide_env_values = true)]
    pub redis_sentinel_password: Option<String>,
    /// Replicas that must have a share, a claim, its finish or a revocation before it is acknowledged: a number, or "all" of --redis-replicas
    #[arg(long, env, default_value = "0", value_parser = acks)]
    pub redis_min_acks: Acks,
    /// Replicas that the master is configured to have
    #[arg(long, env)]
    pub redis_replicas: Option<u32>,
    /// Nodes of a Redis cluster to keep shares in, such as a:6379,b:6379; rediss://a:6379,… for TLS everywhere
    #[arg(long, env, value_delimiter = ',')]
    pub redis_cluster: Vec<String>,
    /// Run even on a Redis that evicts keys when its memory is full, and so may lose shares
    #[arg(long, env)]
    pub redis_allow_eviction: bool,

    /// Where sealed bytes lie, apart from the records: s3://bucket/prefix (with AWS_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_ALLOW_HTTP, …) or file:///shared/folder [default: in the data folder, or in Redis]
    #[arg(long, env)]
    pub blobs_url: Option<Place>,

    /// Largest share, such as 500MiB [default: 10GiB; with sealed bytes in Redis: 2GiB]
    #[arg(long, env, value_parser = size)]
    pub max_size: Option<ByteSize>,
    /// Bytes that all shares together may occupy, such as 100GiB [default: what the disk or Redis has room for]
    #[arg(long, env, value_parser = size)]
    pub max_storage: Option<ByteSize>,
    /// How long a share waits, where the sender does not say
    #[arg(long, env, default_value = "1d", value_parser = duration)]
    pub default_expires_in: Duration,
    /// How long a share may wait at the most
    #[arg(long, env, default_value = "7d", value_parser = duration)]
    pub max_expires_in: Duration,
    /// How many downloads a sender may allow at the most
    #[arg(long, env, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_downloads: u32,
    /// How long a claim lasts without a byte moving
    #[arg(long, env, default_value = "15m", value_parser = duration)]
    pub lease: Duration,
    /// How long a resumable upload may take
    #[arg(long, env, default_value = "24h", value_parser = duration)]
    pub upload_window: Duration,
    /// Uploads that one client network (an IPv4 address, an IPv6 /64) may begin in a minute [default: no limit]
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..))]
    pub upload_rate: Option<u32>,
    /// Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, such as 10.0.0.0/8,::1
    #[arg(long, env, value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Address and port to serve Prometheus metrics on [default: none]
    #[arg(long, env, value_parser = listen)]
    pub metrics_listen: Option<SocketAddr>,
    /// How log lines are written
    #[arg(long, env, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How many replicas must acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// So many.
    Number(u32),
    /// As many as there are.
    All,
}

/// How log lines are written, to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

const GIB: u64 = 1 << 30;

impl Config {
    /// Checks what flags alone can't: settings that contradict each other.
    ///
    /// # Errors
    /// One line that names the settings and says what to do.
    pub fn check(mut self) -> anyhow::Result<Self> {
        ensure!(
            self.default_expires_in >= Duration::from_secs(1),
            "--default-expires-in must be at least 1s: shares wait for whole seconds"
        );
        ensure!(
            self.default_expires_in <= self.max_expires_in,
            "--default-expires-in is longer than --max-expires-in: lower the one or raise the other"
        );
        ensure!(
            self.max_storage().is_none_or(|storage| self.max_size() <= storage || self.max_size.is_none()),
            "--max-size is larger than --max-storage: no share of that size would fit"
        );
        ensure!(self.max_size() > 0, "--max-size must be at least 1 byte");
        self.check_redis()?;
        ensure!(
            self.metrics_listen.is_none_or(|metrics| metrics.port() == 0 || metrics != self.listen),
            "--metrics-listen and --listen are the same address: give metrics another port"
        );
        ensure!(
            self.max_storage.is_none() || self.blobs_url.is_none() || !self.uses_redis(),
            "--max-storage can't be counted with --blobs-url and Redis: set a quota on the bucket or the file system instead"
        );
        if let Some(url) = &mut self.public_url {
            *url = url.trim_end_matches('/').to_owned();
            let uri: hyper::Uri = url.parse().ok().with_context(|| format!("--public-url {url} is no address"))?;
            let web =
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
            // The parser drops what is behind a `#`.
            let alone = uri.path() == "/" && !url.contains(['#', '@']);
            ensure!(
                web && alone,
                "--public-url must be http:// or https:// and a host, without a path or a name of a user"
            );
        }
        Ok(self)
    }

    fn check_redis(&self) -> anyhow::Result<()> {
        let (host, sentinels) = (self.redis_host.is_some(), !self.redis_sentinels.is_empty());
        let cluster = !self.redis_cluster.is_empty();
        let ways = [self.redis_url.is_some(), host, sentinels, cluster];
        ensure!(
            ways.iter().filter(|way| **way).count() <= 1,
            "--redis-url, --redis-host, --redis-sentinels and --redis-cluster each name a Redis: set one of them"
        );
        ensure!(!cluster || self.redis_db.is_none(), "--redis-db: a cluster has database 0 only, leave it out");
        let login = self.redis_db.is_some() || self.redis_username.is_some() || self.redis_password.is_some();
        ensure!(
            (host || self.redis_port.is_none()) && (host || sentinels || cluster || !login),
            "--redis-port, --redis-db, --redis-username and --redis-password go with --redis-host (the last three also with \
             --redis-sentinels, the last two with --redis-cluster): set it, or put them into --redis-url"
        );
        ensure!(
            sentinels == self.redis_master_name.is_some(),
            "--redis-sentinels and --redis-master-name go together: set both"
        );
        ensure!(
            sentinels || self.redis_sentinel_password.is_none(),
            "--redis-sentinel-password goes with --redis-sentinels: set them, or --redis-password"
        );
        self.sentinels()?;
        self.cluster()?;
        ensure!(
            self.uses_redis() || self.redis_min_acks == Acks::Number(0) && self.redis_replicas.is_none(),
            "--redis-min-acks and --redis-replicas are about replicas of a Redis: set one, or leave them out"
        );
        ensure!(
            self.uses_redis() || !self.redis_allow_eviction,
            "--redis-allow-eviction is about a Redis: set one, or leave it out"
        );
        let replicas = self.redis_replicas.unwrap_or(0);
        match self.redis_min_acks {
            Acks::All if replicas == 0 => {
                bail!(
                    "--redis-min-acks all needs to know of how many: set --redis-replicas to what the master is configured to have"
                )
            }
            Acks::Number(number) if self.redis_replicas.is_some() && number > replicas => {
                bail!(
                    "--redis-min-acks {number} is more than the {replicas} of --redis-replicas: nothing could be published"
                )
            }
            _ => Ok(()),
        }
    }

    /// Name and port of each Sentinel, and whether they are spoken to over TLS.
    fn sentinels(&self) -> anyhow::Result<(Vec<(String, u16)>, bool)> {
        addresses(&self.redis_sentinels, 26379).context("--redis-sentinels")
    }

    /// Name and port of each node of the cluster, and whether they are spoken to over TLS.
    fn cluster(&self) -> anyhow::Result<(Vec<(String, u16)>, bool)> {
        addresses(&self.redis_cluster, 6379).context("--redis-cluster")
    }

    /// Whether shares are kept in Redis.
    pub fn uses_redis(&self) -> bool {
        let several = !self.redis_sentinels.is_empty() || !self.redis_cluster.is_empty();
        several || self.redis_url.is_some() || self.redis_host.is_some()
    }

    /// The Redis to keep shares in, where there is one.
    pub fn redis(&self) -> Option<Server> {
        if let Some(url) = &self.redis_url {
            return Some(Server::Url(url.clone()));
        }
        let (db, username, password) =
            (self.redis_db.unwrap_or(0), self.redis_username.clone(), self.redis_password.clone());
        if let Some(name) = self.redis_master_name.clone() {
            let (sentinels, tls) = self.sentinels().ok()?;
            let sentinel_password = self.redis_sentinel_password.clone();
            return Some(Server::Sentinels { sentinels, tls, name, sentinel_password, db, username, password });
        }
        if !self.redis_cluster.is_empty() {
            let (nodes, tls) = self.cluster().ok()?;
            return Some(Server::Cluster { nodes, tls, username, password });
        }
        let (host, port) = (self.redis_host.clone()?, self.redis_port.unwrap_or(6379));
        Some(Server::Parts { host, port, db, username, password })
    }

    /// How many replicas must have what is acknowledged.
    pub fn redis_acks(&self) -> u32 {
        match self.redis_min_acks {
            Acks::Number(number) => number,
            Acks::All => self.redis_replicas.unwrap_or(0),
        }
    }

    /// The variables that say where a bucket is and with which keys: names and values. They are known to the bucket's driver.
    pub fn of_bucket(&self) -> Vec<(String, String)> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let all = std::env::vars_os().filter_map(text);
        all.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).collect()
    }

    /// Plain bytes of a share at the most.
    pub fn max_size(&self) -> u64 {
        let in_redis = self.uses_redis() && self.blobs_url.is_none();
        let default = if in_redis { 2 * GIB } else { 10 * GIB };
        self.max_size.map_or(default, |size| size.as_u64())
    }

    /// Bytes that all shares may occupy, where there is a limit.
    pub fn max_storage(&self) -> Option<u64> {
        self.max_storage.map(|size| size.as_u64())
    }

    /// Whether a peer's word about whom it speaks for is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}

/// `127.0.0.1:8080`, `[::]:8080`, `:8080`.
fn listen(text: &str) -> anyhow::Result<SocketAddr> {
    let address = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    address
        .parse()
        .with_context(|| format!("{text} is no address and port: write it like 127.0.0.1:8080 or 0.0.0.0:80"))
}

/// `90` (seconds), `15m`, `1d 12h`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).context("write it like 90s, 15m, 24h or 7d")?,
    };
    if duration.is_zero() || duration > Duration::from_secs(10 * 365 * 24 * 3600) {
        bail!("it must be longer than 0 and at most ten years");
    }
    Ok(duration)
}

/// `1000000`, `500MiB`.
fn size(text: &str) -> anyhow::Result<ByteSize> {
    text.parse().map_err(|_| anyhow!("write it like 500MiB or 10GB"))
}

/// `6379`. Kubernetes makes a variable of the same name for a service that is called redis.
fn port(text: &str) -> anyhow::Result<u16> {
    text.parse()
        .context("write it like 6379; where Kubernetes sets REDIS_PORT for a service, switch off enableServiceLinks")
}

/// `2`, `all`.
fn acks(text: &str) -> anyhow::Result<Acks> {
    match text {
        "all" => Ok(Acks::All),
        number => number.parse().map(Acks::Number).context("write it like 1, or all"),
    }
}

/// `a:6379`, `b`; over TLS where one of them begins with `rediss://`.
fn addresses(entries: &[String], default: u16) -> anyhow::Result<(Vec<(String, u16)>, bool)> {
    let mut tls = false;
    let mut address = |entry: &String| {
        let entry = entry.trim();
        let address = entry.strip_prefix("rediss://");
        tls |= address.is_some();
        let address = address.or(entry.strip_prefix("redis://")).unwrap_or(entry);
        host_and_port(address, default).with_context(|| format!("{address} is no host:port"))
    };
    let addresses = entries.iter().map(&mut address).collect::<anyhow::Result<_>>()?;
    Ok((addresses, tls))
}

/// `redis.example.org:6379`, `10.0.0.1`, `[::1]:6379`.
fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = if port.is_empty() { Some(default) } else { port.strip_prefix(':')?.parse().ok() };
    let plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
    port.filter(|port| plain && *port > 0).map(|port| (host.to_owned(), port))
}

/// `10.0.0.0/8`, `::1`.
fn network(text: &str) -> anyhow::Result<IpNet> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .with_context(|| format!("{text} is no address or network like 10.0.0.0/8"))
}
