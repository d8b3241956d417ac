//! `Upload-Metadata`: what the sender settles, as `key base64,key base64,…`.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::error::Error;
use crate::http::{App, options};
use crate::ledger::{Terms, Upload};
use crate::seal::MANIFEST_MAX;

const KEYS: &str = "manifest, verifier, expires_in, downloads, and password where one is needed";

/// The metadata of one upload.
pub(super) struct Metadata {
    /// How many of the bytes are the sealed manifest.
    pub(super) manifest_len: u64,
    pub(super) terms: Terms,
}

impl Metadata {
    /// Reads the header. Missing and unknown keys are refused: a `filename` here would be in the clear.
    pub(super) fn parse(headers: &HeaderMap, app: &App) -> Result<Self, Error> {
        let bad = |what: String| Error::BadRequest(format!("Upload-Metadata: {what}"));
        let header = headers.get("upload-metadata").and_then(|value| value.to_str().ok());
        let header = header.ok_or_else(|| bad(format!("it is missing; it has the keys {KEYS}.")))?;
        let mut values = HashMap::new();
        for pair in header.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let value = value.ok_or_else(|| bad(format!("the value of {key:?} must be base64 of a text.")))?;
            if values.insert(key, value).is_some() {
                return Err(bad(format!("{key:?} is there twice.")));
            }
        }
        let mut take =
            |key: &str| values.remove(key).ok_or_else(|| bad(format!("{key:?} is missing; it has the keys {KEYS}.")));
        let manifest_len = take("manifest")?;
        let manifest_len = options::whole_number(&manifest_len, "manifest", 1, MANIFEST_MAX)?;
        let verifier = take("verifier")?;
        let verifier = verifier.parse().map_err(|_| bad("\"verifier\" must be 64 hex digits.".into()))?;
        let expires_in = options::expires_in(&take("expires_in")?, app)?;
        let downloads = options::downloads(&take("downloads")?, app)?;
        let password = match values.remove("password").as_deref() {
            Some("1") => true,
            None | Some("" | "0") => false,
            Some(_) => return Err(bad("\"password\" must be 1 where one is needed.".into())),
        };
        if let Some(key) = values.keys().next() {
            return Err(bad(format!("{key:?} is unknown; it has the keys {KEYS}.")));
        }
        Ok(Self { manifest_len, terms: Terms { verifier, password, expires_in, downloads } })
    }

    /// The metadata of an upload begun before.
    pub(super) fn of(upload: &Upload) -> Self {
        Self { manifest_len: upload.manifest_len, terms: upload.terms }
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { verifier, password, expires_in, downloads } = self.terms;
        let seconds = Duration::as_secs(&expires_in);
        let pairs = [
            ("manifest", self.manifest_len.to_string()),
            ("verifier", verifier.to_string()),
            ("expires_in", seconds.to_string()),
            ("downloads", downloads.to_string()),
        ];
        for (at, (key, value)) in pairs.iter().enumerate() {
            write!(f, "{}{key} {}", if at == 0 { "" } else { "," }, STANDARD.encode(value))?;
        }
        if password { write!(f, ",password {}", STANDARD.encode("1")) } else { Ok(()) }
    }
}
