//! A download that goes on after a kill: what is kept of it.

use serde::{Deserialize, Serialize};

use super::kept::Kept;

/// What goes on after a kill takes; kept from before the claim until it is finished.
pub(super) struct Going {
    pub(super) kept: Option<Kept>,
    pub(super) state: State,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) claim: String,
    /// Whether the share has a password.
    pub(super) password: bool,
    /// Whether what is there may be replaced.
    pub(super) over: bool,
    /// The start of this machine in which it was written.
    pub(super) boot: Option<String>,
    /// Plain bytes that outlive a power cut.
    pub(super) synced: u64,
    /// Everything is here and verified: only names are missing, or the word to the server.
    pub(super) verified: bool,
}

impl Going {
    /// Changes what is kept. A failure costs no more than going on: it is passed over.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        if let (Some(kept), Ok(line)) = (&mut self.kept, serde_json::to_string(&self.state)) {
            let _ = kept.add(&line);
        }
    }
}
