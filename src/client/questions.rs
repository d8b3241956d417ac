//! What `receive` asks of whoever runs it, and how it shows what came.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use super::asked;
use super::failure::{Exit, Failure, Result};
use super::places::Places;
use super::terminal::{self, say};
use crate::names::{safe_path, visible};
use crate::seal::{File, Manifest};

/// Files that are listed before it is asked.
const LISTED: usize = 20;

/// The password, from where it is to come from.
///
/// # Errors
/// Where nobody gives one.
pub(super) async fn password(asked: &asked::Receive) -> Result<String> {
    if asked.password_stdin {
        let line = terminal::next_line().await?;
        return line.ok_or_else(|| Failure::usage("no password on standard input"));
    }
    if !terminal::is_there() {
        return Err(Failure::new(
            Exit::Password,
            "it has a password, and there is no terminal to ask on: use --password-stdin",
        ));
    }
    terminal::password("Password: ").await
}

/// Shows what is there, and asks whether to take it.
///
/// # Errors
/// Where nobody says yes.
pub(super) async fn agree(manifest: &Manifest, left: Option<u32>, until: &str) -> Result<()> {
    if !terminal::is_there() {
        return Err(Failure::usage("there is no terminal to ask on: add --yes to take it unasked"));
    }
    for file in manifest.files.iter().take(LISTED) {
        say(format_args!("  {}  {}", safe_path(&file.name), terminal::size(file.size.unwrap_or(0))));
    }
    if let Some(more) = manifest.files.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let all = manifest.files.iter().filter_map(|file| file.size).sum();
        let hidden: BTreeSet<String> = hidden(&manifest.files[LISTED..]).collect();
        let among = if hidden.is_empty() { "" } else { ", among them " };
        let hidden = hidden.into_iter().collect::<Vec<_>>().join(", ");
        say(format_args!("  and {more} more, {} in all{among}{hidden}", terminal::size(all)));
    }
    if !manifest.note.is_empty() {
        say(format_args!("Note: {}", legible(&manifest.note)));
    }
    let until = visible(until);
    let question = match left {
        Some(left) if left > 1 => format!("It can be taken {left} times, until {until}. Receive it?"),
        _ => format!("It can be taken once, until {until}. Receive it?"),
    };
    if terminal::agrees(&question, true).await? {
        Ok(())
    } else {
        Err(Failure::other("left where it is: nothing was taken"))
    }
}

/// Refuses what `ls` hides where nobody was shown it, nor named the folder that it goes to: `.bashrc` is run at the next login.
///
/// # Errors
/// Where there is such a file.
pub(super) fn hides_nothing(manifest: &Manifest) -> Result<()> {
    let Some(name) = hidden(&manifest.files).next() else { return Ok(()) };
    Err(Failure::usage(format_args!(
        "{name} would be written here unseen: name the folder with -o (-o . for this one), or leave out --yes"
    )))
}

/// What of these would lie in the folder itself, and `ls` would not show.
fn hidden(files: &[File]) -> impl Iterator<Item = String> {
    let tops = files.iter().filter_map(|file| safe_path(&file.name).split('/').next().map(str::to_owned));
    tops.filter(|top| top.starts_with('.'))
}

/// Which files may replace what is there, by their numbers: those that were `agreed` before, and those that it is asked for now.
///
/// # Errors
/// Where one may not.
pub(super) async fn may_replace(places: &Places, agreed: &[usize]) -> Result<Vec<usize>> {
    let mut taken = places.taken()?;
    taken.retain(|(number, _)| !agreed.contains(number));
    let Some((_, first)) = taken.first() else { return Ok(agreed.to_vec()) };
    let others = if taken.len() > 1 { format!(" (and {} more)", taken.len() - 1) } else { String::new() };
    let advice = "move it away, or name another folder with -o";
    if !terminal::is_there() {
        return Err(Failure::other(format_args!(
            "{first}{others} is already there, and is not overwritten unasked: {advice}"
        )));
    }
    match terminal::agrees(&format!("{first}{others} is already there. Overwrite it?"), false).await? {
        true => Ok(agreed.iter().copied().chain(taken.iter().map(|(number, _)| *number)).collect()),
        false => Err(Failure::other(format_args!("{first}{others} was left as it is: {advice}"))),
    }
}

/// A text for a terminal: what would steer it is replaced.
fn legible(text: &str) -> String {
    text.lines().map(|line| line.split('\t').map(visible).collect::<Vec<_>>().join("\t")).collect::<Vec<_>>().join("\n")
}

/// Prints a text: as it is into a pipe, without what would steer it on a terminal.
pub(super) fn show(text: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout();
    let shown = match stdout.is_terminal() {
        true => format!("{}\n", legible(&String::from_utf8_lossy(text))).into_bytes(),
        false => text.to_owned(),
    };
    let written = stdout.write_all(&shown).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::stdout(&error))
}
