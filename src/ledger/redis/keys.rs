//! The names of a share's keys.

use ::redis::Cmd;

use crate::redis::Redis;
use crate::share::{Digest, ShareId};

/// Names everything that belongs to one share.
pub(super) struct Keys {
    id: String,
    /// The id as it is written in keys.
    tag: String,
}

impl Keys {
    pub(super) fn of(id: &ShareId, redis: &Redis) -> Self {
        let id = hex(id.as_bytes());
        Self { tag: redis.tag(&id), id }
    }

    /// The id by itself.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn share(&self) -> String {
        ["share:", &self.tag].concat()
    }

    pub(super) fn hits(&self) -> String {
        ["share:", &self.tag, ":hits"].concat()
    }

    pub(super) fn guesses(&self) -> String {
        ["share:", &self.tag, ":guesses"].concat()
    }

    pub(super) fn lease(&self, claim: &Digest) -> String {
        ["share:", &self.tag, ":lease:", &hex(&claim.0)].concat()
    }

    pub(super) fn receipt(&self) -> String {
        ["receipt:", &self.tag].concat()
    }

    pub(super) fn get_receipt(&self) -> Cmd {
        let mut get = Cmd::new();
        get.arg("HGETALL").arg(self.receipt());
        get
    }

    pub(super) fn confirmed(&self) -> String {
        ["share:", &self.tag, ":confirmed"].concat()
    }

    pub(super) fn upload(&self, token: &Digest) -> String {
        ["upload:", &self.tag, ":", &hex(&token.0)].concat()
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
        for tag in [id.to_string(), format!("{{{id}}}")] {
            let keys = Keys { id: hex(id.as_bytes()), tag: tag.clone() };
            assert_eq!(keys.id(), id.to_string());
            assert_eq!(keys.share(), format!("share:{tag}"));
            assert_eq!(keys.receipt(), format!("receipt:{tag}"));
            assert_eq!(keys.lease(&digest), format!("share:{tag}:lease:{digest}"));
            assert_eq!(keys.upload(&digest), format!("upload:{tag}:{digest}"));
        }
    }
}
