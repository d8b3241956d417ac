//! The threads that connections run on: one for each core, each with a runtime of its own.
//!
//! A connection stays on its thread. Where threads take over each other's work, an idle one wakes for every piece of a body that
//! comes in, only to find that the piece is seen to.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};
use tokio_util::task::TaskTracker;

use super::log;

/// Tasks that run before a thread looks for what came in meanwhile: with large bodies each takes half a millisecond.
const TASKS_AT_A_TIME: u32 = 8;

/// All of them. They end with the process.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Held by each of its connections.
    held: Arc<()>,
}

impl Workers {
    /// Starts one for each core.
    ///
    /// # Errors
    /// Where the system gives no more threads or files.
    pub(super) fn start() -> anyhow::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        (0..cores).map(Worker::start).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Runs a connection where the fewest are.
    pub(super) fn spawn(&self, tasks: &TaskTracker, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.held)) else { return };
        let held = Arc::clone(&worker.held);
        let counted = async move {
            let _held = held;
            connection.await;
        };
        tasks.spawn_on(counted, &worker.runtime);
    }
}

impl Worker {
    fn start(number: usize) -> anyhow::Result<Self> {
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all().event_interval(TASKS_AT_A_TIME).on_thread_park(log::end_turn);
        let runtime = runtime.build().context("can't start a runtime")?;
        let handle = runtime.handle().clone();
        let serve = move || {
            log::take_turns();
            runtime.block_on(std::future::pending::<()>())
        };
        thread::Builder::new().name(format!("connections-{number}")).spawn(serve).context("can't start a thread")?;
        Ok(Self { runtime: handle, held: Arc::default() })
    }
}
