//! The names of a share's keys.

use crate::share::{Digest, ShareId};

/// Names everything that belongs to one share.
pub(super) struct Keys {
    id: String,
}

impl Keys {
    pub(super) fn of(id: &ShareId) -> Self {
        Self { id: hex(id.as_bytes()) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn share(&self) -> String {
        ["share:", &self.id].concat()
    }

    pub(super) fn hits(&self) -> String {
        ["share:", &self.id, ":hits"].concat()
    }

    pub(super) fn guesses(&self) -> String {
        ["share:", &self.id, ":guesses"].concat()
    }

    pub(super) fn lease(&self, claim: &Digest) -> String {
        ["share:", &self.id, ":lease:", &hex(&claim.0)].concat()
    }

    pub(super) fn receipt(&self) -> String {
        ["receipt:", &self.id].concat()
    }

    pub(super) fn upload(&self, token: &Digest) -> String {
        ["upload:", &self.id, ":", &hex(&token.0)].concat()
    }
}

// Several names per call: formatting each byte by itself would show.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_use_the_id_and_digests_as_they_are_written() {
        let (id, digest) = (ShareId::random(), Digest::of(b"token"));
        let keys = Keys::of(&id);
        assert_eq!(keys.share(), format!("share:{id}"));
        assert_eq!(keys.lease(&digest), format!("share:{id}:lease:{digest}"));
        assert_eq!(keys.upload(&digest), format!("upload:{id}:{digest}"));
    }
}
