//! What pages load: everything below `static`, in the binary, under an address that changes with it, compressed once.

mod modules;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use include_dir::{Dir, include_dir};

use super::App;
use super::error::Error;
use super::policy::Loaded;
use super::views::Page;
use crate::share::Digest;
use crate::text::Lang;

pub(super) use self::modules::imported;

static FOLDER: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// Media types by a name's ending. What has another is no asset.
const TYPES: [(&str, &str); 6] = [
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".mjs", "text/javascript; charset=utf-8"),
    (".png", "image/png"),
    (".svg", "image/svg+xml"),
    (".webmanifest", "application/manifest+json"),
];
const FOREVER: &str = "public, max-age=31536000, immutable";
const A_DAY: &str = "public, max-age=86400";

static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::load);

struct Assets {
    /// Where they are, without a closing slash: `/static/1a2b3c4d`.
    prefix: String,
    /// By their path below it.
    files: BTreeMap<String, Asset>,
}

struct Asset {
    media_type: &'static str,
    plain: Bytes,
    /// Made when it is first asked for, and only where it is smaller.
    gzip: OnceLock<Option<Bytes>>,
}

impl Asset {
    fn gzip(&self) -> Option<&Bytes> {
        let compress = || Some(gzip(&self.plain, Compression::best())).filter(|gzip| gzip.len() < self.plain.len());
        self.gzip.get_or_init(compress).as_ref()
    }

    /// Its bytes, compressed where the client takes that.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let about = [(header::CONTENT_TYPE, self.media_type), (header::VARY, "Accept-Encoding")];
        match takes_gzip(headers).then(|| self.gzip()).flatten() {
            Some(gzip) => (about, [(header::CONTENT_ENCODING, "gzip")], gzip.clone()).into_response(),
            None => (about, self.plain.clone()).into_response(),
        }
    }
}

impl Assets {
    fn load() -> Self {
        let mut files = BTreeMap::new();
        collect(&FOLDER, &mut files);
        let manifest = files.remove("manifest.webmanifest").unwrap_or_default();
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        let scripts: Vec<Bytes> =
            files.iter().filter(|(path, _)| is_script(path)).map(|(_, code)| code.clone()).collect();
        for lang in Lang::ALL {
            let description = lang.text("manifest.description");
            let manifest = manifest.replace("{description}", description).replace("{lang}", lang.tag());
            files.insert(format!("manifest.{lang}.webmanifest"), manifest.into());
            files.insert(modules::words_path(lang), modules::words(lang, &scripts).into());
        }
        let everything: Vec<u8> = files.iter().flat_map(|(path, bytes)| [path.as_bytes(), bytes].concat()).collect();
        let prefix = Digest::of(&everything).0[..4].iter().fold("/static/".to_owned(), |mut prefix, byte| {
            let _ = write!(prefix, "{byte:02x}");
            prefix
        });
        let files = files.into_iter().filter_map(|(path, plain)| {
            let media_type = media_type(&path)?;
            Some((path, Asset { media_type, plain, gzip: OnceLock::new() }))
        });
        Self { prefix, files: files.collect() }
    }
}

fn collect(folder: &'static Dir<'static>, files: &mut BTreeMap<String, Bytes>) {
    folder.dirs().for_each(|folder| collect(folder, files));
    let assets = folder.files().filter_map(|file| Some((file.path().to_str()?, file.contents())));
    let assets = assets.filter(|(path, _)| media_type(path).is_some());
    files.extend(assets.map(|(path, bytes)| (path.to_owned(), Bytes::from_static(bytes))));
}

fn media_type(path: &str) -> Option<&'static str> {
    TYPES.iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, media_type)| *media_type)
}

fn is_script(path: &str) -> bool {
    media_type(path).is_some_and(|media_type| media_type.starts_with("text/javascript"))
}

/// Whether it is a document, as far as its policy goes: workers are, and a picture that is opened as a page.
fn runs_by_itself(path: &str) -> bool {
    path == "sw.js" || path.ends_with(".worker.js") || path.ends_with(".svg")
}

/// Where the assets of this version are, without a closing slash.
pub(super) fn prefix() -> &'static str {
    &ASSETS.prefix
}

/// `GET /static/{version}/{path}`.
pub(super) async fn asset(
    Path((version, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if prefix().ends_with(&format!("/{version}")) {
        return answer(&path, &headers, FOREVER);
    }
    // A page of before asks for what it did not need so far, and has old modules in its cache: today's worker is led to today's.
    let known = ASSETS.files.contains_key(&path);
    let today = || ([(header::CACHE_CONTROL, "no-cache")], Redirect::temporary(&format!("{}/{path}", prefix())));
    known.then(|| today().into_response()).ok_or(Error::NotFound)
}

/// `GET /sw.js`: at the root, because it may look after what lies below its own address only.
pub(super) async fn service_worker(headers: HeaderMap) -> Result<Response, Error> {
    answer("sw.js", &headers, "no-cache")
}

/// `GET /favicon.ico`: browsers that don't read the page ask for it.
pub(super) async fn icon(headers: HeaderMap) -> Result<Response, Error> {
    answer("icon.svg", &headers, A_DAY)
}

/// `GET /api/v1/openapi.yaml`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("../../static/openapi.yaml")).into_response()
}

fn answer(path: &str, headers: &HeaderMap, cache: &'static str) -> Result<Response, Error> {
    let asset = ASSETS.files.get(path).ok_or(Error::NotFound)?;
    let mut answer = ([(header::CACHE_CONTROL, cache)], asset.answer(headers)).into_response();
    if !runs_by_itself(path) {
        answer.extensions_mut().insert(Loaded);
    }
    Ok(answer)
}

/// A page, compressed where the client takes that.
///
/// Only for pages without secrets: where an answer holds a secret and something that a stranger chose, its length under compression
/// gives the secret away bit by bit (BREACH). The pages that a script fills are the same for everybody; links with a secret or a
/// token in their path lead to others, and so does the form.
pub(super) fn page(html: String, headers: &HeaderMap) -> Response {
    let vary = [(header::VARY, "Accept-Encoding")];
    if !takes_gzip(headers) {
        return (vary, Html(html)).into_response();
    }
    let gzip = gzip(html.as_bytes(), Compression::fast());
    (vary, [(header::CONTENT_ENCODING, "gzip")], Html(gzip)).into_response()
}

/// A page that is the same for everybody who reads its language: made and compressed once.
pub(super) struct SamePage {
    render: fn(Page<'static>) -> askama::Result<String>,
    made: [OnceLock<Asset>; Lang::ALL.len()],
}

impl SamePage {
    /// One that is made when it is first asked for.
    pub(super) const fn new(render: fn(Page<'static>) -> askama::Result<String>) -> Self {
        Self { render, made: [const { OnceLock::new() }; Lang::ALL.len()] }
    }

    /// The page, compressed where the client takes that.
    pub(super) fn answer(&self, app: &App, lang: Lang, headers: &HeaderMap) -> Result<Response, Error> {
        let made = &self.made[lang as usize];
        let page = match made.get() {
            Some(page) => page,
            None => {
                let plain = (self.render)(app.page(lang)).map_err(|_| Error::Internal)?.into();
                made.get_or_init(|| Asset { media_type: "text/html; charset=utf-8", plain, gzip: OnceLock::new() })
            }
        };
        Ok(page.answer(headers))
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn gzip(plain: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), level);
    // Writing to memory does not fail.
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
