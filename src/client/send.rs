//! `send`: finds, seals, uploads, and says the link.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asked;
use super::connection::{Server, configured_server};
use super::failure::{Exit, Failure, Result};
use super::kept::Kept;
use super::limits::Limits;
use super::link::Origin;
use super::parts::{Broken, Layout, Notes, Parts, RECORDS};
use super::receipt;
use super::retry::Backoff;
use super::sending::{reached, send};
use super::sources::{self, Files, Found, Source, Stream};
use super::stopped;
use super::terminal::{self, Progress, say};
use super::tus::{Terms, Upload};
use crate::seal::{File, Keys, Kind, Manifest, RecordSealer, stretch};
use crate::share::{Digest, ShareId, Token, random};

/// Where a server listens that was started without settings.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Times that an upload begins anew: a server that loses all of them gets no better.
const RESTARTS: u32 = 3;
/// Bytes of a text at the most: pages and commands show no longer one.
const TEXT_MAX: u64 = 1 << 20;
/// What whoever interrupts an upload of files is told.
const GOES_ON: &str = "stopped; it goes on with the same command";
/// So long may it take to tell a server that an upload is given up. It would end by itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is sent.
enum Payload {
    Files(Arc<[Found]>),
    Text(Bytes),
    Stdin,
}

impl Payload {
    /// Plain bytes, where they are known.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Files(found) => Some(found.iter().map(|file| file.stamp.size).sum()),
            Self::Text(text) => Some(text.len() as u64),
            Self::Stdin => None,
        }
    }
}

/// What is to become a share.
struct Order {
    payload: Payload,
    note: String,
    password: Option<String>,
    expires_in: Duration,
    downloads: u32,
    limits: Limits,
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
struct Share {
    id: ShareId,
    secret: Token,
    owner: Token,
}

pub(super) async fn run(asked: asked::Send) -> Result<()> {
    stopped::says("stopped; nothing was sent");
    let address = asked.server.clone().filter(|address| !address.is_empty());
    let address = address.map_or_else(configured_server, |address| Ok(Some(address)))?;
    let address = address.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let origin = Origin::parse(&address, asked.reach.insecure_http)?;
    let server = Server::new(origin, &asked.reach)?;
    let payload = payload(&asked)?;
    let limits = Limits::of(&server).await?;
    let (expires_in, downloads) = (limits.expires_in(asked.expires_in)?, limits.downloads(asked.downloads)?);
    payload.size().map_or(Ok(()), |size| limits.size(size))?;
    let password = password(&asked).await?;
    let payload = match payload {
        Payload::Text(dash) if *dash == *b"-" => Payload::Text(read_text()?),
        payload => payload,
    };
    let note = asked.note.clone().unwrap_or_default();
    let order = Order { payload, note, password, expires_in, downloads, limits };
    let (share, kept) = deliver(&server, &order).await?;
    announce(&server, &share, &asked).await?;
    kept.into_iter().for_each(Kept::remove);
    stopped::says("stopped waiting; the share stays: onetimeshare receipt --follow shows what becomes of it");
    if asked.wait { receipt::arrives(&server, &share.id, &share.owner).await } else { Ok(()) }
}

fn payload(asked: &asked::Send) -> Result<Payload> {
    if let Some(text) = &asked.text {
        return Ok(Payload::Text(text.clone().into()));
    }
    let dash = PathBuf::from("-");
    match &asked.paths[..] {
        [only] if *only == dash => Ok(Payload::Stdin),
        paths if paths.contains(&dash) => Err(Failure::usage("- is standard input: send it alone, or name files")),
        paths => Ok(Payload::Files(sources::find(paths)?.into())),
    }
}

async fn password(asked: &asked::Send) -> Result<Option<String>> {
    let password = if asked.password_stdin {
        terminal::next_line().await?.unwrap_or_default()
    } else if asked.password {
        if !terminal::is_there() {
            return Err(Failure::usage("there is no terminal to ask for the password on: use --password-stdin"));
        }
        let password = terminal::password("Password: ").await?;
        if terminal::password("Once more: ").await? != password {
            return Err(Failure::usage("those were two different passwords: nothing was sent, try again"));
        }
        password
    } else {
        return Ok(None);
    };
    if password.is_empty() {
        Err(Failure::usage("the password is empty: give one, or none"))
    } else {
        Ok(Some(password))
    }
}

fn read_text() -> Result<Bytes> {
    let mut text = Vec::new();
    let read = io::stdin().lock().take(TEXT_MAX + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::usage(format_args!("can't read a text from standard input: {error}")))?;
    if text.len() as u64 > TEXT_MAX {
        let most = terminal::size(TEXT_MAX);
        return Err(Failure::usage(format_args!("a text has {most} at most: send it as a file: onetimeshare send -")));
    }
    let is_text = std::str::from_utf8(&text).is_ok();
    let not = || Failure::usage("that is no text in UTF-8: send it as a file: onetimeshare send -");
    is_text.then(|| text.into()).ok_or_else(not)
}

/// Makes a share of the order, going on with what an earlier run of the same order began.
async fn deliver(server: &Server, order: &Order) -> Result<(Share, Option<Kept>)> {
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
        let sent = send(server, &upload, progress, parts, offset).await;
        if sent.as_ref().is_err_and(|broken| self.ends_with(broken)) {
            give_up(server, &upload).await;
            self.forget(server);
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

    fn forget(&self, server: &Server) {
        let kept = self.name(server).and_then(|name| Kept::open("send", &name));
        kept.into_iter().for_each(|(kept, _)| kept.remove());
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

/// Says where the share is.
async fn announce(server: &Server, share: &Share, asked: &asked::Send) -> Result<()> {
    let Share { id, secret, owner } = share;
    let origin = &server.origin;
    let (link, receipt) = (format!("{origin}/s/{id}#{secret}"), format!("{origin}/r/{id}#{owner}"));
    if asked.json {
        #[derive(Deserialize)]
        struct Peeked {
            expires_at: String,
        }
        let peek = async || {
            let answer = server.ask(server.request(reqwest::Method::GET, &format!("/api/v1/shares/{id}"))).await?;
            answer.json::<Peeked>().await.map_err(|error| server.unreachable(&error))
        };
        // Somebody may have been quick, or the network gone: the links are worth more than the time.
        let expires_at = Backoff::first().insist(peek, |_, _| {}).await.ok().map(|peeked| peeked.expires_at);
        terminal::print(json!({
            "id": id.to_string(), "link": link, "plain_link": format!("{origin}/s/{id}/{secret}"), "receipt": receipt,
            "owner_token": owner.to_string(), "expires_at": expires_at, "downloads": asked.downloads,
        }))?;
    } else {
        terminal::print(&link)?;
        say(format_args!("Receipt, for you alone: {receipt}"));
    }
    if asked.qr {
        say(terminal::qr(&link)?);
    }
    if asked.copy {
        say(terminal::copy(&link));
    }
    Ok(())
}
