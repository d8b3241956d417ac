//! Where blobs lie that are apart from the ledger, as a setting names it.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

/// `file:///folder`, or `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder that several servers may share.
    Folder(PathBuf),
    /// A bucket that speaks S3.
    Bucket {
        /// The bucket's.
        name: String,
        /// What the names of all objects begin with, without a `/` at either end; may be empty.
        prefix: String,
    },
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("file://") {
            let path =
                percent_encoding::percent_decode_str(path).decode_utf8().context("the folder is not in UTF-8")?;
            ensure!(path.starts_with('/'), "the folder must be absolute: file:///shared/folder");
            return Ok(Self::Folder(PathBuf::from(&*path)));
        }
        let Some(bucket) = url.strip_prefix("s3://") else {
            bail!("write it like s3://bucket/prefix or file:///shared/folder")
        };
        let (name, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let prefix = prefix.trim_matches('/');
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        ensure!(!name.is_empty() && plain(name), "the bucket's name is missing or wrong: s3://bucket/prefix");
        let folders =
            prefix.split('/').all(|folder| plain(folder) && !matches!(folder, "." | "..") && !folder.is_empty());
        ensure!(folders || prefix.is_empty(), "the prefix may have letters, digits, and - _ . between its slashes");
        Ok(Self::Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> anyhow::Result<Place> {
        url.parse()
    }

    #[test]
    fn folders_and_buckets_are_places() {
        assert_eq!(place("file:///shared/folder").unwrap(), Place::Folder("/shared/folder".into()));
        assert_eq!(place("file:///shared%20by/all").unwrap(), Place::Folder("/shared by/all".into()));
        let bucket = |name: &str, prefix: &str| Place::Bucket { name: name.into(), prefix: prefix.into() };
        assert_eq!(place("s3://bucket").unwrap(), bucket("bucket", ""));
        assert_eq!(place("s3://a.bucket-1/").unwrap(), bucket("a.bucket-1", ""));
        assert_eq!(place("s3://bucket/some/prefix/").unwrap(), bucket("bucket", "some/prefix"));
    }

    #[test]
    fn everything_else_is_none() {
        for url in [
            "",
            "s3:/x",
            "s3://",
            "s3:///prefix",
            "s3://key:secret@bucket",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a?b",
            "file://shared/folder",
            "file:/shared",
            "file://",
            "/shared",
            "https://bucket",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
    }
}
