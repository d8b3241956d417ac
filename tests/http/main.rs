//! The contract of the HTTP interface, tried on the real binary from outside.
//!
//! Every case that depends on the store runs on both of them.

#[macro_use]
#[path = "../servers/stores.rs"]
mod stores;

#[path = "../servers/certificates.rs"]
#[allow(unreachable_pub, reason = "other suites use it too")]
mod certificates;
#[path = "../servers/cluster.rs"]
#[allow(dead_code, unreachable_pub, reason = "other suites use the rest")]
mod cluster_server;
#[path = "../servers/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "other suites use the rest")]
mod redis_server;
#[path = "../servers/sentinels.rs"]
#[allow(dead_code, unreachable_pub, reason = "other suites use the rest")]
mod sentinels;

mod client;
mod sender;
mod server;

#[path = "../servers/s3.rs"]
#[allow(unreachable_pub, reason = "other suites use it too")]
mod s3_server;

mod assets;
mod canary;
mod claims;
mod cluster;
mod crash;
mod failover;
mod hostile;
mod languages;
mod lifecycle;
mod limits;
mod links;
mod objects;
mod once;
mod pages;
mod plain;
mod previews;
mod receipts;
mod redis_down;
mod replicas;
mod tls;
mod tus;
