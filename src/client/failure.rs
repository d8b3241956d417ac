//! Why a command did not do what it was asked, and how its process ends.

use std::fmt;
use std::io;
use std::path::Path;

use crate::names::visible;

/// The last lines of each command's `--help`, and of its man page.
pub const EXITS: &str = "\
Exit status:
  0    done
  1    something else; the message says what
  2    the arguments are wrong
  3    gone: the share is taken, expired, revoked, or never was; or the link is not complete
  4    wrong password
  5    network: the server can't be reached, or stayed away too long; the same command goes on
  6    full: the disk here, or the server
  7    corrupt: what came does not verify, or is no share
  8    it did not arrive (send --wait, receipt --follow)
  130  interrupted; a transfer of files goes on with the same command";

/// What the process ends with; see [`EXITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Other = 1,
    Usage = 2,
    Gone = 3,
    Password = 4,
    Network = 5,
    Full = 6,
    Corrupt = 7,
    NotArrived = 8,
    Interrupted = 130,
}

/// One line for the user: what happened, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub(super) struct Failure {
    pub(super) exit: Exit,
    what: String,
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// What servers say is part of it: nothing in it steers a terminal.
    pub(super) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: visible(&what.to_string()).into_owned() }
    }

    pub(super) fn other(what: impl fmt::Display) -> Self {
        Self::new(Exit::Other, what)
    }

    pub(super) fn usage(what: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub(super) fn corrupt(what: impl fmt::Display) -> Self {
        Self::new(Exit::Corrupt, format_args!("{what}: ask the sender for it again"))
    }

    /// Of standard output.
    pub(super) fn stdout(error: &io::Error) -> Self {
        let exit = Self::disk(Path::new(""), error).exit;
        Self::new(exit, format_args!("can't write to stdout: {error}"))
    }

    /// Of a file or folder here.
    pub(super) fn disk(path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.display();
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                Self::new(Exit::Full, format_args!("{path}: {error}: make room, and the same command goes on"))
            }
            _ => Self::other(format_args!("{path}: {error}")),
        }
    }
}
