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
mod link;
mod parts;
mod places;
mod receipt;
mod receive;
mod retry;
mod send;
mod sending;
mod sources;
mod terminal;
mod trouble;
mod tus;

use std::io::Write;
use std::process::ExitCode;

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

/// Runs a command to its end, or until it is interrupted. One thread is enough: sealing and disks have their own.
fn run(command: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("onetimeshare: can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let terminal = terminal::Settings::now();
    let done = runtime.block_on(async {
        tokio::select! {
            done = command => done,
            () = interrupted() => {
                terminal.restore();
                Err(Failure::new(Exit::Interrupted, "stopped; a transfer that was under way goes on with the same command"))
            }
        }
    });
    // A thread may wait for somebody to type.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "onetimeshare: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}
