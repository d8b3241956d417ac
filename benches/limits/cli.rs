//! The command line's two ends, which seal and unseal, beside a client that does not.

use std::fs::{self, File, remove_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bulk::{Pair, moved, title};
use crate::load::{Trip, sealed, sealed_into, sealing};
use crate::process::{Process, in_memory, scratch, waited_for, warm};
use crate::servers::binary;
use crate::table::{Report, Row};
use crate::{MIB, Options};

/// One large file from folder to folder.
pub(crate) fn command_line(options: &Options, report: &mut Report) {
    let (server, user) = (Process::ours(None), User::new(options.size));
    let (mut limit, mut own) = (Pair::new("a client that seals nothing"), Pair::at_least("command line", 0.8, 0.8));
    let (mut reading, mut writing) = (Row::new("the same out of a file, sealed"), Row::new("the same, into a file"));
    let source = File::open(user.home.join("file")).expect("our own file");
    let [mut sending, mut receiving] = [const { Vec::new() }; 2];
    for _ in 0..options.runs {
        limit.add(options.size, || sealed(&server, options.size));
        warm(options.size);
        moved(&mut reading, options.size, sealing(&server, options.size, &source));
        // What the server keeps, and the file that is received.
        warm(2 * options.size);
        let path = user.home.join("sealed");
        let mut file = File::create(&path).expect("a file");
        moved(&mut writing, options.size, sealed_into(&server, options.size, &mut file).down);
        fs::remove_file(path).expect("our own file");
        let before = waited_for();
        let mut sent = 0.0;
        warm(2 * options.size);
        own.moved(options.size, &user.trip(&server, &mut sent));
        let gib = options.size as f64 / (1 << 30) as f64;
        sending.push((sent - before) / gib);
        receiving.push((waited_for() - sent) / gib);
    }
    report.table(&title(options), "CPU s/GiB", &[&limit.0, &reading, &own.0]);
    report.table(&title(options), "CPU s/GiB", &[&limit.1, &writing, &own.1]);
    report.figure("CPU of send itself", "s/GiB", &sending, None);
    report.figure("CPU of receive itself", "s/GiB", &receiving, None);
}

/// Somebody with a file, and a folder for what they receive.
struct User {
    home: PathBuf,
}

impl User {
    /// Who has a file of so many bytes.
    fn new(size: u64) -> Self {
        let home = scratch(&in_memory(), "user");
        let mut file = File::create(home.join("file")).expect("a file");
        let noise: [u8; 16] = onetimeshare::share::random();
        let piece = noise.repeat(MIB as usize / noise.len());
        (0..size / MIB).for_each(|_| file.write_all(&piece).expect("room"));
        Self { home }
    }

    /// Sends the file, and receives it; `sent` is what [`waited_for`] was in between.
    fn trip(&self, server: &Process, sent: &mut f64) -> Trip {
        let origin = format!("http://{}", server.address);
        let (link, up) = server.measure(|| self.run(&["send", "--server", &origin, "file"]));
        *sent = waited_for();
        let (path, down) = server.measure(|| self.run(&["receive", "--yes", "-o", "in", &link]));
        fs::remove_file(self.home.join(path)).expect("what was received");
        Trip { up, down }
    }

    /// Runs a command; gives the line that it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", &self.home).current_dir(&self.home).stdin(Stdio::null());
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = remove_dir_all(Path::new(&self.home));
    }
}
