//! Links as users have them: of a share, of a receipt; and which servers may be spoken to.

use std::fmt;

use super::failure::{Failure, Result};
use crate::share::{ShareId, Token};

/// Scheme, host and port of a server, without a closing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    text: String,
    /// Whether it is this machine itself.
    pub(super) is_here: bool,
    /// Whether it is spoken to over TLS.
    pub(super) tls: bool,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Origin {
    /// Of an address without a path. `insecure`: plain `http://` is fine for any host.
    ///
    /// # Errors
    /// Where it is none, or is on another machine without TLS.
    pub(super) fn parse(address: &str, insecure: bool) -> Result<Self> {
        let url = reqwest::Url::parse(address.trim()).ok().filter(|url| url.has_host());
        let url =
            url.filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none());
        let none = || Failure::usage(format_args!("{address} is no server: write it like https://send.example.org"));
        let url = url.ok_or_else(none)?;
        let (is_here, tls) = (is_here(&url), url.scheme() == "https");
        if !tls && !insecure && !is_here {
            return Err(Failure::usage(format_args!(
                "{} is on another machine and speaks plain http://: use https://, or --insecure-http where you trust everything in between",
                url.host_str().unwrap_or_default()
            )));
        }
        Ok(Self { text: url.origin().ascii_serialization(), is_here, tls })
    }
}

/// Whether a host is this machine itself, whatever a resolver says.
fn is_here(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    loopback || host == "localhost" || host.ends_with(".localhost")
}

/// Where something lies on a server, and what opens it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) origin: Origin,
    pub(super) id: ShareId,
    /// A share's secret, or the owner token of a receipt.
    pub(super) token: Token,
}

impl Link {
    /// A share's: `…/s/{id}#{secret}`, or the plain one with `/`.
    pub(super) fn share(text: &str, insecure: bool) -> Result<Self> {
        match Self::parse(text, "/s/", insecure)? {
            Some(link) => Ok(link),
            None if Self::parse(text, "/r/", insecure)?.is_some() => {
                Err(Failure::usage("that is the link of a receipt, which is for the sender: use onetimeshare receipt"))
            }
            None => Err(Failure::usage(
                "that is no link of a share: it looks like https://…/s/0123…cdef#secret; quote it, so that the shell leaves the # alone",
            )),
        }
    }

    /// A receipt's: `…/r/{id}#{owner token}`, or with `/`.
    pub(super) fn receipt(text: &str, insecure: bool) -> Result<Self> {
        match Self::parse(text, "/r/", insecure)? {
            Some(link) => Ok(link),
            None if Self::parse(text, "/s/", insecure)?.is_some() => Err(Failure::usage(
                "that is the link of the share itself: its receipt is the other link that send printed, with /r/ in it",
            )),
            None => Err(Failure::usage("that is no link of a receipt: it looks like https://…/r/0123…cdef#token")),
        }
    }

    fn parse(text: &str, way: &str, insecure: bool) -> Result<Option<Self>> {
        let Some((origin, rest)) = text.trim().split_once(way) else { return Ok(None) };
        let Some((id, token)) = rest.split_once(['#', '/']) else { return Ok(None) };
        match (id.parse(), token.parse()) {
            (Ok(id), Ok(token)) => Ok(Some(Self { origin: Origin::parse(origin, insecure)?, id, token })),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_link_are_read_and_nothing_else() {
        let (id, token) = ("0123456789abcdef0123456789abcdef", "AAAAAAAAAAAAAAAAAAAAAA");
        for link in [format!("https://a.example/s/{id}#{token}"), format!(" https://a.example:443/s/{id}/{token}\n")] {
            let read = Link::share(&link, false).unwrap();
            assert_eq!((read.origin.to_string(), read.id.to_string()), ("https://a.example".into(), id.into()));
        }
        for wrong in [
            "",
            "https://a.example",
            &format!("https://a.example/s/{id}"),
            &format!("https://a.example/s/{id}#short"),
            &format!("https://a.example/r/{id}#{token}"),
            &format!("ftp://a.example/s/{id}#{token}"),
            &format!("a.example/s/{id}#{token}"),
            &format!("https://a.example/deeper/s/{id}#{token}"),
        ] {
            assert!(Link::share(wrong, true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for here in
            ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://a.localhost/", "https://a.example"]
        {
            assert!(Origin::parse(here, false).is_ok(), "{here}");
        }
        for elsewhere in
            ["http://a.example", "http://10.0.0.1:8080", "http://localhost.example", "http://127.0.0.1.example"]
        {
            assert!(Origin::parse(elsewhere, false).is_err(), "{elsewhere}");
            assert!(Origin::parse(elsewhere, true).is_ok(), "{elsewhere}");
        }
    }
}
