//! HTTP: the route table and the layers around it.
//!
//! A handler parses, calls the store and maps the answer; status codes are chosen in `error` alone. Nothing below this room
//! knows of it.

mod assets;
mod bytes;
mod claims;
mod client;
mod error;
mod observe;
mod options;
mod pace;
mod pages;
mod plain;
mod policy;
mod receipts;
mod shares;
mod status;
mod uploads;
pub mod views;
mod wait;
mod whole;

use std::any::Any;
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, options, post, put};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanic;
use tower_service::Service;

use self::error::Error;
use crate::config::Config;
use crate::share::Network;
use crate::store::{Store, now};
use crate::text::Lang;

pub(crate) use self::client::Connection;
pub(crate) use self::wait::Drained;

/// What the handlers share.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    store: Arc<Store>,
    config: Config,
    uploads: wait::Rate,
    passwords: wait::Queue,
    /// Cancelled when the server is to stop: streams that never end by themselves end then.
    stopping: CancellationToken,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// The handlers' view of a server.
    pub fn new(store: Arc<Store>, config: Config, stopping: CancellationToken) -> Self {
        let uploads = wait::Rate::new(config.upload_rate);
        Self(Arc::new(Inner { store, config, uploads, passwords: wait::Queue::default(), stopping }))
    }

    /// Lets a client network begin another upload, or says when it may.
    fn admit_upload(&self, network: &Network) -> Result<(), Error> {
        self.uploads.admit(network, now()).map_err(Error::UploadRate)
    }

    fn page(&self, lang: Lang) -> views::Page<'static> {
        views::Page { assets: assets::prefix(), now: now(), lang }
    }
}

/// What a handler that panicked answers.
type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// Answers requests.
#[derive(Clone)]
pub struct Server {
    app: App,
    routes: CatchPanic<Router, Panicked>,
}

impl Server {
    /// A server of all routes.
    pub fn new(app: App) -> Self {
        let routes = CatchPanic::custom(routes(app.clone()), observe::panicked as Panicked);
        Self { app, routes }
    }

    /// Around the routes, from the inside out: errors get their form, headers are set, the request is counted and logged. In one
    /// function rather than in layers, each of which the router would clone and box for every request.
    async fn answer(mut self, mut request: Request) -> Response {
        let seen = observe::Seen::of(&mut request);
        let asker = error::Asker::of(&request);
        DefaultBodyLimit::max(64 * 1024).apply(&mut request);
        let request = pace::limit(request);
        let response = match policy::foreign(&request) {
            Some(refused) => refused.into_response(),
            None => match self.routes.call(request).await {
                Ok(response) => response.map(Body::new),
                Err(never) => match never {},
            },
        };
        let response = error::render(&self.app, &asker, response);
        seen.answered(self.app, policy::headers(response))
    }
}

impl Service<Request> for Server {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.clone().answer(request).map(Ok).boxed()
    }
}

fn routes(app: App) -> Router {
    let tus = Router::new()
        .route("/uploads", options(uploads::options).post(uploads::create))
        .route(
            "/uploads/{id}/{token}",
            options(uploads::options)
                .head(uploads::head)
                .patch(uploads::patch)
                .delete(uploads::delete)
                .fallback(uploads::overridden),
        )
        .layer(DefaultBodyLimit::disable())
        .layer(map_response(uploads::say_version));
    let api = Router::new()
        .route("/config", get(status::config))
        .route("/openapi.yaml", get(assets::openapi))
        .merge(tus)
        .route("/shares/{id}", get(shares::peek).delete(shares::revoke))
        .route("/shares/{id}/claims", post(claims::claim))
        .route("/shares/{id}/claims/{claim}", get(claims::read).delete(claims::finish))
        .route("/receipts/{id}", get(receipts::receipt))
        .route("/receipts/{id}/events", get(receipts::events));
    let plain = Router::new()
        .route("/", get(pages::send).post(plain::form::send).put(plain::put_unnamed))
        .route("/{name}", put(plain::put).fallback(plain::none_to_read))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .merge(plain)
        .route("/s/{id}", get(pages::sealed))
        .route("/s/{id}/{secret}", get(pages::receive).post(plain::receive::claim))
        .route("/d/{id}/{claim}/{key}", get(plain::receive::download))
        .route("/r/{id}", get(pages::sealed_receipt))
        .route("/r/{id}/{owner}", get(pages::receipt).post(pages::revoke).delete(pages::revoke_quietly))
        .route("/status", or_file(get(status::status)))
        .route("/test-redis", or_file(get(status::status)))
        .route("/healthz", or_file(get(|| async { "ok\n" })))
        .route("/readyz", or_file(get(status::readyz)))
        .route("/share-target", or_file(post(policy::unread_share)))
        .route("/favicon.ico", or_file(get(assets::icon)))
        .route("/sw.js", or_file(get(assets::service_worker)))
        .route("/static/{version}/{*path}", get(assets::asset))
        .nest("/api/v1", api)
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .fallback(any(|| async { Error::NotFound }))
        .layer(map_request(observe::note_route))
        .with_state(app)
}

/// What is at an address that is a file's name, too: `curl -T status` uploads one.
fn or_file(here: MethodRouter<App>) -> MethodRouter<App> {
    here.put(plain::put_here)
}

/// The metrics, for their own listener.
pub fn metrics(app: App) -> Router {
    let text = move || async move {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (StatusCode::OK, [(axum::http::header::CONTENT_TYPE, media_type)], app.store.metrics.text())
    };
    Router::new().route("/metrics", get(text.clone())).route("/", get(text))
}
