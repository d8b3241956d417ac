//! Plain uploads: one request, sealed by the server as its bytes stream in.

pub(super) mod form;
pub(super) mod receive;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::client::{Client, lang};
use super::error::{Error, accepts};
use super::options::Options;
use super::{App, pace, views};
use crate::names;
use crate::seal::Kind;
use crate::share::{ShareId, Timestamp, Token};
use crate::store::Sealing;

const UNNAMED: &str = "stdin";
const UNTYPED: &str = "application/octet-stream";

type Parameters = Query<Vec<(String, String)>>;

/// `PUT /{name}`. A name that is no UTF-8, as some systems have them, is taken for what it can be read as.
pub(super) async fn put(
    State(app): State<App>,
    client: Client,
    uri: Uri,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let name = percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
    upload(app, client, name, query, headers, body).await
}

/// `PUT /`.
pub(super) async fn put_unnamed(
    State(app): State<App>,
    client: Client,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    upload(app, client, UNNAMED.to_owned(), query, headers, body).await
}

/// Any other method at `/{name}`: an address to read that is not there, however it is spelled, is 404.
pub(super) async fn none_to_read(method: Method) -> Error {
    if method == Method::GET || method == Method::HEAD { Error::NotFound } else { Error::MethodNotAllowed }
}

/// Takes one file, or the text that is in the query instead of one.
pub(super) async fn upload(
    app: App,
    client: Client,
    name: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let options = Options::of(&query, &headers, &app)?;
    app.admit_upload(&client.network)?;
    let answer = Answer { app: app.clone(), client, headers };
    let mut sender = Sender::start(&answer, &options, content_length(&answer.headers)).await?;
    let sent = async {
        match &options.text {
            Some(text) => sender.text(text.clone().into()).await?,
            None => {
                let media_type = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                sender.sealing.file(names::safe_path(&name), media_type.unwrap_or(UNTYPED).to_owned(), None)?;
            }
        }
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| pace::broken(&error))?;
            if options.text.is_some() && !piece.is_empty() {
                return Err(text_and_file());
            }
            app.store.metrics.received.inc_by(piece.len() as u64);
            sender.sealing.write(piece).await?;
        }
        Ok(sender.sealing.finish(options.settled(&app)).await?)
    }
    .await;
    sender.end(sent, &options, &answer).await
}

/// A text in the query comes instead of a file: one of the two would be lost.
fn text_and_file() -> Error {
    Error::BadRequest("There is a text in the query and a body: send either the one or the other.".into())
}

/// One plain upload and the tokens that its sender gets.
struct Sender {
    secret: Token,
    owner: Token,
    sealing: Sealing,
}

impl Sender {
    /// `expected` bytes at the most will come, where that is known.
    async fn start(
        Answer { app, client, .. }: &Answer,
        options: &Options,
        expected: Option<u64>,
    ) -> Result<Self, Error> {
        let (secret, owner) = (Token::random(), Token::random());
        let key = match &options.password {
            Some(password) => app.passwords.stretch(client.network, secret, password.clone()).await?,
            None => secret,
        };
        let sealing = Sealing::start(&app.store, &key, &owner, expected).await?;
        Ok(Self { secret, owner, sealing })
    }

    /// Begins a text instead of a file.
    async fn text(&mut self, text: Bytes) -> Result<(), Error> {
        self.sealing.file("text.txt".into(), "text/plain; charset=utf-8".into(), Some(Kind::Text))?;
        Ok(self.sealing.write(text).await?)
    }

    /// Tells the sender what came of it; where it failed, frees it first.
    async fn end(self, sent: Result<Timestamp, Error>, options: &Options, answer: &Answer) -> Result<Response, Error> {
        let Self { secret, owner, sealing } = self;
        match sent {
            Ok(expires_at) => answer.created(sealing.id(), &secret, &owner, expires_at, options),
            Err(error) => {
                sealing.abandon().await;
                Err(error)
            }
        }
    }
}

/// Whom to answer, and how.
struct Answer {
    app: App,
    client: Client,
    headers: HeaderMap,
}

#[derive(Serialize)]
struct Created<'a> {
    id: String,
    link: &'a str,
    plain_link: &'a str,
    receipt: &'a str,
    owner_token: String,
    expires_at: String,
    downloads: u32,
}

impl Answer {
    fn created(
        &self,
        id: ShareId,
        secret: &Token,
        owner: &Token,
        expires_at: Timestamp,
        options: &Options,
    ) -> Result<Response, Error> {
        let origin = &self.client.origin;
        let link = format!("{origin}/s/{id}#{secret}");
        let plain_link = format!("{origin}/s/{id}/{secret}");
        let receipt = format!("{origin}/r/{id}/{owner}");
        let downloads = options.settled(&self.app).downloads;
        let body = if accepts(&self.headers, "text/html") {
            let page = views::Sent {
                page: self.app.page(lang(&self.headers)),
                link: &plain_link,
                receipt: &receipt,
                expires_at,
                downloads,
                password: options.password.is_some(),
            };
            Html(page.render().map_err(|_| Error::Internal)?).into_response()
        } else if accepts(&self.headers, "application/json") {
            let created = Created {
                id: id.to_string(),
                link: &link,
                plain_link: &plain_link,
                receipt: &receipt,
                owner_token: owner.to_string(),
                expires_at: expires_at.to_string(),
                downloads,
            };
            Json(created).into_response()
        } else {
            format!("{plain_link}\n").into_response()
        };
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::Internal);
        let receipt = value(&receipt)?;
        let headers =
            [("receipt", receipt.clone()), ("x-url-delete", receipt), ("owner-token", value(&owner.to_string())?)];
        Ok((StatusCode::CREATED, headers, body).into_response())
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
