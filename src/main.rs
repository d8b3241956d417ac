//! Parses arguments, starts logging, dispatches; nothing else.

use std::process::ExitCode;

use onetimeshare::cli::{self, Cli, Command};
use onetimeshare::config::Config;
use onetimeshare::{client, serve};

/// Buffers of half a MiB come and go with every chunk: glibc maps and unmaps them anew each time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena, and memory that is given back within a fifth of a second: a server that waits is small (jemalloc(3), TUNING).
#[allow(unsafe_code, reason = "jemalloc reads its settings from a symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Option<&std::ffi::c_char> =
    Some(unsafe { &*c"narenas:1,dirty_decay_ms:200,muzzy_decay_ms:0".as_ptr() });

fn main() -> ExitCode {
    let (command, settings) = Cli::read();
    let done = match command {
        Command::Send(send) => return client::send(send),
        Command::Receive(receive) => return client::receive(receive),
        Command::Receipt(receipt) => return client::receipt(receipt),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { command } => cli::man(command.as_deref()),
        Command::Serve => with(settings, serve::run),
        Command::Healthcheck => with(settings, |config| serve::healthcheck(&config)),
        Command::Takedown { id } => with(settings, |config| serve::takedown(&config, &id)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onetimeshare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what takes the server's settings, once they are checked.
fn with(settings: Option<Config>, act: impl FnOnce(Config) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let config = settings.ok_or_else(|| anyhow::anyhow!("no settings"))?.check()?;
    serve::log(config.log_format);
    act(config)
}
