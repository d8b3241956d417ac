//! Who must wait: uploads of one client network, passwords on one core, and a lease for its connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};

use super::error::Error;
use crate::seal::{KeyMaterial, stretch};
use crate::share::{Network, Timestamp, Token};

const MINUTE: Duration = Duration::from_secs(60);
/// Networks remembered before the ones whose minute is over are forgotten.
const REMEMBERED: usize = 10_000;

/// Counts the uploads that each client network began in the running minute.
pub(super) struct Rate {
    most: Option<u32>,
    begun: Mutex<HashMap<Network, (Timestamp, u32)>>,
}

impl Rate {
    /// At most `most` in a minute.
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most, begun: Mutex::default() }
    }

    /// Counts one more, or says how long to wait.
    pub(super) fn admit(&self, network: &Network, now: Timestamp) -> Result<(), Duration> {
        let (Some(most), Ok(mut begun)) = (self.most, self.begun.lock()) else { return Ok(()) };
        if begun.len() >= REMEMBERED {
            begun.retain(|_, (since, _)| now < since.after(MINUTE));
        }
        let (since, count) = begun.entry(*network).or_insert((now, 0));
        if since.after(MINUTE) <= now {
            (*since, *count) = (now, 0);
        }
        if *count >= most {
            return Err(now.until(since.after(MINUTE)));
        }
        *count += 1;
        Ok(())
    }
}

/// Derives keys from passwords, one at a time: each takes a core for a tenth of a second.
pub(super) struct Queue {
    turn: Semaphore,
    /// The network of each that is in the queue: one whose turn it is, 16 that wait.
    places: Mutex<Vec<Network>>,
}

/// In the queue at the most; and of one client network, which can't keep all others out.
const PLACES: usize = 17;
const PLACES_OF_ONE: usize = 8;

/// A place in the queue, until it is dropped.
struct Place<'a>(&'a Queue, Network);

impl Default for Queue {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), places: Mutex::default() }
    }
}

impl Queue {
    /// The key of a share with a password.
    ///
    /// # Errors
    /// [`Error::Busy`] where the queue is full, or the network's part of it.
    pub(super) async fn stretch(
        &self,
        network: Network,
        secret: Token,
        password: String,
    ) -> Result<KeyMaterial, Error> {
        let _place = self.place(network).ok_or(Error::Busy)?;
        let _turn = self.turn.acquire().await.map_err(|_| Error::Internal)?;
        tokio::task::spawn_blocking(move || stretch(&secret, &password)).await.map_err(|_| Error::Internal)
    }

    fn place(&self, network: Network) -> Option<Place<'_>> {
        let mut places = self.places();
        let of_one = places.iter().filter(|taken| **taken == network).count();
        if places.len() >= PLACES || of_one >= PLACES_OF_ONE {
            return None;
        }
        places.push(network);
        Some(Place(self, network))
    }

    fn places(&self) -> MutexGuard<'_, Vec<Network>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = self.0.places();
        let at = places.iter().position(|taken| *taken == self.1);
        at.map(|at| places.swap_remove(at));
    }
}

/// Tells when a connection has sent everything that it was given up to now, or never will.
#[derive(Debug, Clone)]
pub(crate) struct Drained(Arc<watch::Sender<Sending>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Nobody asks, or everything is sent.
    Done,
    /// Somebody waits for it.
    Awaited,
    /// The connection is gone; whether its client has everything.
    Closed(bool),
}

impl Drained {
    /// Of a connection that nobody asks about yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Sending::Done)))
    }

    /// Waits until what the connection has been given up to now is sent; `false` where it never will be.
    pub(crate) fn wait(&self) -> BoxFuture<'static, bool> {
        self.turn(Sending::Done, Sending::Awaited);
        let mut sending = self.0.subscribe();
        Box::pin(async move {
            let sent = sending.wait_for(|sending| *sending != Sending::Awaited).await;
            sent.is_ok_and(|sent| *sent != Sending::Closed(false))
        })
    }

    /// Whether somebody waits to hear of it.
    pub(crate) fn is_awaited(&self) -> bool {
        *self.0.borrow() == Sending::Awaited
    }

    /// Everything is sent.
    pub(crate) fn sent(&self) {
        self.turn(Sending::Awaited, Sending::Done);
    }

    /// The connection is gone; `sent` says whether its client has everything.
    pub(crate) fn closed(&self, sent: bool) {
        self.0.send_replace(Sending::Closed(sent));
    }

    fn turn(&self, from: Sending, to: Sending) {
        self.0.send_if_modified(|sending| {
            let turns = *sending == from;
            if turns {
                *sending = to;
            }
            turns
        });
    }
}

/// What to do where a client takes bytes although none can be written for it: the kernel holds megabytes for it, and has no room for more
/// until much of that is gone.
#[derive(Clone, Default)]
pub(crate) struct Moving(Arc<Mutex<Option<Act>>>);

type Act = Box<dyn FnMut() + Send>;

impl Moving {
    /// From now on, instead of what was to be done before.
    pub(crate) fn then(&self, act: impl FnMut() + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }

    /// The client took some.
    pub(crate) fn took(&self) {
        if let Some(act) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            act();
        }
    }
}

impl fmt::Debug for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moving")
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn one_network_does_not_fill_the_queue() {
        let queue = Queue::default();
        let [one, other, third] = [1, 2, 3].map(|last| Network::from(IpAddr::from([10, 0, 0, last])));
        let taken: Vec<_> = std::iter::from_fn(|| queue.place(one)).collect();
        let mut others: Vec<_> = std::iter::from_fn(|| queue.place(other)).collect();
        assert_eq!((taken.len(), others.len()), (PLACES_OF_ONE, PLACES_OF_ONE));
        others.extend(queue.place(third));
        assert!(queue.place(third).is_none(), "it is full");
        drop(taken);
        assert!(queue.place(third).is_some() && queue.place(other).is_none());
    }

    #[test]
    fn a_network_waits_for_the_end_of_its_minute() {
        let rate = Rate::new(Some(2));
        let network = Network::from(IpAddr::from([10, 0, 0, 1]));
        let other = Network::from(IpAddr::from([10, 0, 0, 2]));
        assert_eq!(rate.admit(&network, Timestamp(0)), Ok(()));
        assert_eq!(rate.admit(&network, Timestamp(10_000)), Ok(()));
        assert_eq!(rate.admit(&network, Timestamp(20_000)), Err(Duration::from_secs(40)));
        assert_eq!(rate.admit(&other, Timestamp(20_000)), Ok(()));
        assert_eq!(rate.admit(&network, Timestamp(60_000)), Ok(()));
    }
}
