//! Who fills a chunk at the moment. Of many quick writers each would else hold one while it waits for its turn to send it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Chunks that quick writers fill at the same time.
const PLACES: usize = 4;
/// A writer is quick that fills a chunk in so long. No longer does one wait for a place: who holds it may have stalled.
const QUICK: Duration = Duration::from_millis(20);
/// Chunks for which a writer waits for no place after it did so in vain.
const RESTED: u32 = 64;

/// The places that all writers share.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PLACES))
}

/// One writer's part in that.
pub(super) struct Filling {
    places: Arc<Semaphore>,
    /// Held while it fills a chunk, as long as it is quick.
    place: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// How long the last chunk took.
    took: Duration,
    resting: u32,
}

impl Filling {
    /// Nothing yet.
    pub(super) fn new(places: &Arc<Semaphore>) -> Self {
        let (places, begun) = (Arc::clone(places), Instant::now());
        Self { places, place: None, begun, took: Duration::ZERO, resting: 0 }
    }

    /// Before the first byte of what is sent next: waits for a place, where that is worth while.
    pub(super) async fn begin(&mut self) {
        if self.resting > 0 {
            self.resting -= 1;
        } else if self.took < QUICK {
            match timeout(QUICK, Arc::clone(&self.places).acquire_owned()).await {
                Ok(Ok(place)) => self.place = Some(place),
                _ => self.resting = RESTED,
            }
        }
        self.begun = Instant::now();
    }

    /// More bytes have come.
    pub(super) fn go_on(&mut self) {
        if self.begun.elapsed() > QUICK {
            self.place = None;
        }
    }

    /// Nothing more comes before it is sent; the place is held until [`Filling::end`].
    pub(super) fn fill(&mut self) {
        self.took = self.begun.elapsed();
    }

    /// It is on its way, or given up.
    pub(super) fn end(&mut self) {
        self.place = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waited_in_vain_goes_on_without_a_place() {
        let places = places();
        let mut stalled: Vec<Filling> = (0..PLACES).map(|_| Filling::new(&places)).collect();
        for filling in &mut stalled {
            filling.begin().await;
        }
        let mut quick = Filling::new(&places);
        quick.begin().await;
        assert_eq!((quick.place.is_none(), quick.resting), (true, RESTED));
        // Places that are free again are for others until then.
        stalled.clear();
        for _ in 0..RESTED {
            quick.begin().await;
            assert!(quick.place.is_none());
        }
        quick.begin().await;
        assert!(quick.place.is_some());
        quick.end();
        assert_eq!(places.available_permits(), PLACES);
    }

    #[tokio::test]
    async fn whoever_is_slow_holds_no_place() {
        let places = places();
        let mut slow = Filling::new(&places);
        slow.begin().await;
        slow.begun = Instant::now().checked_sub(2 * QUICK).unwrap();
        slow.go_on();
        slow.fill();
        assert_eq!(places.available_permits(), PLACES);
        slow.begin().await;
        assert_eq!(places.available_permits(), PLACES);
    }
}
