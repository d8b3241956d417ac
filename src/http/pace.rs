//! Bodies on their way in: cut off where they trickle, drained for a while where nobody reads them to their end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::error::Error;

/// A body must bring at least [`LEAST`] bytes in each stretch of this length.
const STRETCH: Duration = Duration::from_secs(30);
const LEAST: u64 = 8 * 1024;
/// A refused body is read on for so long, and so far: a browser that is still sending sees no answer otherwise.
const DRAINED_FOR: Duration = Duration::from_secs(5);
const DRAINED: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// What a body's failure means.
pub(super) fn broken(error: &axum::Error) -> Error {
    if is_slow(error) { Error::Timeout } else { Error::CutOff }
}

/// What it means that no value could be made of a body: `malformed`, where all of it came.
pub(super) fn unread(rejection: &(dyn std::error::Error + 'static), malformed: Error) -> Error {
    if is_slow(rejection) { Error::Timeout } else { malformed }
}

/// Whether an error goes back to a body that came too slowly.
pub(super) fn is_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<TooSlow>())
}

/// Puts the request's body under watch.
pub(super) fn limit(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let asks_first = request.headers().contains_key(header::EXPECT);
    request.map(|inner| Body::new(Paced { inner: Some(inner), came: 0, asks_first, stretch: None }))
}

struct Paced {
    /// `None` once it has ended or failed.
    inner: Option<Body>,
    /// Bytes of this stretch.
    came: u64,
    /// Whether the client waits to be asked for the body: then reading it asks.
    asks_first: bool,
    stretch: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        this.asks_first = false;
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            match &frame {
                Some(Ok(frame)) => this.came += frame.data_ref().map_or(0, Bytes::len) as u64,
                _ => this.inner = None,
            }
            return Poll::Ready(frame);
        }
        let stretch = this.stretch.get_or_insert_with(|| Box::pin(tokio::time::sleep(STRETCH)));
        loop {
            ready!(stretch.as_mut().poll(cx));
            if std::mem::take(&mut this.came) < LEAST {
                this.inner = None;
                return Poll::Ready(Some(Err(axum::Error::new(TooSlow))));
            }
            stretch.as_mut().reset(Instant::now() + STRETCH);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream() && !self.asks_first) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(DRAINED_FOR, async {
            let mut pieces = inner.into_data_stream();
            let mut read = 0;
            while let Some(Ok(piece)) = pieces.next().await {
                read += piece.len() as u64;
                if read > DRAINED {
                    return;
                }
            }
        }));
    }
}
