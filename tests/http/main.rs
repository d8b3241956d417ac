//! The contract of the HTTP interface, tried on the real binary from outside.
//!
//! Every case that depends on the store runs on both of them.

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

/// One test per case and store.
macro_rules! on_both_stores {
    ($(fn $case:ident($store:ident) $body:block)+) => {
        $(fn $case($store: crate::server::Store) $body)+

        mod embedded {
            $(#[test] fn $case() { super::$case(crate::server::Store::Embedded) })+
        }

        mod in_redis {
            $(#[test] fn $case() { super::$case(crate::server::Store::Redis) })+
        }
    };
}

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
