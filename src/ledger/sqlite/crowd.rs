//! Who is waited for before a commit. Whoever asks while a sync runs misses it, so of many clients two halves would take turns, and each
//! of them wait for two syncs. Those who were just answered are mostly back in a fraction of a slow disk's sync.

use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Transitions that share a commit at the most.
pub(super) const BATCH: usize = 512;

/// Commits for which nobody is waited for after it was in vain: clients that come back later than that, or not at all.
const RESTED: u32 = 64;

/// A commit that takes less has no disk to wait for.
const QUICK: Duration = Duration::from_micros(100);

/// How many are expected, and for how long.
#[derive(Default)]
pub(super) struct Crowd {
    /// Those who were answered by the last commit, and those who waited when it ended.
    expected: usize,
    patience: Duration,
    /// How long the last commit took.
    took: Duration,
    resting: u32,
}

impl Crowd {
    /// Adds those that come, until all are here that are expected. One who is alone waits for nobody.
    pub(super) fn gather<T>(&mut self, here: &mut Vec<T>, queue: &Receiver<T>) {
        here.extend(queue.try_iter().take(BATCH.saturating_sub(here.len())));
        if self.resting > 0 {
            self.resting -= 1;
            return;
        }
        let until = Instant::now() + self.patience;
        while here.len() < self.expected.min(BATCH) {
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => here.push(job),
                Err(RecvTimeoutError::Timeout) => return self.resting = RESTED,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Learns from a commit that took so long how many ask at the moment.
    pub(super) fn learn(&mut self, asking: usize, took: Duration) {
        self.expected = asking;
        // Now and then a commit copies the log into the database, and takes far longer: the quicker of two counts.
        let quicker = took.min(mem::replace(&mut self.took, took));
        self.patience = if quicker < QUICK { Duration::ZERO } else { quicker / 4 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn expecting(two_within: Duration) -> Crowd {
        let mut crowd = Crowd::default();
        (0..2).for_each(|_| crowd.learn(2, two_within * 4));
        crowd
    }

    #[test]
    fn whoever_was_answered_is_waited_for() {
        let ((sender, queue), mut here) = (channel(), vec![1]);
        let come = thread::spawn(move || sender.send(2));
        expecting(Duration::from_secs(60)).gather(&mut here, &queue);
        assert_eq!(here, [1, 2]);
        assert!(come.join().unwrap().is_ok());
    }

    #[test]
    fn nobody_is_waited_for_after_it_was_in_vain() {
        let ((_sender, queue), mut here) = (channel::<u8>(), vec![1]);
        let mut crowd = expecting(Duration::from_millis(1));
        crowd.gather(&mut here, &queue);
        assert_eq!((here.len(), crowd.resting), (1, RESTED));
        crowd.patience = Duration::from_secs(3600);
        crowd.gather(&mut here, &queue);
        assert_eq!((here.len(), crowd.resting), (1, RESTED - 1));
    }

    #[test]
    fn where_nothing_waits_for_a_disk_nobody_is_waited_for() {
        assert_eq!(expecting(QUICK / 5).patience, Duration::ZERO);
        // A commit that copies the log into the database does not make a slow disk.
        let mut crowd = expecting(QUICK / 5);
        crowd.learn(2, Duration::from_secs(1));
        assert_eq!(crowd.patience, Duration::ZERO);
    }
}
