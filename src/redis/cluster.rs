//! What a cluster must be like at the start.

use std::time::Duration;

use ::redis::{Client, ConnectionInfo, RedisError, RedisResult};

use super::connection::Way;
use super::room::field;

/// How many slots there are, each on one master.
pub(super) const SLOTS: u32 = 16384;

/// Why Redis can't be used.
pub(super) enum Flaw {
    /// No node answered, or one refused: as of a server by itself.
    Unreachable(RedisError),
    /// What is at this address is no node of a cluster.
    NoCluster(String),
    /// So many slots are served only.
    Uncovered(u32),
}

/// Asks the first node that answers whether every slot has a master.
pub(super) async fn look(nodes: &[ConnectionInfo], within: Duration) -> Result<(), Flaw> {
    let mut flaw = Flaw::Uncovered(0);
    for node in nodes {
        match ask(node, within).await {
            Ok(info) if field(&info, "cluster_state") == Some("ok") => return Ok(()),
            Ok(info) => {
                let served = field(&info, "cluster_slots_ok").and_then(|served| served.parse().ok()).unwrap_or(0);
                return Err(Flaw::Uncovered(served));
            }
            Err(error) if error.to_string().contains("cluster support disabled") => {
                return Err(Flaw::NoCluster(node.addr().to_string()));
            }
            Err(error) => flaw = Flaw::Unreachable(error),
        }
    }
    Err(flaw)
}

async fn ask(node: &ConnectionInfo, within: Duration) -> RedisResult<String> {
    let client = Client::open(node.clone())?;
    let mut connection = Way::Node(client).connect(within).await?;
    ::redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await
}
