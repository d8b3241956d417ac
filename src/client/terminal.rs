//! Whoever sits in front of it: questions, progress, QR code, clipboard. All on stderr or the terminal itself; stdout is for
//! what a script wants.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::failure::{Failure, Result};

/// The terminal itself, whatever stdin and stdout are.
const TERMINAL: &str = "/dev/tty";

/// Columns that all that progress can say has room in.
const WIDE: usize = 80;

/// Whether somebody watches who can be asked.
pub(super) fn is_there() -> bool {
    io::stderr().is_terminal() && OpenOptions::new().read(true).write(true).open(TERMINAL).is_ok()
}

/// Says something on a line of its own.
pub(super) fn say(what: impl std::fmt::Display) {
    // Who has closed stderr does not want to know.
    let _ = writeln!(io::stderr(), "{what}");
}

/// Prints a line for scripts.
pub(super) fn print(line: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::stdout(&error))
}

/// Runs what waits for somebody to type, beside everything else.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(act).await.map_err(io::Error::other);
    done.flatten().map_err(|error| Failure::other(format_args!("can't read what is typed: {error}")))
}

/// The next line of standard input; `None` at its end.
pub(super) async fn next_line() -> Result<Option<String>> {
    aside(|| {
        let mut line = String::new();
        let count = io::stdin().lock().read_line(&mut line)?;
        Ok((count > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    })
    .await
}

/// Asks for a line; `None` where what is typed ends instead (Ctrl-D).
pub(super) async fn line(question: &str) -> Result<Option<String>> {
    let question = question.to_owned();
    aside(move || {
        let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
        terminal.write_all(question.as_bytes())?;
        let mut line = String::new();
        let count = BufReader::new(&terminal).read_line(&mut line)?;
        if count == 0 {
            terminal.write_all(b"\n")?;
        }
        Ok((count > 0).then(|| line.trim().to_owned()))
    })
    .await
}

/// Asks for a password, without showing it.
pub(super) async fn password(question: &str) -> Result<String> {
    let question = question.to_owned();
    aside(move || match rpassword::prompt_password(question) {
        // It has sent the signal that ends the process, which another thread waits for: there is nothing more to say here.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => loop {
            thread::park();
        },
        read => read,
    })
    .await
}

/// Asks a question that an empty line answers with `otherwise`. Who ends the input instead does not agree.
pub(super) async fn agrees(question: &str, otherwise: bool) -> Result<bool> {
    let choice = if otherwise { "[Y/n]" } else { "[y/N]" };
    loop {
        let Some(answer) = line(&format!("{question} {choice} ")).await? else { return Ok(false) };
        match answer.to_lowercase().as_str() {
            "" => return Ok(otherwise),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

/// How the terminal was: an interrupted question would leave it without an echo.
pub(super) struct Settings(Option<Termios>);

impl Settings {
    pub(super) fn now() -> Self {
        Self(tcgetattr(io::stderr()).ok())
    }

    pub(super) fn restore(&self) {
        if let Some(settings) = &self.0 {
            let _ = tcsetattr(io::stderr(), OptionalActions::Now, settings);
            say("");
        }
    }
}

/// Bytes for people, as the pages write them: `195.3 KiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Columns of the terminal that shows stderr.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stderr()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

/// A line on a terminal that says how far it is; nothing in a pipe.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of `total` bytes, where that is known.
    pub(super) fn new(what: &'static str, total: Option<u64>) -> Self {
        let is_narrow = columns().is_some_and(|columns| columns < WIDE);
        let template = match total {
            Some(_) if is_narrow => "{prefix} {percent:>3}% · {bytes_per_sec} · {eta}",
            Some(_) => "{prefix} {percent:>3}% {wide_bar} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} {msg}",
            None => "{prefix} {bytes} · {bytes_per_sec} {wide_msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Drawn on stderr, and only where that is a terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_prefix(what);
        Self(bar)
    }

    /// It begins, or goes on, with so many bytes done.
    pub(super) fn begins(&self, at: u64) {
        self.0.set_position(at);
        self.0.reset_eta();
        self.0.enable_steady_tick(Duration::from_millis(500));
    }

    /// So many bytes are done.
    pub(super) fn at(&self, bytes: u64) {
        if !self.0.message().is_empty() {
            self.0.set_message("");
        }
        self.0.set_position(bytes);
    }

    /// It waits, and why: once, in a pipe, as a line.
    pub(super) fn waits(&self, why: impl std::fmt::Display, pause: Duration) {
        let why = format!("{why}: trying again in {} s", pause.as_secs_f64().ceil());
        if self.0.is_hidden() { say(why) } else { self.0.println(why) }
    }

    /// Says something beside it.
    pub(super) fn says(&self, what: impl std::fmt::Display) {
        self.0.suspend(|| say(what));
    }

    /// It is over; the line goes.
    pub(super) fn ends(&self) {
        self.0.finish_and_clear();
    }
}

/// A link as a QR code, dark on light whatever the terminal's colours are; or what it takes, where that is too narrow.
pub(super) fn qr(link: &str) -> Result<String> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L)
        .map_err(|error| Failure::other(format_args!("can't draw a QR code: {error}")))?;
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    let needed = drawn.lines().next().map_or(0, |line| line.chars().count());
    if columns().is_some_and(|columns| columns < needed) {
        return Ok(format!("The QR code needs {needed} columns: make the terminal wider, or its letters smaller."));
    }
    Ok(drawn.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m\n")).collect())
}

/// Puts a link on the clipboard: by the tool of the desktop, else by asking the terminal (OSC 52), which does not say whether it
/// does. Gives what to tell the user.
pub(super) fn copy(text: &str) -> &'static str {
    let is_set = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let tools: [(bool, &[&str]); 4] = [
        (cfg!(target_os = "macos"), &["pbcopy"]),
        (is_set("WAYLAND_DISPLAY"), &["wl-copy"]),
        (is_set("DISPLAY"), &["xclip", "-selection", "clipboard"]),
        (is_set("DISPLAY"), &["xsel", "--clipboard", "--input"]),
    ];
    if tools.iter().any(|(fits, tool)| *fits && feeds(tool, text)) {
        return "Copied the link.";
    }
    let asks = format!("\x1b]52;c;{}\x07", STANDARD.encode(text));
    let terminal = OpenOptions::new().write(true).open(TERMINAL);
    if io::stderr().is_terminal() && terminal.and_then(|mut terminal| terminal.write_all(asks.as_bytes())).is_ok() {
        "Asked the terminal to copy the link."
    } else {
        "Could not copy the link: there is no clipboard here."
    }
}

fn feeds(tool: &[&str], text: &str) -> bool {
    let run = || -> io::Result<bool> {
        let mut command = Command::new(tool[0]);
        command.args(&tool[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()))?;
        Ok(child.wait()?.success())
    };
    run().unwrap_or(false)
}
