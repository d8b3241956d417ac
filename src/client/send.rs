//! `send`: asks for what is missing, delivers, and says the link.

use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::asked;
use super::connection::{Server, configured_server};
use super::failure::{Failure, Result};
use super::kept::Kept;
use super::limits::Limits;
use super::link::Origin;
use super::order::{Order, Payload, Share, deliver};
use super::receipt;
use super::retry::Backoff;
use super::sources;
use super::stopped;
use super::terminal::{self, say};

/// Where a server listens that was started without settings.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Bytes of a text at the most: pages and commands show no longer one.
const TEXT_MAX: u64 = 1 << 20;

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
    let link = announce(&server, &share, asked.json, asked.downloads).await?;
    // Whoever sends the same again has another share.
    kept.into_iter().for_each(Kept::remove);
    stopped::says("stopped waiting; the share stays: onetimeshare receipt --follow shows what becomes of it");
    if asked.qr {
        say(terminal::qr(&link)?);
    }
    if asked.copy {
        say(terminal::copy(&link));
    }
    if asked.wait { receipt::arrives(&server, &share.id, &share.owner).await } else { Ok(()) }
}

fn payload(asked: &asked::Send) -> Result<Payload> {
    if let Some(text) = &asked.text {
        return Ok(Payload::Text(text.clone().into()));
    }
    let dash = PathBuf::from("-");
    match &asked.paths[..] {
        [] => Err(Failure::usage("nothing to send: name files or folders, or - for standard input, or write --text")),
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

/// Says where the share is; gives its link.
async fn announce(server: &Server, share: &Share, as_json: bool, downloads: u32) -> Result<String> {
    let Share { id, secret, owner } = share;
    let origin = &server.origin;
    let (link, receipt) = (format!("{origin}/s/{id}#{secret}"), format!("{origin}/r/{id}#{owner}"));
    if as_json {
        #[derive(Deserialize)]
        struct Peeked {
            expires_at: String,
        }
        let path = format!("/api/v1/shares/{id}");
        let peek = async || server.json::<Peeked>(server.request(reqwest::Method::GET, &path)).await;
        // Somebody may have been quick, or the network gone: the links are worth more than the time.
        let expires_at = Backoff::first().insist(peek, |_, _| {}).await.ok().map(|peeked| peeked.expires_at);
        terminal::print(json!({
            "id": id.to_string(), "link": link, "plain_link": format!("{origin}/s/{id}/{secret}"), "receipt": receipt,
            "owner_token": owner.to_string(), "expires_at": expires_at, "downloads": downloads,
        }))?;
    } else {
        terminal::print(&link)?;
        say(format_args!("Receipt, for you alone: {receipt}"));
    }
    Ok(link)
}
