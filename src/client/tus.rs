//! tus 1.0.0, as far as an upload takes it: begin, ask how far it is, append, give up.

use std::result::Result;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::connection::{Server, header};
use super::trouble::Trouble;
use crate::share::{Digest, ShareId, Token};

/// An upload that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    id: String,
    /// Its path on the server.
    location: String,
    owner: String,
}

/// What a sender settles.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Bytes of the sealed manifest.
    pub(super) manifest: usize,
    pub(super) verifier: Digest,
    pub(super) password: bool,
    pub(super) expires_in: Duration,
    pub(super) downloads: u32,
}

impl Upload {
    /// Begins an upload of `length` bytes; of an unknown number, where that is `None`.
    pub(super) async fn begin(server: &Server, terms: &Terms, length: Option<u64>) -> Result<Self, Trouble> {
        let mut pairs = vec![
            ("manifest", terms.manifest.to_string()),
            ("verifier", terms.verifier.to_string()),
            ("expires_in", terms.expires_in.as_secs().to_string()),
            ("downloads", terms.downloads.to_string()),
        ];
        if terms.password {
            pairs.push(("password", "1".into()));
        }
        let pairs = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
        let request =
            tus(server, Method::POST, "/api/v1/uploads").header("Upload-Metadata", pairs.collect::<Vec<_>>().join(","));
        let answer = server
            .ask(match length {
                Some(length) => request.header("Upload-Length", length),
                None => request.header("Upload-Defer-Length", 1),
            })
            .await?;
        let named = |name| header(answer.headers(), name).ok_or_else(|| odd(server, name));
        let location = named("location")?;
        let location = location.strip_prefix(&server.origin.to_string()).unwrap_or(&location).to_owned();
        if !location.starts_with("/api/") {
            return Err(odd(server, "location"));
        }
        let upload = Self { id: named("share-id")?, location, owner: named("owner-token")? };
        upload.names().map(|_| upload).ok_or_else(|| odd(server, "share-id"))
    }

    /// The share that it will be, and its owner token.
    pub(super) fn names(&self) -> Option<(ShareId, Token)> {
        Some((self.id.parse().ok()?, self.owner.parse().ok()?))
    }

    /// How many bytes the server has.
    pub(super) async fn offset(&self, server: &Server) -> Result<u64, Trouble> {
        let answer = server.ask(tus(server, Method::HEAD, &self.location)).await?;
        reached(server, &answer)
    }

    /// Appends `length` bytes from `offset` on, which come over `pieces`; gives the offset reached. `whole` is what all of it
    /// comes to, for an upload that began without saying so.
    pub(super) async fn append(
        &self,
        server: &Server,
        (offset, length): (u64, u64),
        whole: Option<u64>,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<u64, Trouble> {
        let pieces = stream::unfold(pieces, async |mut pieces| {
            let piece = pieces.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), pieces))
        });
        let request = tus(server, Method::PATCH, &self.location)
            .header("Upload-Offset", offset)
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(pieces));
        let answer = server
            .open(match whole {
                Some(whole) => request.header("Upload-Length", whole),
                None => request,
            })
            .await?;
        reached(server, &answer)
    }

    /// Gives it up.
    pub(super) async fn abandon(&self, server: &Server) -> Result<(), Trouble> {
        server.ask(tus(server, Method::DELETE, &self.location)).await.map(drop)
    }
}

fn tus(server: &Server, method: Method, path: &str) -> RequestBuilder {
    server.request(method, path).header("Tus-Resumable", "1.0.0")
}

fn reached(server: &Server, answer: &Response) -> Result<u64, Trouble> {
    let offset = header(answer.headers(), "upload-offset").and_then(|offset| offset.parse().ok());
    offset.ok_or_else(|| odd(server, "upload-offset"))
}

/// A good answer that lacks something: of no OneTimeShare server.
fn odd(server: &Server, header: &str) -> Trouble {
    Trouble::Unreachable(format!("{} answers without {header}: is it a OneTimeShare server?", server.origin))
}
