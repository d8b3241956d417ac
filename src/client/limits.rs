//! What a server allows, asked before anything is uploaded.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::connection::Server;
use super::failure::{Exit, Failure, Result};
use super::retry::Backoff;
use super::terminal::{self, say};

const DAY: u64 = 24 * 3600;

/// As `GET /api/v1/config` tells them.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Limits {
    max_size: u64,
    default_expires_in: u64,
    max_expires_in: u64,
    max_downloads: u32,
}

impl Limits {
    pub(super) async fn of(server: &Server) -> Result<Self> {
        let ask = async || server.json(server.request(Method::GET, "/api/v1/config")).await;
        Backoff::first().insist(ask, |trouble, _| say(Failure::from(trouble.clone()))).await
    }

    /// How long a share is to wait, where the sender says so, and where not.
    pub(super) fn expires_in(&self, asked: Option<Duration>) -> Result<Duration> {
        let most = Duration::from_secs(self.max_expires_in);
        let settled = asked.unwrap_or(Duration::from_secs(self.default_expires_in));
        let too_long = || Failure::usage(format_args!("--expires-in may be at most {} on this server", time(most)));
        if settled <= most { Ok(settled) } else { Err(too_long()) }
    }

    pub(super) fn downloads(&self, asked: u32) -> Result<u32> {
        let most = self.max_downloads;
        let wrong = || Failure::usage(format_args!("--downloads may be from 1 to {most} on this server"));
        if (1..=most).contains(&asked) { Ok(asked) } else { Err(wrong()) }
    }

    /// Plain bytes that have left, or are to.
    pub(super) fn size(&self, bytes: u64) -> Result<()> {
        let most = self.max_size;
        let size = terminal::size(most);
        let too_large =
            || format!("that is more than the server takes, at most {size} ({most} bytes): send less at once");
        if bytes <= most { Ok(()) } else { Err(Failure::new(Exit::Full, too_large())) }
    }
}

/// A time as it may be typed.
fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => humantime::format_duration(time).to_string(),
    }
}
