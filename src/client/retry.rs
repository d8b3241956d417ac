//! When to try again.

use std::time::{Duration, Instant};

use super::failure::Result;
use super::trouble::{Problem, Trouble};
use crate::share::random;

/// Before the first further try; each next one waits twice as long, up to the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// So long may a server be away. It is what the pages' recipients have too: the lease's usual length.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// When to try again: sooner at first, then ever more rarely, at moments that clients do not share.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How many times in a row it failed, and since when.
    pub(super) failures: u32,
    since: Option<Instant>,
    patience: Duration,
}

impl Backoff {
    /// For what is under way: a server that is away may come back.
    pub(super) fn patient() -> Self {
        Self::within(PATIENCE)
    }

    /// For what may be left undone after so long.
    pub(super) fn within(patience: Duration) -> Self {
        Self { failures: 0, since: None, patience }
    }

    /// For the first request: a server that can't be reached then has the wrong address, most likely.
    pub(super) fn first() -> Self {
        Self::within(Duration::ZERO)
    }

    /// Something moved: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        (self.failures, self.since) = (0, None);
    }

    /// How long to wait.
    ///
    /// # Errors
    /// The trouble, where waiting does not help, or has been long enough.
    pub(super) fn next(&mut self, trouble: &Trouble) -> Result<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let patience = match trouble {
            // A server that is there and knows its business may soon do better.
            Trouble::Refused(Problem { code: Some(_), .. }) => self.patience.max(Duration::from_secs(60)),
            _ => self.patience,
        };
        if !trouble.passes(self.failures) || since.elapsed() >= patience {
            return Err(trouble.clone().into());
        }
        self.failures += 1;
        if let Trouble::Refused(Problem { retry_after: Some(after), .. }) = trouble {
            return if *after <= patience { Ok((*after).max(SHORTEST)) } else { Err(trouble.clone().into()) };
        }
        let ceiling = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        let share = f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX);
        Ok(SHORTEST.max(ceiling.mul_f64(0.5 + share / 2.0)))
    }

    /// Repeats `act` until it succeeds; `waits` is told of each wait.
    ///
    /// # Errors
    /// See [`Backoff::next`].
    pub(super) async fn insist<T>(
        mut self,
        mut act: impl AsyncFnMut() -> std::result::Result<T, Trouble>,
        waits: impl Fn(&Trouble, Duration),
    ) -> Result<T> {
        loop {
            match act().await {
                Ok(value) => return Ok(value),
                Err(trouble) => {
                    let pause = self.next(&trouble)?;
                    waits(&trouble, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}
