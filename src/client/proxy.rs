//! What stands between here and a server: proxies, as the usual variables name them.

use std::env;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::failure::{Failure, Result};
use super::link::Origin;

/// The proxy of a server, without the password that it may ask for; `None` where there is none.
///
/// # Errors
/// Where a variable that would decide names no proxy: going without one is not what was meant.
pub(super) fn before(origin: &Origin) -> Result<Option<String>> {
    let server = origin.to_string().parse().map_err(|_| Failure::usage(format_args!("{origin} is no server")))?;
    let (_, exempt) = first_of(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    // To a proxy 127.0.0.1 would be itself.
    if origin.is_here || exempt.trim() == "*" {
        return Ok(None);
    }
    let own = if origin.tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    if Matcher::builder().all("http://any").no(exempt).build().intercept(&server).is_none() {
        return Ok(None);
    }
    let decides = first_of(own).or_else(|| first_of(["ALL_PROXY", "all_proxy"]));
    let Some((variable, value)) = decides else { return Ok(None) };
    if Matcher::builder().all(value).build().intercept(&server).is_none() {
        return Err(Failure::usage(format_args!(
            "{variable} names no proxy: write it like http://proxy.example:3128 or socks5h://127.0.0.1:1080"
        )));
    }
    Ok(Matcher::from_env().intercept(&server).as_ref().and_then(address))
}

/// The first of two names that is set, unless it is empty.
fn first_of(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let set = names.into_iter().find_map(|name| Some((name, env::var(name).ok()?)));
    set.filter(|(_, value)| !value.is_empty())
}

/// Where a proxy is: a password with an `@` in it would leave its end before the host.
fn address(proxy: &Intercept) -> Option<String> {
    let (scheme, host) = (proxy.uri().scheme_str()?, proxy.uri().host()?);
    let port = proxy.uri().port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{scheme}://{host}{port}"))
}
