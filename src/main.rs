//! Parses arguments, starts logging, dispatches; nothing else.

use std::process::ExitCode;

use onetimeshare::cli::{Cli, Command};
use onetimeshare::serve;

/// Buffers of half a MiB come and go with every chunk: glibc maps and unmaps them anew each time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, and memory that is given back within a second: a server that waits is small (jemalloc(3), TUNING).
#[allow(unsafe_code, reason = "jemalloc reads its settings from a symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Option<&std::ffi::c_char> =
    Some(unsafe { &*c"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr() });

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
