//! What holds for every answer: security headers, and no requests from other sites.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::error::Error;

const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types onetimeshare";

/// Set where a handler did not choose otherwise.
const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", PAGE_CSP),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-robots-tag", "noindex"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), clipboard-write=(self), web-share=(self)"),
];

/// What a page loads, and what runs under that page's policy rather than its own, needs no more than these: heads count, too.
const LOADED: [&str; 2] = ["x-content-type-options", "cross-origin-resource-policy"];

/// Marks such an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded;

/// Sets the headers.
pub(super) fn headers(mut response: Response) -> Response {
    let loaded = response.extensions().get::<Loaded>().is_some();
    for (name, value) in HEADERS.into_iter().filter(|(name, _)| !loaded || LOADED.contains(name)) {
        let entry = response.headers_mut().entry(HeaderName::from_static(name));
        entry.or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses what another site's page sends here to change something.
pub(super) fn foreign(request: &Request) -> Option<Error> {
    let foreign = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    (foreign && changes && request.uri().path() != "/share-target").then_some(Error::CrossSite)
}

/// What a phone shares without the service worker's help would be plaintext: it is not read.
pub(super) async fn unread_share() -> Response {
    ([(header::CONNECTION, "close")], Redirect::to("/")).into_response()
}
