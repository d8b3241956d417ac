//! The rules of the house, read from the imports: who may name whom, and what only one room may name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the door inwards. A room may name those that stand behind it, and the pure ones.
const INWARDS: [&[&str]; 6] =
    [&["main"], &["cli", "serve"], &["http"], &["config", "store"], &["ledger", "blobs"], &["redis", "disk"]];
/// The other end of the API: knows no room of the server, and only the door knows it.
const CLIENT: &str = "client";
const DOOR: [&str; 2] = ["main", "cli"];
/// No I/O, no clock: any room may use them, and among themselves they may too.
const PURE: [&str; 5] = ["share", "seal", "zip", "names", "text"];
/// Counters: used by whoever counts.
const COUNTERS: &str = "metrics";
/// Whose cryptography TLS rests on: chosen by whoever speaks it.
const TLS: &str = "tls";

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Each file of `src` by its path below it, with its code: comments and unit tests left out.
fn code() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    files.iter().map(read).filter(|(name, _)| !name.ends_with("tests.rs")).collect()
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The rooms that some code names: `crate::room`, `onetimeshare::room`, also in braces.
fn named(code: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for root in ["crate::", "onetimeshare::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let word = |text| -> &str { str::split(text, |c: char| !c.is_alphanumeric() && c != '_').next().unwrap() };
            match rest.strip_prefix('{') {
                Some(braces) => {
                    let inner = braces.split('}').next().unwrap();
                    rooms.extend(inner.split(',').map(|item| word(item.trim())).filter(|item| !item.is_empty()));
                }
                None => rooms.push(word(rest)),
            }
        }
    }
    rooms
}

fn depth(room: &str) -> Option<usize> {
    INWARDS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn imports_run_inwards_only() {
    let mut seen = 0;
    for (file, code) in code().iter().filter(|(file, _)| *file != "lib.rs") {
        let here = room(file);
        for there in named(code).into_iter().filter(|there| *there != here) {
            seen += 1;
            let allowed = if PURE.contains(&here) {
                PURE.contains(&there)
            } else if [COUNTERS, TLS].contains(&here) {
                false
            } else if here == CLIENT {
                PURE.contains(&there) || there == TLS
            } else if there == CLIENT {
                DOOR.contains(&here)
            } else if PURE.contains(&there) || [COUNTERS, TLS].contains(&there) {
                true
            } else {
                match (depth(here), depth(there)) {
                    (Some(here), Some(there)) => here < there,
                    _ => false,
                }
            };
            assert!(allowed, "src/{file}: {here} must not name {there}");
        }
    }
    assert!(seen > 50, "only {seen} imports were found: the check reads them wrongly");
}

#[test]
fn every_room_is_on_the_map() {
    for file in code().keys().filter(|file| *file != "lib.rs") {
        let room = room(file);
        let known = depth(room).is_some() || PURE.contains(&room) || [COUNTERS, TLS, CLIENT].contains(&room);
        assert!(known, "src/{file} is in no known room");
    }
}

/// `word` as a crate's name, only in files that `may` allows.
fn only(word: &str, may: impl Fn(&str) -> bool) {
    let names = |code: &str| {
        let path = format!("{word}::");
        code.match_indices(&path).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && !code[..at].ends_with("crate::")
        })
    };
    let code = code();
    let users: Vec<&String> = code.iter().filter(|(_, code)| names(code)).map(|(file, _)| file).collect();
    assert!(!users.is_empty(), "nobody names {word}: the check reads names wrongly");
    for file in users {
        assert!(may(file), "src/{file} must not name {word}");
    }
}

#[test]
fn only_http_and_what_serves_it_name_axum() {
    only("axum", |file| matches!(room(file), "http" | "serve"));
}

#[test]
fn only_the_redis_rooms_name_the_redis_crate() {
    let redis =
        |file: &str| room(file) == "redis" || file.starts_with("ledger/redis") || file.starts_with("blobs/redis");
    only("::redis", redis);
}

#[test]
fn only_the_blobs_in_a_bucket_name_object_store() {
    only("object_store", |file| file.starts_with("blobs/objects"));
}

#[test]
fn only_the_client_names_reqwest() {
    only("reqwest", |file| room(file) == CLIENT);
}

#[test]
fn only_the_embedded_ledger_names_sqlite() {
    only("rusqlite", |file| file.starts_with("ledger/sqlite"));
}

#[test]
fn only_serve_binds() {
    for (file, code) in code() {
        assert!(room(&file) == "serve" || !code.contains("TcpListener::bind"), "src/{file} must not bind");
    }
}

#[test]
fn no_file_has_outgrown_its_room() {
    for (file, code) in code() {
        let lines = code.lines().count();
        assert!(lines <= 600, "src/{file} has {lines} lines: it wants a second room");
    }
}
