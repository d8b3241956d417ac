//! The command tree.

use std::io::Write;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::client;
use crate::config::Config;
use crate::share::ShareId;

/// Send a file once: one person gets it, then it is gone, and the sender knows.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do; without it the server starts.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Start the server; what happens without a command too
    Serve,
    /// Send files, folders, a text or standard input; prints the link
    #[command(after_help = client::EXITS)]
    Send(client::Send),
    /// Receive what is behind a link, once
    #[command(after_help = client::EXITS)]
    Receive(client::Receive),
    /// See what became of a share, or withdraw it
    #[command(after_help = client::EXITS)]
    Receipt(client::Receipt),
    /// Ask the server that these settings start whether it is ready; exit with 0 where it is
    Healthcheck,
    /// End a share and free its bytes, whatever its state; for the operator, with the server's settings
    Takedown {
        /// The share: 32 hex digits, as in its link
        #[arg(value_parser = share_id)]
        id: ShareId,
    },
    /// Print a script that completes commands and flags
    Completions {
        /// The shell that is to complete them
        shell: Shell,
    },
    /// Print a man page; read it with: onetimeshare man send | man -l -
    Man {
        /// The command that it is about [default: the program itself]
        command: Option<String>,
    },
}

/// `0123…cdef`.
fn share_id(text: &str) -> Result<ShareId, &'static str> {
    text.parse().map_err(|_| "write only the 32 hex digits, in small letters, that stand behind /s/ in its link")
}

/// The commands that take the server's settings.
const OF_SERVER: [&str; 3] = ["serve", "healthcheck", "takedown"];

impl Cli {
    /// Reads arguments and environment: what to do, and with which settings. Ends the process with a message where they don't
    /// parse, or ask for help.
    ///
    /// Settings may stand before and behind the command. A variable that is set but empty is not set: so do compose files
    /// spell it. The settings of a command that is no server's are the defaults: it never looks at those variables.
    pub fn read() -> (Command, Option<Config>) {
        let settings_first = std::env::args_os().nth(1).is_none_or(|first| first.to_string_lossy().starts_with('-'));
        let tree = if settings_first { with_settings(Self::command(), true) } else { Self::tree() };
        let read = tree.try_get_matches().and_then(|matches| {
            let command = Self::from_arg_matches(&matches)?.command.unwrap_or(Command::Serve);
            let settings = match matches.subcommand() {
                _ if settings_first => Some(&matches),
                Some((name, behind)) if OF_SERVER.contains(&name) => Some(behind),
                _ => None,
            };
            Ok((command, settings.map(Config::from_arg_matches).transpose()?))
        });
        read.unwrap_or_else(|error| match error.kind() {
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                eprintln!("onetimeshare: {}", one_line(&error));
                std::process::exit(2)
            }
            ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument => {
                eprintln!("onetimeshare: {}; see --help", one_line(&error));
                std::process::exit(2)
            }
            _ => error.exit(),
        })
    }

    /// All commands; those of the server with its settings.
    fn tree() -> clap::Command {
        let settled = |tree: clap::Command, name| tree.mut_subcommand(name, |command| with_settings(command, false));
        OF_SERVER.iter().fold(Self::command(), settled)
    }
}

/// Adds the server's settings to a command; `everywhere`: to all below it too.
fn with_settings(command: clap::Command, everywhere: bool) -> clap::Command {
    let about = command.get_about().cloned();
    Config::augment_args(command).about(about.unwrap_or_default()).mut_args(|arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        let arg = if everywhere { arg.global(true) } else { arg };
        if empty { arg.env(None::<&str>) } else { arg }
    })
}

/// What is wrong with a setting, without the hints that follow it.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Prints the script that completes commands and flags in `shell`.
///
/// # Errors
/// Where nobody reads it.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::tree(), "onetimeshare", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

/// Prints the man page of the program, or of one of its commands.
///
/// # Errors
/// Where there is no such command, or nobody reads it.
pub fn man(command: Option<&str>) -> anyhow::Result<()> {
    let mut tree = match command {
        None => with_settings(Cli::tree(), false),
        Some(_) => Cli::tree(),
    };
    tree.build();
    let page = match command {
        None => tree,
        Some(name) => {
            let found = tree.find_subcommand(name).cloned();
            found.ok_or_else(|| anyhow::anyhow!("there is no command {name}: see onetimeshare --help"))?
        }
    };
    let is_client = page.get_after_help().is_some();
    let man = clap_mangen::Man::new(page).source(concat!("onetimeshare ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.is_none() {
        man.render_subcommands_section(&mut roff)?;
    }
    if is_client {
        writeln!(roff, ".SH \"EXIT STATUS\"")?;
        for (code, meaning) in client::EXITS.lines().skip(1).filter_map(|line| line.trim().split_once(' ')) {
            writeln!(roff, ".TP\n{code}\n{}", meaning.trim())?;
        }
    }
    Ok(std::io::stdout().write_all(&roff)?)
}
