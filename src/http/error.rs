//! What went wrong, as a client learns it: the only place that chooses status codes.

use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::client::lang;
use super::{App, views};
use crate::ledger;
use crate::share::Ended;
use crate::store;
use crate::text::Lang;

/// The version of tus that is spoken here.
pub(super) const TUS_VERSION: &str = "1.0.0";

const HTML: &str = "text/html; charset=utf-8";

/// What a handler answers when it can't do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// The store's answer.
    Store(store::Error),
    /// Something in the request does not parse or is out of range; what, and what would be right.
    BadRequest(String),
    /// There is nothing at this address.
    NotFound,
    /// A token is missing.
    Unauthorized,
    /// A request that changes something comes from another site.
    CrossSite,
    /// The address does not know the method.
    MethodNotAllowed,
    /// The body stopped coming, or came too slowly.
    Timeout,
    /// A body of a type that is not understood here; what it should be.
    MediaType(&'static str),
    /// A Range beyond the end; how many bytes there are.
    Range(u64),
    /// Too many uploads from one client network; when the next may begin.
    UploadRate(Duration),
    /// A checksum that does not match the bytes that came.
    Checksum,
    /// Another tus than 1.0.0.
    TusVersion,
    /// More passwords to derive keys from than one core manages.
    Busy,
    /// The request ends nowhere: the connection broke off.
    CutOff,
    /// A defect of ours, logged where it happened.
    Internal,
}

impl<E: Into<store::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// An error as every kind of client reads it.
#[derive(Debug, Clone)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    /// What happened.
    happened: String,
    /// What to do next.
    advice: &'static str,
    retry_after: Option<Duration>,
    ended: Option<Ended>,
    headers: HeaderMap,
}

impl Error {
    fn problem(self) -> Problem {
        use ledger::Error as Ledger;
        use store::Error as Store;
        let problem = |status, code, title, happened: &str, advice| Problem {
            status,
            code,
            title,
            happened: happened.to_owned(),
            advice,
            retry_after: None,
            ended: None,
            headers: HeaderMap::new(),
        };
        let later = |after, problem| Problem { retry_after: Some(after), ..problem };
        let with = |name, value: HeaderValue, mut problem: Problem| {
            problem.headers.insert(name, value);
            problem
        };
        match self {
            Self::BadRequest(what) => {
                problem(StatusCode::BAD_REQUEST, "bad_request", "That did not work", &what, "Correct it and try again.")
            }
            Self::NotFound | Self::Store(Store::Ledger(Ledger::Unknown)) => problem(
                StatusCode::NOT_FOUND,
                "not_found",
                "Nothing here",
                "There is nothing at this address, or not any more.",
                "Check that the link is whole, or ask the sender for a new one.",
            ),
            Self::Unauthorized => with(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
                problem(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "A token is missing",
                    "This address asks for a token.",
                    "Send it as `Authorization: Bearer TOKEN`.",
                ),
            ),
            Self::CrossSite => problem(
                StatusCode::FORBIDDEN,
                "cross_site",
                "From another site",
                "The request came from a page of another site.",
                "Open the link itself and go on from there.",
            ),
            Self::MethodNotAllowed => problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Not that way",
                "This address does not know that method.",
                "See /api/v1/openapi.yaml for what it knows.",
            ),
            Self::Timeout => problem(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "Too slow",
                "The rest of the request did not come in time.",
                "Try again; a resumable upload goes on where it was.",
            ),
            Self::MediaType(wanted) => problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Not that type",
                &format!("The request's Content-Type should be {wanted}."),
                "Send it with that type.",
            ),
            Self::Range(total) => with(
                header::CONTENT_RANGE,
                HeaderValue::from_str(&format!("bytes */{total}")).unwrap_or(HeaderValue::from_static("bytes */*")),
                problem(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range_not_satisfiable",
                    "Beyond the end",
                    &format!("There are {total} bytes, and the Range begins after them."),
                    "Ask for a Range that begins before the end.",
                ),
            ),
            Self::UploadRate(after) => later(
                after,
                problem(
                    StatusCode::TOO_MANY_REQUESTS,
                    "upload_rate",
                    "Too many uploads",
                    "Your network began too many uploads in the last minute.",
                    "Wait a moment and try again.",
                ),
            ),
            Self::Checksum => problem(
                StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
                "checksum_mismatch",
                "Changed on the way",
                "The bytes do not match their checksum; they were discarded.",
                "Send them again from the same offset.",
            ),
            Self::TusVersion => with(
                header::HeaderName::from_static("tus-version"),
                HeaderValue::from_static(TUS_VERSION),
                problem(
                    StatusCode::PRECONDITION_FAILED,
                    "unsupported_version",
                    "Another tus",
                    "Uploads speak tus 1.0.0.",
                    "Send the header `Tus-Resumable: 1.0.0`.",
                ),
            ),
            Self::Busy => later(
                Duration::from_secs(2),
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "Busy",
                    "Too many passwords are being checked just now.",
                    "Try again in a few seconds.",
                ),
            ),
            Self::CutOff => problem(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "Cut off",
                "The request ended before it was whole.",
                "Send it again; a resumable upload goes on where it was.",
            ),
            Self::Store(Store::TooLarge) => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "Too large",
                "This is larger than a share may be here, or than was announced.",
                "Send less at once: GET /api/v1/config tells the limit.",
            ),
            Self::Store(Store::ManifestTooLong) => problem(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "Too many names",
                "The names of the files and the note together are too long.",
                "Send fewer files at once, or pack them into an archive first.",
            ),
            Self::Store(Store::Ledger(Ledger::Ended(ended))) => Problem {
                ended: Some(ended),
                ..problem(
                    StatusCode::GONE,
                    "gone",
                    "Gone",
                    &format!("This share is {} since {}.", ended.state.word(), ended.at),
                    "Was it not you? Tell the sender; only a new link helps.",
                )
            },
            Self::Store(Store::Ledger(Ledger::WrongProof)) => problem(
                StatusCode::FORBIDDEN,
                "wrong_proof",
                "That is not the key",
                "The link or the password is wrong. Nothing is lost by that.",
                "Check both and try again.",
            ),
            Self::Store(Store::Ledger(Ledger::Locked(after))) => later(
                after,
                problem(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_attempts",
                    "Too many attempts",
                    "Too many wrong passwords were tried on this share.",
                    "Wait a moment and try again; the share is still there.",
                ),
            ),
            Self::Store(Store::Ledger(Ledger::Conflict(offset))) => with(
                header::HeaderName::from_static("upload-offset"),
                offset.into(),
                problem(
                    StatusCode::CONFLICT,
                    "offset_conflict",
                    "Another offset",
                    &format!("The upload is at offset {offset}."),
                    "Ask with HEAD for the offset and go on from there.",
                ),
            ),
            Self::Store(Store::Ledger(Ledger::Published)) => problem(
                StatusCode::CONFLICT,
                "published",
                "Already a share",
                "The upload is complete and waits for its recipient.",
                "Revoke the share with its owner token instead.",
            ),
            Self::Store(Store::Ledger(Ledger::Claimed)) => problem(
                StatusCode::CONFLICT,
                "claimed",
                "Already taken",
                "The last download has been granted: there is nothing left to revoke.",
                "The receipt tells when it was taken.",
            ),
            Self::Store(Store::Ledger(Ledger::BudgetSpent)) => problem(
                StatusCode::TOO_MANY_REQUESTS,
                "budget_spent",
                "Downloaded too often",
                "This claim has been served twice its size, or would be.",
                "Ask for a smaller Range, or ask the sender to send it again.",
            ),
            Self::Store(Store::Ledger(Ledger::Full)) => problem(
                StatusCode::INSUFFICIENT_STORAGE,
                "store_full",
                "No room",
                "There is no room for it on this server just now.",
                "Try again later, or send less.",
            ),
            Self::Store(Store::Ledger(Ledger::Unavailable(_))) => later(
                Duration::from_secs(2),
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "Back in a moment",
                    "The store can't be reached just now.",
                    "Repeat the same request in a few seconds; nothing is lost.",
                ),
            ),
            Self::Internal | Self::Store(Store::Missing | Store::Seal(_)) => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Our mistake",
                "Something went wrong on this server.",
                "Try again; if it stays so, tell whoever runs it.",
            ),
        }
    }
}

/// Logs what only the operator should know, and leaves the rest to [`render`].
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match &self {
            Self::Store(store::Error::Ledger(ledger::Error::Unavailable(why))) => {
                tracing::warn!(why, "the store is unavailable");
            }
            Self::Store(error @ (store::Error::Missing | store::Error::Seal(_))) => {
                tracing::error!(%error, "a share is broken")
            }
            _ => {}
        }
        let problem = self.problem();
        let mut response = problem.status.into_response();
        response.headers_mut().extend(problem.headers.clone());
        if let Some(after) = problem.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().saturating_add(1).into());
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// Gives every error the form that its client reads: JSON (RFC 9457) for the API, a page for browsers, a line for the rest.
pub(crate) async fn render(State(app): State<App>, request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let (html, json) = (accepts(request.headers(), "text/html"), accepts(request.headers(), "application/json"));
    let lang = lang(request.headers());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let Some(problem) = problem.or_else(|| foreign(&response)) else { return response };
    if matches!(problem.code, "store_unavailable") {
        app.store.metrics.store_errors.inc();
    }
    let body = if api || (json && !html) {
        let mut object = Map::new();
        object.insert("type".into(), "about:blank".into());
        object.insert("title".into(), problem.title.into());
        object.insert("status".into(), problem.status.as_u16().into());
        object.insert("code".into(), problem.code.into());
        object.insert("detail".into(), format!("{} {}", problem.happened, problem.advice).into());
        if let Some(Ended { state, at }) = problem.ended {
            object.insert("reason".into(), state.word().into());
            object.insert("at".into(), json!(at.to_string()));
        }
        ([(header::CONTENT_TYPE, "application/problem+json")], Value::Object(object).to_string()).into_response()
    } else if html {
        page(&app, lang, &problem)
    } else {
        format!("{} {}\n", problem.happened, problem.advice).into_response()
    };
    let (head, body) = body.into_parts();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        response.headers_mut().remove(&name);
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response.map(|_| Body::new(body))
}

/// What the framework refused before a handler saw it: its own words are not for clients.
fn foreign(response: &Response) -> Option<Problem> {
    let status = response.status();
    // A page says what it has to say.
    response.headers().get(header::CONTENT_TYPE).is_none_or(|media_type| media_type != HTML).then_some(())?;
    let error = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Error::Store(store::Error::TooLarge),
        status if status.is_client_error() => Error::BadRequest("The address or its parameters are malformed.".into()),
        _ => return None,
    };
    Some(Problem { status, ..error.problem() })
}

fn page(app: &App, lang: Lang, problem: &Problem) -> Response {
    let page = app.page(lang);
    let html = match problem.ended {
        Some(ended) => views::Gone { page, ended }.render(),
        None => {
            views::Failure { page, title: problem.title, happened: &problem.happened, advice: problem.advice }.render()
        }
    };
    Html(html.unwrap_or_else(|_| problem.happened.clone())).into_response()
}

/// Whether the Accept header names the type.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|t| t.trim() == media_type))
}
