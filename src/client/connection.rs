//! One server, over HTTP: requests, answers, and what it says where it refuses.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::asked::Reach;
use super::failure::{Failure, Result};
use super::link::Origin;
use super::proxy;
use super::trouble::{Problem, Trouble};

/// A connection that is neither made nor refused counts as dead.
const CONNECT: Duration = Duration::from_secs(15);
/// So long may no byte move.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Bytes of an answer that is no file, at the most: a manifest may have 1 MiB, and a third more in base64.
pub(super) const ANSWER_MAX: usize = 2 << 20;

/// A server, and how to speak with it.
pub(super) struct Server {
    pub(super) origin: Origin,
    /// What stands before it.
    proxy: Option<String>,
    http: Client,
}

impl Server {
    /// # Errors
    /// Where a file of `reach` can't be read, a proxy is none, or this system has no certificates.
    pub(super) fn new(origin: Origin, reach: &Reach) -> Result<Self> {
        crate::tls::choose();
        let proxy = proxy::before(&origin)?;
        let mut builder = Client::builder()
            .user_agent(concat!("onetimeshare/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .http1_only();
        if proxy.is_none() {
            builder = builder.no_proxy();
        }
        let authority = match &reach.ca {
            Some(path) => Some(path.clone()),
            None => configured()?.ca,
        };
        if let Some(path) = authority {
            let pem = std::fs::read(&path).map_err(|error| Failure::disk(&path, &error))?;
            let none = || Failure::usage(format_args!("{}: no certificate in PEM form", path.display()));
            let authorities = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
            builder = builder.tls_certs_merge(authorities.ok_or_else(none)?);
        }
        if origin.is_here && !origin.tls {
            // Nothing goes over TLS: to read all authorities that the system believes would take 10 ms.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| Failure::other(root(&error)))?;
        Ok(Self { origin, proxy, http })
    }

    /// A request to an absolute path of this server.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.origin))
    }

    /// The answer, where it is a good one; for requests whose answer is short.
    pub(super) async fn ask(&self, request: RequestBuilder) -> std::result::Result<Response, Trouble> {
        self.open(request.timeout(STALL)).await
    }

    /// The answer, where it is a good one, its body still to be read. Waits for it as long as it takes.
    pub(super) async fn open(&self, request: RequestBuilder) -> std::result::Result<Response, Trouble> {
        self.good(request.send().await).await
    }

    async fn good(&self, answer: reqwest::Result<Response>) -> std::result::Result<Response, Trouble> {
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(Trouble::Refused(self.problem(answer).await)) }
    }

    /// What a good answer says, however slowly it comes.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> std::result::Result<T, Trouble> {
        let foreign = || self.broke("it answers something else: is it a OneTimeShare server?");
        serde_json::from_str(&self.text(request).await?).map_err(|_| foreign())
    }

    /// The text of a good answer, however slowly it comes.
    pub(super) async fn text(&self, request: RequestBuilder) -> std::result::Result<String, Trouble> {
        let answer = timeout(STALL, request.send()).await.map_err(|_| self.broke("it does not answer"))?;
        let answer = self.good(answer).await?;
        Ok(String::from_utf8_lossy(&self.body(answer).await?).into_owned())
    }

    async fn body(&self, mut answer: Response) -> std::result::Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            let piece = timeout(STALL, answer.chunk()).await.map_err(|_| self.broke("nothing moves"))?;
            match piece.map_err(|error| self.unreachable(&error))? {
                None => return Ok(body),
                Some(piece) if body.len() + piece.len() > ANSWER_MAX => return Err(self.broke("its answer has no end")),
                Some(piece) => body.extend_from_slice(&piece),
            }
        }
    }

    /// What is wrong with what came, or did not.
    pub(super) fn broke(&self, why: &str) -> Trouble {
        Trouble::Unreachable(format!("{}: {why}", self.origin))
    }

    /// What broke on the way.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Trouble {
        let why = if error.is_timeout() { "it does not answer".to_owned() } else { root(error) };
        let advice = if why.contains("UnknownIssuer") {
            ": --ca names a certificate authority to believe"
        } else if why.contains("InvalidContentType") {
            ": it speaks no TLS there; where the link says so, write http://"
        } else {
            ""
        };
        let way = self.proxy.as_ref().map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
        Trouble::Unreachable(format!("can't reach {}{way}: {why}{advice}", self.origin))
    }

    async fn problem(&self, answer: Response) -> Problem {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = |name| header(&headers, name);
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|after| after.parse().ok()).map(Duration::from_secs);
        // To HEAD the server says no more than that.
        let is_ours = text(CONTENT_TYPE.as_str()).as_deref() == Some("application/problem+json");
        let elsewhere = text(LOCATION.as_str()).filter(|_| status.is_redirection());
        let body = self.body(answer).await;
        let said = body.as_deref().unwrap_or_default();
        let mut problem: Problem = serde_json::from_slice(said).unwrap_or_default();
        if is_ours && body.is_ok() && said.is_empty() {
            problem.code = Some(String::new());
        }
        problem.status = status.as_u16();
        problem.retry_after = retry_after;
        if problem.code.is_none() {
            let more = elsewhere.map_or(String::new(), |place| format!(" and points to {place}"));
            problem.detail = Some(match &self.proxy {
                Some(proxy) if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => format!(
                    "the proxy {proxy} asks who you are: write the name and the password before its host, like http://me:secret@…"
                ),
                _ => format!("{} answers {status}{more}: is it a OneTimeShare server?", self.origin),
            });
        }
        problem
    }
}

/// A header's text.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What an error comes down to.
fn root(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What is set for all commands, in `onetimeshare/config.json` of the user's folder for configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    server: Option<String>,
    ca: Option<PathBuf>,
}

fn configured() -> Result<Configured> {
    use etcetera::BaseStrategy;
    let Ok(folders) = etcetera::choose_base_strategy() else { return Ok(Configured::default()) };
    let path = folders.config_dir().join("onetimeshare/config.json");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format_args!("{}: {error}; write it like {{\"server\":\"https://…\"}}", path.display()))
        }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Configured::default())
        }
        Err(error) => Err(Failure::disk(&path, &error)),
    }
}

/// The server that is set for all commands.
///
/// # Errors
/// Where the file is there and can't be read or understood.
pub(super) fn configured_server() -> Result<Option<String>> {
    Ok(configured()?.server)
}
