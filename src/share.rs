//! The domain: ids, tokens, states, limits and what became of a share.
//!
//! Pure: no I/O and no clock of its own. Times come from the caller, so that a test needs no sleep.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

/// A payload of at most this many sealed bytes rides in the ledger's own record: one round trip to store it, one to claim it.
pub const INLINE_MAX: u64 = 64 * 1024;
/// How long a receipt outlives the end of its share.
pub const RECEIPT_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// What of the lease remains after a plain download, whose recipient can't confirm it.
pub const PLAIN_REMAINS: Duration = Duration::from_secs(60);
/// Wrong passwords a client network may try on one share in a minute.
pub const GUESSES_PER_MINUTE: u32 = 10;
/// Wrong passwords everybody together may try on one share in an hour.
pub const GUESSES_PER_HOUR: u32 = 600;

/// What a text from outside was expected to be, and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct Malformed(pub &'static str);

/// Names a share: a UUIDv4, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId([u8; 16]);

impl ShareId {
    /// A fresh id, from the system's random source.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// The id's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id of 16 bytes that a store kept.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).as_simple().fmt(f)
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareId({self})")
    }
}

impl FromStr for ShareId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.bytes().any(|c| c.is_ascii_uppercase()) {
            return Err(Malformed("share id"));
        }
        unhex(text).map(Self).ok_or(Malformed("share id"))
    }
}

/// Sixteen random bytes that open something: the owner, claim and upload tokens, and the secret of a link.
///
/// Written as 22 characters of base64url. Never logged: its `Debug` says nothing, and stores see only its [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 16]);

impl Token {
    /// A fresh token, from the system's random source.
    pub fn random() -> Self {
        Self(random())
    }

    /// The token's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The token of 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// What a store may know of the token.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        unbase64(text).map(Self).ok_or(Malformed("token"))
    }
}

/// The 32 bytes that show knowledge of a share's secret and password.
#[derive(Clone, Copy)]
pub struct Proof(pub [u8; 32]);

impl Proof {
    /// SHA-256 of the proof: all that the server keeps of it.
    pub fn verifier(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl FromStr for Proof {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        unbase64(text).map(Self).ok_or(Malformed("proof"))
    }
}

/// The SHA-256 of a token or a proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The SHA-256 of a list: of each of its parts, behind the part's length, one after the other.
    pub fn of_list(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(&(part.as_ref().len() as u64).to_be_bytes());
            context.update(part.as_ref());
        }
        Self(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl FromStr for Digest {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        unhex(text).map(Self).ok_or(Malformed("SHA-256"))
    }
}

/// Milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long from `self` until `later`; zero where that is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        Self::UNIX_EPOCH + Duration::from_millis(u64::try_from(time.0).unwrap_or(0))
    }
}

/// RFC 3339, UTC, to the millisecond.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis((*self).into()).fmt(f)
    }
}

/// The client's network, by which guesses and uploads are limited: an IPv4 address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network's bytes, 4 or 16.
    pub fn digest(&self) -> Digest {
        match self.0 {
            IpAddr::V4(ip) => Digest::of(&ip.octets()),
            IpAddr::V6(ip) => Digest::of(&ip.octets()),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Self(IpAddr::V6((u128::from(ip) >> 64 << 64).into())),
            v4 => Self(v4),
        }
    }
}

/// Where a share stands. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its bytes are still arriving.
    Uploading,
    /// Its upload was given up, or its window ran out.
    Abandoned,
    /// It waits to be claimed.
    Ready,
    /// Its last claim was granted and a lease still runs.
    Claimed,
    /// A recipient confirmed that everything arrived.
    Finished,
    /// Its leases ran out unconfirmed.
    Lapsed,
    /// Nobody came in time.
    Expired,
    /// The sender withdrew it.
    Revoked,
}

impl State {
    /// The word that URLs, JSON, pages and logs use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Abandoned => "abandoned",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Finished => "finished",
            Self::Lapsed => "lapsed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// The end of a share or of a claim: what it came to, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What it came to.
    pub state: State,
    /// When.
    pub at: Timestamp,
}

/// One granted claim, as the receipt tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// When it was granted.
    pub claimed_at: Timestamp,
    /// When its lease runs out, or ran out.
    pub lease_expires_at: Timestamp,
    /// When the recipient confirmed that everything arrived.
    pub finished_at: Option<Timestamp>,
    /// Bytes written to connections under this claim.
    pub served: u64,
}

impl Claim {
    /// `claimed`, `finished` or `lapsed`, and since when.
    pub fn state(&self, now: Timestamp) -> Ended {
        match self.finished_at {
            Some(at) => Ended { state: State::Finished, at },
            None if now < self.lease_expires_at => Ended { state: State::Claimed, at: self.claimed_at },
            None => Ended { state: State::Lapsed, at: self.lease_expires_at },
        }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.state(now).state == State::Claimed
    }
}

/// What happened to a share so far: all that a receipt shows, and all from which its state follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// When its upload began.
    pub created_at: Timestamp,
    /// When its upload must be complete.
    pub window_ends_at: Timestamp,
    /// When its upload was given up.
    pub abandoned_at: Option<Timestamp>,
    /// Set once it was published: when it stops waiting for a recipient.
    pub expires_at: Option<Timestamp>,
    /// When the sender (or the operator) withdrew it.
    pub revoked_at: Option<Timestamp>,
    /// Bytes of sealed content; 0 until it was published.
    pub size: u64,
    /// How many claims may be granted.
    pub downloads: u32,
    /// How often its receive page was opened.
    pub opened: u64,
    /// How many wrong proofs were tried on it.
    pub wrong_proofs: u64,
    /// The claims granted so far, oldest first.
    pub claims: Vec<Claim>,
}

impl History {
    /// Where the share stands at `now`, and since when.
    pub fn state(&self, now: Timestamp) -> Ended {
        let Some(expires_at) = self.expires_at else {
            return match self.abandoned_at {
                Some(at) => Ended { state: State::Abandoned, at },
                None if self.window_ends_at <= now => Ended { state: State::Abandoned, at: self.window_ends_at },
                None => Ended { state: State::Uploading, at: self.created_at },
            };
        };
        let spent = self.claims.len() >= self.downloads as usize;
        if !spent && self.revoked_at.is_none() && now < expires_at {
            return Ended { state: State::Ready, at: self.created_at };
        }
        self.outcome(now).unwrap_or(match self.revoked_at {
            Some(at) => Ended { state: State::Revoked, at },
            None => Ended { state: State::Expired, at: expires_at },
        })
    }

    /// What the granted claims came to; `None` where there were none.
    fn outcome(&self, now: Timestamp) -> Option<Ended> {
        let states: Vec<Ended> = self.claims.iter().map(|claim| claim.state(now)).collect();
        let last = |state| states.iter().filter(|e| e.state == state).max_by_key(|e| e.at).copied();
        last(State::Claimed).or_else(|| last(State::Finished)).or_else(|| last(State::Lapsed))
    }

    /// Whether its receipt may still be shown: for [`RECEIPT_KEPT`] past its end.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        self.ended_at(now).is_none_or(|end| now < end.after(RECEIPT_KEPT))
    }

    /// When it ended for good: it waits for nobody, and its last lease is over. `None` while it runs.
    fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        let Ended { state, at } = self.state(now);
        if matches!(state, State::Uploading | State::Ready | State::Claimed) {
            return None;
        }
        let spent = self.claims.len() >= self.downloads as usize;
        let waited_until = self.revoked_at.or(self.expires_at).filter(|_| !spent);
        let leases = self.claims.iter().map(|claim| claim.finished_at.unwrap_or(claim.lease_expires_at));
        leases.chain(waited_until).max().or(Some(at))
    }

    /// When the share's bytes may be freed, as things stand.
    pub fn free_at(&self, now: Timestamp) -> Timestamp {
        let Some(expires_at) = self.expires_at else {
            return self.abandoned_at.unwrap_or(self.window_ends_at);
        };
        let waits_until = match self.state(now).state {
            State::Ready => expires_at,
            _ => self.revoked_at.unwrap_or(now).min(now),
        };
        let leased_until = self.claims.iter().filter(|c| c.is_live(now)).map(|c| c.lease_expires_at).max();
        leased_until.map_or(waits_until, |lease| lease.max(waits_until))
    }
}

/// `N` bytes from the system's random source.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has a random source");
    bytes
}

fn unbase64<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
