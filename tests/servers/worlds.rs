//! The kinds of Redis that every promise is tried on.

use std::any::Any;
use std::sync::Arc;

use onetimeshare::redis::Redis;

use crate::cluster_server::{Cluster, Mover, Turn};
use crate::{redis_server, sentinel_servers};

/// An empty Redis, as two processes are connected to it.
pub struct Pair {
    pub here: Arc<Redis>,
    pub there: Arc<Redis>,
    pub held: Box<dyn Any + Send>,
}

pub async fn one() -> Pair {
    let server = redis_server::RedisServer::start(&[]);
    Pair { here: server.connect().await, there: server.connect().await, held: Box::new(server) }
}

pub async fn cluster() -> Pair {
    let turn = Turn::take().await;
    let cluster = Arc::clone(turn.cluster());
    on(&cluster, 0, turn).await
}

/// A cluster in which slots are moved all the time, and each replica must acknowledge.
pub async fn moving_cluster() -> Pair {
    let turn = Turn::take().await;
    let cluster = Arc::clone(turn.cluster());
    let mover = Mover::start(Arc::clone(&cluster));
    on(&cluster, 1, (mover, turn)).await
}

async fn on(cluster: &Cluster, acks: u32, held: impl Any + Send) -> Pair {
    Pair { here: cluster.connect(acks).await, there: cluster.connect(acks).await, held: Box::new(held) }
}

/// A database of its own on a group that every promise shares, where each replica must acknowledge.
pub async fn sentinels() -> Pair {
    let (group, db) = sentinel_servers::shared();
    Pair { here: group.connect(2, db).await, there: group.connect(2, db).await, held: Box::new(group) }
}
