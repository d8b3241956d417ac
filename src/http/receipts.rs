//! `…/receipts/{id}`: the sender's private view, once or as it changes.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use multipart_stream::Part;
use serde::Serialize;

use super::App;
use super::client::{bearer, named, share_id};
use super::error::{Error, accepts};
use crate::share::{Digest, History, ShareId, State as ShareState, Timestamp, Token};
use crate::store::now;

/// How soon a change is told.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// A stream on which nothing changes says something this often, so that no proxy takes it for dead.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const BOUNDARY: &str = "receipt";

#[derive(Serialize, PartialEq)]
struct Receipt {
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    opened: u64,
    wrong_proofs: u64,
    downloads: u32,
    claims: Vec<Claim>,
}

#[derive(Serialize, PartialEq)]
struct Claim {
    state: &'static str,
    claimed_at: String,
    finished_at: Option<String>,
    served: u64,
}

impl Receipt {
    fn of(history: &History, now: Timestamp) -> Self {
        let claims = history.claims.iter().map(|claim| Claim {
            state: claim.state(now).state.word(),
            claimed_at: claim.claimed_at.to_string(),
            finished_at: claim.finished_at.map(|at| at.to_string()),
            served: claim.served,
        });
        Self {
            state: history.state(now).state.word(),
            created_at: history.created_at.to_string(),
            expires_at: history.expires_at.map(|at| at.to_string()),
            opened: history.opened,
            wrong_proofs: history.wrong_proofs,
            downloads: history.downloads,
            claims: claims.collect(),
        }
    }
}

/// `GET /api/v1/receipts/{id}`.
pub(super) async fn receipt(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let owner: Token = named(bearer(&headers)?)?;
    let now = now();
    let history = app.store.ledger.receipt(&share_id(&id)?, &owner.digest(), now).await?;
    Ok(Json(Receipt::of(&history, now)).into_response())
}

/// `GET /api/v1/receipts/{id}/events`: the receipt now, and whenever it changes, until it can't any more.
pub(super) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let owner = named::<Token>(bearer(&headers)?)?.digest();
    let id = share_id(&id)?;
    // Asked once beforehand, so that a wrong token gets its status.
    app.store.ledger.receipt(&id, &owner, now()).await?;
    let receipts = changes(app, id, owner);
    if accepts(&headers, "multipart/x-mixed-replace") {
        let parts = receipts
            .try_filter_map(async |json| Ok(json.map(|json| Part { headers: json_headers(), body: line(&json) })));
        let body = multipart_stream::serialize(parts, BOUNDARY);
        let media_type = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
        return Ok(([(header::CONTENT_TYPE, media_type)], Body::from_stream(body)).into_response());
    }
    let events = receipts.map_ok(|json| match json {
        Some(json) => Bytes::from(format!("data: {json}\n\n")),
        None => Bytes::from_static(b":\n\n"),
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response())
}

/// The receipt's JSON at each change; `None` where nothing changed for long.
fn changes(app: App, id: ShareId, owner: Digest) -> BoxStream<'static, Result<Option<String>, crate::ledger::Error>> {
    let seen: Option<Receipt> = None;
    stream::unfold(Some((app, seen)), move |state| async move {
        let (app, mut seen) = state?;
        let mut waited = Duration::ZERO;
        loop {
            if app.stopping.is_cancelled() {
                return None;
            }
            let now = now();
            match app.store.ledger.receipt(&id, &owner, now).await {
                Ok(history) => {
                    let receipt = Receipt::of(&history, now);
                    if seen.as_ref() != Some(&receipt) {
                        let json = serde_json::to_string(&receipt).unwrap_or_default();
                        let over = is_over(&history, now);
                        seen = Some(receipt);
                        return Some((Ok(Some(json)), (!over).then_some((app, seen))));
                    }
                }
                // A store that is away comes back; the stream waits for it.
                Err(crate::ledger::Error::Unavailable(_) | crate::ledger::Error::Unacknowledged { .. }) => {}
                Err(error) => return Some((Err(error), None)),
            }
            if waited >= ALIVE_EVERY {
                return Some((Ok(None), Some((app, seen))));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKED_AT_EVERY) => waited += LOOKED_AT_EVERY,
                () = app.stopping.cancelled() => {}
            }
        }
    })
    .boxed()
}

fn is_over(history: &History, now: Timestamp) -> bool {
    let state = history.state(now).state;
    !matches!(state, ShareState::Uploading | ShareState::Ready | ShareState::Claimed)
}

/// A part's body. The line's end belongs to the boundary behind it (RFC 2046 §5.1.1), which `multipart-stream` begins without one.
fn line(json: &str) -> Bytes {
    format!("{json}\r\n").into()
}

/// `multipart-stream` is on `http` 0.2: this is its edge.
fn json_headers() -> http_0_2::HeaderMap {
    let json = http_0_2::HeaderValue::from_static("application/json");
    std::iter::once((http_0_2::header::CONTENT_TYPE, json)).collect()
}
