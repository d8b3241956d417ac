//! What is done around each handler, whatever it answers.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::error::{self, Asker, Error};
use super::observe::Seen;
use super::{App, pace, policy};

/// Bytes of a body that a handler takes whole.
const BODY: usize = 64 * 1024;

/// Around each handler, from the inside out: a panic and other errors get their form, headers are set, the request is counted and
/// logged. One layer for all of it: the router clones and boxes each for every request.
#[derive(Clone)]
pub(super) struct Around(pub(super) App);

/// See [`Around`].
#[derive(Clone)]
pub(super) struct Surrounded<S> {
    app: App,
    handler: S,
}

impl<S> Layer<S> for Around {
    type Service = Surrounded<S>;

    fn layer(&self, handler: S) -> Surrounded<S> {
        Surrounded { app: self.0.clone(), handler }
    }
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (app, seen, asker) = (self.app.clone(), Seen::of(&request), Asker::of(&request));
        DefaultBodyLimit::max(BODY).apply(&mut request);
        let request = pace::limit(request);
        let answer = policy::admit(&request).map(|()| self.handler.call(request));
        Box::pin(async move {
            let response = match answer {
                Ok(answer) => match AssertUnwindSafe(answer).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    // The panic hook has already written where it was.
                    Err(_) => Error::Internal.into_response(),
                },
                Err(refused) => refused.into_response(),
            };
            let response = policy::headers(error::render(&app, &asker, response));
            Ok(seen.answered(app, response))
        })
    }
}
