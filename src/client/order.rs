//! What is to be sent, and how it becomes a share: with a new upload, or with one that an earlier run of the same order began.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::connection::Server;
use super::failure::{Exit, Failure, Result};
use super::kept::Kept;
use super::limits::Limits;
use super::parts::{Broken, Layout, Notes, Parts, RECORDS};
use super::retry::Backoff;
use super::sending::{reached, send};
use super::sources::{self, Files, Found, Source, Stream};
use super::stopped;
use super::terminal::{self, Progress, say};
use super::tus::{Terms, Upload};
use crate::seal::{File, Keys, Kind, Manifest, RecordSealer, stretch};
use crate::share::{Digest, ShareId, Token, random};

/// Times that an upload begins anew: a server that loses all of them gets no better.
const RESTARTS: u32 = 3;
/// What whoever interrupts an upload of files is told.
const GOES_ON: &str = "stopped; it goes on with the same command";
/// So long may it take to tell a server that an upload is given up. It would end by itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is sent.
pub(super) enum Payload {
    Files(Arc<[Found]>),
    Text(Bytes),
    Stdin,
}

impl Payload {
    /// Plain bytes, where they are known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Files(found) => Some(found.iter().fold(0, |sum, file| sum.saturating_add(file.stamp.size))),
            Self::Text(text) => Some(text.len() as u64),
            Self::Stdin => None,
        }
    }
}

/// What is to become a share.
pub(super) struct Order {
    pub(super) payload: Payload,
    pub(super) note: String,
    pub(super) password: Option<String>,
    pub(super) expires_in: Duration,
    pub(super) downloads: u32,
    pub(super) limits: Limits,
}

/// What goes on after a kill takes: the second line of what is kept. The first is the sealed manifest, base64url; those behind
/// are notes.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// Records of a part.
    records: u64,
    upload: Upload,
    secret: String,
    verifier: String,
    salt: String,
    stamps: String,
    /// SHA-256 of the sealed manifest. What is in it, the file's name and the stamps tell.
    manifest: String,
}

/// A share that can be claimed.
pub(super) struct Share {
    pub(super) id: ShareId,
    pub(super) secret: Token,
    pub(super) owner: Token,
}

/// Makes a share of the order, going on with what an earlier run of the same order began.
pub(super) async fn deliver(server: &Server, order: &Order) -> Result<(Share, Option<Kept>)> {
    let progress = Progress::new("Sending", order.payload.size());
    let mut outcome = order.attempt(server, &progress).await;
    for _ in 0..RESTARTS {
        if order.is_read_once() || !matches!(outcome, Err(Broken::Anew)) {
            break;
        }
        progress.says("what was sent before can't be gone on with: beginning anew");
        outcome = order.attempt(server, &progress).await;
    }
    progress.ends();
    outcome.map_err(|broken| match broken {
        Broken::Paused(failure) | Broken::Failed(failure) => failure,
        Broken::Anew => {
            Failure::new(Exit::Network, "the server lost what was sent, and it can't be read again: send it anew")
        }
    })
}

/// An upload under way, and how many bytes the server has of it.
type Going = (Share, Upload, Parts, u64);

/// What an earlier run began, or the empty file to keep notes in.
type GoesOn = std::result::Result<Going, Option<Kept>>;

/// What of an earlier run is as it was: its share, keys, the content's salt, and the sealed manifest.
type Reopened = (Share, Keys, [u8; 16], Vec<u8>);

impl Order {
    fn is_read_once(&self) -> bool {
        matches!(self.payload, Payload::Stdin)
    }

    /// Brings one upload to its end: that of an earlier run, or a new one. The server keeps it only where it can be gone on with.
    async fn attempt(
        &self,
        server: &Server,
        progress: &Progress,
    ) -> std::result::Result<(Share, Option<Kept>), Broken> {
        let kept = self.name(server).and_then(|name| Kept::open("send", &name));
        let (share, upload, parts, offset) = match self.goes_on(server, kept, progress).await? {
            Ok(going) => going,
            Err(kept) => self.begin(server, kept, progress).await?,
        };
        stopped::says(match parts.notes.kept {
            Some(_) => GOES_ON,
            None => "stopped; nothing was shared: the same command begins anew",
        });
        let notes = parts.notes.kept.as_ref().map(|kept| kept.path().to_owned());
        let sent = send(server, &upload, progress, parts, offset).await;
        if sent.as_ref().is_err_and(|broken| self.ends_with(broken)) {
            give_up(server, &upload).await;
            notes.iter().for_each(|path| Kept::forget(path));
        }
        Ok((share, sent?.notes.kept))
    }

    /// Whether nothing goes on with an upload that broke off so.
    fn ends_with(&self, broken: &Broken) -> bool {
        self.is_read_once() || !matches!(broken, Broken::Paused(_))
    }

    /// The same for the same order; `None` where what is sent can't be read again.
    fn name(&self, server: &Server) -> Option<String> {
        let Payload::Files(found) = &self.payload else { return None };
        let origin = server.origin.to_string();
        let (password, downloads) = ([u8::from(self.password.is_some())], self.downloads.to_be_bytes());
        let expires_in = self.expires_in.as_secs().to_be_bytes();
        let terms: [&[u8]; 5] = [origin.as_bytes(), self.note.as_bytes(), &password, &downloads, &expires_in];
        let name = Digest::of_list(terms.into_iter().chain(found.iter().flat_map(Found::identity)));
        Some(name.to_string()[..32].to_owned())
    }

    /// Sizes and times of all files.
    fn stamps(&self) -> String {
        let files = if let Payload::Files(found) = &self.payload { &found[..] } else { &[] };
        Digest::of_list(files.iter().map(|file| file.stamp.bytes())).to_string()
    }

    fn manifest(&self) -> Manifest {
        let file =
            |name: &str, size| File { name: name.into(), media_type: String::new(), size, crc32: None, kind: None };
        let files = match &self.payload {
            Payload::Files(found) => found.iter().map(|found| file(&found.name, Some(found.stamp.size))).collect(),
            Payload::Text(_) => {
                let media_type = "text/plain; charset=utf-8".to_owned();
                vec![File { media_type, kind: Some(Kind::Text), ..file("text.txt", self.payload.size()) }]
            }
            Payload::Stdin => vec![file("stdin", None)],
        };
        Manifest { v: 1, files, note: self.note.clone() }
    }

    fn keys(&self, secret: &Token) -> Keys {
        Keys::derive(&self.password.as_ref().map_or(*secret, |password| stretch(secret, password)))
    }

    fn parts(&self, keys: &Keys, salt: [u8; 16], manifest: Vec<u8>, notes: Notes) -> Parts {
        let source = match &self.payload {
            Payload::Files(found) => Source::Files(Files::new(found.clone())),
            Payload::Text(text) => Source::Stream(Stream::new(Cursor::new(text.clone()), self.limits)),
            Payload::Stdin => Source::Stream(Stream::new(io::stdin(), self.limits)),
        };
        let layout = Layout::new(manifest.len(), self.payload.size());
        Parts { manifest, sealer: RecordSealer::new(&keys.content, salt), source, layout, notes }
    }

    /// Begins an upload under a new secret, and keeps what going on with it takes.
    async fn begin(
        &self,
        server: &Server,
        kept: Option<Kept>,
        progress: &Progress,
    ) -> std::result::Result<Going, Broken> {
        let (secret, salt) = (Token::random(), random());
        let keys = self.keys(&secret);
        let manifest = self.manifest().seal(&keys).map_err(|_| sources::too_many_names())?;
        let terms = Terms {
            manifest: manifest.len(),
            verifier: keys.proof.verifier(),
            password: self.password.is_some(),
            expires_in: self.expires_in,
            downloads: self.downloads,
        };
        let length = Layout::new(manifest.len(), self.payload.size()).length;
        let waits = |trouble: &_, pause| progress.waits(Failure::from(Clone::clone(trouble)), pause);
        let upload = Backoff::first().insist(async || Upload::begin(server, &terms, length).await, waits).await?;
        let (id, owner) = upload.names().ok_or_else(|| Failure::other("the server names no share"))?;
        let begun = Begun {
            records: RECORDS,
            upload: upload.clone(),
            secret: secret.to_string(),
            verifier: keys.proof.verifier().to_string(),
            salt: Token::from_bytes(salt).to_string(),
            stamps: self.stamps(),
            manifest: Digest::of(&manifest).to_string(),
        };
        let kept = kept.and_then(|kept| keep(kept, &manifest, &begun));
        let parts = self.parts(&keys, salt, manifest, Notes::new(&[], kept));
        Ok((Share { id, secret, owner }, upload, parts, 0))
    }

    /// Takes up what an earlier run began, where there is something and it still fits.
    async fn goes_on(
        &self,
        server: &Server,
        kept: Option<(Kept, Vec<String>)>,
        progress: &Progress,
    ) -> std::result::Result<GoesOn, Broken> {
        let Some((mut kept, lines)) = kept else { return Ok(Err(None)) };
        let read = match &lines[..] {
            [manifest, begun, notes @ ..] => {
                serde_json::from_str::<Begun>(begun).ok().map(|begun| (manifest, begun, notes))
            }
            _ => None,
        };
        let Some((manifest, begun, notes)) = read else { return Ok(Err(kept.clear().is_ok().then_some(kept))) };
        stopped::says(GOES_ON);
        let why = match self.reopened(&begun, manifest) {
            Ok((share, keys, salt, manifest)) => match reached(server, &begun.upload, progress).await {
                Ok(offset) => {
                    let parts = self.parts(&keys, salt, manifest, Notes::new(notes, Some(kept)));
                    let done = parts.layout.plain_before(offset);
                    progress.says(format_args!("going on at {}", terminal::size(done)));
                    return Ok(Ok((share, begun.upload, parts, offset)));
                }
                Err(Broken::Anew) => "the server no longer has what was sent before",
                Err(broken) => {
                    if self.ends_with(&broken) {
                        give_up(server, &begun.upload).await;
                        kept.remove();
                    }
                    return Err(broken);
                }
            },
            Err(why) => {
                give_up(server, &begun.upload).await;
                why
            }
        };
        progress.says(format_args!("{why}: beginning anew"));
        Ok(Err(kept.clear().is_ok().then_some(kept)))
    }

    /// Keys and all of what an earlier run began.
    ///
    /// # Errors
    /// What is another now.
    fn reopened(&self, begun: &Begun, manifest: &str) -> std::result::Result<Reopened, &'static str> {
        let odd = "what was kept of the last run can't be read";
        if begun.records != RECORDS {
            return Err(odd);
        }
        if begun.stamps != self.stamps() {
            return Err("files changed since the last run");
        }
        let (secret, salt): (Token, Token) = begun.secret.parse().ok().zip(begun.salt.parse().ok()).ok_or(odd)?;
        let manifest = URL_SAFE_NO_PAD.decode(manifest).map_err(|_| odd)?;
        let (id, owner) = begun.upload.names().ok_or(odd)?;
        let keys = self.keys(&secret);
        if keys.proof.verifier().to_string() != begun.verifier {
            return Err("the password is another than in the last run");
        }
        if Digest::of(&manifest).to_string() != begun.manifest {
            return Err(odd);
        }
        Ok((Share { id, secret, owner }, keys, *salt.as_bytes(), manifest))
    }
}

/// Keeps what going on takes; says where that is not possible.
fn keep(mut kept: Kept, manifest: &[u8], begun: &Begun) -> Option<Kept> {
    let line = serde_json::to_string(begun).map_err(io::Error::other);
    let written = kept.add(&URL_SAFE_NO_PAD.encode(manifest)).and_then(|()| kept.add(&line?));
    match written {
        Ok(()) => Some(kept),
        Err(error) => {
            say(format_args!("can't keep notes ({error}): killed, it will begin anew"));
            kept.remove();
            None
        }
    }
}

/// Tells the server that an upload is given up, if it listens.
async fn give_up(server: &Server, upload: &Upload) {
    let _ = tokio::time::timeout(FAREWELL, upload.abandon(server)).await;
}
