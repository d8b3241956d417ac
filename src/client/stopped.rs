//! What whoever interrupts a command is told: what becomes of what it did so far.

use std::sync::{Mutex, PoisonError};

static WORD: Mutex<&str> = Mutex::new("stopped; a transfer that was under way goes on with the same command");

/// From now on, this.
pub(super) fn says(word: &'static str) {
    *WORD.lock().unwrap_or_else(PoisonError::into_inner) = word;
}

pub(super) fn word() -> &'static str {
    *WORD.lock().unwrap_or_else(PoisonError::into_inner)
}
