//! Stylesheet and icon, in the binary, under an address that changes with them.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::error::Error;
use crate::share::Digest;

const ASSETS: [(&str, &str, &[u8]); 2] = [
    ("app.css", "text/css; charset=utf-8", include_bytes!("../../static/app.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../static/icon.svg")),
];
const FOREVER: &str = "public, max-age=31536000, immutable";

static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let digest = Digest::of(&ASSETS.map(|(_, _, bytes)| bytes).concat());
    digest.0[..4].iter().fold("/static/".to_owned(), |mut prefix, byte| {
        let _ = write!(prefix, "{byte:02x}");
        prefix
    })
});

/// Where the assets of this version are, without a closing slash.
pub(super) fn prefix() -> &'static str {
    &PREFIX
}

/// `GET /static/{version}/{name}`.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>) -> Result<Response, Error> {
    let (_, media_type, bytes) = ASSETS.iter().find(|(known, ..)| *known == name).ok_or(Error::NotFound)?;
    // An older page may still ask by an older version: it gets today's, and asks again.
    let current = prefix().ends_with(&version);
    let cache = if current { FOREVER } else { "no-cache" };
    Ok(([(header::CONTENT_TYPE, *media_type), (header::CACHE_CONTROL, cache)], *bytes).into_response())
}

/// `GET /favicon.ico`: browsers that don't read the page ask for it.
pub(super) async fn icon() -> Response {
    let (_, media_type, bytes) = ASSETS[1];
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=86400")], bytes).into_response()
}

/// `GET /api/v1/openapi.yaml`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("../../static/openapi.yaml")).into_response()
}
