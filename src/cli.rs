//! The command tree.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Config;
use crate::share::ShareId;

/// Send a file once: one person gets it, then it is gone, and the sender knows.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Settings, for whatever is done.
    #[command(flatten)]
    pub config: Config,
    /// What to do; without it the server starts.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Start the server; what happens without a command too
    Serve,
    /// Ask the server that these settings start whether it is ready; exit with 0 where it is
    Healthcheck,
    /// End a share and free its bytes, whatever its state; for the operator, with the server's settings
    Takedown {
        /// The share: 32 hex digits, as in its link
        id: ShareId,
    },
}

impl Cli {
    /// Reads arguments and environment. Ends the process with a message where they don't parse, or ask for help.
    ///
    /// Settings may stand before and behind the command. A variable that is set but empty is not set: so do compose files
    /// spell it.
    pub fn read() -> Self {
        let command = Self::command().mut_args(|arg| {
            let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            let arg = arg.global(true);
            if empty { arg.env(None::<&str>) } else { arg }
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}
