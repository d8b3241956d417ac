//! Plain links: claimed by a form or `curl -d ''`, unsealed by the server as the bytes stream out.

use std::ops::Range;

use axum::Form;
use axum::body::Body;
use axum::extract::{Extension, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;

use crate::http::bytes::{Wanted, streamed};
use crate::http::client::{Client, named, share_id};
use crate::http::error::{Error, accepts};
use crate::http::{App, Connection, pace, pages, shares};
use crate::ledger::{self, Attempt, Charge, ClaimRequest, Grant, Lease};
use crate::names;
use crate::seal::{File, Keys, Manifest, plain_len};
use crate::share::{Digest, ShareId, Token};
use crate::store::{self, Metered, Settle, now, unsealed, with_checksums};
use crate::text::Lang;
use crate::zip::{Entry, Layout, Segment};

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    claim: String,
    #[serde(default)]
    password: String,
}

/// `POST /s/{id}/{secret}`.
pub(in crate::http) async fn claim(
    State(app): State<App>,
    client: Client,
    lang: Lang,
    Path((id, secret)): Path<(String, String)>,
    mut request: Request,
) -> Result<Response, Error> {
    let (id, secret): (ShareId, Token) = (share_id(&id)?, named(&secret)?);
    let html = accepts(request.headers(), "text/html");
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().entry(header::CONTENT_TYPE).or_insert(form);
    let malformed = || Error::BadRequest("The form has the fields claim and password, both optional.".into());
    let asked = Form::<Asked>::from_request(request, &()).await;
    let Form(asked) = asked.map_err(|rejection| pace::unread(&rejection, malformed()))?;
    let claim: Token = match asked.claim.as_str() {
        "" => Token::random(),
        claim => claim
            .parse()
            .map_err(|_| Error::BadRequest("The claim must be 16 bytes in base64url without padding.".into()))?,
    };
    match grant(&app, &client, id, secret, claim, asked.password).await {
        Ok(key) => Ok(Redirect::to(&format!("/d/{id}/{claim}/{key}")).into_response()),
        Err(error) if html => pages::refused(&app, lang, &id, claim, error).await,
        Err(error) => Err(error),
    }
}

/// Claims the share; gives the key material that unseals it.
async fn grant(
    app: &App,
    client: &Client,
    id: ShareId,
    secret: Token,
    claim: Token,
    password: String,
) -> Result<Token, Error> {
    let key = match app.store.ledger.admit(&id, &client.network, now()).await? {
        true if password.is_empty() => {
            app.store.ledger.peek(&id, None, now()).await?;
            return Err(ledger::Error::WrongProof.into());
        }
        true => app.passwords.stretch(client.network, secret, password).await?,
        false => secret,
    };
    let keys = Keys::derive(&key);
    let attempt = Attempt { verifier: keys.proof.verifier(), network: client.network };
    match app.store.ledger.peek(&id, Some(&attempt), now()).await {
        // What can't be read here is not taken here: it waits for who can.
        Ok(share) => {
            let (sealed, _) = share.shown.ok_or(Error::Internal)?;
            shares::manifest(&keys, &sealed, share.size)?;
        }
        Err(error @ (ledger::Error::WrongProof | ledger::Error::Locked(_))) => return Err(error.into()),
        // A claim that was granted before may be its last, and the claim itself tells best why there is none.
        Err(_) => {}
    }
    let lease_expires_at = now().after(app.store.limits.lease);
    let request = ClaimRequest { claim: claim.digest(), attempt, lease_expires_at };
    let Grant { lease, repeated } = app.store.claim(&id, &request).await?;
    // What was granted before is granted again by its token alone, but a wrong password leads nowhere.
    if repeated && shares::manifest(&keys, &lease.manifest, lease.size).is_err() {
        return Err(ledger::Error::WrongProof.into());
    }
    Ok(key)
}

/// `GET` and `HEAD /d/{id}/{claim}/{key}`: where there is a password, the key is not the link's secret but what both make.
pub(in crate::http) async fn download(
    State(app): State<App>,
    Path((id, claim, key)): Path<(String, String, String)>,
    connection: Option<Extension<Connection>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (id, claim) = (share_id(&id)?, named::<Token>(&claim)?.digest());
    let keys = Keys::derive(&named(&key)?);
    let lease = app.store.ledger.lease(&id, &claim, now()).await?;
    let plain = plain_len(lease.size).ok_or(Error::NotFound)?;
    // A key that does not open the manifest is not this claim's.
    let mut manifest = Manifest::open(&keys, &lease.manifest, plain).map_err(|_| Error::NotFound)?;
    if let [file] = &manifest.files[..] {
        let file = file.clone();
        let wanted = Wanted::of(&headers, plain, &format!("{id}-plain"))?;
        let answer = |body| attachment(wanted.answer(body), &names::safe_path(&file.name), &file.media_type);
        if method == Method::HEAD {
            return Ok(answer(Body::empty()));
        }
        let (meter, inline) = metered(&app, id, claim, &lease, &wanted, connection).await?;
        let pieces = unsealed(&app.store, &id, &lease, inline, &keys, wanted.range.clone()).await?;
        return Ok(answer(streamed(meter.pass(pieces))));
    }
    // The zip's length does not depend on them.
    if method != Method::HEAD && manifest.files.iter().any(|file| file.crc32.is_none()) {
        let charge = Charge { bytes: 0, limit: u64::MAX, lease_expires_at: lease.lease_expires_at };
        let inline = if lease.inline { app.store.ledger.charge(&id, &claim, &charge, now()).await? } else { None };
        with_checksums(&app.store, &id, &lease, inline, &keys, &mut manifest).await?;
    }
    let layout = layout(&manifest.files);
    let wanted = Wanted::of(&headers, layout.len(), &format!("{id}-zip"))?;
    let name = format!("onetimeshare-{}.zip", &id.to_string()[..8]);
    if method == Method::HEAD {
        return Ok(attachment(wanted.answer(Body::empty()), &name, "application/zip"));
    }
    let (meter, inline) = metered(&app, id, claim, &lease, &wanted, connection).await?;
    let files = content_of(&layout, wanted.range.clone());
    let files = unsealed(&app.store, &id, &lease, inline, &keys, files).await?;
    let body = streamed(meter.pass(zipped(layout, wanted.range.clone(), files.boxed())));
    Ok(attachment(wanted.answer(body), &name, "application/zip"))
}

async fn metered(
    app: &App,
    id: ShareId,
    claim: Digest,
    lease: &Lease,
    wanted: &Wanted,
    connection: Option<Extension<Connection>>,
) -> Result<(Metered, Option<Bytes>), Error> {
    // The download's last answer reaches the end, and with those before it there were bytes for the whole: who asks for the end first
    // will ask for more.
    let ends = wanted.range.end == wanted.total && lease.served + wanted.length() >= wanted.total;
    let settle = connection.as_ref().filter(|_| ends).map(|Extension(Connection { drained, .. })| -> Settle {
        let drained = drained.clone();
        Box::new(move || drained.wait())
    });
    let started = Metered::start(&app.store, id, claim, lease, (wanted.length(), wanted.total), settle).await?;
    if let Some(Extension(known)) = &connection {
        known.moving.then(started.0.renewal());
    }
    Ok(started)
}

fn attachment(mut response: Response, name: &str, media_type: &str) -> Response {
    let headers = response.headers_mut();
    let disposition = HeaderValue::from_str(&names::content_disposition(name));
    disposition.into_iter().for_each(|value| drop(headers.insert(header::CONTENT_DISPOSITION, value)));
    let media_type = HeaderValue::from_str(media_type).ok().filter(|_| media_type.contains('/'));
    media_type.into_iter().for_each(|value| drop(headers.insert(header::CONTENT_TYPE, value)));
    response
}

fn layout(files: &[File]) -> Layout {
    let paths: Vec<String> = files.iter().map(|file| names::safe_path(&file.name)).collect();
    let names = names::unique(paths.iter().map(String::as_str));
    let entries: Vec<Entry> = files
        .iter()
        .zip(names)
        .map(|(file, name)| Entry { name, size: file.size.unwrap_or(0), crc32: file.crc32.unwrap_or(0) })
        .collect();
    Layout::new(&entries)
}

/// The plain content that a part of the zip needs: one run, for the files lie one after the other.
fn content_of(layout: &Layout, range: Range<u64>) -> Range<u64> {
    let runs = layout.slice(range).filter_map(|segment| match segment {
        Segment::Content(run) if !run.is_empty() => Some(run),
        _ => None,
    });
    runs.reduce(|whole, run| whole.start..run.end).unwrap_or(0..0)
}

/// The zip's frame with the files' bytes in it.
fn zipped(
    layout: Layout,
    range: Range<u64>,
    files: BoxStream<'static, store::Result<Bytes>>,
) -> impl futures_util::Stream<Item = store::Result<Bytes>> + Send {
    struct Zip {
        layout: Layout,
        range: Range<u64>,
        files: BoxStream<'static, store::Result<Bytes>>,
        /// Of the file at hand, what is still to come.
        left: u64,
        /// Plain bytes at hand.
        piece: Bytes,
    }
    let zip = Zip { layout, range, files, left: 0, piece: Bytes::new() };
    stream::try_unfold(zip, |mut zip| async move {
        while zip.left == 0 {
            match zip.layout.take(&mut zip.range) {
                None => return Ok(None),
                Some(Segment::Bytes(bytes)) => return Ok(Some((bytes, zip))),
                Some(Segment::Content(run)) => zip.left = run.end - run.start,
            }
        }
        while zip.piece.is_empty() {
            zip.piece = zip.files.try_next().await?.ok_or(store::Error::Missing)?;
        }
        let taken = zip.piece.split_to(zip.left.min(zip.piece.len() as u64) as usize);
        zip.left -= taken.len() as u64;
        Ok(Some((taken, zip)))
    })
}
