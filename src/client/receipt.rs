//! `receipt`: what became of a share, once or as it happens; and its withdrawal.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use tokio::time::timeout;

use super::asked;
use super::connection::{ANSWER_MAX, Server, header};
use super::failure::{Exit, Failure, Result};
use super::link::Link;
use super::retry::Backoff;
use super::stopped;
use super::terminal::{self, say};
use super::trouble::Trouble;
use crate::names::visible;
use crate::share::{ShareId, Token};

/// A stream that is silent for so long may be dead. Asking anew costs little: the first thing it says is the receipt.
const SILENCE: Duration = Duration::from_secs(60);
/// The least time between two streams.
const BREATH: Duration = Duration::from_secs(1);

/// The receipt, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Receipt {
    state: String,
    expires_at: Option<String>,
    opened: u64,
    wrong_proofs: u64,
    downloads: u32,
    claims: Vec<Claim>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Claim {
    state: String,
    claimed_at: String,
    finished_at: Option<String>,
    served: u64,
}

impl Receipt {
    fn is_over(&self) -> bool {
        !matches!(self.state.as_str(), "uploading" | "ready" | "claimed")
    }

    /// The state in a sentence.
    fn sentence(&self) -> String {
        let until = visible(self.expires_at.as_deref().unwrap_or("?"));
        match self.state.as_str() {
            "uploading" => "uploading: it is not complete yet".into(),
            "ready" if self.claims.is_empty() => format!("ready: it waits for its recipient until {until}"),
            "ready" => {
                format!("ready: taken {} of {} times, it waits until {until}", self.claims.len(), self.downloads)
            }
            "claimed" => "claimed: it is on its way".into(),
            "finished" => "finished: it arrived, and is gone from the server".into(),
            "lapsed" => "lapsed: somebody began to take it, and never said that it arrived".into(),
            "expired" => "expired: nobody took it in time".into(),
            "revoked" => "revoked: it was withdrawn before anybody took it".into(),
            "abandoned" => "abandoned: its upload was never completed".into(),
            other => visible(other).into_owned(),
        }
    }

    /// What else there is to know, a line each.
    fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.opened > 0 {
            lines.push(format!("  its page was opened {}", times(self.opened)));
        }
        if self.wrong_proofs > 0 {
            lines.push(format!("  a wrong password was tried {}", times(self.wrong_proofs)));
        }
        for Claim { state, claimed_at, finished_at, served } in &self.claims {
            let ended = finished_at.as_ref().map_or(String::new(), |at| format!(" at {at}"));
            let line = format!("  taken at {claimed_at}, {state}{ended}, {} served", terminal::size(*served));
            lines.push(visible(&line).into_owned());
        }
        lines
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

pub(super) async fn run(asked: asked::Receipt) -> Result<()> {
    stopped::says("stopped; nothing changes for the share");
    let link = Link::receipt(&asked::link(asked.link).await?, asked.reach.insecure_http)?;
    let server = Server::new(link.origin, &asked.reach)?;
    let (id, owner) = (link.id, link.token);
    if asked.revoke {
        let path = format!("/api/v1/shares/{id}");
        let revoke = async || server.ask(server.request(Method::DELETE, &path).bearer_auth(owner)).await;
        Backoff::first().insist(revoke, |trouble, _| say(Failure::from(trouble.clone()))).await?;
    }
    let show = |json: &str, receipt: &Receipt| {
        if asked.json {
            return terminal::print(json);
        }
        terminal::print(receipt.sentence())?;
        receipt.details().iter().try_for_each(terminal::print)
    };
    if asked.follow {
        let ended = follow(&server, &id, &owner, Backoff::first(), show).await?;
        // One that was revoked did not arrive either, as was asked for.
        return if asked.revoke && ended == "revoked" { Ok(()) } else { arrived(&ended) };
    }
    let path = format!("/api/v1/receipts/{id}");
    let ask = async || server.text(server.request(Method::GET, &path).bearer_auth(owner)).await;
    let json = Backoff::first().insist(ask, |trouble, _| say(Failure::from(trouble.clone()))).await?;
    show(&json, &read(&json)?)
}

/// Waits until a share has arrived, and says on the way what happens to it.
///
/// # Errors
/// [`Exit::NotArrived`] where it can't arrive any more.
pub(super) async fn arrives(server: &Server, id: &ShareId, owner: &Token) -> Result<()> {
    let mut said = String::new();
    let ended = follow(server, id, owner, Backoff::patient(), |_, receipt| {
        let sentence = receipt.sentence();
        if sentence != said {
            say(&sentence);
            said = sentence;
        }
        Ok(())
    });
    arrived(&ended.await?)
}

fn arrived(ended: &str) -> Result<()> {
    if ended == "finished" { Ok(()) } else { Err(Failure::new(Exit::NotArrived, "it did not arrive")) }
}

fn read(json: &str) -> Result<Receipt> {
    serde_json::from_str(json).map_err(|_| Failure::other("the server tells no receipt: is it a OneTimeShare server?"))
}

/// Shows the receipt whenever it changes, until it can't any more. Gives its last state.
async fn follow(
    server: &Server,
    id: &ShareId,
    owner: &Token,
    mut backoff: Backoff,
    mut show: impl FnMut(&str, &Receipt) -> Result<()>,
) -> Result<String> {
    let mut shown: Option<Receipt> = None;
    loop {
        let began = tokio::time::Instant::now();
        let looked = look(server, id, owner, |json| {
            let receipt = read(json)?;
            if shown.as_ref() != Some(&receipt) {
                show(json, &receipt)?;
                shown = Some(receipt);
            }
            Ok(shown.as_ref().is_some_and(Receipt::is_over))
        });
        match looked.await {
            Ok(false) => {
                backoff = Backoff::patient();
                // A server that stops ends all streams at once.
                tokio::time::sleep_until(began + BREATH).await;
            }
            Ok(true) => {
                return shown.map(|receipt| receipt.state).ok_or_else(|| Failure::other("no receipt"));
            }
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Trouble(trouble)) => {
                let pause = backoff.next(&trouble)?;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Why a stream of receipts broke off.
enum Ended {
    Trouble(Trouble),
    Failed(Failure),
}

/// Reads one stream of receipts (`multipart/x-mixed-replace`) until `see` has seen enough, or it ends.
async fn look(
    server: &Server,
    id: &ShareId,
    owner: &Token,
    mut see: impl FnMut(&str) -> Result<bool>,
) -> std::result::Result<bool, Ended> {
    let path = format!("/api/v1/receipts/{id}/events");
    let request = server.request(Method::GET, &path).bearer_auth(owner).header(ACCEPT, "multipart/x-mixed-replace");
    let opened = timeout(SILENCE, server.open(request)).await;
    let silent = || Ended::Trouble(Trouble::Unreachable(format!("{} does not answer", server.origin)));
    let answer = opened.map_err(|_| silent())?.map_err(Ended::Trouble)?;
    let boundary = header(answer.headers(), "content-type")
        .and_then(|media_type| Some(media_type.split_once("boundary=")?.1.to_owned()));
    let boundary = boundary
        .ok_or_else(|| Ended::Failed(Failure::other("the server sends no receipts: is it a OneTimeShare server?")))?;
    let parser = multipart_stream::ParserBuilder::new().max_body_bytes(ANSWER_MAX);
    let mut parts = Box::pin(parser.parse(answer.bytes_stream(), &boundary));
    // Silence and a cut are the same: whatever was missed is told anew.
    while let Ok(Some(Ok(part))) = timeout(SILENCE, parts.next()).await {
        if see(String::from_utf8_lossy(&part.body).trim_end()).map_err(Ended::Failed)? {
            return Ok(true);
        }
    }
    Ok(false)
}
