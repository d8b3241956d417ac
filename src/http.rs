//! HTTP: the route table and the layers around it.
//!
//! A handler parses, calls the store and maps the answer; the status of an error is chosen in `error` alone. Nothing below this room
//! knows of it.

mod around;
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

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::routing::{MethodRouter, any, get, options, post, put};
use tokio_util::sync::CancellationToken;
use tower_http::set_header::SetResponseHeaderLayer;

use self::around::Around;
use self::error::Error;
use crate::config::Config;
use crate::share::Network;
use crate::store::{Store, now};
use crate::text::Lang;

pub(crate) use self::client::Connection;
pub(crate) use self::wait::{Drained, Moving};

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

/// All routes of the server.
pub fn routes(app: App) -> Router {
    addresses().layer(Around(app.clone())).with_state(app)
}

/// The route table.
fn addresses() -> Router<App> {
    let says_version =
        SetResponseHeaderLayer::overriding(uploads::VERSION, HeaderValue::from_static(error::TUS_VERSION));
    let tus = Router::new()
        .route("/api/v1/uploads", options(uploads::options).post(uploads::create))
        .route(
            "/api/v1/uploads/{id}/{token}",
            options(uploads::options)
                .head(uploads::head)
                .patch(uploads::patch)
                .delete(uploads::delete)
                .fallback(uploads::overridden),
        )
        .layer(says_version);
    Router::new()
        .merge(tus)
        .route("/", get(pages::send).post(plain::form::send).put(plain::put_unnamed))
        .route("/{name}", put(plain::put).fallback(plain::none_to_read))
        .route("/api/v1/config", get(status::config))
        .route("/api/v1/openapi.yaml", get(assets::openapi))
        .route("/api/v1/shares/{id}", get(shares::peek).delete(shares::revoke))
        .route("/api/v1/shares/{id}/claims", post(claims::claim))
        .route("/api/v1/shares/{id}/claims/{claim}", get(claims::read).delete(claims::finish))
        .route("/api/v1/receipts/{id}", get(receipts::receipt))
        .route("/api/v1/receipts/{id}/events", get(receipts::events))
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
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .fallback(any(|| async { Error::NotFound }))
}

/// What is at an address that is a file's name, too: `curl -T status` uploads one.
fn or_file(here: MethodRouter<App>) -> MethodRouter<App> {
    here.put(plain::put)
}

/// The metrics, for their own listener.
pub fn metrics(app: App) -> Router {
    let text = move || async move {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (StatusCode::OK, [(axum::http::header::CONTENT_TYPE, media_type)], app.store.metrics.text())
    };
    Router::new().route("/metrics", get(text.clone())).route("/", get(text))
}
