//! The pages: plain data in, HTML out.
//!
//! Knows neither requests nor stores. No page holds a script or a style of its own, as the Content-Security-Policy asks.
//! What comes from a user is escaped by the templates, and a name that would disguise itself is shown with its disguise.

use std::borrow::Cow;
use std::time::Duration;

use askama::Template;

use crate::share::{Claim, Ended, History, ShareId, State, Timestamp, Token};

/// So many files are listed at once; the rest unfold.
const LISTED: usize = 12;
/// The lifetimes that are offered, in seconds, as far as the server allows them.
const LIFETIMES: [u64; 5] = [300, 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600];

/// What every page needs.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Where stylesheet and icon lie, without a closing slash: `/static/1a2b3c4d`.
    pub assets: &'a str,
    /// The time of the answer.
    pub now: Timestamp,
}

/// `GET /`: the form that sends.
#[derive(Debug, Template)]
#[template(path = "send.html")]
pub struct Send<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// This server's address, without a closing slash.
    pub public_url: &'a str,
    /// The largest upload, in bytes.
    pub max_size: u64,
    /// How long a share waits where nothing else is asked for.
    pub default_expires_in: Duration,
    /// How long a share may wait.
    pub max_expires_in: Duration,
    /// How many downloads a share may have.
    pub max_downloads: u32,
}

impl Send<'_> {
    /// The lifetimes to choose from, ascending: the usual ones that the server allows, the default and the maximum.
    fn lifetimes(&self) -> Vec<Duration> {
        let mut lifetimes: Vec<Duration> = LIFETIMES.map(Duration::from_secs).into();
        lifetimes.extend([self.default_expires_in, self.max_expires_in]);
        lifetimes.retain(|lifetime| *lifetime <= self.max_expires_in);
        lifetimes.sort_unstable();
        lifetimes.dedup();
        lifetimes
    }

    /// The lifetime that is chosen beforehand.
    fn preselected(&self) -> Duration {
        self.default_expires_in.min(self.max_expires_in)
    }
}

/// The answer to `POST /`: the links of a fresh share.
#[derive(Template)]
#[template(path = "result.html")]
pub struct Sent<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// The plain link, absolute.
    pub link: &'a str,
    /// The receipt's address, absolute.
    pub receipt: &'a str,
    /// When the share stops waiting.
    pub expires_at: Timestamp,
    /// How many claims it grants.
    pub downloads: u32,
    /// Whether it asks for a password.
    pub password: bool,
}

impl Sent<'_> {
    /// The line that downloads the share in a shell.
    fn command(&self) -> String {
        let data = if self.password { "--data-urlencode 'password=PASSWORD'" } else { "-d ''" };
        format!("curl -fOJL {data} {}", self.link)
    }
}

/// `GET /s/{id}`: the sealed link, which only a script or the command line can open.
///
/// The same whether the share exists or not.
#[derive(Debug, Template)]
#[template(path = "sealed.html")]
pub struct Sealed<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// The share.
    pub id: ShareId,
}

/// `GET /s/{id}/{secret}`: what a plain link leads to, and the form that claims it.
#[derive(Template)]
#[template(path = "receive.html")]
pub struct Receive<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// A fresh claim token, which the form carries: pressing Download twice is one claim.
    pub claim: Token,
    /// Unsealed bytes of all files together.
    pub size: u64,
    /// When the share stops waiting.
    pub expires_at: Timestamp,
    /// What may be shown of it.
    pub contents: Contents<'a>,
}

/// What may be shown of a share before it is claimed.
pub enum Contents<'a> {
    /// There is no password: everything.
    Open {
        /// The files, in the order of the manifest.
        files: &'a [File<'a>],
        /// The sender's note, or nothing.
        note: &'a str,
        /// How many claims it still grants.
        downloads_left: u32,
    },
    /// The manifest is sealed with a password.
    Locked(Attempt),
}

/// How asking for the password went so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It is asked for the first time.
    First,
    /// The one that was tried is wrong.
    Wrong,
    /// Too many wrong ones were tried; how long to wait.
    TooMany(Duration),
}

/// One file of a share.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// Its name, with its folders.
    pub name: &'a str,
    /// Its bytes.
    pub size: u64,
}

impl File<'_> {
    /// Its folders, with the closing slash; empty where it has none.
    fn folder(&self) -> &str {
        self.name.rfind('/').map_or("", |slash| &self.name[..=slash])
    }

    /// Its name without folders.
    fn base(&self) -> &str {
        &self.name[self.folder().len()..]
    }
}

impl Receive<'_> {
    fn files(&self) -> &[File<'_>] {
        match self.contents {
            Contents::Open { files, .. } => files,
            Contents::Locked(_) => &[],
        }
    }

    /// The files that are listed at once.
    fn first(&self) -> &[File<'_>] {
        &self.files()[..self.files().len().min(LISTED)]
    }

    /// The files that unfold.
    fn rest(&self) -> &[File<'_>] {
        &self.files()[self.first().len()..]
    }

    fn is_refused(&self) -> bool {
        matches!(self.contents, Contents::Locked(Attempt::Wrong | Attempt::TooMany(_)))
    }

    fn left(&self) -> String {
        left(self.page.now, self.expires_at)
    }
}

/// A plain link whose share has ended.
#[derive(Debug, Template)]
#[template(path = "gone.html")]
pub struct Gone<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// What the share came to, and when.
    pub ended: Ended,
}

impl Gone<'_> {
    fn heading(&self) -> &'static str {
        match self.ended.state {
            State::Claimed | State::Finished | State::Lapsed => "Already taken",
            State::Expired => "Too late",
            State::Revoked => "Withdrawn",
            State::Uploading | State::Ready | State::Abandoned => "Nothing here",
        }
    }

    /// What happened, up to the time.
    fn happened(&self) -> &'static str {
        match self.ended.state {
            State::Claimed => "It was taken on",
            State::Finished => "It was taken, and arrived whole, on",
            State::Lapsed => "It was taken; the time for its download ended on",
            State::Expired => "Nobody took it in time. It expired on",
            State::Revoked => "It was withdrawn on",
            State::Uploading | State::Ready => "It isn’t to be had. Its upload began on",
            State::Abandoned => "It never arrived on this server. Its upload ended on",
        }
    }

    fn advice(&self) -> &'static str {
        match self.ended.state {
            State::Claimed | State::Finished | State::Lapsed => {
                "Was it not you? Tell the sender: somebody else had the link. Whoever took it, the link is used up."
            }
            _ => "Ask the sender to send it again.",
        }
    }
}

/// `GET /r/{id}/{owner token}`: what became of a share.
#[derive(Debug, Template)]
#[template(path = "receipt.html")]
pub struct Receipt<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// What happened to it.
    pub history: &'a History,
    /// The bytes that one download serves.
    pub size: u64,
}

impl Receipt<'_> {
    fn ended(&self) -> Ended {
        self.history.state(self.page.now)
    }

    fn is_revocable(&self) -> bool {
        self.ended().state == State::Ready
    }

    /// What a claim came to.
    fn end(&self, claim: &Claim) -> Ended {
        claim.state(self.page.now)
    }

    /// When it stops waiting, while it waits.
    fn waits_until(&self) -> Option<Timestamp> {
        self.history.expires_at.filter(|_| self.is_revocable())
    }

    /// The state in a word or two.
    fn stamp(&self) -> &'static str {
        match self.ended().state {
            State::Uploading => "Arriving",
            State::Abandoned => "Given up",
            State::Ready if self.history.claims.is_empty() => "Waiting",
            State::Ready => "Waiting for more",
            State::Claimed => "On its way",
            State::Finished => "Arrived",
            State::Lapsed => "Taken",
            State::Expired => "Expired",
            State::Revoked => "Revoked",
        }
    }

    /// The state in a sentence.
    fn meaning(&self) -> &'static str {
        match self.ended().state {
            State::Uploading => "It is still being uploaded. Nobody can take it yet.",
            State::Abandoned => "Its upload was never completed. Nothing of it is kept.",
            State::Ready if self.history.claims.is_empty() => "It waits for its recipient.",
            State::Ready => "Some have taken it; it waits for the others.",
            State::Claimed => "It has been taken. The download has not ended yet.",
            State::Finished => "The recipient’s side confirmed that every byte arrived.",
            State::Lapsed if self.history.claims.iter().any(|claim| claim.served >= self.size) => {
                "It was taken and sent to the last byte, but nothing confirmed that it arrived. Downloads from a \
                 plain link can’t confirm: ask your recipient."
            }
            State::Lapsed => {
                "It was taken, but nothing confirmed that it arrived. Downloads from a plain link can’t confirm: \
                 see below how much was sent, or ask your recipient."
            }
            State::Expired => "Nobody took it in time. It is deleted.",
            State::Revoked => "It was withdrawn before anybody took it. It is deleted.",
        }
    }

    fn left(&self, until: &Timestamp) -> String {
        left(self.page.now, *until)
    }
}

/// `GET /r/{id}`: a receipt whose token only a script can read.
#[derive(Debug, Template)]
#[template(path = "sealed_receipt.html")]
pub struct SealedReceipt<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// The share.
    pub id: ShareId,
}

/// `GET /status`: whether the store answers.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub struct Status<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// Which store: `embedded` or `Redis`.
    pub store: &'a str,
    /// This program's version.
    pub version: &'a str,
    /// What the store said; `None` where it is down.
    pub answer: Option<Answer>,
}

/// What a store that is up said.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// How often the status page was seen, this time included.
    pub seen: u64,
    /// How long the store took to say so.
    pub latency: Duration,
}

/// A page that says what went wrong.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct Failure<'a> {
    /// What every page needs.
    pub page: Page<'a>,
    /// What it is, in a few words.
    pub title: &'a str,
    /// What happened, in a sentence.
    pub happened: &'a str,
    /// What to do next, in a sentence.
    pub advice: &'a str,
}

/// How long is left, as a remark: `6 days left`.
fn left(now: Timestamp, until: Timestamp) -> String {
    format!("{} left", span(now.until(until)))
}

/// A number with its noun: `1 day`, `2 days`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A duration in the largest unit that tells it well, rounded down: `45 seconds`, `1 day`, `36 hours`, `6 days`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    for (unit, noun) in [(24 * 3600, "day"), (3600, "hour"), (60, "minute")] {
        if seconds >= 2 * unit || seconds == unit {
            return count(seconds / unit, noun);
        }
    }
    count(seconds, "second")
}

/// A duration in the largest unit that divides it: `1 day`, `36 hours`, `90 seconds`.
fn exact(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(24 * 3600, "day"), (3600, "hour"), (60, "minute")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, noun) = unit.unwrap_or((1, "second"));
    count(seconds / unit, noun)
}

/// Bytes, as people count them: `512 bytes`, `1.5 MiB`, `10 GiB`.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    bytesize::ByteSize(bytes).display().iec().to_string().replace(".0 ", " ")
}

/// A time for people, in UTC: `20 November 2026, 13:05 UTC`.
fn moment(at: Timestamp) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    // RFC 3339 is of fixed width: `2026-11-20T13:05:00.000Z`.
    let text = at.to_string();
    let month = text[5..7].parse::<usize>().map_or("", |month| MONTHS[month - 1]);
    format!("{} {month} {}, {}\u{a0}UTC", text[8..10].trim_start_matches('0'), &text[..4], &text[11..16])
}

/// A name without the characters that would disguise it: controls, and those that turn the reading direction around,
/// which make `exe.gpj` of `jpg.exe` (Unicode TR 36 §3.2). Each becomes U+FFFD.
fn visible(name: &str) -> Cow<'_, str> {
    let disguises = |c: char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if name.contains(disguises) { Cow::Owned(name.replace(disguises, "\u{fffd}")) } else { Cow::Borrowed(name) }
}

/// What the templates call.
#[allow(unreachable_pub, reason = "the macro makes its types public")]
mod filters {
    use std::borrow::Cow;
    use std::time::Duration;

    use askama::filters::Safe;
    use askama::{Result, Values};

    use crate::share::Timestamp;

    #[askama::filter_fn]
    pub(super) fn span(span: &Duration, _: &dyn Values) -> Result<String> {
        Ok(super::span(*span))
    }

    #[askama::filter_fn]
    pub(super) fn exact(span: &Duration, _: &dyn Values) -> Result<String> {
        Ok(super::exact(*span))
    }

    #[askama::filter_fn]
    pub(super) fn size(bytes: &u64, _: &dyn Values) -> Result<String> {
        Ok(super::size(*bytes))
    }

    #[askama::filter_fn]
    pub(super) fn time(at: &Timestamp, _: &dyn Values) -> Result<Safe<String>> {
        Ok(Safe(format!("<time datetime=\"{at}\">{}</time>", super::moment(*at))))
    }

    #[askama::filter_fn]
    pub(super) fn times(count: &u64, _: &dyn Values) -> Result<String> {
        Ok(match count {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            _ => super::count(*count, "time"),
        })
    }

    #[askama::filter_fn]
    pub(super) fn latency(latency: &Duration, _: &dyn Values) -> Result<String> {
        Ok(format!("{:.1} ms", latency.as_secs_f64() * 1000.0))
    }

    #[askama::filter_fn]
    pub(super) fn visible<'a>(name: &'a str, _: &dyn Values) -> Result<Cow<'a, str>> {
        Ok(super::visible(name))
    }
}

#[cfg(test)]
mod tests;
