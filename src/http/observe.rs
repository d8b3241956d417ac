//! One log line and one measurement per request, once its answer's last byte is out. Nothing secret: the route's template
//! stands for the address.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::App;

/// Written when the answer is dropped: sent whole, or given up.
struct Line {
    app: App,
    method: Method,
    /// The template that the address matches; `None` where there is none.
    route: Option<MatchedPath>,
    status: StatusCode,
    began: Instant,
    bytes: u64,
}

/// A request, as it is seen before it is answered.
pub(super) struct Seen {
    method: Method,
    route: Option<MatchedPath>,
    began: Instant,
}

impl Seen {
    /// Sees a request come.
    pub(super) fn of(request: &Request) -> Self {
        let route = request.extensions().get().cloned();
        Self { method: request.method().clone(), route, began: Instant::now() }
    }

    /// Sees its answer go.
    pub(super) fn answered(self, app: App, response: Response) -> Response {
        let Self { method, route, began } = self;
        let line = Line { app, method, route, status: response.status(), began, bytes: 0 };
        response.map(|inner| Body::new(Observed { inner, line }))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.app.store.metrics.answered(took);
        tracing::info!(
            method = self.method.as_str(),
            route = self.route.as_ref().map_or("-", MatchedPath::as_str),
            status = self.status.as_u16(),
            bytes = self.bytes,
            ms = took.as_micros() as f64 / 1000.0,
            "request"
        );
    }
}

struct Observed {
    inner: Body,
    line: Line,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.line.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
