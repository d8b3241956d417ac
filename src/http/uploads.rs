//! Sealed uploads: tus 1.0.0, with creation, creation-with-upload, creation-defer-length, expiration, termination, checksum.

mod checksum;
mod metadata;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use self::checksum::Checksum;
use self::metadata::Metadata;
use super::App;
use super::client::{Client, named, share_id};
use super::error::{Error, TUS_VERSION};
use crate::ledger::{self, NewUpload, Publish, Upload};
use crate::seal::MANIFEST_MAX;
use crate::share::{Digest, INLINE_MAX, ShareId, Timestamp, Token};
use crate::store::{self, Incoming, now};

/// The header by which every answer of tus, errors too, says which one is spoken.
pub(super) const VERSION: HeaderName = HeaderName::from_static("tus-resumable");

const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum";
const BODY: &str = "application/offset+octet-stream";

/// `OPTIONS /api/v1/uploads`.
pub(super) async fn options(State(app): State<App>) -> Response {
    let most = MANIFEST_MAX + app.store.max_sealed();
    tus(
        StatusCode::NO_CONTENT,
        [
            ("tus-version", HeaderValue::from_static(TUS_VERSION)),
            ("tus-extension", HeaderValue::from_static(EXTENSIONS)),
            ("tus-checksum-algorithm", HeaderValue::from_static(checksum::ALGORITHMS)),
            ("tus-max-size", most.into()),
        ],
    )
}

/// `POST /api/v1/uploads`.
pub(super) async fn create(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    speaks_tus(&headers)?;
    let metadata = Metadata::parse(&headers, &app)?;
    let length = declared_length(&headers)?;
    let deferred = headers.get("upload-defer-length");
    if deferred.is_some() == length.is_some() || deferred.is_some_and(|value| value != "1") {
        return Err(Error::BadRequest("There must be either Upload-Length or Upload-Defer-Length: 1.".into()));
    }
    if length.is_some_and(|length| length <= metadata.manifest_len) {
        return Err(Error::BadRequest("Upload-Length must be more than the manifest alone.".into()));
    }
    let brings = content_length(&headers)?;
    let with_bytes = headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == BODY);
    if !with_bytes && brings.is_some_and(|bytes| bytes > 0) {
        return Err(Error::MediaType(BODY));
    }
    app.admit_upload(&client.network)?;

    let (upload_token, owner) = (Token::random(), Token::random());
    let upload = NewUpload {
        id: ShareId::random(),
        token: upload_token.digest(),
        owner: owner.digest(),
        terms: metadata.terms,
        length,
        manifest_len: metadata.manifest_len,
        window_ends_at: now().after(app.store.limits.upload_window),
        resumable: true,
    };
    let whole_at_once = with_bytes && length.is_some() && brings == length && length.is_some_and(|l| l <= INLINE_MAX);
    let offset = if whole_at_once {
        publish_at_once(&app, &upload, Checksum::of(&headers)?, body).await?
    } else {
        let checksum = Checksum::of(&headers)?;
        if brings.zip(length).is_some_and(|(brings, length)| with_bytes && brings > length) {
            return Err(store::Error::TooLarge.into());
        }
        app.store.begin(&upload).await?;
        if with_bytes {
            let begun = app.store.upload(&upload.id, &upload.token).await?;
            receive(&app, Turn { id: upload.id, token: upload.token, upload: begun, created: true }, checksum, body)
                .await?
        } else {
            0
        }
    };
    let location = format!("/api/v1/uploads/{}/{upload_token}", upload.id);
    Ok(tus(
        StatusCode::CREATED,
        [
            ("location", text(&location)?),
            ("share-id", text(&upload.id.to_string())?),
            ("owner-token", text(&owner.to_string())?),
            ("upload-expires", http_date(upload.window_ends_at)?),
            ("upload-offset", offset.into()),
        ],
    ))
}

/// `HEAD /api/v1/uploads/{id}/{token}`.
pub(super) async fn head(
    State(app): State<App>,
    Path((id, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    speaks_tus(&headers)?;
    let (id, token) = (share_id(&id)?, named::<Token>(&token)?.digest());
    let upload = app.store.upload(&id, &token).await?;
    let (name, length) = match upload.length {
        Some(length) => ("upload-length", length.into()),
        None => ("upload-defer-length", HeaderValue::from_static("1")),
    };
    Ok(tus(
        StatusCode::OK,
        [
            (name, length),
            ("upload-offset", upload.offset.into()),
            ("upload-expires", http_date(upload.window_ends_at)?),
            ("upload-metadata", text(&Metadata::of(&upload).to_string())?),
            ("cache-control", HeaderValue::from_static("no-store")),
        ],
    ))
}

/// `PATCH /api/v1/uploads/{id}/{token}`.
pub(super) async fn patch(
    State(app): State<App>,
    Path((id, token)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    speaks_tus(&headers)?;
    if headers.get(header::CONTENT_TYPE).is_none_or(|media_type| media_type != BODY) {
        return Err(Error::MediaType(BODY));
    }
    let offset =
        number(&headers, "upload-offset")?.ok_or_else(|| Error::BadRequest("Upload-Offset is missing.".into()))?;
    let (id, token) = (share_id(&id)?, named::<Token>(&token)?.digest());
    let mut upload = app.store.upload(&id, &token).await?;
    if offset != upload.offset {
        return Err(ledger::Error::Conflict(upload.offset).into());
    }
    if let Some(length) = declared_length(&headers)? {
        if length <= upload.manifest_len {
            return Err(Error::BadRequest("Upload-Length must be more than the manifest alone.".into()));
        }
        if let Some(declared) = upload.length.filter(|declared| *declared != length) {
            return Err(Error::BadRequest(format!("Upload-Length is {declared} already, and stays.")));
        }
        if length < upload.offset {
            return Err(Error::BadRequest(format!(
                "Upload-Length is less than the {} bytes that are here.",
                upload.offset
            )));
        }
        app.store.declare(&id, &token, &upload, length).await?;
        upload.length = Some(length);
    }
    fits(&upload, content_length(&headers)?)?;
    let (window_ends_at, checksum) = (upload.window_ends_at, Checksum::of(&headers)?);
    let offset = match upload.expires_at {
        // A repeat of the last, empty by now: the bytes may already be gone.
        Some(_) => {
            axum::body::to_bytes(body, 0).await.map_err(|_| store::Error::TooLarge)?;
            upload.offset
        }
        None => receive(&app, Turn { id, token, upload, created: false }, checksum, body).await?,
    };
    Ok(tus(StatusCode::NO_CONTENT, [("upload-offset", offset.into()), ("upload-expires", http_date(window_ends_at)?)]))
}

/// `DELETE /api/v1/uploads/{id}/{token}`.
pub(super) async fn delete(
    State(app): State<App>,
    Path((id, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    speaks_tus(&headers)?;
    app.store.abandon(&share_id(&id)?, &named::<Token>(&token)?.digest()).await?;
    Ok(tus::<0>(StatusCode::NO_CONTENT, []))
}

/// `POST /api/v1/uploads/{id}/{token}`, from where other methods do not get through: `X-HTTP-Method-Override` says which one it is.
pub(super) async fn overridden(
    method: Method,
    state: State<App>,
    path: Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let meant = headers.get("x-http-method-override").filter(|_| method == Method::POST).map(HeaderValue::as_bytes);
    match meant {
        Some(b"HEAD") => head(state, path, headers).await,
        Some(b"PATCH") => patch(state, path, headers, body).await,
        Some(b"DELETE") => delete(state, path, headers).await,
        _ => Err(Error::MethodNotAllowed),
    }
}

/// An upload that is small and comes whole: one step in the store makes a share of it.
async fn publish_at_once(app: &App, upload: &NewUpload, checksum: Option<Checksum>, body: Body) -> Result<u64, Error> {
    app.store.check_length(upload.length.unwrap_or(0), upload.manifest_len)?;
    let bytes = axum::body::to_bytes(body, INLINE_MAX as usize).await.map_err(|error| super::pace::broken(&error))?;
    app.store.metrics.received.inc_by(bytes.len() as u64);
    if Some(bytes.len() as u64) != upload.length {
        return Err(Error::CutOff);
    }
    if let Some(mut checksum) = checksum {
        checksum.update(&bytes);
        checksum.verify()?;
    }
    let mut content = bytes.clone();
    let manifest = content.split_to(upload.manifest_len as usize);
    let publish = Publish {
        id: upload.id,
        token: upload.token,
        terms: upload.terms,
        manifest,
        size: content.len() as u64,
        base: upload.manifest_len,
        inline: Some(content),
        begin: Some(*upload),
    };
    app.store.publish(&publish).await?;
    Ok(bytes.len() as u64)
}

/// One request's turn at an upload.
struct Turn {
    id: ShareId,
    token: Digest,
    upload: Upload,
    /// Whether this request began the upload: where it fails, its client never learns the address.
    created: bool,
}

/// Takes the body's bytes. Where the connection breaks, what came is recorded. Gives the offset reached.
async fn receive(app: &App, turn: Turn, checksum: Option<Checksum>, body: Body) -> Result<u64, Error> {
    let Turn { id, token, upload, created } = turn;
    let mut incoming = Incoming::resume(&app.store, id, token, &upload).await?;
    let result = take(app, &mut incoming, checksum, body).await;
    let Err(error) = &result else { return result };
    let reached = incoming.stop().await;
    let hopeless = match error {
        // What does not fit now is not kept in the way of others.
        Error::Store(store::Error::Ledger(ledger::Error::Full)) => true,
        Error::Store(store::Error::TooLarge) => upload.length.is_none(),
        _ => created,
    };
    if hopeless {
        let _ = app.store.abandon(&id, &token).await;
    }
    // It may have ended while its bytes still came.
    app.store.forsake(&id, reached).await;
    result
}

async fn take(app: &App, incoming: &mut Incoming, mut checksum: Option<Checksum>, body: Body) -> Result<u64, Error> {
    let broke = pour(app, incoming, &mut checksum, body).await?;
    if let Some(checksum) = checksum {
        broke.map_or(Ok(()), Err)?;
        checksum.verify()?;
        return Ok(incoming.end().await?.0);
    }
    let (offset, _) = incoming.end().await?;
    broke.map_or(Ok(offset), Err)
}

/// Takes the body's bytes; gives how it broke off, where it did.
async fn pour(
    app: &App,
    incoming: &mut Incoming,
    checksum: &mut Option<Checksum>,
    body: Body,
) -> Result<Option<Error>, Error> {
    let mut body = body.into_data_stream();
    loop {
        match body.next().await {
            None => return Ok(None),
            Some(Err(error)) => return Ok(Some(super::pace::broken(&error))),
            Some(Ok(bytes)) => {
                app.store.metrics.received.inc_by(bytes.len() as u64);
                match checksum {
                    // Bytes with a checksum count only once it has been seen to match.
                    Some(checksum) => {
                        checksum.update(&bytes);
                        incoming.write_unrecorded(bytes).await?;
                    }
                    None => incoming.write(bytes).await?,
                }
            }
        }
    }
}

fn speaks_tus(headers: &HeaderMap) -> Result<(), Error> {
    if headers.get("tus-resumable").is_some_and(|version| version == TUS_VERSION) {
        Ok(())
    } else {
        Err(Error::TusVersion)
    }
}

fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    number(headers, "upload-length")
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    number(headers, "content-length")
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok()).filter(|number| *number <= i64::MAX as u64);
    number.map(Some).ok_or_else(|| Error::BadRequest(format!("The header {name} must be a number of bytes.")))
}

/// Refuses a body that says it is longer than what is left of its upload, before it is read.
fn fits(upload: &Upload, brings: Option<u64>) -> Result<(), Error> {
    let left = upload.length.map(|length| length.saturating_sub(upload.offset));
    if brings.zip(left).is_some_and(|(brings, left)| brings > left) {
        Err(store::Error::TooLarge.into())
    } else {
        Ok(())
    }
}

fn tus<const N: usize>(status: StatusCode, headers: [(&'static str, HeaderValue); N]) -> Response {
    let mut response = status.into_response();
    response.headers_mut().extend(headers.map(|(name, value)| (HeaderName::from_static(name), value)));
    response
}

fn text(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| Error::Internal)
}

fn http_date(at: Timestamp) -> Result<HeaderValue, Error> {
    text(&httpdate::fmt_http_date(at.into()))
}
