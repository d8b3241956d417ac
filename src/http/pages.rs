//! The pages: what people see. All of them work without JavaScript.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::assets::SamePage;
use super::client::{Client, named, share_id};
use super::error::Error;
use super::status::UPLOAD_PART;
use super::{App, assets, shares, views};
use crate::ledger::{self, Attempt, Revoker, Share};
use crate::seal::{Keys, plain_len};
use crate::share::{ShareId, Token};
use crate::store::{self, now};
use crate::text::Lang;

/// `GET /`.
pub(super) async fn send(
    State(app): State<App>,
    client: Client,
    lang: Lang,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let page = views::Send {
        page: app.page(lang),
        public_url: &client.origin,
        max_size: app.store.limits.max_size,
        default_expires_in: app.config.default_expires_in,
        max_expires_in: app.config.max_expires_in,
        max_downloads: app.config.max_downloads,
        upload_part: UPLOAD_PART,
    };
    Ok(assets::page(render(&page)?, &headers))
}

/// `GET /s/{id}`: counts a look at a share that waits.
pub(super) async fn sealed(
    State(app): State<App>,
    lang: Lang,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let waits = match share_id(&id) {
        // A link that lost some of its letters leads to the same page.
        Err(_) => false,
        Ok(id) if method == Method::GET => app.store.ledger.hit(&id, now()).await?,
        Ok(id) => match app.store.ledger.peek(&id, None, now()).await {
            Err(ledger::Error::Unknown) => false,
            waits => waits.map(|_| true)?,
        },
    };
    let status = if waits { StatusCode::OK } else { StatusCode::NOT_FOUND };
    static PAGE: SamePage = SamePage::new(|page| views::Sealed { page }.render());
    Ok((status, PAGE.answer(&app, lang, &headers)?).into_response())
}

/// `GET /s/{id}/{secret}`: what the plain link leads to.
pub(super) async fn receive(
    State(app): State<App>,
    client: Client,
    lang: Lang,
    Path((id, secret)): Path<(String, String)>,
) -> Result<Response, Error> {
    let (id, secret): (ShareId, Token) = (share_id(&id)?, named(&secret)?);
    match app.store.ledger.peek(&id, None, now()).await {
        Ok(share) if share.password => return locked(&app, lang, Token::random(), &share, views::Attempt::First),
        Ok(_) => {}
        // Of a share with a password that ended, the link alone tells nothing; and looking is no guess.
        Err(ledger::Error::Unknown) if app.store.ledger.admit(&id, &client.network, now()).await? => {
            return Err(Error::NotFound);
        }
        Err(ledger::Error::Unknown) => {}
        Err(error) => return Err(error.into()),
    }
    let keys = Keys::derive(&secret);
    let attempt = Attempt { verifier: keys.proof.verifier(), network: client.network };
    let share = app.store.ledger.peek(&id, Some(&attempt), now()).await?;
    let (sealed, downloads_left) = share.shown.ok_or(Error::Internal)?;
    let manifest = shares::manifest(&keys, &sealed, share.size)?;
    let size = plain_len(share.size).unwrap_or(0);
    let files = manifest.files.iter().map(|file| views::File { name: &file.name, size: file.size.unwrap_or(size) });
    let contents = views::Contents::Open { files: &files.collect::<Vec<_>>(), note: &manifest.note, downloads_left };
    html(&views::Receive { page: app.page(lang), claim: Token::random(), size, expires_at: share.expires_at, contents })
}

/// The receive page again, after a password that was refused; any other error as it is.
pub(super) async fn refused(
    app: &App,
    lang: Lang,
    id: &ShareId,
    claim: Token,
    error: Error,
) -> Result<Response, Error> {
    let attempt = match error {
        Error::Store(store::Error::Ledger(ledger::Error::WrongProof)) => views::Attempt::Wrong,
        Error::Store(store::Error::Ledger(ledger::Error::Locked(wait))) => views::Attempt::TooMany(wait),
        error => return Err(error),
    };
    let Ok(share) = app.store.ledger.peek(id, None, now()).await else { return Err(error) };
    if !share.password {
        return Err(error);
    }
    let page = locked(app, lang, claim, &share, attempt)?;
    let error = error.into_response();
    let mut headers = error.headers().clone();
    headers.extend(page.headers().clone());
    Ok((error.status(), headers, page.into_body()).into_response())
}

fn locked(app: &App, lang: Lang, claim: Token, share: &Share, attempt: views::Attempt) -> Result<Response, Error> {
    let size = plain_len(share.size).unwrap_or(0);
    let contents = views::Contents::Locked(attempt);
    html(&views::Receive { page: app.page(lang), claim, size, expires_at: share.expires_at, contents })
}

/// `GET /r/{id}`: the owner token is in the fragment, which only a script reads.
pub(super) async fn sealed_receipt(
    State(app): State<App>,
    lang: Lang,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    static PAGE: SamePage = SamePage::new(|page| views::SealedReceipt { page }.render());
    share_id(&id)?;
    PAGE.answer(&app, lang, &headers)
}

/// `GET /r/{id}/{owner token}`.
pub(super) async fn receipt(
    State(app): State<App>,
    lang: Lang,
    Path((id, owner)): Path<(String, String)>,
) -> Result<Response, Error> {
    let (id, owner) = (share_id(&id)?, named::<Token>(&owner)?.digest());
    let history = app.store.ledger.receipt(&id, &owner, now()).await?;
    let size = plain_len(history.size).unwrap_or(history.size);
    html(&views::Receipt { page: app.page(lang), history: &history, size })
}

/// `POST /r/{id}/{owner token}`: the button Revoke.
pub(super) async fn revoke(
    State(app): State<App>,
    Path((id, owner)): Path<(String, String)>,
) -> Result<Redirect, Error> {
    withdraw(&app, &id, &owner).await?;
    Ok(Redirect::to(&format!("/r/{id}/{owner}")))
}

/// `DELETE /r/{id}/{owner token}`.
pub(super) async fn revoke_quietly(
    State(app): State<App>,
    Path((id, owner)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    withdraw(&app, &id, &owner).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn withdraw(app: &App, id: &str, owner: &str) -> Result<(), Error> {
    let owner: Token = named(owner)?;
    Ok(app.store.revoke(&share_id(id)?, Revoker::Owner(owner.digest())).await?)
}

fn html(page: &impl Template) -> Result<Response, Error> {
    Ok(Html(render(page)?).into_response())
}

fn render(page: &impl Template) -> Result<String, Error> {
    page.render().map_err(|_| Error::Internal)
}
