//! What holds for every answer: security headers, and no requests from other sites.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::error::Error;

const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types onetimeshare";

/// Set where a handler did not choose otherwise.
static HEADERS: [(HeaderName, HeaderValue); 8] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP)),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), clipboard-write=(self), web-share=(self)"),
    ),
];

/// What a page loads, and what runs under that page's policy rather than its own, needs no more than the first of them: heads count, too.
const OF_LOADED: usize = 2;

/// Marks such an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded;

/// Sets the headers.
pub(super) fn headers(mut response: Response) -> Response {
    let loaded = response.extensions().get::<Loaded>().is_some();
    let due = if loaded { &HEADERS[..OF_LOADED] } else { &HEADERS };
    response.headers_mut().reserve(due.len());
    for (name, value) in due {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Refuses what another site's page sends here to change something.
///
/// # Errors
/// [`Error::CrossSite`].
pub(super) fn admit(request: &Request) -> Result<(), Error> {
    let foreign = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let shared = request.method() == Method::POST && request.uri().path() == "/share-target";
    if foreign && changes(request) && !shared { Err(Error::CrossSite) } else { Ok(()) }
}

/// Whether a request may change something.
pub(super) fn changes(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What a phone shares without the service worker's help would be plaintext: it is not read.
pub(super) async fn unread_share() -> Response {
    ([(header::CONNECTION, "close")], Redirect::to("/")).into_response()
}
