//! What went wrong, as a client learns it: the only place that chooses an error's status.

use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
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
    /// The same of what people do with pages: which text says so, after `problem.`, and what fills its placeholders.
    BadForm(&'static str, Filling),
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

/// Placeholders of a text, with what fills them.
pub(crate) type Filling = Vec<(&'static str, String)>;

/// An error as every kind of client reads it.
#[derive(Debug, Clone)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    /// What it is in a few words, what happened and what to do next: `problem.{text}.title`, `.happened` and `.advice`.
    text: &'static str,
    /// What happened, where a text of its own says so: `problem.{happened}`.
    happened: Option<&'static str>,
    /// What fills the placeholders of what happened.
    filling: Filling,
    retry_after: Option<Duration>,
    ended: Option<Ended>,
    headers: HeaderMap,
}

impl Problem {
    fn title(&self, lang: Lang) -> &'static str {
        lang.text(&format!("problem.{}.title", self.text))
    }

    fn happened(&self, lang: Lang) -> String {
        let text = match self.happened {
            Some(happened) => lang.text(&format!("problem.{happened}")),
            None => lang.text(&format!("problem.{}.happened", self.text)),
        };
        self.filling.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    fn advice(&self, lang: Lang) -> &'static str {
        lang.text(&format!("problem.{}.advice", self.text))
    }
}

impl Error {
    fn problem(self) -> Problem {
        use ledger::Error as Ledger;
        use store::Error as Store;
        let problem = |status, code| Problem {
            status,
            code,
            text: code,
            happened: None,
            filling: Vec::new(),
            retry_after: None,
            ended: None,
            headers: HeaderMap::new(),
        };
        let bad_request = problem(StatusCode::BAD_REQUEST, "bad_request");
        let filled = |name, value: String, problem| Problem { filling: vec![(name, value)], ..problem };
        let later = |after, problem| Problem { retry_after: Some(after), ..problem };
        let soon = |problem| Problem { retry_after: Some(Duration::from_secs(2)), ..problem };
        let with = |name, value: HeaderValue, mut problem: Problem| {
            problem.headers.insert(name, value);
            problem
        };
        match self {
            Self::BadRequest(what) => filled("what", what, bad_request),
            Self::BadForm(happened, filling) => Problem { happened: Some(happened), filling, ..bad_request },
            Self::CutOff => Problem { text: "cut_off", ..bad_request },
            Self::NotFound | Self::Store(Store::Ledger(Ledger::Unknown)) => problem(StatusCode::NOT_FOUND, "not_found"),
            Self::Unauthorized => with(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
                problem(StatusCode::UNAUTHORIZED, "unauthorized"),
            ),
            Self::CrossSite => problem(StatusCode::FORBIDDEN, "cross_site"),
            Self::MethodNotAllowed => problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Timeout => problem(StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::MediaType(wanted) => filled(
                "wanted",
                wanted.to_owned(),
                problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            ),
            Self::Range(total) => with(
                header::CONTENT_RANGE,
                HeaderValue::from_str(&format!("bytes */{total}")).unwrap_or(HeaderValue::from_static("bytes */*")),
                filled("total", total.to_string(), problem(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable")),
            ),
            Self::UploadRate(after) => later(after, problem(StatusCode::TOO_MANY_REQUESTS, "upload_rate")),
            Self::Checksum => {
                problem(StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST), "checksum_mismatch")
            }
            Self::TusVersion => with(
                header::HeaderName::from_static("tus-version"),
                HeaderValue::from_static(TUS_VERSION),
                problem(StatusCode::PRECONDITION_FAILED, "unsupported_version"),
            ),
            Self::Busy => soon(problem(StatusCode::SERVICE_UNAVAILABLE, "busy")),
            Self::Store(Store::TooLarge) => problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Store(Store::ManifestTooLong) => Problem { text: "too_many_names", ..bad_request },
            Self::Store(Store::Ledger(Ledger::Ended(ended))) => Problem {
                ended: Some(ended),
                filling: vec![("state", ended.state.word().to_owned()), ("at", ended.at.to_string())],
                ..problem(StatusCode::GONE, "gone")
            },
            Self::Store(Store::Ledger(Ledger::WrongProof)) => problem(StatusCode::FORBIDDEN, "wrong_proof"),
            Self::Store(Store::Ledger(Ledger::Locked(after))) => {
                later(after, problem(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"))
            }
            Self::Store(Store::Ledger(Ledger::Conflict(offset))) => with(
                header::HeaderName::from_static("upload-offset"),
                offset.into(),
                filled("offset", offset.to_string(), problem(StatusCode::CONFLICT, "offset_conflict")),
            ),
            Self::Store(Store::Ledger(Ledger::Published)) => problem(StatusCode::CONFLICT, "published"),
            Self::Store(Store::Ledger(Ledger::Claimed)) => problem(StatusCode::CONFLICT, "claimed"),
            Self::Store(Store::Ledger(Ledger::BudgetSpent)) => problem(StatusCode::TOO_MANY_REQUESTS, "budget_spent"),
            Self::Store(Store::Ledger(Ledger::Full)) => problem(StatusCode::INSUFFICIENT_STORAGE, "store_full"),
            Self::Store(Store::Ledger(Ledger::Unavailable(_))) => {
                soon(problem(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"))
            }
            Self::Store(Store::Ledger(Ledger::Unacknowledged { by, of })) => soon(Problem {
                happened: Some("store.unacknowledged"),
                filling: vec![("by", by.to_string()), ("of", of.to_string())],
                ..problem(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
            }),
            Self::Internal | Self::Store(Store::Missing | Store::Seal(_)) => {
                problem(StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
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
            Self::Store(store::Error::Ledger(error @ ledger::Error::Unacknowledged { .. })) => {
                tracing::warn!(%error, "nothing is published, claimed or revoked until more replicas are there");
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

/// How whoever sent a request reads errors.
pub(crate) struct Asker {
    api: bool,
    html: bool,
    json: bool,
    lang: Lang,
}

impl Asker {
    /// By the request's path and headers.
    pub(crate) fn of(request: &Request) -> Self {
        let headers = request.headers();
        let api = request.uri().path().starts_with("/api/");
        let (html, json) = (accepts(headers, "text/html"), accepts(headers, "application/json"));
        Self { api, html, json, lang: lang(headers) }
    }
}

/// Gives every error the form that its client reads: JSON (RFC 9457) for the API, a page in the reader's language for browsers,
/// a line for the rest.
pub(crate) fn render(app: &App, asker: &Asker, mut response: Response) -> Response {
    let &Asker { api, html, json, lang } = asker;
    let problem = response.extensions_mut().remove::<Problem>();
    let Some(problem) = problem.or_else(|| foreign(&response)) else { return response };
    if matches!(problem.code, "store_unavailable") {
        app.store.metrics.store_errors.inc();
    }
    let line = || format!("{} {}", problem.happened(Lang::En), problem.advice(Lang::En));
    let body = if api || (json && !html) {
        let mut object = Map::new();
        object.insert("type".into(), "about:blank".into());
        object.insert("title".into(), problem.title(Lang::En).into());
        object.insert("status".into(), problem.status.as_u16().into());
        object.insert("code".into(), problem.code.into());
        object.insert("detail".into(), line().into());
        if let Some(Ended { state, at }) = problem.ended {
            object.insert("reason".into(), state.word().into());
            object.insert("at".into(), json!(at.to_string()));
        }
        ([(header::CONTENT_TYPE, "application/problem+json")], Value::Object(object).to_string()).into_response()
    } else if html {
        page(app, lang, &problem)
    } else {
        format!("{}\n", line()).into_response()
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
        status if status.is_client_error() => Error::BadForm("address.malformed", Vec::new()),
        _ => return None,
    };
    Some(Problem { status, ..error.problem() })
}

fn page(app: &App, lang: Lang, problem: &Problem) -> Response {
    let page = app.page(lang);
    let html = match problem.ended {
        Some(ended) => views::Gone { page, ended }.render(),
        None => {
            let (title, happened, advice) = (problem.title(lang), &problem.happened(lang), problem.advice(lang));
            views::Failure { page, title, happened, advice }.render()
        }
    };
    html.map_or_else(|_| problem.status.into_response(), |html| Html(html).into_response())
}

/// Whether the Accept header names the type.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type)))
}

#[cfg(test)]
mod tests;
