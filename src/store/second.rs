//! A second thread for a transfer that is alone and whose client is quick: half of the work is done there, while the rest goes on here.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinHandle, spawn_blocking};

/// Half as many as there are cores: each works beside a connection's thread.
static THREADS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(threads()));
/// A client that lets it wait for so long has none.
pub(super) const QUICK: Duration = Duration::from_millis(20);
/// It is worth it where all else but the work takes less than so many times as long.
const LONGER: u32 = 3;
/// That is seen of so many pieces at a time: a small transfer is over by then.
const AT_A_TIME: u32 = 16;

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get) / 2
}

/// A thread that nobody else has, until its work is done.
pub(super) struct Second(SemaphorePermit<'static>);

impl Second {
    /// One that is free.
    pub(super) fn free() -> Option<Self> {
        THREADS.try_acquire().ok().map(Self)
    }

    /// Does `work` there, from its first step to its last.
    pub(super) fn run<T: Send + 'static>(self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let runtime = Handle::current();
        spawn_blocking(move || {
            let _held = self.0;
            runtime.block_on(work)
        })
    }
}

/// Whether a second thread is worth it: not where the client is what takes the time, for then that of the work passes meanwhile anyhow.
pub(super) struct Gain {
    since: Instant,
    /// How long the work took, and how long everything else, for so many pieces.
    work: Duration,
    rest: Duration,
    pieces: u32,
    /// What came of those before.
    worth: bool,
}

impl Gain {
    /// `worth` holds for the first pieces.
    pub(super) fn begin(worth: bool) -> Self {
        Self { since: Instant::now(), work: Duration::ZERO, rest: Duration::ZERO, pieces: 0, worth }
    }

    /// The work on a piece begins. Gives whether a second thread is worth it.
    pub(super) fn begins(&mut self) -> bool {
        self.rest += lap(&mut self.since);
        if self.pieces == AT_A_TIME {
            let worth = self.rest < self.work * LONGER;
            *self = Self::begin(worth);
        }
        self.pieces += 1;
        self.worth
    }

    /// The work on a piece is done.
    pub(super) fn ends(&mut self) {
        self.work += lap(&mut self.since);
    }
}

/// How long it has been, and will be counted from now on.
fn lap(since: &mut Instant) -> Duration {
    let now = Instant::now();
    now - std::mem::replace(since, now)
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::sync::{Mutex, MutexGuard};

    use super::*;

    /// The threads are there for the whole process: one test at a time.
    static ALONE: Mutex<()> = Mutex::const_new(());

    pub(in crate::store) async fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().await
    }

    /// Whether there is any on this machine.
    pub(in crate::store) fn is_there() -> bool {
        threads() > 0
    }

    /// What takes longer than all else that a test does for a piece.
    pub(in crate::store) fn work() {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(200) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn it_is_worth_it_where_the_work_is_what_takes_the_time() {
        let mut gain = Gain::begin(false);
        let worth: Vec<bool> = (0..=AT_A_TIME)
            .map(|_| {
                let worth = gain.begins();
                work();
                gain.ends();
                worth
            })
            .collect();
        assert_eq!(worth.iter().position(|&worth| worth), Some(AT_A_TIME as usize));
    }

    #[test]
    fn it_is_not_worth_it_where_the_client_is() {
        let mut gain = Gain::begin(true);
        let worth: Vec<bool> = (0..=AT_A_TIME)
            .map(|_| {
                work();
                let worth = gain.begins();
                gain.ends();
                worth
            })
            .collect();
        assert_eq!(worth.iter().position(|&worth| !worth), Some(AT_A_TIME as usize));
    }

    /// Resolves once nobody has one.
    pub(in crate::store) async fn all_are_free() {
        drop(THREADS.acquire_many(threads() as u32).await.unwrap());
    }
}
