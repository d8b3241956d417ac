//! A cluster, before it is used: it answers, and every slot has a master.

use std::sync::Arc;

use ::redis::{Client, ConnectionInfo, RedisError, RedisResult};
use anyhow::bail;

use super::ANSWER_WITHIN;
use super::connection::Way;
use super::room::field;
use super::start::{Patience, is_refusal, reason, refuse_untrusted};

/// Waits for the cluster that these nodes belong to.
///
/// # Errors
/// One clear line, where no node answers in time, some slots have no master, or this is no cluster.
pub(super) async fn find(nodes: Vec<ConnectionInfo>, patience: &mut Patience) -> anyhow::Result<Arc<[ConnectionInfo]>> {
    loop {
        match ask_first(&nodes).await {
            Ok(info) if field(&info, "cluster_state") == Some("ok") => return Ok(nodes.into()),
            // It is being set up, or fails over just now.
            Ok(info) => {
                let served = field(&info, "cluster_slots_ok").unwrap_or("0");
                let why =
                    format!("it serves {served} of 16384 slots; look at `redis-cli --cluster check`, and repair it");
                patience.wait("the Redis cluster is down", &why).await?;
            }
            Err(error) if is_refusal(&error) => {
                bail!("the Redis cluster refuses the login ({}): check its user name and password", reason(&error))
            }
            Err(error) if error.to_string().contains("cluster support disabled") => {
                bail!("that Redis is no node of a cluster: set --redis-url for a server by itself")
            }
            Err(error) => {
                let why = reason(&error);
                refuse_untrusted("the Redis cluster's", &why)?;
                patience.wait("no node of the Redis cluster can be reached", &why).await?;
            }
        }
    }
}

/// `CLUSTER INFO` of the first node that gives it.
async fn ask_first(nodes: &[ConnectionInfo]) -> RedisResult<String> {
    let mut result = Err(RedisError::from((::redis::ErrorKind::InvalidClientConfig, "no node is named")));
    for node in nodes {
        result = ask(node).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn ask(node: &ConnectionInfo) -> RedisResult<String> {
    let mut connection = Way::Node(Client::open(node.clone())?).connect(ANSWER_WITHIN).await?;
    ::redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await
}
