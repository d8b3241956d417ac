//! `…/shares/{id}/claims`: take a share, read its sealed bytes, and say that they arrived.

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::App;
use super::bytes::{Wanted, streamed};
use super::client::{Client, Connection, named, share_id};
use super::error::Error;
use super::pace;
use super::shares::malformed_proof;
use crate::ledger::{Attempt, ClaimRequest};
use crate::share::{Proof, Token};
use crate::store::{Metered, now};

#[derive(Deserialize)]
pub(super) struct Asked {
    proof: String,
    claim: String,
}

#[derive(Serialize)]
struct Granted {
    size: u64,
    lease_expires_at: String,
    manifest: String,
}

/// `POST /api/v1/shares/{id}/claims`.
pub(super) async fn claim(
    State(app): State<App>,
    client: Client,
    Path(id): Path<String>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Error> {
    let id = share_id(&id)?;
    let malformed = || Error::BadRequest("The body must be JSON: {\"proof\": …, \"claim\": …}.".into());
    let Json(asked) = asked.map_err(|rejection| match rejection {
        JsonRejection::MissingJsonContentType(_) => Error::MediaType("application/json"),
        _ => pace::unread(&rejection, malformed()),
    })?;
    let proof: Proof = asked.proof.parse().map_err(|_| malformed_proof())?;
    let claim: Token = asked
        .claim
        .parse()
        .map_err(|_| Error::BadRequest("The claim must be 16 bytes in base64url without padding.".into()))?;
    let request = ClaimRequest {
        claim: claim.digest(),
        attempt: Attempt { verifier: proof.verifier(), network: client.network },
        lease_expires_at: now().after(app.store.limits.lease),
    };
    let grant = app.store.claim(&id, &request).await?;
    let granted = Granted {
        size: grant.lease.size,
        lease_expires_at: grant.lease.lease_expires_at.to_string(),
        manifest: URL_SAFE_NO_PAD.encode(&grant.lease.manifest),
    };
    let status = if grant.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/api/v1/shares/{id}/claims/{claim}");
    Ok((status, [(header::LOCATION, location)], Json(granted)).into_response())
}

/// `GET` and `HEAD /api/v1/shares/{id}/claims/{claim}`: the sealed content.
pub(super) async fn read(
    State(app): State<App>,
    Path((id, claim)): Path<(String, String)>,
    connection: Option<Extension<Connection>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (id, claim) = (share_id(&id)?, named::<Token>(&claim)?.digest());
    let tag = id.to_string();
    if method == Method::HEAD {
        let lease = app.store.ledger.lease(&id, &claim, now()).await?;
        return Ok(Wanted::of(&headers, lease.size, &tag)?.answer(Body::empty()));
    }
    let lease = app.store.readable(&id, &claim).await?;
    let wanted = Wanted::of(&headers, lease.size, &tag)?;
    let (meter, inline) = Metered::start(&app.store, id, claim, &lease, (wanted.length(), lease.size), None).await?;
    if let Some(Extension(known)) = &connection {
        known.moving.then(meter.renewal());
    }
    let body = match inline {
        Some(content) => {
            let piece = content.slice(wanted.range.start as usize..wanted.range.end as usize);
            streamed(meter.pass(stream::iter([Ok(piece)])))
        }
        None => {
            let pieces = app
                .store
                .content(&id, &lease, wanted.range.clone(), connection.map(|Extension(known)| known.outlet))
                .await?;
            streamed(meter.pass(pieces.map_err(Into::into).boxed()))
        }
    };
    Ok(wanted.answer(body))
}

/// `DELETE /api/v1/shares/{id}/claims/{claim}`: everything arrived.
pub(super) async fn finish(
    State(app): State<App>,
    Path((id, claim)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    app.store.finish(&share_id(&id)?, &named::<Token>(&claim)?.digest()).await?;
    Ok(StatusCode::NO_CONTENT)
}
