//! `…/shares/{id}`: look at a share, or withdraw it; and what it says of itself.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::App;
use super::client::{Client, bearer, named, share_id};
use super::error::Error;
use crate::ledger::{Attempt, Revoker};
use crate::seal::{Keys, Manifest, plain_len};
use crate::share::{Proof, Token};
use crate::store::now;

#[derive(Serialize)]
pub(super) struct Peeked {
    size: u64,
    password: bool,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    downloads_left: Option<u32>,
}

/// `GET /api/v1/shares/{id}`.
pub(super) async fn peek(
    State(app): State<App>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Peeked>, Error> {
    let id = share_id(&id)?;
    let attempt = if headers.contains_key(header::AUTHORIZATION) {
        let proof: Proof = bearer(&headers)?.parse().map_err(|_| malformed_proof())?;
        Some(Attempt { verifier: proof.verifier(), network: client.network })
    } else {
        None
    };
    let share = app.store.ledger.peek(&id, attempt.as_ref(), now()).await?;
    let (manifest, downloads_left) = share.shown.unzip();
    Ok(Json(Peeked {
        size: share.size,
        password: share.password,
        expires_at: share.expires_at.to_string(),
        manifest: manifest.map(|manifest| URL_SAFE_NO_PAD.encode(manifest)),
        downloads_left,
    }))
}

/// `DELETE /api/v1/shares/{id}`.
pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Error> {
    let owner: Token = named(bearer(&headers)?)?;
    app.store.revoke(&share_id(&id)?, Revoker::Owner(owner.digest())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn malformed_proof() -> Error {
    Error::BadRequest("The proof must be 32 bytes in base64url without padding.".into())
}

/// What a share of `size` sealed bytes says of itself, for pages and plain links.
///
/// # Errors
/// [`Error::BadForm`] where it is sealed in a way that only another reader may know.
pub(super) fn manifest(keys: &Keys, sealed: &[u8], size: u64) -> Result<Manifest, Error> {
    let opened = plain_len(size).map(|plain| Manifest::open(keys, sealed, plain));
    opened.and_then(Result::ok).ok_or_else(|| Error::BadForm("form.unreadable", Vec::new()))
}
