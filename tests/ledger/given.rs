//! What the promises start from.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use onetimeshare::ledger::{
    Advance, Attempt, Charge, ClaimRequest, Error, Grant, Ledger, NewUpload, Publish, Result, Terms,
};
use onetimeshare::share::{Claim, Digest, Ended, History, Network, ShareId, State, Timestamp, Token};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const LEASE: Duration = Duration::from_secs(15 * 60);
pub const EXPIRES_IN: Duration = Duration::from_secs(24 * 3600);
/// More than rides in a ledger's record.
pub const SIZE: u64 = 3 << 20;
pub const CONTENT: &[u8] = b"sealed \x00 content \xff";
pub const MANIFEST: &[u8] = b"sealed \x00 manifest \xff";

pub fn now() -> Timestamp {
    SystemTime::now().into()
}

pub fn digest() -> Digest {
    Token::random().digest()
}

pub fn network(number: u32) -> Network {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)).into()
}

/// A sender with all that the sender knows.
#[derive(Clone, Copy)]
pub struct Sender {
    pub id: ShareId,
    pub token: Digest,
    pub owner: Digest,
    pub terms: Terms,
}

impl Sender {
    pub fn new() -> Self {
        let terms = Terms { verifier: digest(), password: false, expires_in: EXPIRES_IN, downloads: 1 };
        Self { id: ShareId::random(), token: digest(), owner: digest(), terms }
    }

    pub fn downloads(mut self, downloads: u32) -> Self {
        self.terms.downloads = downloads;
        self
    }

    pub fn password(mut self) -> Self {
        self.terms.password = true;
        self
    }

    pub fn upload(&self, length: Option<u64>, now: Timestamp) -> NewUpload {
        let Self { id, token, owner, terms } = *self;
        let window_ends_at = now.after(HOUR);
        NewUpload { id, token, owner, terms, length, manifest_len: 100, window_ends_at, resumable: true }
    }

    pub fn step(&self, writer: u64, from: u64, to: u64) -> Advance {
        Advance { id: self.id, token: self.token, writer, from, to, window_ends_at: None }
    }

    /// Publishes what lies in the blobs.
    pub fn publish(&self) -> Publish {
        let Self { id, token, terms, .. } = *self;
        Publish { id, token, terms, manifest: MANIFEST.into(), size: SIZE, base: 100, inline: None, begin: None }
    }

    /// Publishes a small content that is whole at once.
    pub fn publish_whole(&self, now: Timestamp) -> Publish {
        let size = CONTENT.len() as u64;
        let begin = Some(self.upload(Some(size), now));
        Publish { size, base: 0, inline: Some(Bytes::from_static(CONTENT)), begin, ..self.publish() }
    }

    /// Sends a small share.
    pub async fn sends(self, ledger: &dyn Ledger) -> Self {
        let now = now();
        ledger.publish(&self.publish_whole(now), now).await.expect("published");
        self
    }

    /// Sends a share that lies in the blobs.
    pub async fn sends_blob(self, ledger: &dyn Ledger) -> Self {
        let now = now();
        ledger.begin(&self.upload(Some(SIZE + 100), now), now).await.expect("begun");
        ledger.advance(&self.step(1, 0, SIZE + 100), now).await.expect("advanced");
        ledger.publish(&self.publish(), now).await.expect("published");
        self
    }

    pub fn attempt(&self) -> Attempt {
        Attempt { verifier: self.terms.verifier, network: network(1) }
    }

    pub async fn receipt(&self, ledger: &dyn Ledger) -> History {
        ledger.receipt(&self.id, &self.owner, now()).await.expect("a receipt")
    }

    pub async fn claim(&self, ledger: &dyn Ledger, claim: Digest, now: Timestamp) -> Result<Grant> {
        ledger.claim(&self.id, &self.request(claim, now), now).await
    }

    pub fn request(&self, claim: Digest, now: Timestamp) -> ClaimRequest {
        ClaimRequest { claim, attempt: self.attempt(), lease_expires_at: now.after(LEASE) }
    }

    /// A granted claim.
    pub async fn claimed(&self, ledger: &dyn Ledger, now: Timestamp) -> Digest {
        let claim = digest();
        assert!(!self.claim(ledger, claim, now).await.expect("granted").repeated);
        claim
    }
}

pub fn wrong(network: Network) -> Attempt {
    Attempt { verifier: digest(), network }
}

pub fn charge(bytes: i64, limit: u64, now: Timestamp) -> Charge {
    Charge { bytes, limit, lease_expires_at: now.after(LEASE) }
}

pub fn ended<T>(state: State, at: Timestamp) -> Result<T> {
    Err(Error::Ended(Ended { state, at }))
}

/// The only claim of a receipt.
pub fn only(history: &History) -> Claim {
    assert_eq!(history.claims.len(), 1);
    history.claims[0]
}
