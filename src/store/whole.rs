//! Work that ends even where nobody waits for it any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Does `work` here, in the connection's own task: bytes that change tasks wake another thread for each piece. Where the connection
/// ends before it, it goes on in a task of its own.
pub(crate) fn whole<T>(work: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T>
where
    T: Send + 'static,
{
    Whole(Some(Box::pin(work)))
}

/// See [`whole`]; empty once it is done.
struct Whole<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send> Future for Whole<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile, so that what panics is not taken up again.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let done = work.as_mut().poll(cx);
        if done.is_pending() {
            self.0 = Some(work);
        }
        done
    }
}

impl<T: Send> Drop for Whole<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_awaits_any_more_goes_on() {
        let (begun, begins) = oneshot::channel();
        let (go_on, goes_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let work = whole(async move {
            let _ = begun.send(());
            let _ = goes_on.await;
            let _ = done.send(());
        });
        let waiting = tokio::spawn(work);
        begins.await.unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        is_done.await.unwrap();
    }
}
