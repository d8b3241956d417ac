//! What clients asked and what they were told: a line of JSON for every call.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

/// One call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Op {
    /// When it was asked and when the answer was there, in milliseconds of the run.
    pub began: u64,
    pub ended: u64,
    pub client: usize,
    pub web: usize,
    /// The share's id; empty where the server did not tell it.
    pub share: String,
    pub deed: Deed,
    pub outcome: Outcome,
    /// Of the answer; 0 where none came.
    pub status: u16,
    /// What the answer says beside, for whoever reads the log.
    pub note: String,
}

/// What was asked for. `sum` is the SHA-256 of manifest and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A step of an upload that can't publish it.
    Upload,
    /// The step that brings the last byte, or asks whether it came.
    Publish {
        downloads: usize,
        sum: String,
    },
    Claim {
        token: String,
    },
    /// `sum` of what this claim has read, once that is everything.
    Read {
        token: String,
        sum: Option<String>,
    },
    Finish {
        token: String,
    },
    Revoke,
    /// What the sender was shown: how many claims, and how many of them finished.
    Receipt {
        claims: usize,
        finished: usize,
    },
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Ok,
    /// It was not done, and never will be.
    Refused,
    /// 503, a cut connection, no answer: done or not, or done later.
    Unknown,
}

/// Everything that happened, on disk as soon as it is known.
pub struct Log {
    began: Instant,
    path: PathBuf,
    inner: Mutex<(File, Vec<Op>)>,
}

impl Log {
    /// In `folder`, as `<name>.jsonl`.
    pub fn new(folder: &Path, name: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder for histories");
        let path = folder.join(format!("{name}.jsonl"));
        let file = File::create(&path).expect("a file for the history");
        Self { began: Instant::now(), path, inner: Mutex::new((file, Vec::new())) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Milliseconds since the run began.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub fn add(&self, op: Op) {
        let mut inner = self.inner.lock().expect("nobody panics with it");
        let line = serde_json::to_string(&op).expect("plain data");
        writeln!(inner.0, "{line}").expect("the history is kept");
        inner.1.push(op);
    }

    /// A fault, for whoever reads the log.
    pub fn fault(&self, what: &str) {
        let mut inner = self.inner.lock().expect("nobody panics with it");
        let line = serde_json::json!({"at": self.now(), "fault": what});
        writeln!(inner.0, "{line}").expect("the history is kept");
    }

    pub fn ops(&self) -> Vec<Op> {
        self.inner.lock().expect("nobody panics with it").1.clone()
    }
}
