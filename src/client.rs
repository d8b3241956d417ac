//! The command line's other half: seals and sends, receives and unseals, watches what became of it. Over HTTP only.
//!
//! A client like everybody else's: it knows the format and the domain, and nothing of the server's rooms.

mod arrive;
mod asked;
mod connection;
mod failure;
mod fetch;
mod going;
mod kept;
mod limits;
mod link;
mod order;
mod parts;
mod places;
mod proxy;
mod questions;
mod receipt;
mod receive;
mod retry;
mod send;
mod sending;
mod sources;
mod stopped;
mod terminal;
mod trouble;
mod tus;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

pub use asked::{Receipt, Receive, Send};
pub use failure::EXITS;

use failure::{Exit, Failure, Result};

/// Sends a share; prints its link on stdout.
pub fn send(asked: Send) -> ExitCode {
    run(send::run(asked))
}

/// Receives what is behind a link.
pub fn receive(asked: Receive) -> ExitCode {
    run(receive::run(asked))
}

/// Prints what became of a share, or withdraws it.
pub fn receipt(asked: Receipt) -> ExitCode {
    run(receipt::run(asked))
}

/// Runs a command to its end, or until it is interrupted. One thread is enough for the network and for what arrives; sealing has
/// its own.
fn run(command: impl Future<Output = Result<()>>) -> ExitCode {
    // A disk may keep the command's thread waiting, but nobody who wants to interrupt it.
    let runtime = interrupts().and_then(|()| runtime());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("onetimeshare: can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(command);
    // A thread may wait for somebody to type.
    runtime.shutdown_background();
    done.map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn failed(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "onetimeshare: {failure}");
    ExitCode::from(failure.exit as u8)
}

/// From now on a thread waits for signals that interrupt, and ends the process as a kill would, but for a word.
fn interrupts() -> io::Result<()> {
    let (terminal, runtime) = (terminal::Settings::now(), runtime()?);
    let mut signals = {
        let _entered = runtime.enter();
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
    };
    thread::spawn(move || {
        let [terminate, interrupt] = &mut signals;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        terminal.restore();
        let _ = failed(&Failure::new(Exit::Interrupted, stopped::word()));
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}
