//! Redis Sentinel: who the master is, asked of every Sentinel all the time.
//!
//! Each is asked by a task of its own, so that one that hangs holds up nobody. Of what they say the highest configuration
//! epoch counts: a Sentinel that was cut off tells of a master that was. What one said counts on when it falls silent, unless
//! most of the others speak: whoever is left alone with a few of them is not to go back to a master that was, either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisResult};
use anyhow::bail;
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::start::{Patience, is_refusal, reason, refuse_untrusted};
use super::topology::{Node, at};

/// How often each Sentinel is asked.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// How long one may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
/// One that was not heard of for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// A master as a Sentinel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    /// Grows with each failover.
    epoch: u64,
    host: String,
    port: u16,
}

/// Several Sentinels, asked until this is dropped.
pub(super) struct Sentinels {
    board: Arc<Board>,
    _askers: Vec<AbortOnDropHandle<()>>,
}

impl Sentinels {
    /// Asks the Sentinels at these addresses for the master `name`, and goes on asking. `like` is how to connect to a
    /// master, whatever its address.
    ///
    /// # Errors
    /// One clear line, where nobody answers in time, none knows the master, or one refuses the password.
    pub(super) async fn find(
        addresses: &[ConnectionInfo],
        name: &str,
        like: ConnectionInfo,
        patience: &mut Patience,
    ) -> anyhow::Result<Self> {
        let clients = addresses.iter().map(|address| Client::open(address.clone())).collect::<RedisResult<Vec<_>>>()?;
        let mut sentinels: Vec<Sentinel> =
            clients.into_iter().map(|client| Sentinel { client, name: name.to_owned(), connection: None }).collect();
        let answers = loop {
            let answers = join_all(sentinels.iter_mut().map(Sentinel::ask)).await;
            if answers.iter().any(|answer| matches!(answer, Ok(Some(_)))) {
                let said = |answer: RedisResult<Option<Master>>| Said {
                    silent: answer.is_err(),
                    master: answer.ok().flatten(),
                };
                break answers.into_iter().map(said).collect();
            }
            let errors: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
            if let Some(refusal) = errors.iter().find(|error| is_refusal(error)) {
                bail!("a Sentinel refuses the login ({}): check --redis-sentinel-password", reason(refusal));
            }
            if answers.iter().any(|answer| matches!(answer, Ok(None))) {
                bail!(
                    "no Sentinel knows a master called {name}: set --redis-master-name as their `sentinel monitor` has it"
                );
            }
            let why = errors.first().map(|error| reason(error)).unwrap_or_default();
            refuse_untrusted("a Sentinel's", &why)?;
            patience.wait("no Sentinel can be reached", &why).await?;
        };
        let board = Arc::new(Board::new(like, answers)?);
        let ask =
            |(number, sentinel)| AbortOnDropHandle::new(tokio::spawn(keep_asking(sentinel, number, board.clone())));
        let askers = sentinels.into_iter().enumerate().map(ask).collect();
        Ok(Self { board, _askers: askers })
    }

    /// The master, as far as is known now.
    pub(super) fn master(&self) -> Node {
        self.board.known().node.clone()
    }
}

/// What the Sentinels said.
struct Board {
    like: ConnectionInfo,
    known: Mutex<Known>,
}

struct Known {
    said: Vec<Said>,
    master: Master,
    node: Node,
}

/// What one Sentinel said last.
#[derive(Debug, Clone, Default)]
struct Said {
    /// The master; `None` where it knows none, or was never heard.
    master: Option<Master>,
    /// Whether that was a while ago.
    silent: bool,
}

impl Board {
    fn new(like: ConnectionInfo, said: Vec<Said>) -> anyhow::Result<Self> {
        let Some(master) = latest(&said).cloned() else { bail!("no Sentinel knows the master") };
        let node = node(&like, &master)?;
        Ok(Self { like, known: Mutex::new(Known { said, master, node }) })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what the Sentinel of this number says.
    fn hear(&self, number: usize, master: Option<Master>) {
        let mut known = self.known();
        known.said[number] = Said { master, silent: false };
        self.follow(known);
    }

    /// Takes down that the Sentinel of this number says nothing.
    fn miss(&self, number: usize) {
        let mut known = self.known();
        if !std::mem::replace(&mut known.said[number].silent, true) {
            tracing::warn!(number, "a Sentinel does not answer");
            self.follow(known);
        }
    }

    /// Where the master is another one now, everybody leaves the old one at once.
    fn follow(&self, mut known: MutexGuard<'_, Known>) {
        let Some(master) = latest(&known.said).cloned() else { return };
        if (&master.host, master.port) == (&known.master.host, known.master.port) {
            return;
        }
        match node(&self.like, &master) {
            Ok(node) => {
                tracing::info!(host = master.host, port = master.port, "Redis has another master");
                known.master = master;
                // The new one must be known before anybody is sent away from the old one.
                std::mem::replace(&mut known.node, node).leave();
            }
            Err(error) => tracing::warn!(error = error.category(), "Sentinel names a master that can't be addressed"),
        }
    }
}

fn latest(said: &[Said]) -> Option<&Master> {
    let most_speak = said.iter().filter(|said| !said.silent).count() > said.len() / 2;
    let count = said.iter().filter(|said| !(most_speak && said.silent));
    count.filter_map(|said| said.master.as_ref()).max_by_key(|master| master.epoch)
}

fn node(like: &ConnectionInfo, master: &Master) -> RedisResult<Node> {
    Ok(Node::elected(Client::open(at(like, &(master.host.clone(), master.port)))?))
}

async fn keep_asking(mut sentinel: Sentinel, number: usize, board: Arc<Board>) {
    let mut ticks = tokio::time::interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        ticks.tick().await;
        match sentinel.ask().await {
            Ok(master) => {
                heard_at = Instant::now();
                board.hear(number, master);
            }
            Err(_) if heard_at.elapsed() > SILENT_AFTER => board.miss(number),
            Err(_) => {}
        }
    }
}

/// One Sentinel, connected to when it is asked.
struct Sentinel {
    client: Client,
    name: String,
    connection: Option<MultiplexedConnection>,
}

impl Sentinel {
    /// The master that it knows; `None` where it knows none of that name.
    async fn ask(&mut self) -> RedisResult<Option<Master>> {
        let timeout = || std::io::Error::from(std::io::ErrorKind::TimedOut).into();
        let answer = tokio::time::timeout(ANSWERED_WITHIN, self.ask_on()).await.unwrap_or_else(|_| Err(timeout()));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn ask_on(&mut self) -> RedisResult<Option<Master>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                none.insert(self.client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        // The epoch first: an old one with a new address is put right by the next round, the other way round an old master
        // would pass for the new one. During a failover this command alone tells of the old address.
        let mut ask = ::redis::cmd("SENTINEL");
        let known: Vec<String> = match ask.arg("MASTER").arg(&self.name).query_async(connection).await {
            Err(error) if error.detail().is_some_and(|text| text.contains("No such master")) => return Ok(None),
            known => known?,
        };
        let epoch = known.chunks_exact(2).find(|pair| pair[0] == "config-epoch");
        let epoch = epoch.and_then(|pair| pair[1].parse().ok()).unwrap_or(0);
        let mut ask = ::redis::cmd("SENTINEL");
        let address: Option<(String, u16)> =
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).query_async(connection).await?;
        Ok(address.map(|(host, port)| Master { epoch, host, port }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::redis::IntoConnectionInfo;

    fn master(epoch: u64, port: u16) -> Option<Master> {
        Some(Master { epoch, host: "127.0.0.1".to_owned(), port })
    }

    fn board(masters: &[Option<Master>]) -> Board {
        let said = masters.iter().map(|master| Said { master: master.clone(), silent: master.is_none() });
        Board::new(("127.0.0.1", 1).into_connection_info().unwrap(), said.collect()).unwrap()
    }

    #[test]
    fn the_highest_epoch_counts() {
        let board = board(&[master(1, 1001), master(3, 1003), None]);
        assert_eq!(board.known().master.port, 1003);
        board.hear(2, master(2, 1002));
        assert_eq!(board.known().master.port, 1003);
        board.hear(0, master(4, 1004));
        assert_eq!(board.known().master.port, 1004);
    }

    #[test]
    fn everybody_leaves_a_master_once_another_is_known() {
        let board = board(&[master(1, 1001), master(1, 1001)]);
        let old = board.known().node.clone();
        board.hear(0, master(2, 1001));
        assert!(old.leads());
        board.hear(1, master(3, 1002));
        assert!(!old.leads() && board.known().node.leads());
    }

    #[test]
    fn whoever_is_left_with_a_few_sentinels_does_not_go_back() {
        let board = board(&[master(1, 1001), master(1, 1001), master(1, 1001)]);
        board.hear(1, master(2, 1002));
        board.hear(2, master(2, 1002));
        board.miss(1);
        board.miss(2);
        assert_eq!(board.known().master.port, 1002);
        board.hear(0, master(1, 1001));
        assert_eq!(board.known().master.port, 1002);
    }

    #[test]
    fn a_sentinel_that_fell_silent_is_forgotten_where_most_speak() {
        let board = board(&[master(5, 1002), master(4, 1001), master(4, 1001)]);
        assert_eq!(board.known().master.port, 1002);
        board.miss(0);
        assert_eq!(board.known().master.port, 1001);
    }

    #[test]
    fn sentinels_that_were_set_up_anew_are_believed() {
        let board = board(&[master(7, 1001)]);
        board.hear(0, None);
        assert_eq!(board.known().master.port, 1001);
        board.hear(0, master(0, 1002));
        assert_eq!(board.known().master.port, 1002);
    }
}
