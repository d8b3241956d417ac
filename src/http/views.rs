//! The pages: plain data in, HTML out.
//!
//! Knows neither requests nor stores. No page holds a script or a style of its own, as the Content-Security-Policy asks.
//! What comes from a user is escaped by the templates, and a name that would disguise itself is shown with its disguise.

mod page;

use std::borrow::Cow;
use std::time::Duration;

use askama::Template;

pub use self::page::{Page, Words};
use crate::share::{Claim, Ended, History, State, Timestamp, Token};

/// So many files are listed at once; the rest unfold.
const LISTED: usize = 12;
/// The lifetimes that are offered, in seconds, as far as the server allows them.
const LIFETIMES: [u64; 5] = [300, 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600];

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
    /// Bytes that a script should send at once.
    pub upload_part: u64,
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
    fn heading(&self) -> Words {
        self.page.t(match self.ended.state {
            State::Claimed | State::Finished | State::Lapsed => "gone.taken",
            State::Expired => "gone.expired",
            State::Revoked => "gone.revoked",
            State::Uploading | State::Ready | State::Abandoned => "gone.never",
        })
    }

    fn happened(&self) -> Words {
        let happened = self.page.t(match self.ended.state {
            State::Claimed => "gone.happened.claimed",
            State::Finished => "gone.happened.finished",
            State::Lapsed => "gone.happened.lapsed",
            State::Expired => "gone.happened.expired",
            State::Revoked => "gone.happened.revoked",
            State::Uploading | State::Ready => "gone.happened.waiting",
            State::Abandoned => "gone.happened.abandoned",
        });
        happened.at("time", &self.ended.at)
    }

    fn advice(&self) -> Words {
        self.page.t(match self.ended.state {
            State::Claimed | State::Finished | State::Lapsed => "gone.taken.advice",
            _ => "gone.advice",
        })
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

    /// How often the link was opened.
    fn opened(&self) -> Words {
        match self.history.opened {
            2 => self.page.t("receipt.opened.twice"),
            n => self.page.n("receipt.opened", n),
        }
    }

    /// How often a wrong password was tried.
    fn wrong_passwords(&self) -> Words {
        match self.history.wrong_proofs {
            2 => self.page.t("receipt.wrong.twice"),
            n => self.page.n("receipt.wrong", n),
        }
    }

    /// The state in a word or two.
    fn stamp(&self) -> Words {
        self.page.t(match self.ended().state {
            State::Uploading => "receipt.stamp.uploading",
            State::Abandoned => "receipt.stamp.abandoned",
            State::Ready if self.history.claims.is_empty() => "receipt.stamp.ready",
            State::Ready => "receipt.stamp.more",
            State::Claimed => "receipt.stamp.claimed",
            State::Finished => "receipt.stamp.finished",
            State::Lapsed => "receipt.stamp.lapsed",
            State::Expired => "receipt.stamp.expired",
            State::Revoked => "receipt.stamp.revoked",
        })
    }

    /// The state in a sentence.
    fn meaning(&self) -> Words {
        self.page.t(match self.ended().state {
            State::Uploading => "receipt.meaning.uploading",
            State::Abandoned => "receipt.meaning.abandoned",
            State::Ready if self.history.claims.is_empty() => "receipt.meaning.ready",
            State::Ready => "receipt.meaning.more",
            State::Claimed => "receipt.meaning.claimed",
            State::Finished => "receipt.meaning.finished",
            State::Lapsed if self.history.claims.iter().any(|claim| claim.served >= self.size) => {
                "receipt.meaning.sent"
            }
            State::Lapsed => "receipt.meaning.lapsed",
            State::Expired => "receipt.meaning.expired",
            State::Revoked => "receipt.meaning.revoked",
        })
    }
}

/// `GET /r/{id}`: a receipt whose token only a script can read.
#[derive(Debug, Template)]
#[template(path = "sealed_receipt.html")]
pub struct SealedReceipt<'a> {
    /// What every page needs.
    pub page: Page<'a>,
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

    use askama::{Result, Values};

    #[askama::filter_fn]
    pub(super) fn visible<'a>(name: &'a str, _: &dyn Values) -> Result<Cow<'a, str>> {
        Ok(super::visible(name))
    }
}

#[cfg(test)]
mod tests;
