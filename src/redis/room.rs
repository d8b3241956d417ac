//! How much room there is: what Redis uses, sampled every second, and what open uploads have reserved.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use ::redis::{Cmd, RedisResult, Value};

use super::script::Script;
use super::shards::{Kind, Shards};
use crate::share::Timestamp;

/// The hash of reservations: per upload the bytes still to come and until when; and their `total`.
pub(crate) const RESERVED: &str = "reserved";

const MIB: u64 = 1024 * 1024;

/// A view of the room that is at most a second old, but for what this process wrote since.
pub(crate) struct Room {
    max_storage: u64,
    /// Whether sealed bytes are kept here, or only records.
    has_blobs: bool,
    limit: AtomicU64,
    used: AtomicU64,
    reserved: AtomicU64,
    written: AtomicU64,
    evicts: AtomicBool,
}

impl Room {
    pub(super) fn new(max_storage: Option<u64>, has_blobs: bool) -> Self {
        let max_storage = max_storage.unwrap_or(u64::MAX);
        Self {
            max_storage,
            has_blobs,
            limit: AtomicU64::new(max_storage),
            used: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            written: AtomicU64::new(0),
            evicts: AtomicBool::new(false),
        }
    }

    /// Bytes that are free, reserved ones among them.
    pub(crate) fn free(&self) -> u64 {
        let used = self.used.load(Ordering::Relaxed).saturating_add(self.written.load(Ordering::Relaxed));
        self.limit.load(Ordering::Relaxed).saturating_sub(used)
    }

    /// Whether sealed bytes are kept here, or only records.
    pub(crate) fn has_blobs(&self) -> bool {
        self.has_blobs
    }

    /// Bytes that uploads may reserve. Where they go elsewhere, all that is reserved is only summed up here.
    pub(crate) fn for_blobs(&self) -> u64 {
        if self.has_blobs { self.free() } else { i64::MAX as u64 }
    }

    /// Whether `bytes` more fit beside everything that is reserved here.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.unreserved()
    }

    /// Bytes that are free and that nothing reserved here will take.
    pub(crate) fn unreserved(&self) -> u64 {
        let reserved = if self.has_blobs { self.reserved.load(Ordering::Relaxed) } else { 0 };
        self.free().saturating_sub(reserved)
    }

    /// Whether shares may be lost when a master is full.
    pub(crate) fn evicts(&self) -> bool {
        self.evicts.load(Ordering::Relaxed)
    }

    /// Whether what comes is taken until there is no memory left.
    pub(super) fn is_endless(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == u64::MAX
    }

    /// Counts what was written since the last sample.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what was freed since the last sample, against what was written since.
    pub(crate) fn freed(&self, bytes: u64) {
        let less = |written: u64| Some(written.saturating_sub(bytes));
        let _ = self.written.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Counts anew. Of several masters the fullest counts: a share lies on one of them, and nobody chooses on which.
    pub(super) fn take(&self, masters: &[Memory]) {
        let used: u64 = masters.iter().map(|memory| memory.used).sum();
        let free = masters.iter().map(|memory| memory.limit().saturating_sub(memory.used)).min().unwrap_or(0);
        self.evicts.store(masters.iter().any(Memory::evicts), Ordering::Relaxed);
        self.limit.store(self.max_storage.min(used.saturating_add(free)), Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.used.store(used, Ordering::Relaxed);
    }

    /// Takes a sample, and drops the reservations of uploads whose window is over.
    pub(super) async fn sample(&self, shards: &Shards, sweep: &Script) -> RedisResult<()> {
        let memory = Memory::ask(shards).await?;
        let evicted_before = self.evicts();
        self.take(&memory);
        // Another node may have become the master since the start.
        if let Some(evicting) = memory.iter().find(|memory| memory.evicts())
            && !evicted_before
        {
            evicting.complain();
        }
        let call = sweep.call(&[RESERVED], 16).arg(Timestamp::from(SystemTime::now()).0);
        if let Value::Int(reserved) = shards.run(Kind::Ledger, &call).await? {
            self.reserved.store(u64::try_from(reserved).unwrap_or(0), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What `INFO memory` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) used: u64,
    pub(super) max: u64,
    pub(super) policy: String,
}

impl Memory {
    /// Of every master.
    pub(super) async fn ask(shards: &Shards) -> RedisResult<Vec<Self>> {
        let mut info = Cmd::new();
        info.arg("INFO").arg("memory");
        Ok(shards.ask_masters(&info).await?.into_iter().map(|info| Self::from_info(&text(info))).collect())
    }

    fn from_info(info: &str) -> Self {
        let number = |name| field(info, name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Self {
            used: number("used_memory"),
            max: number("maxmemory"),
            policy: field(info, "maxmemory_policy").unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn evicts(&self) -> bool {
        self.max > 0 && self.policy != "noeviction"
    }

    /// Says that shares may be lost.
    pub(super) fn complain(&self) {
        tracing::error!(policy = self.policy, "Redis evicts keys when it is full: set maxmemory-policy noeviction");
    }

    /// The most that may be used: a margin is left for buffers, leases and receipts.
    fn limit(&self) -> u64 {
        match self.max {
            0 => u64::MAX,
            max => max - (max / 20).max((8 * MIB).min(max / 4)),
        }
    }
}

/// The value of `name` in the answer to `INFO`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// An answer as text; empty where it is none.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(used: u64, max: u64) -> Memory {
        Memory { used, max, policy: "noeviction".to_owned() }
    }

    #[test]
    fn a_margin_is_left_below_maxmemory() {
        assert_eq!(memory(0, 1024 * MIB).limit(), 1024 * MIB - 1024 * MIB / 20);
        assert_eq!(memory(0, 64 * MIB).limit(), 56 * MIB);
        assert_eq!(memory(0, 8 * MIB).limit(), 6 * MIB);
        assert_eq!(memory(0, 0).limit(), u64::MAX);
    }

    #[test]
    fn the_smaller_limit_counts_and_so_does_what_was_written_since() {
        let room = Room::new(Some(10 * MIB), true);
        room.take(&[memory(4 * MIB, 64 * MIB)]);
        assert_eq!(room.free(), 6 * MIB);
        room.wrote(MIB);
        assert!(room.fits(5 * MIB));
        assert!(!room.fits(5 * MIB + 1));
        room.freed(2 * MIB);
        assert_eq!(room.free(), 6 * MIB);
        room.take(&[memory(MIB, 8 * MIB)]);
        assert_eq!(room.free(), 5 * MIB);
    }

    #[test]
    fn what_is_kept_elsewhere_takes_no_room() {
        let room = Room::new(None, false);
        room.take(&[memory(4 * MIB, 64 * MIB)]);
        room.reserved.store(1 << 40, Ordering::Relaxed);
        assert!(room.for_blobs() > 1 << 60);
        assert!(room.fits(MIB));
        assert!(!room.fits(60 * MIB));
    }

    #[test]
    fn of_several_masters_the_fullest_counts() {
        let room = Room::new(None, true);
        room.take(&[memory(20 * MIB, 64 * MIB), memory(50 * MIB, 64 * MIB), memory(MIB, 0)]);
        assert_eq!(room.free(), 6 * MIB);
        let room = Room::new(Some(40 * MIB), true);
        room.take(&[memory(20 * MIB, 64 * MIB), memory(15 * MIB, 64 * MIB)]);
        assert_eq!(room.free(), 5 * MIB);
    }

    #[test]
    fn info_is_read_by_whole_names() {
        let info =
            "# Memory\r\nused_memory:12\r\nused_memory_rss:99\r\nmaxmemory:7\r\nmaxmemory_policy:allkeys-lru\r\n";
        let memory = Memory::from_info(info);
        assert_eq!(memory, Memory { used: 12, max: 7, policy: "allkeys-lru".to_owned() });
        assert!(memory.evicts());
    }
}
