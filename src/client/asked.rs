//! What is asked for on the command line.

#![allow(rustdoc::bare_urls, reason = "the comments on arguments are the text of --help")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::failure::{Failure, Result};
use super::terminal;

/// `send`.
#[derive(Debug, Clone, Args)]
pub struct Send {
    /// Files and folders; - is standard input (once begun it must go through: after a kill it can't be resumed)
    #[arg(conflicts_with = "text")]
    pub(super) paths: Vec<PathBuf>,
    /// Server to send to [default: "server" in onetimeshare/config.json below ~/.config or $XDG_CONFIG_HOME, else
    /// http://127.0.0.1:8080]
    #[arg(long, env = "ONETIMESHARE_SERVER", value_name = "URL")]
    pub(super) server: Option<String>,
    /// How long it waits for its recipient, such as 1h or 2d [default: what the server says]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(super) expires_in: Option<Duration>,
    /// How often it may be downloaded
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) downloads: u32,
    /// Ask for a password, which the recipient will need too
    #[arg(long, conflicts_with = "password_stdin")]
    pub(super) password: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// A note to the recipient, sealed like everything else
    #[arg(long)]
    pub(super) note: Option<String>,
    /// Send this text instead of files; - reads it from standard input, unseen by the process list
    #[arg(long)]
    pub(super) text: Option<String>,
    /// Wait until it has arrived
    #[arg(long)]
    pub(super) wait: bool,
    /// Draw the link as a QR code
    #[arg(long)]
    pub(super) qr: bool,
    /// Copy the link to the clipboard
    #[arg(long)]
    pub(super) copy: bool,
    /// Print an object: id, link, plain_link, receipt, owner_token, expires_at, downloads
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// `receive`.
#[derive(Debug, Clone, Args)]
pub struct Receive {
    /// The link, or a plain link; - reads it from standard input. Left out, it is asked for: the process list shows arguments
    pub(super) link: Option<String>,
    /// Take it without asking first; hidden files need -o then
    #[arg(long)]
    pub(super) yes: bool,
    /// Folder to put the files in, made when missing; - writes the one file to standard output
    #[arg(short, value_name = "DIR|-")]
    pub(super) output: Option<PathBuf>,
    /// Read the password from a line of standard input, the next after the link where that comes from there too
    #[arg(long)]
    pub(super) password_stdin: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

impl Receive {
    pub(super) fn pipes(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }
}

/// `receipt`.
#[derive(Debug, Clone, Args)]
pub struct Receipt {
    /// The receipt's link, as send prints it; - reads it from standard input. Left out, it is asked for
    pub(super) link: Option<String>,
    /// Print what changes until nothing can any more
    #[arg(long)]
    pub(super) follow: bool,
    /// Withdraw the share: nobody can take it any more
    #[arg(long)]
    pub(super) revoke: bool,
    /// Print it as the server tells it, one object a line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// How a server is reached. Proxies come from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.
#[derive(Debug, Clone, Args)]
pub(super) struct Reach {
    /// Believe this certificate authority too: a PEM file (SSL_CERT_FILE replaces all of the system's)
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Speak plain http:// with another machine, where everybody on the way may read the secret of a plain link
    #[arg(long)]
    pub(super) insecure_http: bool,
}

/// `90` (seconds), `15m`, `1d 12h`.
fn duration(text: &str) -> std::result::Result<Duration, &'static str> {
    let seconds = text.parse().map(Duration::from_secs);
    let duration = seconds.or_else(|_| humantime::parse_duration(text)).map_err(|_| "write it like 90s, 1h or 2d")?;
    if duration.as_secs() == 0 { Err("it must be at least one second") } else { Ok(duration) }
}

/// The link that was given, or is on the next line of standard input, or is asked for.
///
/// # Errors
/// Where there is none and nobody to ask.
pub(super) async fn link(given: Option<String>) -> Result<String> {
    let line = match given {
        Some(dash) if dash == "-" => terminal::next_line().await?,
        Some(link) => Some(link),
        None if terminal::is_there() => terminal::line("Link: ").await?,
        None => None,
    };
    let line = line.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    line.ok_or_else(|| Failure::usage("no link: give it as an argument, or - and the link on standard input"))
}
