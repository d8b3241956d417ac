//! The manifest: names, types and sizes of a share's files, and the sender's note.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, Keys, open, seal};

/// The sealed manifest is at most 1 MiB.
pub const MANIFEST_MAX: u64 = 1 << 20;

/// What a share holds, in the order of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's version, 1.
    pub v: u32,
    /// The files, one after the other in the content.
    pub files: Vec<File>,
    /// The sender's note to the recipient.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One file of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name; relative folders are kept, with `/`.
    pub name: String,
    /// Its media type.
    #[serde(rename = "type", default, deserialize_with = "or_none", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Bytes; a share of exactly one file may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Lets a zip be laid out beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// What the file is meant as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// What a file is meant as, where that is not simply a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A text to be shown.
    Text,
    /// Something that a later version may know: treated as a file.
    #[serde(other)]
    File,
}

impl Manifest {
    /// Seals the manifest with a salt of its own.
    ///
    /// # Errors
    /// [`Error::TooLong`] where the sealed manifest would pass [`MANIFEST_MAX`].
    pub fn seal(&self, keys: &Keys) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::NotAManifest)?;
        let sealed = seal(&keys.manifest, &json);
        if sealed.len() as u64 > MANIFEST_MAX { Err(Error::TooLong) } else { Ok(sealed) }
    }

    /// Unseals a manifest and checks it against the content's plain length in bytes.
    ///
    /// # Errors
    /// [`Error`] where the key is wrong, bytes were changed, the version is unknown or the sizes don't add up.
    pub fn open(keys: &Keys, sealed: &[u8], content: u64) -> Result<Self, Error> {
        let json = open(&keys.manifest, sealed)?;
        // Another version may have another shape.
        let Version { v } = serde_json::from_slice(&json).map_err(|_| Error::NotAManifest)?;
        if v != 1 {
            return Err(Error::UnknownVersion(v));
        }
        let mut manifest: Self = serde_json::from_slice(&json).map_err(|_| Error::NotAManifest)?;
        if let [File { size: size @ None, .. }] = &mut manifest.files[..] {
            *size = Some(content);
        }
        let sum = manifest.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.size?));
        if sum == Some(content) && !manifest.files.is_empty() { Ok(manifest) } else { Err(Error::WrongLength) }
    }
}

/// What every version has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Some writers say null for none.
fn or_none<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Option::deserialize(text).map(Option::unwrap_or_default)
}
