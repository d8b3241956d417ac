//! `receive`: looks, asks, claims, fetches, verifies, names, and only then says that it arrived.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::arrive::{Arrival, Sink};
use super::asked;
use super::connection::Server;
use super::failure::{Exit, Failure, Result};
use super::fetch::Claimed;
use super::going::{Going, Grant, State, Target, Whole};
use super::kept::Kept;
use super::link::Link;
use super::places::{Folder, Parts, Places, boot};
use super::questions;
use super::retry::Backoff;
use super::terminal::{self, Progress, say};
use super::trouble::{Problem, Trouble};
use crate::seal::{Keys, Kind, MANIFEST_MAX, Manifest, Opener, PLAIN_RECORD, plain_len, stretch};
use crate::share::{Digest, ShareId, Token};

/// A longer text is better off in a file.
const TEXT_MAX: u64 = 1 << 20;
/// Times that a password may be typed.
const TRIES: u32 = 3;
/// So long may it take to tell the server that everything arrived.
const FAREWELL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Peeked {
    size: u64,
    password: bool,
    expires_at: String,
    manifest: Option<String>,
    downloads_left: Option<u32>,
}

/// A share on a server, and what its link says.
struct Offer {
    server: Server,
    id: ShareId,
    secret: Token,
}

pub(super) async fn run(asked: asked::Receive) -> Result<()> {
    let text = asked::link(asked.link.clone()).await?;
    let link = Link::share(&text, asked.reach.insecure_http)?;
    let server = Server::new(link.origin, &asked.reach)?;
    let offer = Offer { server, id: link.id, secret: link.token };
    let (kept, lines) = Kept::open_needed("receive", &offer.name())?;
    let mut past: Vec<State> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    match past.pop() {
        Some(state) => offer.go_on(&asked, Going { kept, state, past }).await,
        None => offer.begin(&asked, kept).await,
    }
}

impl Offer {
    /// What its claim is kept under. Another server, whatever its link says, learns nothing of it, and has no say in it.
    fn name(&self) -> String {
        let (origin, id, secret) = (self.server.origin.to_string(), self.id.to_string(), self.secret.to_string());
        Digest::of_list([origin, id, secret]).to_string()[..32].to_owned()
    }

    /// Takes up a claim of an earlier run.
    async fn go_on(&self, asked: &asked::Receive, mut going: Going) -> Result<()> {
        let claim: Token = going.state.claim.parse().map_err(|_| Failure::other("what was kept can't be read"))?;
        let password = going.state.password;
        let look = async |keys: &Keys| {
            let grant = match (self.claim(keys, &claim).await?, &going.state.whole) {
                (Ok(grant), _) => grant,
                // It heard that everything arrived, or waited for that too long.
                (Err(trouble), Some(whole)) if is_over(&trouble) => whole.grant.clone(),
                (Err(trouble), _) => return Ok(Err(trouble)),
            };
            match manifest(keys, &grant.manifest, grant.size) {
                // The server asks for no password again where it knows the claim.
                Err(failure) if password && failure.exit == Exit::Corrupt => Ok(Err(Trouble::wrong_password())),
                manifest => Ok(Ok((grant, manifest?))),
            }
        };
        let (keys, looked) = self.unlocked(asked, password, look).await?;
        let (grant, manifest) = match looked {
            Ok(looked) => looked,
            Err(trouble) => {
                if is_over(&trouble) {
                    going.kept.remove();
                }
                return Err(trouble.into());
            }
        };
        suits(asked, &manifest)?;
        let sink = self.sink(asked, &claim, &manifest)?;
        let before = going.turn(sink.target()?);
        if before.is_some() {
            seen(asked, &sink, &manifest)?;
        }
        if let Sink::Files(parts) = &sink {
            if let Some(whole) = &going.state.whole
                && parts.imprint()?.as_ref() != Some(&whole.imprint)
            {
                going.state.whole = None;
            }
            if going.state.whole.is_none() {
                going.state.over = questions::may_replace(parts.places(), &going.state.over).await?;
            }
        }
        let elsewhere = before.and_then(|before| left_behind(before, &claim, &manifest));
        self.fetch(&keys, grant, sink, going, elsewhere).await
    }

    /// Looks, asks, claims.
    async fn begin(&self, asked: &asked::Receive, kept: Kept) -> Result<()> {
        let claim = Token::random();
        let (keys, peeked, sink, state) = match self.ready(asked, &claim).await {
            Ok(ready) => ready,
            Err(failure) => {
                kept.remove();
                return Err(failure);
            }
        };
        // From here on the claim may be granted, whatever happens.
        let going = Going::begin(kept, state)?;
        match self.claim(&keys, &claim).await? {
            Ok(grant) if (grant.size, Some(&grant.manifest)) != (peeked.size, peeked.manifest.as_ref()) => {
                Err(Failure::corrupt("the server gives something else than it showed"))
            }
            Ok(grant) => self.fetch(&keys, grant, sink, going, None).await,
            Err(trouble) => {
                // Any other answer may hide a claim that was granted.
                if trouble.is_final() {
                    going.kept.remove();
                }
                Err(trouble.into())
            }
        }
    }

    /// Everything that can be known and asked before it is claimed.
    async fn ready(&self, asked: &asked::Receive, claim: &Token) -> Result<(Keys, Peeked, Sink, State)> {
        let (keys, peeked, manifest) = self.look(asked).await?;
        suits(asked, &manifest)?;
        if !asked.yes {
            questions::agree(&manifest, peeked.downloads_left, &peeked.expires_at).await?;
        }
        let sink = self.sink(asked, claim, &manifest)?;
        seen(asked, &sink, &manifest)?;
        let over = match &sink {
            Sink::Files(parts) => {
                parts.places().fits(0)?;
                parts.try_out()?;
                questions::may_replace(parts.places(), &[]).await?
            }
            _ => Vec::new(),
        };
        let (claim, password, target) = (claim.to_string(), peeked.password, sink.target()?);
        let state = State { claim, password, target, over, boot: boot(), synced: 0, whole: None };
        Ok((keys, peeked, sink, state))
    }

    /// What is there, without taking it.
    async fn look(&self, asked: &asked::Receive) -> Result<(Keys, Peeked, Manifest)> {
        let password = match self.peek(None).await? {
            Ok(peeked) => peeked.password,
            // What became of it is told to those who have the link.
            Err(trouble) if is_over(&trouble) => false,
            Err(trouble) => return Err(trouble.into()),
        };
        let (keys, peeked) = self.unlocked(asked, password, async |keys| self.peek(Some(keys)).await).await?;
        let peeked = peeked?;
        let sealed = peeked.manifest.as_deref().ok_or_else(|| Failure::other("the server shows no manifest"))?;
        let manifest = manifest(&keys, sealed, peeked.size)?;
        Ok((keys, peeked, manifest))
    }

    /// Derives the keys, asking for the password if there is one, until `act` does not find it wrong.
    ///
    /// # Errors
    /// Where there is no password, and so the link itself is wrong.
    async fn unlocked<T>(
        &self,
        asked: &asked::Receive,
        password: bool,
        mut act: impl AsyncFnMut(&Keys) -> Result<std::result::Result<T, Trouble>>,
    ) -> Result<(Keys, std::result::Result<T, Trouble>)> {
        for number in 1.. {
            let keys = match password {
                true => Keys::derive(&stretch(&self.secret, &questions::password(asked).await?)),
                false => Keys::derive(&self.secret),
            };
            let done = act(&keys).await?;
            let wrong =
                matches!(&done, Err(Trouble::Refused(problem)) if problem.code.as_deref() == Some("wrong_proof"));
            if wrong && !password {
                return Err(Failure::new(
                    Exit::Gone,
                    "the link is not complete, or was changed: ask the sender for it again",
                ));
            }
            if !wrong || asked.password_stdin || number == TRIES {
                return Ok((keys, done));
            }
            say("That password is wrong.");
        }
        Err(Failure::new(Exit::Password, "that password is wrong"))
    }

    async fn peek(&self, keys: Option<&Keys>) -> Result<std::result::Result<Peeked, Trouble>> {
        let path = format!("/api/v1/shares/{}", self.id);
        let ask = async || {
            let request = self.server.request(Method::GET, &path);
            let request = match keys {
                Some(keys) => request.bearer_auth(URL_SAFE_NO_PAD.encode(keys.proof.0)),
                None => request,
            };
            self.server.json(request).await
        };
        refused(Backoff::first(), ask).await
    }

    async fn claim(&self, keys: &Keys, claim: &Token) -> Result<std::result::Result<Grant, Trouble>> {
        let path = format!("/api/v1/shares/{}/claims", self.id);
        let body = json!({ "proof": URL_SAFE_NO_PAD.encode(keys.proof.0), "claim": claim.to_string() });
        let ask = async || self.server.json(self.server.request(Method::POST, &path).json(&body)).await;
        // A lost answer may be a granted claim: it is asked for again, by the same token.
        refused(Backoff::within(FAREWELL), ask).await
    }

    /// Where the plain bytes go.
    fn sink(&self, asked: &asked::Receive, claim: &Token, manifest: &Manifest) -> Result<Sink> {
        let size = manifest.files.iter().filter_map(|file| file.size).sum::<u64>();
        match (&asked.output, &manifest.files[..]) {
            _ if asked.pipes() => Ok(Sink::Pipe),
            (None, [file]) if file.kind == Some(Kind::Text) && size <= TEXT_MAX => Ok(Sink::Text(Vec::new())),
            (folder, _) => {
                let folder = Folder::open(folder.as_deref().unwrap_or(Path::new(".")))?;
                Ok(Sink::Files(Parts::new(Places::new(folder, manifest), claim)))
            }
        }
    }

    /// Brings everything here, and finishes the claim. `elsewhere` is another folder, where an earlier run left something.
    async fn fetch(
        &self,
        keys: &Keys,
        grant: Grant,
        sink: Sink,
        mut going: Going,
        elsewhere: Option<PathBuf>,
    ) -> Result<()> {
        let location = format!("/api/v1/shares/{}/claims/{}", self.id, going.state.claim);
        let plain = plain_len(grant.size).ok_or_else(|| Failure::corrupt("no share has that length"))?;
        let (sink, mut going) = if going.state.whole.is_some() {
            (sink, going)
        } else {
            let progress = Progress::new("Receiving", Some(plain));
            let (server, location) = (&self.server, location.clone());
            let claimed = Claimed { server, location, size: grant.size, elsewhere, progress: &progress };
            let present = match &sink {
                Sink::Files(parts) if going.state.boot.is_some() && going.state.boot == boot() => parts.present()?,
                Sink::Files(parts) => parts.present()?.min(going.state.synced),
                _ => 0,
            };
            if let Sink::Files(parts) = &sink {
                parts.places().fits(present)?;
                parts.cut(present)?;
            }
            // The last record is always fetched: it says that it is the last.
            let records = plain.div_ceil(PLAIN_RECORD as u64).max(1);
            let first = (present / PLAIN_RECORD as u64).min(records - 1);
            going.state.boot = boot();
            progress.begins(first * PLAIN_RECORD as u64);
            if first > 0 {
                progress.says(format_args!("going on at {}", terminal::size(first * PLAIN_RECORD as u64)));
            }
            let header = claimed.header().await?;
            let opener = Opener::new(&keys.content, &header, grant.size).map_err(Failure::corrupt)?;
            let mut arrival = Arrival::new(sink, going, opener, progress.clone(), first);
            let fetched = claimed.records(first, &mut arrival).await;
            progress.ends();
            fetched?;
            (arrival.sink, arrival.going)
        };
        let paths = self.keep(sink, grant, &mut going)?;
        self.finish(&location).await;
        going.kept.remove();
        // The files are here, whoever reads of it.
        paths.into_iter().try_for_each(terminal::print)
    }

    /// Everything verified: files get their names, and theirs are given; a text is shown.
    fn keep(&self, sink: Sink, grant: Grant, going: &mut Going) -> Result<Vec<String>> {
        match sink {
            Sink::Files(mut parts) => {
                if going.state.whole.is_none() {
                    parts.complete().inspect_err(|_| going.doubt())?;
                    let whole = parts.imprint()?.map(|imprint| Whole { grant, imprint });
                    going.note(|state| state.whole = whole);
                }
                parts.rename(&going.state.over)?;
                return Ok(parts.places().paths().collect());
            }
            Sink::Text(text) => questions::show(&text)?,
            Sink::Pipe => std::io::stdout().flush().map_err(|error| Failure::stdout(&error))?,
        }
        Ok(Vec::new())
    }

    /// Says that everything arrived. Where the server can't be told, it is here all the same.
    async fn finish(&self, location: &str) {
        let tell = async || self.server.ask(self.server.request(Method::DELETE, location)).await;
        match Backoff::within(FAREWELL).insist(tell, |_, _| {}).await {
            Ok(_) => {}
            Err(failure) if failure.exit == Exit::Gone => {}
            Err(failure) => say(format_args!("It is all here, but the server does not know: {failure}")),
        }
    }
}

/// Fails where hidden files would be written that nobody was shown, to a folder that nobody named.
fn seen(asked: &asked::Receive, sink: &Sink, manifest: &Manifest) -> Result<()> {
    let unseen = asked.yes && asked.output.is_none() && matches!(sink, Sink::Files(_));
    if unseen { questions::hides_nothing(manifest) } else { Ok(()) }
}

/// Fails where what is there can't go where it is asked for.
fn suits(asked: &asked::Receive, manifest: &Manifest) -> Result<()> {
    match manifest.files.len() {
        count @ 2.. if asked.pipes() => {
            Err(Failure::usage(format_args!("it holds {count} files, and a pipe takes one: name a folder with -o")))
        }
        _ => Ok(()),
    }
}

/// Whether nobody will ever be granted it.
fn is_over(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(Problem { status: 404 | 410, code: Some(_), .. }))
}

/// The folder that an earlier run wrote to, where what it wrote is still there.
fn left_behind(before: State, claim: &Token, manifest: &Manifest) -> Option<PathBuf> {
    let Target::Folder(path) = before.target else { return None };
    let parts = Parts::new(Places::new(Folder::existing(Path::new(&path)).ok()?, manifest), claim);
    let is_whole =
        before.whole.is_some_and(|whole| parts.imprint().is_ok_and(|imprint| imprint == Some(whole.imprint)));
    (is_whole || parts.present().is_ok_and(|present| present > 0)).then(|| path.into())
}

/// Asks until it is answered; what the server refuses is the caller's business.
async fn refused<T>(
    mut backoff: Backoff,
    mut ask: impl AsyncFnMut() -> std::result::Result<T, Trouble>,
) -> Result<std::result::Result<T, Trouble>> {
    loop {
        match ask().await {
            Ok(value) => return Ok(Ok(value)),
            Err(trouble) => match (backoff.next(&trouble), &trouble) {
                (Ok(pause), _) => {
                    say(format_args!("{}: trying again in {} s", Failure::from(trouble), pause.as_secs_f64().ceil()));
                    tokio::time::sleep(pause).await;
                }
                (Err(failure), Trouble::Unreachable(_)) => return Err(failure),
                (Err(_), Trouble::Refused(_)) => return Ok(Err(trouble)),
            },
        }
    }
}

fn manifest(keys: &Keys, sealed: &str, size: u64) -> Result<Manifest> {
    let content = plain_len(size).ok_or_else(|| Failure::corrupt("no share has that length"))?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok().filter(|sealed| sealed.len() as u64 <= MANIFEST_MAX);
    let sealed = sealed.ok_or_else(|| Failure::corrupt("the manifest can't be read"))?;
    Manifest::open(keys, &sealed, content).map_err(|error| Failure::corrupt(format_args!("the manifest: {error}")))
}
