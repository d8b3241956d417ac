//! How the server is: for people, for load balancers and for clients that ask what it allows.

use std::time::Instant;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use super::error::Error;
use super::{App, views};
use crate::text::Lang;

/// What a client that resumes well sends at once: small enough to lose, large enough to be quick.
pub(super) const UPLOAD_PART: u64 = 16 << 20;
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
pub(super) struct Limits {
    max_size: u64,
    default_expires_in: u64,
    max_expires_in: u64,
    max_downloads: u32,
    upload_part: u64,
    version: &'static str,
}

/// `GET /api/v1/config`.
pub(super) async fn config(State(app): State<App>) -> Json<Limits> {
    Json(Limits {
        max_size: app.store.limits.max_size,
        default_expires_in: app.config.default_expires_in.as_secs(),
        max_expires_in: app.config.max_expires_in.as_secs(),
        max_downloads: app.config.max_downloads,
        upload_part: UPLOAD_PART,
        version: VERSION,
    })
}

/// `GET /status`, which counts its visits.
pub(super) async fn status(State(app): State<App>, lang: Lang, method: Method) -> Result<Response, Error> {
    let asked = Instant::now();
    let counts = method == Method::GET;
    let seen = if counts { app.store.ledger.seen().await } else { app.store.ledger.ping().await.map(|()| 0) }.ok();
    let answer = seen.map(|seen| views::Answer { seen, latency: asked.elapsed() });
    let store = if app.config.uses_redis() { "Redis" } else { "embedded" };
    let page = views::Status { page: app.page(lang), store, version: VERSION, answer };
    let html = Html(page.render().map_err(|_| Error::Internal)?);
    let status = if answer.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, html).into_response())
}

/// `GET /readyz`. Downloads go on while replicas are missing: no reason to send clients elsewhere, where they are missing too.
pub(super) async fn readyz(State(app): State<App>) -> Result<String, Error> {
    app.store.ping().await?;
    let but = app.store.ledger.caveat().map_or_else(String::new, |caveat| format!(", but {caveat}"));
    Ok(format!("ready{but}\n"))
}
