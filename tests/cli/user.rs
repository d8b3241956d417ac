//! Somebody at a keyboard: a home of their own, and the program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::server::{binary, files};

/// A user with an empty home, who works in a folder of it. Nothing of this environment gets through.
pub(crate) struct User {
    home: TempDir,
    server: String,
}

/// What `send` printed.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) link: String,
    pub(crate) receipt: String,
}

impl Sent {
    #[track_caller]
    pub(crate) fn of(output: &Output) -> Self {
        let said = err(output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let link = out(output).trim_end().to_owned();
        assert!(link.contains("/s/") && link.lines().count() == 1, "the link alone: {link:?}");
        let receipt = said.lines().find_map(|line| line.strip_prefix("Receipt, for you alone: "));
        Self { link, receipt: receipt.unwrap_or_else(|| panic!("no receipt: {said}")).to_owned() }
    }

    pub(crate) fn plain_link(&self) -> String {
        self.link.replace('#', "/")
    }

    pub(crate) fn id(&self) -> String {
        self.link.split("/s/").nth(1).unwrap()[..32].to_owned()
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails unless the process ended with this code; gives what it said.
#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "stderr: {}", err(output));
    err(output)
}

impl User {
    pub(crate) fn new(server: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        Self { home, server: server.to_owned() }
    }

    /// A path in the folder that they work in.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("work").join(path)
    }

    /// Puts a file there.
    pub(crate) fn file(&self, path: &str, content: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments);
        self.settle(&mut command);
        command
    }

    /// Gives any command this user's home.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.env("HOME", self.home.path()).env("ONETIMESHARE_SERVER", &self.server).current_dir(self.at(""));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// At a terminal, where each question gets its answer in turn. Prints the program's number, then what the terminal shows.
    pub(crate) fn at_terminal(&self, answers: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/keyboard.py"));
        command.arg(serde_json::json!(answers).to_string()).arg(env!("CARGO_BIN_EXE_onetimeshare")).args(arguments);
        self.settle(&mut command);
        command
    }

    /// With something on standard input.
    pub(crate) fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let feeding = thread::spawn(move || _ = stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    }

    #[track_caller]
    pub(crate) fn send(&self, arguments: &[&str]) -> Sent {
        Sent::of(&self.run(&[&["send"], arguments].concat()))
    }

    /// Takes it without being asked, into the folder `in`.
    pub(crate) fn receive(&self, link: &str) -> Output {
        self.run(&["receive", "--yes", "-o", "in", link])
    }

    /// What is kept for going on.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        files(&self.home.path().join(".cache"))
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The files in a folder, by their path below it.
    pub(crate) fn listed(&self, folder: &str) -> Vec<String> {
        let folder = self.at(folder);
        let below = |path: &PathBuf| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        let mut listed: Vec<String> = files(&folder).iter().map(below).collect();
        listed.sort();
        listed
    }

    #[track_caller]
    pub(crate) fn assert_has(&self, path: &str, content: &[u8]) {
        let found = fs::read(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(found == content, "{path} is not what was sent ({} and {} bytes)", found.len(), content.len());
    }
}
