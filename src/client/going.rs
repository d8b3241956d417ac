//! A download that goes on after a kill: what is kept of it.

use std::ffi::OsString;
use std::io;

use serde::{Deserialize, Serialize};

use super::failure::Result;
use super::kept::{Kept, needed};

/// What is granted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) size: u64,
    pub(super) manifest: String,
}

/// What goes on after a kill takes; kept from before the claim until it is finished.
pub(super) struct Going {
    pub(super) kept: Kept,
    pub(super) state: State,
    /// What was true before, the last last.
    pub(super) past: Vec<State>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) claim: String,
    /// Whether the share has a password.
    pub(super) password: bool,
    pub(super) target: Target,
    /// The files, by their numbers, in whose place something is that may be replaced.
    pub(super) over: Vec<usize>,
    /// The start of this machine in which it was written.
    pub(super) boot: Option<String>,
    /// Plain bytes that outlive a power cut.
    pub(super) synced: u64,
    /// Once everything is there and verified.
    pub(super) whole: Option<Whole>,
}

/// Where plain bytes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    Pipe,
    Text,
    /// By its canonical path.
    Folder(OsString),
}

/// Verified files: only names are missing, or the word to the server, which may have forgotten the grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Whole {
    pub(super) grant: Grant,
    /// See `Parts::imprint`.
    pub(super) imprint: String,
}

impl Going {
    /// Keeps what a claim that is to be asked for would be lost without.
    ///
    /// # Errors
    /// Where that can't be kept.
    pub(super) fn begin(mut kept: Kept, state: State) -> Result<Self> {
        let line = serde_json::to_string(&state).map_err(io::Error::other);
        match line.and_then(|line| kept.add(&line)) {
            Ok(()) => Ok(Self { kept, state, past: Vec::new() }),
            Err(error) => {
                kept.remove();
                Err(needed(&error))
            }
        }
    }

    /// Changes what is kept. A failure costs no more than going on: it is passed over.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        if let Ok(line) = serde_json::to_string(&self.state) {
            let _ = self.kept.add(&line);
        }
    }

    /// What was written and did not get to the disk may be gone: from now on only what was synced before counts.
    pub(super) fn doubt(&mut self) {
        self.note(|state| state.boot = None);
    }

    /// From now on it goes to `target`; gives what was true of another one. Neither what was agreed there nor what came there is
    /// true of this one, but what came here when it went here before.
    pub(super) fn turn(&mut self, target: Target) -> Option<State> {
        if self.state.target == target {
            return None;
        }
        let before = self.past.iter().rfind(|state| state.target == target);
        let (boot, synced) = before.map_or((None, 0), |before| (before.boot.clone(), before.synced));
        let anew = State { target, over: Vec::new(), boot, synced, whole: None, ..self.state.clone() };
        Some(std::mem::replace(&mut self.state, anew))
    }
}
