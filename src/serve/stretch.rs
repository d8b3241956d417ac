//! A task that goes on where it woke itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls at a stretch at the most: between two bodies of bytes others have their turn.
const MOST: u32 = 16;

/// Runs `work`, and polls it again at once where it was woken while it ran. HTTP wakes its own connection for each piece of a body; the
/// runtime would wake another thread each time, which takes the connection over, and its bytes into another core's cache.
pub(super) fn at_a_stretch(work: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
    let state = Arc::new(State { now: AtomicU8::new(WOKEN), task: AtomicWaker::new() });
    Stretch { work: Box::pin(work), waker: Waker::from(Arc::clone(&state)), state }
}

/// It runs, and nobody has woken it since.
const RUNS: u8 = 0;
/// It runs, or will soon, and has been woken.
const WOKEN: u8 = 1;
/// It waits to be woken.
const WAITS: u8 = 2;

struct State {
    now: AtomicU8,
    task: AtomicWaker,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.now.swap(WOKEN, Ordering::AcqRel) == WAITS {
            self.task.wake();
        }
    }
}

struct Stretch<F> {
    work: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

impl<F: Future<Output = ()>> Future for Stretch<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { work, state, waker } = &mut *self;
        state.task.register(cx.waker());
        for _ in 0..MOST {
            state.now.store(RUNS, Ordering::Release);
            if work.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                return Poll::Ready(());
            }
            if state.now.compare_exchange(RUNS, WAITS, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Wakes itself `times`, and counts its polls.
    fn busy(times: u32, polls: &AtomicU32) -> impl Future<Output = ()> + Send {
        poll_fn(move |cx| {
            if polls.fetch_add(1, Ordering::Relaxed) == times {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn what_wakes_itself_is_polled_at_once_for_a_while() {
        let polls = AtomicU32::new(0);
        let mut work = std::pin::pin!(at_a_stretch(busy(MOST + 1, &polls)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut cx).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), MOST);
        assert!(work.as_mut().poll(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn what_others_wake_goes_on() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let polls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&polls);
        let task = tokio::spawn(at_a_stretch(async move {
            busy(3 * MOST, &counted).await;
            let _ = receiver.await;
        }));
        while polls.load(Ordering::Relaxed) <= 3 * MOST {
            tokio::task::yield_now().await;
        }
        sender.send(()).unwrap();
        task.await.unwrap();
    }
}
