//! Keys of a share: HKDF and PBKDF2, from the link's secret and the password.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::pbkdf2;
use unicode_normalization::UnicodeNormalization;

use crate::share::{Proof, Token};

/// OWASP's 2023 recommendation for PBKDF2-HMAC-SHA-256; a tenth of a second of one core.
const ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::new(600_000).unwrap();

/// The input key material of a share without a password is its secret; with one, [`stretch`] makes it.
pub type KeyMaterial = Token;

/// The keys that one link opens.
#[derive(Clone)]
pub struct Keys {
    /// Key material of the content's RFC 8188 message.
    pub content: [u8; 16],
    /// Key material of the manifest's RFC 8188 message.
    pub manifest: [u8; 16],
    /// Shows knowledge of secret and password.
    pub proof: Proof,
}

impl Keys {
    /// Derives the keys from 16 bytes of input key material.
    pub fn derive(ikm: &KeyMaterial) -> Self {
        let ikm = ikm.as_bytes();
        Self {
            content: hkdf(&[], ikm, b"onetimeshare v1 content"),
            manifest: hkdf(&[], ikm, b"onetimeshare v1 manifest"),
            proof: Proof(hkdf(&[], ikm, b"onetimeshare v1 proof")),
        }
    }
}

/// The input key material of a share with a password. Takes a core for about 0.1 s.
pub fn stretch(secret: &Token, password: &str) -> KeyMaterial {
    let password: String = password.nfc().collect();
    let mut ikm = [0; 16];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, secret.as_bytes(), password.as_bytes(), &mut ikm);
    KeyMaterial::from_bytes(ikm)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256 (RFC 5869), extract and expand.
pub(super) fn hkdf<const N: usize>(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; N] {
    let mut okm = [0; N];
    Salt::new(HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[info], Length(N))
        .and_then(|output| output.fill(&mut okm))
        .expect("HKDF gives up to 255 × 32 bytes");
    okm
}
