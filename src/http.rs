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

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{any, get, options, post, put};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use self::error::Error;
use crate::config::Config;
use crate::share::Network;
use crate::store::{Store, now};
use crate::text::Lang;

pub(crate) use self::client::Peer;
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

/// The routes, and around them, from the inside out: errors get their form, foreign requests are refused, headers are set,
/// requests are counted and logged.
pub fn router(app: App) -> Router {
    let tus = Router::new()
        .route("/uploads", options(uploads::options).post(uploads::create))
        .route(
            "/uploads/{id}/{token}",
            options(uploads::options).head(uploads::head).patch(uploads::patch).delete(uploads::delete),
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
        .route("/{name}", put(plain::put).get(|| async { Error::NotFound }))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .merge(plain)
        .route("/s/{id}", get(pages::sealed))
        .route("/s/{id}/{secret}", get(pages::receive).post(plain::receive::claim))
        .route("/d/{id}/{claim}/{key}", get(plain::receive::download))
        .route("/r/{id}", get(pages::sealed_receipt))
        .route("/r/{id}/{owner}", get(pages::receipt).post(pages::revoke).delete(pages::revoke_quietly))
        .route("/status", get(status::status))
        .route("/test-redis", get(status::status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(status::readyz))
        .route("/share-target", post(policy::unread_share))
        .route("/favicon.ico", get(assets::icon))
        .route("/sw.js", get(assets::service_worker))
        .route("/static/{version}/{*path}", get(assets::asset))
        .nest("/api/v1", api)
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .fallback(any(|| async { Error::NotFound }))
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn(policy::same_site))
        .layer(from_fn(pace::limit))
        .layer(from_fn_with_state(app.clone(), error::render))
        .layer(map_response(policy::headers))
        .layer(from_fn_with_state(app.clone(), observe::requests))
        .with_state(app)
}

/// The metrics, for their own listener.
pub fn metrics(app: App) -> Router {
    let text = move || async move {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (StatusCode::OK, [(axum::http::header::CONTENT_TYPE, media_type)], app.store.metrics.text())
    };
    Router::new().route("/metrics", get(text.clone())).route("/", get(text))
}
