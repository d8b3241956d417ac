//! Who asks: the client's network, its language, the tokens it shows, and the address it came to.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use super::App;
use super::error::Error;
use super::wait::{Drained, Moving};
use crate::blobs::Outlet;
use crate::share::{Network, ShareId};
use crate::text::Lang;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Who is at its other end.
    pub(crate) peer: SocketAddr,
    /// Tells when it has sent everything.
    pub(crate) drained: Drained,
    /// What to do while it takes bytes and can't be given more.
    pub(crate) moving: Moving,
    /// Where the bytes of a file go that are sent as they are.
    pub(crate) outlet: Outlet,
}

/// The client behind a request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its network, by which guesses and uploads are limited.
    pub(crate) network: Network,
    /// The address that its links begin with, without a closing slash.
    pub(crate) origin: String,
}

impl FromRequestParts<App> for Client {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let peer = parts.extensions.get::<Connection>().map_or(IpAddr::from([127, 0, 0, 1]), |known| known.peer.ip());
        let trusted = app.config.trusts(peer);
        let ip = if trusted { forwarded_for(app, &parts.headers).unwrap_or(peer) } else { peer };
        let origin = match &app.config.public_url {
            Some(url) => url.clone(),
            None => {
                let proxied = |name| parts.headers.get(name).filter(|_| trusted).and_then(|value| value.to_str().ok());
                let first = proxied("x-forwarded-proto").and_then(|schemes| schemes.split(',').next());
                let is_https = first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"));
                let scheme = if is_https { "https" } else { "http" };
                let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let host = host
                    .filter(|host| is_host(host))
                    .ok_or_else(|| Error::BadRequest("The request's Host header is missing or malformed.".into()))?;
                format!("{scheme}://{host}")
            }
        };
        Ok(Self { network: ip.into(), origin })
    }
}

impl FromRequestParts<App> for Lang {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(lang(&parts.headers))
    }
}

/// The language that the client reads.
pub(crate) fn lang(headers: &HeaderMap) -> Lang {
    let values = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
    Lang::preferred(&values.collect::<Vec<_>>().join(","))
}

/// The last address that no trusted proxy of ours stands behind: what stands before it may be made up.
fn forwarded_for(app: &App, headers: &HeaderMap) -> Option<IpAddr> {
    let values: Vec<&HeaderValue> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    let mut nearest = None;
    for hop in hops.map_while(address) {
        nearest = Some(hop);
        if !app.config.trusts(hop) {
            break;
        }
    }
    nearest
}

/// An address with or without a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    hop.parse().ok().or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_:[]".contains(&c))
}

/// What stands behind `Authorization: Bearer`.
///
/// # Errors
/// [`Error::Unauthorized`] where there is no such header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or(Error::Unauthorized)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Error::Unauthorized) }
}

/// A part of an address that names something: what is malformed names nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn named<T: FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

/// As [`named`], for a share.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn share_id(text: &str) -> Result<ShareId, Error> {
    named(text)
}
