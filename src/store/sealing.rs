//! A plain upload: sealed as its bytes stream in, so that no store ever holds plaintext.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::behind::{Behind, Take};
use super::incoming::PLAIN_WINDOW;
use super::{Error, Incoming, Result, Store, now};
use crate::ledger::{NewUpload, Publish, Terms};
use crate::seal::{File, KeyMaterial, Keys, Kind, MANIFEST_MAX, Manifest, Sealer, sealed_len};
use crate::share::{INLINE_MAX, ShareId, Timestamp, Token};

/// Longer media types are none.
const MEDIA_TYPE_MAX: usize = 255;
/// What a file's entry in the manifest has beside its name and type.
const FILE_FRAME: usize = 40;

/// What the sender settles once everything is here.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whether the recipient needs a password.
    pub password: bool,
    /// From publishing to expiry.
    pub expires_in: Duration,
    /// How many claims may be granted.
    pub downloads: u32,
    /// To the recipient.
    pub note: String,
}

/// A plain upload under way. Dropped unfinished, it is given up a minute later; [`Sealing::abandon`] frees it at once.
pub struct Sealing {
    store: Arc<Store>,
    keys: Keys,
    upload: NewUpload,
    content: Behind<Content>,
    files: Vec<File>,
    checksum: crc32fast::Hasher,
    /// Bytes of the manifest so far, at the least.
    named: u64,
    /// Plain bytes of all files so far.
    plain: u64,
}

impl Sealing {
    /// Begins a plain upload of at most `expected` plain bytes, where that is known: then it is refused here if it does not fit.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`crate::ledger::Error::Full`].
    pub async fn start(store: &Arc<Store>, key: &KeyMaterial, owner: &Token, expected: Option<u64>) -> Result<Self> {
        if expected.is_some_and(|plain| plain > store.limits.max_size) {
            return Err(Error::TooLarge);
        }
        let keys = Keys::derive(key);
        let (sealer, header) = Sealer::new(&keys.content);
        let terms =
            Terms { verifier: keys.proof.verifier(), password: false, expires_in: Duration::ZERO, downloads: 1 };
        let upload = NewUpload {
            id: ShareId::random(),
            token: Token::random().digest(),
            owner: owner.digest(),
            terms,
            length: expected.map(sealed_len),
            manifest_len: 0,
            window_ends_at: now().after(PLAIN_WINDOW),
            resumable: false,
        };
        let mut content = Content { store: store.clone(), upload, sealer, small: vec![header], incoming: None };
        if upload.length.is_some_and(|sealed| sealed > INLINE_MAX) {
            content.incoming().await?;
        }
        Ok(Self {
            store: store.clone(),
            keys,
            upload,
            content: Behind::new(content),
            files: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            named: 0,
            plain: 0,
        })
    }

    /// The share that it will be.
    pub fn id(&self) -> ShareId {
        self.upload.id
    }

    /// How many files there are so far.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Begins the next file.
    ///
    /// # Errors
    /// [`Error::ManifestTooLong`] where the names are too many.
    pub fn file(&mut self, name: String, mut media_type: String, kind: Option<Kind>) -> Result<()> {
        self.end_file();
        if media_type.len() > MEDIA_TYPE_MAX {
            media_type = String::new();
        }
        self.named += (name.len() + media_type.len() + FILE_FRAME) as u64;
        if self.named > MANIFEST_MAX {
            return Err(Error::ManifestTooLong);
        }
        self.files.push(File { name, media_type, size: Some(0), crc32: None, kind });
        Ok(())
    }

    fn end_file(&mut self) {
        let checksum = std::mem::take(&mut self.checksum).finalize();
        if let Some(file) = self.files.last_mut() {
            file.crc32 = Some(checksum);
        }
    }

    /// Takes the next bytes of the file begun last.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`crate::ledger::Error::Full`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.plain += bytes.len() as u64;
        if self.plain > self.store.limits.max_size {
            return Err(Error::TooLarge);
        }
        self.checksum.update(&bytes);
        if let Some(size) = self.files.last_mut().and_then(|file| file.size.as_mut()) {
            *size += bytes.len() as u64;
        }
        self.content.take(bytes).await
    }

    /// Publishes what came, and says until when it waits.
    ///
    /// # Errors
    /// [`Error::ManifestTooLong`]; [`crate::ledger::Error::Full`].
    pub async fn finish(&mut self, settled: Settled) -> Result<Timestamp> {
        self.end_file();
        let manifest = Manifest { v: 1, files: std::mem::take(&mut self.files), note: settled.note };
        let manifest = manifest.seal(&self.keys).map_err(|_| Error::ManifestTooLong)?;
        let size = sealed_len(self.plain);
        let inline = self.content.here().await?.finish(size).await?;
        let Settled { password, expires_in, downloads, .. } = settled;
        let terms = Terms { password, expires_in, downloads, ..self.upload.terms };
        let publish = Publish {
            id: self.upload.id,
            token: self.upload.token,
            terms,
            manifest: manifest.into(),
            size,
            base: 0,
            begin: inline.is_some().then_some(self.upload),
            inline,
        };
        self.store.publish(&publish).await
    }

    /// Gives it up and frees what came of it.
    pub async fn abandon(self) {
        let Self { store, upload, content, .. } = self;
        let incoming = content.end().await.and_then(|content| content.incoming);
        if incoming.is_some() || upload.length.is_some() {
            let reached = match incoming {
                Some(mut incoming) => incoming.stop().await,
                None => 0,
            };
            // Where that fails, the sweep does it a minute later.
            if store.abandon(&upload.id, &upload.token).await.is_err() {
                store.forsake(&upload.id, reached).await;
            }
        }
    }
}

/// What plain bytes become: sealed records, on their way into the blobs or, of a small share, into the ledger's record.
struct Content {
    store: Arc<Store>,
    upload: NewUpload,
    sealer: Sealer,
    /// Sealed pieces that wait, while it may still fit into the ledger's record.
    small: Vec<Bytes>,
    incoming: Option<Incoming>,
}

impl Take for Content {
    async fn take(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            if let Some(record) = self.sealer.push(&mut bytes) {
                self.incoming().await?.write(record).await?;
            }
        }
        match &mut self.incoming {
            Some(incoming) => incoming.be_heard_of().await,
            None => Ok(()),
        }
    }
}

impl Content {
    /// The way into the blobs, once the upload is known to be too large for the ledger's record.
    async fn incoming(&mut self) -> Result<&mut Incoming> {
        if self.incoming.is_none() {
            self.store.begin(&self.upload).await?;
            let NewUpload { id, token, .. } = self.upload;
            let end = self.store.max_sealed();
            let reserved = self.upload.length.is_some();
            let mut incoming = Incoming::open(&self.store, id, token, 0..end, reserved, None).await?;
            for piece in self.small.drain(..) {
                incoming.write(piece).await?;
            }
            self.incoming = Some(incoming);
        }
        self.incoming.as_mut().ok_or(Error::Missing)
    }

    /// Seals the last record of `size` sealed bytes in all, and makes all of them durable; gives them, where the ledger is to keep them.
    async fn finish(&mut self, size: u64) -> Result<Option<Bytes>> {
        let last = self.sealer.finish();
        if self.incoming.is_none() && size <= INLINE_MAX {
            self.small.push(last);
            return Ok(Some(Bytes::from(self.small.concat())));
        }
        let incoming = self.incoming().await?;
        incoming.write(last).await?;
        incoming.whole().await?;
        Ok(None)
    }
}
