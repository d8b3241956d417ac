//! `POST /`: the form of the send page, and `curl -F`.

use std::future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, ready};

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::Limited;

use super::{Answer, Parameters, Sender, UNTYPED, content_length};
use crate::http::client::Client;
use crate::http::error::Error;
use crate::http::options::{self, Options};
use crate::http::{App, pace};
use crate::names;
use crate::share::Timestamp;
use crate::store;

/// Parts of one form.
const PARTS: usize = 5_000;
/// Bytes of one option.
const FIELD: usize = 256 * 1024;
/// Bytes that may come without a part getting on: the headers of a part, and what stands between two.
const FRAME: u64 = 64 * 1024;
/// What a form may be longer than its files.
const FORM_OVERHEAD: u64 = 2 << 20;

/// `POST /`.
pub(in crate::http) async fn send(
    State(app): State<App>,
    client: Client,
    Query(query): Parameters,
    mut request: Request,
) -> Result<Response, Error> {
    DefaultBodyLimit::disable().apply(&mut request);
    let headers = request.headers().clone();
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.is_empty() && query.iter().any(|(name, value)| name == "text" && !value.is_empty()) {
        return super::upload(app, client, String::new(), query, headers, request.into_body()).await;
    }
    let media_type = media_type.to_ascii_lowercase();
    if media_type.starts_with("application/x-www-form-urlencoded") {
        return text_alone(app, client, query, headers, request).await;
    }
    if !media_type.starts_with("multipart/form-data") {
        return Err(Error::MediaType("multipart/form-data, as `curl -F file=@NAME` and forms send it"));
    }
    let length = content_length(&headers);
    if length.is_some_and(|length| length > app.store.limits.max_size.saturating_add(FORM_OVERHEAD)) {
        return Err(store::Error::TooLarge.into());
    }
    let expected = length.map(|length| length.min(app.store.limits.max_size));
    let options = Options::of(&query, &headers, &app)?;
    if options.text.is_some() {
        return Err(super::text_and_file());
    }
    app.admit_upload(&client.network)?;

    let feed = Arc::new(Feed::default());
    let request = request.map(|body| feed.body(body));
    let form = Multipart::from_request(request, &()).await;
    let form = form.map_err(|_| Error::BadRequest("The form's Content-Type names no boundary.".into()))?;
    let answer = Answer { app, client, headers };
    Form { answer, form, feed, options, sender: None, expected }.run().await
}

/// A form without files, as `curl -d text=…` sends it.
async fn text_alone(
    app: App,
    client: Client,
    mut query: Vec<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Error> {
    let request = request.map(|body| Body::new(Limited::new(body, FIELD)));
    let fields = axum::Form::<Vec<(String, String)>>::from_request(request, &()).await;
    let malformed = format!("The form must be UTF-8, and {FIELD} bytes at the most: send a longer text as a file.");
    let fields = fields.map_err(|rejection| pace::unread(&rejection, Error::BadRequest(malformed)))?;
    query.extend(fields.0);
    if !query.iter().any(|(name, value)| name == "text" && !value.is_empty()) {
        return Err(Error::BadForm("form.empty", Vec::new()));
    }
    super::upload(app, client, String::new(), query, headers, Body::empty()).await
}

/// Hands the body to the parser a piece at a time, and only when it can't get on without: by itself it takes all that is ready,
/// and it caps how many headers a part has, not their bytes.
#[derive(Default)]
struct Feed {
    wanted: AtomicBool,
    /// Bytes fed since the parser last gave something.
    idle: AtomicU64,
    /// Set when they were too many.
    endless: AtomicBool,
}

impl Feed {
    fn body(self: &Arc<Self>, body: Body) -> Body {
        let (feed, mut pieces) = (self.clone(), body.into_data_stream());
        Body::from_stream(stream::poll_fn(move |cx| {
            if !feed.wanted.load(Ordering::Relaxed) {
                // `Feed::get` polls again as soon as the parser wants more.
                return Poll::Pending;
            }
            let piece = ready!(pieces.poll_next_unpin(cx));
            feed.wanted.store(false, Ordering::Relaxed);
            let length = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len) as u64;
            if feed.idle.fetch_add(length, Ordering::Relaxed) > FRAME {
                feed.endless.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(axum::Error::new(io::Error::other("endless headers")))));
            }
            Poll::Ready(piece)
        }))
    }

    /// What the parser gives next.
    async fn get<T>(&self, next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Error> {
        let mut next = std::pin::pin!(next);
        let got = future::poll_fn(|cx| {
            loop {
                match next.as_mut().poll(cx) {
                    Poll::Pending if !self.wanted.swap(true, Ordering::Relaxed) => {}
                    polled => return polled,
                }
            }
        })
        .await;
        let got = got.map_err(|error| self.malformed(&error));
        self.idle.store(0, Ordering::Relaxed);
        got
    }

    fn malformed(&self, error: &MultipartError) -> Error {
        if self.endless.load(Ordering::Relaxed) {
            return Error::BadRequest("The headers of a part are too long.".into());
        }
        if pace::is_slow(error) {
            return Error::Timeout;
        }
        Error::BadForm("form.malformed", Vec::new())
    }
}

struct Form {
    answer: Answer,
    form: Multipart,
    feed: Arc<Feed>,
    options: Options,
    /// Set with the first file: its key must be settled then.
    sender: Option<Sender>,
    expected: Option<u64>,
}

impl Form {
    async fn run(mut self) -> Result<Response, Error> {
        let sent = self.take().await;
        match self.sender {
            Some(sender) => sender.end(sent, &self.options, &self.answer).await,
            None => Err(sent.err().unwrap_or(Error::Internal)),
        }
    }

    /// Takes the parts, and publishes.
    async fn take(&mut self) -> Result<Timestamp, Error> {
        let mut parts = 0;
        loop {
            let Some(field) = self.feed.get(self.form.next_field()).await? else { break };
            parts += 1;
            if parts > PARTS {
                return Err(Error::BadForm("form.parts", vec![("most", PARTS.to_string())]));
            }
            let name = field.name().unwrap_or_default().to_owned();
            match field.file_name().map(str::to_owned) {
                // A file input that was left empty.
                Some(file) if file.is_empty() && field.content_type() == Some(UNTYPED) => {
                    drop(read(field, &self.feed, 0).await?)
                }
                Some(file) => {
                    let media_type = field.content_type().unwrap_or(UNTYPED).to_owned();
                    let sender = start(&mut self.sender, &self.answer, &self.options, self.expected).await?;
                    sender.sealing.file(names::safe_path(&file), media_type, None)?;
                    pour(&self.answer.app, sender, field, &self.feed).await?;
                }
                None if names_a_file(&field) => return Err(Error::BadForm("form.file_name", Vec::new())),
                None if name == "text" => {
                    text(&mut self.sender, &self.answer, &self.options, self.expected, field, &self.feed).await?
                }
                None => {
                    let value = read(field, &self.feed, FIELD).await?;
                    self.set(&name, value).await?;
                }
            }
        }
        let Some(sender) = self.sender.as_mut().filter(|sender| sender.sealing.files() > 0) else {
            return Err(Error::BadForm("form.empty", Vec::new()));
        };
        Ok(sender.sealing.finish(self.options.settled(&self.answer.app)).await?)
    }

    async fn set(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "password" if self.sender.is_some() && !value.is_empty() => {
                Err(Error::BadForm("form.password_late", Vec::new()))
            }
            _ if self.options.set(name, &value, &self.answer.app)? => Ok(()),
            _ => Err(options::unknown(name)),
        }
    }
}

/// Whether a part says that it is a file; without a name, its name is none that can be read.
fn names_a_file(field: &Field<'_>) -> bool {
    let disposition = field.headers().get(header::CONTENT_DISPOSITION);
    disposition.is_some_and(|value| value.as_bytes().windows(9).any(|bytes| bytes == b"filename="))
}

async fn start<'a>(
    sender: &'a mut Option<Sender>,
    answer: &Answer,
    options: &Options,
    expected: Option<u64>,
) -> Result<&'a mut Sender, Error> {
    if sender.is_none() {
        *sender = Some(Sender::start(answer, options, expected).await?);
    }
    sender.as_mut().ok_or(Error::Internal)
}

/// A text instead of a file; an empty one is none.
async fn text(
    sender: &mut Option<Sender>,
    answer: &Answer,
    options: &Options,
    expected: Option<u64>,
    mut field: Field<'_>,
    feed: &Feed,
) -> Result<(), Error> {
    let first = loop {
        match feed.get(field.chunk()).await? {
            None => return Ok(()),
            Some(piece) if piece.is_empty() => {}
            Some(piece) => break piece,
        }
    };
    let sender = start(sender, answer, options, expected).await?;
    answer.app.store.metrics.received.inc_by(first.len() as u64);
    sender.text(first).await?;
    pour(&answer.app, sender, field, feed).await
}

async fn pour(app: &App, sender: &mut Sender, mut field: Field<'_>, feed: &Feed) -> Result<(), Error> {
    while let Some(piece) = feed.get(field.chunk()).await? {
        app.store.metrics.received.inc_by(piece.len() as u64);
        sender.sealing.write(piece).await?;
    }
    Ok(())
}

/// A field of at most `most` bytes, as text.
async fn read(mut field: Field<'_>, feed: &Feed, most: usize) -> Result<String, Error> {
    let name = field.name().unwrap_or_default().chars().take(40).collect::<String>();
    let mut value = Vec::new();
    while let Some(piece) = feed.get(field.chunk()).await? {
        value.extend_from_slice(&piece);
        if value.len() > most {
            return Err(Error::BadForm(
                "form.too_long",
                vec![("name", format!("{name:?}")), ("most", most.to_string())],
            ));
        }
    }
    String::from_utf8(value).map_err(|_| Error::BadRequest(format!("The field {name:?} must be UTF-8.")))
}
