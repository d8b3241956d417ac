//! `POST /`: the form of the send page, and `curl -F`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::header;
use axum::response::Response;
use futures_util::{StreamExt, TryStreamExt, stream};

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
    request: Request,
) -> Result<Response, Error> {
    let headers = request.headers().clone();
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.is_empty() && query.iter().any(|(name, value)| name == "text" && !value.is_empty()) {
        return super::upload(app, client, String::new(), query, headers, request.into_body()).await;
    }
    if !media_type.to_ascii_lowercase().starts_with("multipart/form-data") {
        return Err(Error::MediaType("multipart/form-data, as `curl -F file=@NAME` and forms send it"));
    }
    let length = content_length(&headers);
    if length.is_some_and(|length| length > app.store.limits.max_size.saturating_add(FORM_OVERHEAD)) {
        return Err(store::Error::TooLarge.into());
    }
    let expected = length.map(|length| length.min(app.store.limits.max_size));
    let options = Options::of(&query, &headers, &app)?;
    app.admit_upload(&client.network)?;

    let idle = Arc::new(AtomicU64::new(0));
    let request = request.map(|body| framed(body, &idle));
    let form = Multipart::from_request(request, &()).await;
    let form = form.map_err(|_| Error::BadRequest("The form's Content-Type names no boundary.".into()))?;
    let answer = Answer { app: app.clone(), client, headers };
    let form = Form { app, form, idle, options, sender: None, expected };
    // Runs on where the connection breaks, so that what came is freed at once.
    tokio::spawn(form.run(answer)).await.map_err(|_| Error::Internal)?
}

/// A body that fails where too many bytes come while no part gets on: the parser caps how many headers a part has, not
/// their bytes.
fn framed(body: Body, idle: &Arc<AtomicU64>) -> Body {
    let (idle, mut pieces, mut given) = (idle.clone(), body.into_data_stream(), false);
    Body::from_stream(stream::poll_fn(move |cx| {
        // The parser takes all that is ready before it looks at any of it: it gets one piece at a time.
        if std::mem::take(&mut given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(pieces.poll_next_unpin(cx));
        if let Some(Ok(piece)) = &piece {
            given = true;
            if idle.fetch_add(piece.len() as u64, Ordering::Relaxed) > FRAME {
                return Poll::Ready(Some(Err(axum::Error::new(io::Error::other("endless headers")))));
            }
        }
        Poll::Ready(piece)
    }))
}

struct Form {
    app: App,
    form: Multipart,
    /// Bytes fed to the parser since it last gave something.
    idle: Arc<AtomicU64>,
    options: Options,
    /// Set with the first file: its key must be settled then.
    sender: Option<Sender>,
    expected: Option<u64>,
}

impl Form {
    async fn run(mut self, answer: Answer) -> Result<Response, Error> {
        let sent = self.take().await;
        match self.sender {
            Some(sender) => sender.end(sent, &self.options, &answer).await,
            None => Err(sent.err().unwrap_or(Error::Internal)),
        }
    }

    /// Takes the parts, and publishes.
    async fn take(&mut self) -> Result<Timestamp, Error> {
        let mut parts = 0;
        loop {
            let field = self.form.next_field().await.map_err(|error| malformed(&error, &self.idle))?;
            self.idle.store(0, Ordering::Relaxed);
            let Some(field) = field else { break };
            parts += 1;
            if parts > PARTS {
                return Err(Error::BadRequest(format!(
                    "A form may have {PARTS} parts at the most: pack the files into an archive."
                )));
            }
            let name = field.name().unwrap_or_default().to_owned();
            match field.file_name().map(str::to_owned) {
                // A file input that was left empty.
                Some(file) if file.is_empty() && field.content_type() == Some(UNTYPED) => {
                    drop(read(field, &self.idle, 0).await?)
                }
                Some(file) => {
                    let media_type = field.content_type().unwrap_or(UNTYPED).to_owned();
                    let sender = start(&mut self.sender, &self.app, &self.options, self.expected).await?;
                    sender.sealing.file(names::safe_path(&file), media_type, None)?;
                    pour(&self.app, sender, field, &self.idle).await?;
                }
                None if name == "text" => {
                    text(&mut self.sender, &self.app, &self.options, self.expected, field, &self.idle).await?
                }
                None => {
                    let value = read(field, &self.idle, FIELD).await?;
                    self.set(&name, value).await?;
                }
            }
        }
        let Some(sender) = self.sender.as_mut().filter(|sender| sender.sealing.files() > 0) else {
            return Err(Error::BadRequest("There is no file and no text in the form: choose one.".into()));
        };
        Ok(sender.sealing.finish(self.options.settled(&self.app)).await?)
    }

    async fn set(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "password" if self.sender.is_some() && !value.is_empty() => {
                Err(Error::BadRequest("The field password must come before the files.".into()))
            }
            _ if self.options.set(name, &value, &self.app)? => Ok(()),
            _ => Err(options::unknown(name)),
        }
    }
}

async fn start<'a>(
    sender: &'a mut Option<Sender>,
    app: &App,
    options: &Options,
    expected: Option<u64>,
) -> Result<&'a mut Sender, Error> {
    if sender.is_none() {
        *sender = Some(Sender::start(app, options, expected).await?);
    }
    sender.as_mut().ok_or(Error::Internal)
}

/// A text instead of a file; an empty one is none.
async fn text(
    sender: &mut Option<Sender>,
    app: &App,
    options: &Options,
    expected: Option<u64>,
    mut field: Field<'_>,
    idle: &AtomicU64,
) -> Result<(), Error> {
    let first = loop {
        match field.chunk().await.map_err(|error| malformed(&error, idle))? {
            None => return Ok(()),
            Some(piece) if piece.is_empty() => {}
            Some(piece) => break piece,
        }
    };
    let sender = start(sender, app, options, expected).await?;
    app.store.metrics.received.inc_by(first.len() as u64);
    sender.text(first).await?;
    pour(app, sender, field, idle).await
}

async fn pour(app: &App, sender: &mut Sender, field: Field<'_>, idle: &AtomicU64) -> Result<(), Error> {
    let mut pieces = field.map_err(|error| malformed(&error, idle));
    while let Some(piece) = pieces.try_next().await? {
        idle.store(0, Ordering::Relaxed);
        app.store.metrics.received.inc_by(piece.len() as u64);
        sender.sealing.write(piece).await?;
    }
    Ok(())
}

/// A field of at most `most` bytes, as text.
async fn read(field: Field<'_>, idle: &AtomicU64, most: usize) -> Result<String, Error> {
    let name = field.name().unwrap_or_default().chars().take(40).collect::<String>();
    let mut pieces = field.map_err(|error| malformed(&error, idle));
    let mut value = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        idle.store(0, Ordering::Relaxed);
        value.extend_from_slice(&piece);
        if value.len() > most {
            return Err(Error::BadRequest(format!(
                "The field {name:?} is longer than {most} bytes: send it as a file."
            )));
        }
    }
    String::from_utf8(value).map_err(|_| Error::BadRequest(format!("The field {name:?} must be UTF-8.")))
}

fn malformed(error: &MultipartError, idle: &AtomicU64) -> Error {
    if idle.load(Ordering::Relaxed) > FRAME {
        return Error::BadRequest("The headers of a part are too long.".into());
    }
    if pace::is_slow(error) {
        return Error::Timeout;
    }
    Error::BadRequest("The form is malformed, or ends before its last boundary.".into())
}
