//! What stands between here and a server: proxies, as the usual variables name them.

use std::env;

use hyper_util::client::proxy::matcher::Matcher;

use super::failure::{Failure, Result};
use super::link::Origin;

/// The proxy of a server, without the password that it may ask for; `None` where there is none.
///
/// # Errors
/// Where a variable that would decide names no proxy: going without one is not what was meant.
pub(super) fn before(origin: &Origin) -> Result<Option<String>> {
    let server = origin.to_string().parse().map_err(|_| Failure::usage(format_args!("{origin} is no server")))?;
    if origin.is_here {
        return Ok(None);
    }
    let own = if origin.tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    for variable in own.into_iter().chain(["ALL_PROXY", "all_proxy"]) {
        let value = env::var(variable).unwrap_or_default();
        if !value.is_empty() && Matcher::builder().all(value).build().intercept(&server).is_none() {
            return Err(Failure::usage(format_args!(
                "{variable} names no proxy: write it like http://proxy.example:3128 or socks5h://127.0.0.1:1080"
            )));
        }
    }
    let proxy = Matcher::from_env().intercept(&server);
    Ok(proxy.map(|proxy| proxy.uri().to_string().trim_end_matches('/').to_owned()))
}
