//! Sealing, format v1: RFC 8188 `aes128gcm` records under keys that only the link opens.
//!
//! Pure: bytes in, bytes out. It knows neither stores nor HTTP.

mod keys;
mod manifest;

use bytes::{Bytes, BytesMut};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

pub use keys::{KeyMaterial, Keys, stretch};
pub use manifest::{File, Kind, MANIFEST_MAX, Manifest};

use crate::share::random;

/// Bytes of a sealed record: `rs` of RFC 8188 §2.1.
pub const RECORD: usize = 262_144;
/// Plain bytes of a full record: less the delimiter and the tag.
pub const PLAIN_RECORD: usize = RECORD - OVERHEAD;
/// Bytes of the header: salt, `rs`, and an empty keyid.
pub const HEADER: usize = 21;
/// Bytes that sealing adds to a record: the delimiter and the tag.
pub const OVERHEAD: usize = 17;
/// Bytes of a tag, which ends each record.
pub(crate) const TAG: usize = 16;
/// Ends every record but the last (RFC 8188 §2).
const MORE: u8 = 1;
/// Ends the last record.
const LAST: u8 = 2;

/// Why sealed bytes can't be opened, or a manifest not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too short to hold a header and a record, or a keyid that reaches past the end.
    #[error("the message has no record")]
    NoRecord,
    /// `rs` below 18, or not the one that this reader supports.
    #[error("unsupported record size {0}")]
    RecordSize(u32),
    /// A record's tag fails: a wrong key, or changed bytes.
    #[error("a record does not verify")]
    Tampered,
    /// The last record is not marked so, or one before it is.
    #[error("the message is truncated or has bytes after its end")]
    Truncated,
    /// Not the JSON of a manifest.
    #[error("not a manifest")]
    NotAManifest,
    /// A manifest of a version to come.
    #[error("unknown version {0}")]
    UnknownVersion(u32),
    /// The manifest's sizes don't add up to the content.
    #[error("the sizes do not add up")]
    WrongLength,
    /// A sealed manifest above its limit.
    #[error("the manifest is too long")]
    TooLong,
}

/// Sealed bytes that `plain` bytes become.
pub fn sealed_len(plain: u64) -> u64 {
    HEADER as u64 + plain + OVERHEAD as u64 * plain.div_ceil(PLAIN_RECORD as u64).max(1)
}

/// Plain bytes in `sealed` bytes; `None` where no message has that length.
pub fn plain_len(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(HEADER as u64)?;
    let plain = body.checked_sub(OVERHEAD as u64 * body.div_ceil(RECORD as u64).max(1))?;
    (sealed_len(plain) == sealed).then_some(plain)
}

/// Key and nonce base of one message (RFC 8188 §2.2, §2.3).
struct Cipher {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Cipher {
    fn new(material: &[u8], salt: &[u8]) -> Self {
        let cek: [u8; 16] = keys::hkdf(salt, material, b"Content-Encoding: aes128gcm\0");
        let key = UnboundKey::new(&AES_128_GCM, &cek).expect("an AES-128 key has 16 bytes");
        Self { key: LessSafeKey::new(key), nonce: keys::hkdf(salt, material, b"Content-Encoding: nonce\0") }
    }

    fn nonce(&self, record: u64) -> Nonce {
        let mut nonce = self.nonce;
        nonce[4..].iter_mut().zip(record.to_be_bytes()).for_each(|(n, r)| *n ^= r);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `plain` in place: delimiter and tag are appended.
    fn seal(&self, record: u64, delimiter: u8, plain: &mut BytesMut) {
        plain.extend_from_slice(&[delimiter]);
        let tag = self.seal_in_place(record, plain);
        plain.extend_from_slice(tag.as_ref());
    }

    fn seal_in_place(&self, record: u64, plain: &mut [u8]) -> Tag {
        let sealed = self.key.seal_in_place_separate_tag(self.nonce(record), Aad::empty(), plain);
        sealed.expect("a record is far shorter than GCM's limit")
    }

    /// Opens `sealed` in place and gives the length of its plain bytes.
    fn open(&self, record: u64, last: bool, sealed: &mut [u8]) -> Result<usize, Error> {
        let plain = self.key.open_in_place(self.nonce(record), Aad::empty(), sealed).map_err(|_| Error::Tampered)?;
        let end = plain.iter().rposition(|&byte| byte != 0).ok_or(Error::Truncated)?;
        if plain[end] == if last { LAST } else { MORE } { Ok(end) } else { Err(Error::Truncated) }
    }
}

/// Header of a message of this format.
fn header(salt: &[u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(salt);
    header[16..20].copy_from_slice(&(RECORD as u32).to_be_bytes());
    header
}

/// Seals single records of one message, under a salt that its writer keeps: for one that may have to seal again what it sent.
///
/// The writer answers for never sealing two plaintexts as one record (docs/sealing.md).
pub struct RecordSealer {
    cipher: Cipher,
    salt: [u8; 16],
}

impl RecordSealer {
    /// Of the message under `material` and `salt`.
    pub fn new(material: &[u8; 16], salt: [u8; 16]) -> Self {
        Self { cipher: Cipher::new(material, &salt), salt }
    }

    /// What stands before the first record.
    pub fn header(&self) -> [u8; HEADER] {
        header(&self.salt)
    }

    /// Seals record `record`, counted from 0, in place: its plain bytes, and behind them [`OVERHEAD`] bytes of room.
    ///
    /// # Panics
    /// Where there is no such room.
    pub fn seal(&self, record: u64, last: bool, bytes: &mut [u8]) {
        let tag_at = bytes.len() - TAG;
        let (plain, tag) = bytes.split_at_mut(tag_at);
        plain[tag_at - 1] = if last { LAST } else { MORE };
        tag.copy_from_slice(self.cipher.seal_in_place(record, plain).as_ref());
    }
}

/// Seals a stream of plain bytes into one message, a record at a time.
///
/// Holds at most one record. Its salt is fresh, so no two messages share a (key, salt, record).
pub struct Sealer {
    cipher: Cipher,
    record: u64,
    plain: BytesMut,
}

impl Sealer {
    /// Begins a message under `material`; gives its header too.
    pub fn new(material: &[u8; 16]) -> (Self, Bytes) {
        let salt: [u8; 16] = random();
        let header = Bytes::copy_from_slice(&header(&salt));
        (Self { cipher: Cipher::new(material, &salt), record: 0, plain: BytesMut::new() }, header)
    }

    /// Takes bytes off the front of `plain`; gives a sealed record when one is full *and* more follows.
    ///
    /// Call it until `plain` is empty.
    pub fn push(&mut self, plain: &mut Bytes) -> Option<Bytes> {
        let full = (self.plain.len() == PLAIN_RECORD && !plain.is_empty()).then(|| self.seal(MORE));
        if self.plain.capacity() < RECORD && self.plain.len() + plain.len() > self.plain.capacity() {
            self.plain.reserve(RECORD - self.plain.len());
        }
        let taken = plain.len().min(PLAIN_RECORD - self.plain.len());
        self.plain.extend_from_slice(&plain.split_to(taken));
        full
    }

    /// Seals the last record, with which the message ends.
    pub fn finish(&mut self) -> Bytes {
        self.seal(LAST)
    }

    fn seal(&mut self, delimiter: u8) -> Bytes {
        let mut record = std::mem::take(&mut self.plain);
        self.cipher.seal(self.record, delimiter, &mut record);
        self.record += 1;
        record.freeze()
    }
}

/// Opens single records of a message whose `rs` is [`RECORD`].
pub struct Opener {
    cipher: Cipher,
    records: u64,
}

impl Opener {
    /// Begins to open a message of `sealed` bytes in all, from its header.
    ///
    /// # Errors
    /// [`Error`] where the header is not this format's, or no message has that length.
    pub fn new(material: &[u8; 16], header: &[u8; HEADER], sealed: u64) -> Result<Self, Error> {
        let rs = u32::from_be_bytes(header[16..20].try_into().expect("four bytes"));
        if rs != RECORD as u32 || header[20] != 0 {
            return Err(Error::RecordSize(rs));
        }
        plain_len(sealed).ok_or(Error::Truncated)?;
        let records = (sealed - HEADER as u64).div_ceil(RECORD as u64);
        Ok(Self { cipher: Cipher::new(material, &header[..16]), records })
    }

    /// Opens record `record`, counted from 0, in place; gives the length of its plain bytes.
    ///
    /// # Errors
    /// [`Error::Tampered`], [`Error::Truncated`]; or [`Error::WrongLength`] where a record before the last is not full.
    pub fn open(&self, record: u64, sealed: &mut [u8]) -> Result<usize, Error> {
        let last = record + 1 == self.records;
        let plain = self.cipher.open(record, last, sealed)?;
        if plain + OVERHEAD == sealed.len() { Ok(plain) } else { Err(Error::WrongLength) }
    }
}

/// Seals a short message whole.
pub fn seal(material: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let (mut sealer, header) = Sealer::new(material);
    let mut plain = Bytes::copy_from_slice(plain);
    let mut sealed = header.to_vec();
    while !plain.is_empty() {
        if let Some(record) = sealer.push(&mut plain) {
            sealed.extend_from_slice(&record);
        }
    }
    sealed.extend_from_slice(&sealer.finish());
    sealed
}

/// Opens a short message whole, whatever its record size, keyid and padding.
///
/// # Errors
/// [`Error`] for every message that RFC 8188 or format v1 tells a reader to refuse.
pub fn open(material: &[u8; 16], message: &[u8]) -> Result<Vec<u8>, Error> {
    let header = message.get(..HEADER).ok_or(Error::NoRecord)?;
    let rs = u32::from_be_bytes(header[16..20].try_into().expect("four bytes"));
    let mut body = message.get(HEADER + usize::from(header[20])..).ok_or(Error::NoRecord)?;
    if rs as usize <= OVERHEAD {
        return Err(Error::RecordSize(rs));
    }
    let cipher = Cipher::new(material, &header[..16]);
    let mut plain = Vec::with_capacity(body.len());
    let mut record = 0;
    loop {
        if body.len() <= TAG {
            return Err(if record == 0 { Error::NoRecord } else { Error::Truncated });
        }
        let (sealed, rest) = body.split_at(body.len().min(rs as usize));
        let mut sealed = sealed.to_vec();
        let length = cipher.open(record, rest.is_empty(), &mut sealed)?;
        plain.extend_from_slice(&sealed[..length]);
        if rest.is_empty() {
            return Ok(plain);
        }
        body = rest;
        record += 1;
    }
}

#[cfg(test)]
mod tests;
