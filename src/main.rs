//! Parses arguments, starts logging, dispatches; nothing else.

use std::process::ExitCode;

use onetimeshare::cli::{Cli, Command};
use onetimeshare::serve;

fn main() -> ExitCode {
    let Cli { config, command } = Cli::read();
    let done = config.check().and_then(|config| {
        serve::log(config.log_format);
        match command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(config),
            Command::Healthcheck => serve::healthcheck(&config),
            Command::Takedown { id } => serve::takedown(&config, &id),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onetimeshare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
