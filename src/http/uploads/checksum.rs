//! tus' checksum extension: the digest of one request's body.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::http::error::Error;

/// What `Upload-Checksum` may use; tus asks for SHA-1 at the least.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

/// A digest in the making, and what it should come to.
pub(super) struct Checksum {
    context: Context,
    wanted: Vec<u8>,
}

impl Checksum {
    /// Reads `Upload-Checksum: sha1 BASE64`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let Some(value) = headers.get("upload-checksum") else { return Ok(None) };
        let malformed =
            || Error::BadRequest(format!("Upload-Checksum must be one of {ALGORITHMS}, a space, and base64."));
        let (algorithm, digest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
        let algorithm = match algorithm {
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &SHA256,
            _ => return Err(malformed()),
        };
        let wanted = STANDARD.decode(digest.trim()).map_err(|_| malformed())?;
        Ok(Some(Self { context: Context::new(algorithm), wanted }))
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Compares.
    pub(super) fn verify(self) -> Result<(), Error> {
        if self.context.finish().as_ref() == self.wanted { Ok(()) } else { Err(Error::Checksum) }
    }
}
