//! The log: lines to standard error. Those of one turn of a connections' thread are one write.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// What a thread holds back at the most, in bytes: it may have work for long before its turn ends.
const HELD: usize = 8 * 1024;

thread_local! {
    /// The lines of this turn, where this thread [takes turns](take_turns).
    static TURN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Starts logging to stderr.
pub fn log(format: LogFormat) {
    // A line that can't be written is lost: to tell of that on the same stderr would end whatever is going on.
    let lines = tracing_subscriber::fmt().with_writer(Lines).with_target(false).log_internal_errors(false);
    // Requests that the bucket's driver repeats are its own business; what fails in the end is logged here.
    let filter = Targets::new().with_default(Level::INFO).with_target("object_store", Level::WARN);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().with(filter).init(),
        LogFormat::Json => lines.json().finish().with(filter).init(),
    }
}

/// From now on this thread holds its lines back until [`end_turn`]. A process that is killed loses them.
pub(super) fn take_turns() {
    TURN.set(Some(Vec::with_capacity(HELD)));
}

/// Writes what this thread held back.
pub(super) fn end_turn() {
    // Nobody is left to be told that the log can't be written.
    let _ = TURN.with_borrow_mut(|turn| turn.as_mut().map_or(Ok(()), write_out));
}

struct Lines;

/// A line of the log. One that is urgent waits for nothing, nor do those before it.
struct Line {
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { urgent: true }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        Line { urgent: *about.level() <= Level::WARN }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        TURN.with_borrow_mut(|turn| match turn {
            Some(held) => {
                held.extend_from_slice(line);
                if self.urgent || held.len() >= HELD { write_out(held) } else { Ok(()) }
            }
            None => io::stderr().write_all(line),
        })?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_out(held: &mut Vec<u8>) -> io::Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let written = io::stderr().write_all(held);
    held.clear();
    written
}
