//! Safe names from hostile ones, for zip entries, files on disk and headers.
//!
//! Pure. Names come from whoever sealed the manifest; what leaves here is harmless to write on any system.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;

/// Bytes that common file systems allow a name.
const SEGMENT_MAX: usize = 255;
/// Bytes that Linux allows a path; outer folders beyond fall away.
const PATH_MAX: usize = 4096;
/// A longer extension is none worth keeping.
const EXTENSION_MAX: usize = 32;
/// More than there can be files.
const NUMBER_MAX: u32 = 999_999_999;
/// What is left where nothing is left.
const NAMELESS: &str = "file";
/// All but `attr-char` of RFC 8187 §3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A relative path with `/` between its folders, that stays where it is unpacked and shows what it is.
///
/// `\` separates too; empty, `.` and `..` segments are left out; what a system forbids or a screen hides becomes `_`. Each
/// segment has at most 255 bytes, the whole 4096. Never empty.
pub fn safe_path(name: &str) -> String {
    let segments: Vec<String> =
        name.split(['/', '\\']).filter(|s| !matches!(*s, "" | "." | "..")).map(segment).collect();
    let mut length = 0;
    let kept = segments.iter().rev().take_while(|s| {
        length += s.len() + 1;
        length <= PATH_MAX + 1
    });
    match kept.count() {
        0 => NAMELESS.to_owned(),
        kept => segments[segments.len() - kept..].join("/"),
    }
}

/// The safe path's last segment: a name for a single file.
pub fn file_name(name: &str) -> String {
    let path = safe_path(name);
    path.rsplit('/').next().unwrap_or(NAMELESS).to_owned()
}

/// Safe paths told apart: the second `a.txt` becomes `a (2).txt`.
///
/// Names that differ only in case or in Unicode form count as one, as on Windows and macOS; so does a file with the name
/// of another's folder. Takes time n log n, whatever the names.
pub fn unique<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let paths: Vec<&str> = paths.into_iter().collect();
    let keys: BTreeSet<String> = paths.iter().map(|path| folded(path)).collect();
    // The last number of all that may come to the same name, also of those that only are the same once they are cut.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut given = HashSet::new();
    let mut distinct = Vec::with_capacity(paths.len());
    for path in paths {
        let number = numbers.entry(folded(&numbered(path, NUMBER_MAX))).or_insert(1);
        let (mut key, mut candidate) = (folded(path), path.to_owned());
        while given.contains(&key) || is_folder(&keys, &key) {
            *number += 1;
            candidate = numbered(path, *number);
            key = folded(&candidate);
        }
        given.insert(key);
        distinct.push(candidate);
    }
    distinct
}

/// Whether one of the keys lies below this one.
fn is_folder(keys: &BTreeSet<String>, key: &str) -> bool {
    let inside = format!("{key}/");
    keys.range(inside.clone()..).next().is_some_and(|next| next.starts_with(&inside))
}

/// The value of a `Content-Disposition` header that saves under `name`'s last segment (RFC 6266).
pub fn content_disposition(name: &str) -> String {
    let name = file_name(name);
    // A percent sign is decoded by some browsers even here (RFC 6266 appendix D). Quotes and backslashes are gone already.
    let ascii = name.replace(|c: char| !c.is_ascii() || c == '%', "_");
    let encoded = utf8_percent_encode(&name, NOT_ATTR_CHAR);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// A name without the characters that would disguise it: controls, and those that turn the reading direction around,
/// which make `exe.gpj` of `jpg.exe` (Unicode TR 36 §3.2). Each becomes U+FFFD.
pub fn visible(name: &str) -> Cow<'_, str> {
    let disguises = |c: char| c.is_control() || turns(c);
    if name.contains(disguises) { Cow::Owned(name.replace(disguises, "\u{fffd}")) } else { Cow::Borrowed(name) }
}

/// One segment made safe.
fn segment(raw: &str) -> String {
    let mut name: String = raw.chars().map(|c| if is_forbidden(c) { '_' } else { c }).collect();
    if is_device(&name) {
        name.insert(0, '_');
    }
    let mut name = cut(&name, "");
    // Windows drops what stands here, and then finds another file or none.
    let kept = name.trim_end_matches(['.', ' ']).len();
    name.replace_range(kept.., &"_".repeat(name.len() - kept));
    name
}

/// Controls, what Windows reserves, and what turns the direction of text or breaks its line unseen.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '/' | '\\') || turns(c)
}

fn turns(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether Windows takes the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || port
            .is_some_and(|n| matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
}

/// `segment` with `suffix` before its extension, its stem cut so that all have room.
fn cut(segment: &str, suffix: &str) -> String {
    let dot = segment.rfind('.').filter(|&dot| dot > 0 && segment.len() - dot <= EXTENSION_MAX);
    let (stem, extension) = segment.split_at(dot.unwrap_or(segment.len()));
    let room = SEGMENT_MAX - suffix.len() - extension.len();
    format!("{}{suffix}{extension}", &stem[..stem.floor_char_boundary(room)])
}

fn numbered(path: &str, number: u32) -> String {
    let (folders, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    format!("{folders}{}", cut(name, &format!(" ({number})")))
}

/// The same for all names that some system takes for the same.
fn folded(path: &str) -> String {
    path.nfc().collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_kept_and_nothing_leads_out_of_them() {
        for (hostile, safe) in [
            ("holiday/2024/a.jpg", "holiday/2024/a.jpg"),
            ("/etc/passwd", "etc/passwd"),
            ("../../etc/passwd", "etc/passwd"),
            ("..\\..\\windows\\system32", "windows/system32"),
            ("C:\\a.txt", "C_/a.txt"),
            ("a//./b/../c", "a/b/c"),
            ("\\\\host\\share", "host/share"),
            (".bashrc", ".bashrc"),
            ("", "file"),
            ("../..", "file"),
            ("///", "file"),
            ("Müller – Größe 🎉.pdf", "Müller – Größe 🎉.pdf"),
        ] {
            assert_eq!(safe_path(hostile), safe, "{hostile}");
        }
    }

    #[test]
    fn what_a_system_forbids_or_a_screen_hides_becomes_an_underscore() {
        for (hostile, safe) in [
            ("a\0b\r\nc\u{85}.txt", "a_b__c_.txt"),
            ("<a>:\"b\"|?*.txt", "_a___b____.txt"),
            ("invoice\u{202e}fdp.exe", "invoice_fdp.exe"),
            ("\u{2066}a\u{2069}.txt", "_a_.txt"),
            ("a\u{2028}b", "a_b"),
            ("a. .", "a___"),
            ("...", "___"),
            (" ", "_"),
            ("dir. /b", "dir__/b"),
            ("con", "_con"),
            ("Nul.tar.gz", "_Nul.tar.gz"),
            ("lpt1 .txt", "_lpt1 .txt"),
            ("COM¹", "_COM¹"),
            ("console.txt", "console.txt"),
        ] {
            assert_eq!(safe_path(hostile), safe, "{hostile:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        let long = safe_path(&format!("{}.tar", "ü".repeat(200)));
        assert_eq!(long, format!("{}.tar", "ü".repeat(125)));
        assert_eq!(safe_path(&"🎉".repeat(100)), "🎉".repeat(63));
        assert_eq!(safe_path(&format!("a.{}", "b".repeat(400))), format!("a.{}", "b".repeat(253)));
        assert_eq!(safe_path(&format!("{} {}", "a".repeat(254), "b".repeat(9))), format!("{}_", "a".repeat(254)));
        let deep = safe_path(&format!("{}last.txt", "folder/".repeat(10_000)));
        assert!(deep.len() <= PATH_MAX && deep.starts_with("folder/") && deep.ends_with("/last.txt"));
    }

    #[test]
    fn a_file_name_is_the_last_segment() {
        assert_eq!(file_name("a/b\\c.txt"), "c.txt");
        assert_eq!(file_name("a/.."), "a");
        assert_eq!(file_name("/"), "file");
    }

    #[test]
    fn names_that_any_system_takes_for_the_same_are_numbered() {
        let names =
            ["a.txt", "A.TXT", "a (2).txt", "d/a.txt", "a.txt", "e\u{301}", "é", "d", "x", "x/y", "README", "readme"];
        assert_eq!(
            unique(names),
            [
                "a.txt",
                "A (2).TXT",
                "a (2) (2).txt",
                "d/a.txt",
                "a (3).txt",
                "e\u{301}",
                "é (2)",
                "d (2)",
                "x (2)",
                "x/y",
                "README",
                "readme (2)"
            ]
        );
        let long = "a".repeat(255);
        assert_eq!(unique([&*long, &*long])[1], format!("{} (2)", "a".repeat(251)));
    }

    #[test]
    fn ten_thousand_equal_names_are_told_apart_at_once() {
        let names = unique(std::iter::repeat_n("a.txt", 10_000));
        assert_eq!(names[9_999], "a (10000).txt");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 10_000);
    }

    /// Each pair has a name of its own until it is cut for its number.
    #[test]
    fn pairs_of_long_names_are_told_apart_at_once() {
        let pairs: Vec<String> = (0..10_000).map(|pair| format!("{}{pair:05}", "a".repeat(250))).collect();
        let begun = std::time::Instant::now();
        let names = unique(pairs.iter().flat_map(|name| [&**name, &**name]));
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 20_000);
        assert_eq!(names[3], format!("{}0 (3)", "a".repeat(250)));
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_disposition_names_the_file_twice_once_in_ascii() {
        for (name, header) in [
            ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
            ("Größe 5%.txt", "attachment; filename=\"Gr__e 5_.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%205%25.txt"),
            (
                "a\"; x=\".txt\r\nSet-Cookie: y",
                "attachment; filename=\"a_; x=_.txt__Set-Cookie_ y\"; filename*=UTF-8''",
            ),
            ("d\\e'(1)*.txt", "attachment; filename=\"e'(1)_.txt\"; filename*=UTF-8''e%27%281%29_.txt"),
        ] {
            assert!(content_disposition(name).starts_with(header), "{}", content_disposition(name));
        }
    }
}
