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
use crate::store::whole;

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
        let changes = policy::changes(&request);
        let answer = policy::admit(&request).map(|()| self.handler.call(request));
        Box::pin(async move {
            let response = match answer {
                // Where the client hangs up, what it asked to be changed is changed all the same, and to its end.
                Ok(answer) if changes => caught(whole(answer)).await,
                Ok(answer) => caught(answer).await,
                Err(refused) => refused.into_response(),
            };
            let response = policy::headers(error::render(&app, &asker, response));
            Ok(seen.answered(app, response))
        })
    }
}

async fn caught(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        // The panic hook has already written where it was.
        Err(_) => Error::Internal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::Method;
    use axum::routing::{any, get};
    use clap::{Args, Command, FromArgMatches};
    use tokio::sync::oneshot;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::blobs::files::Files;
    use crate::config::Config;
    use crate::ledger::sqlite::Sqlite;
    use crate::store::{Limits, Store};

    fn app(folder: &tempfile::TempDir) -> App {
        let config = Config::augment_args(Command::new("test")).get_matches_from(["test"]);
        let config = Config::from_arg_matches(&config).unwrap();
        let ledger = Sqlite::open(folder.path(), None).unwrap();
        let limits = Limits { max_size: 1, lease: config.lease, upload_window: config.upload_window };
        let store = Store::new(Box::new(ledger), Box::new(Files::open(folder.path()).unwrap()), limits);
        App::new(store, config, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_an_error_like_others() {
        async fn panics() -> &'static str {
            panic!("on purpose");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut router: Router = Router::new().route("/api/", get(panics)).layer(Around(app(&folder)));
        let answer = router.call(Request::get("/api/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (500, &"no-store".parse().unwrap()));
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains(r#""code":"internal""#), "{body:?}");
    }

    #[tokio::test]
    async fn a_change_comes_to_its_end_although_its_client_hangs_up() {
        for (method, ends) in [(Method::DELETE, true), (Method::POST, true), (Method::GET, false)] {
            let (begun, begins) = oneshot::channel();
            let (go_on, goes_on) = oneshot::channel::<()>();
            let (done, is_done) = oneshot::channel();
            let parts = Arc::new(Mutex::new(Some((begun, goes_on, done))));
            let handler = move || async move {
                let (begun, goes_on, done) = parts.lock().unwrap().take().unwrap();
                let _ = begun.send(());
                let _ = goes_on.await;
                let _ = done.send(());
            };
            let folder = tempfile::tempdir().unwrap();
            let mut router: Router = Router::new().route("/", any(handler)).layer(Around(app(&folder)));
            let request = Request::builder().method(method.clone()).uri("/").body(Body::empty()).unwrap();
            let waiting = tokio::spawn(router.call(request));
            begins.await.unwrap();
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
            let _ = go_on.send(());
            assert_eq!(is_done.await.is_ok(), ends, "{method}");
        }
    }
}
