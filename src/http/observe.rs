//! One log line and one measurement per request, once its answer's last byte is out. Nothing secret: the route's template
//! stands for the address.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::App;
use super::error::Error;

/// Where a request's route becomes known.
#[derive(Clone, Default)]
pub(super) struct Route(Arc<OnceLock<MatchedPath>>);

/// Makes the request's route known.
pub(super) async fn note_route(request: Request) -> Request {
    if let (Some(Route(known)), Some(route)) = (request.extensions().get(), request.extensions().get::<MatchedPath>()) {
        let _ = known.set(route.clone());
    }
    request
}

/// What a panicking handler answers.
pub(super) fn panicked(_cause: Box<dyn Any + Send>) -> Response {
    // The panic hook has already written where it was.
    Error::Internal.into_response()
}

/// Written when the answer is dropped: sent whole, or given up.
struct Line {
    app: App,
    method: Method,
    route: Route,
    status: StatusCode,
    began: Instant,
    bytes: u64,
}

/// A request, as it is seen before it is answered.
pub(super) struct Seen {
    method: Method,
    route: Route,
    began: Instant,
}

impl Seen {
    /// Sees a request come.
    pub(super) fn of(request: &mut Request) -> Self {
        let route = Route::default();
        request.extensions_mut().insert(route.clone());
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
            route = self.route.0.get().map_or("-", MatchedPath::as_str),
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
