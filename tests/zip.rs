//! A laid-out zip, opened by other people's programs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use onetimeshare::zip::{Entry, Layout, Segment};

/// Checks names, contents, CRCs and modes of the zip `argv[1]` with Python's zipfile: it has `argv[2]` entries.
const PYTHON: &str = r"
import sys, zipfile
zip = zipfile.ZipFile(sys.argv[1])
assert zip.testzip() is None
infos = zip.infolist()
assert len(infos) == int(sys.argv[2]), len(infos)
for index, info in enumerate(infos):
    assert info.filename == f'Ordner {index % 7}/Größe {index}.txt', info.filename
    assert zip.read(info) == str(index).encode() * (index % 5)
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.external_attr >> 16 == 0o100644
";

fn write_zip(name: &str, count: usize) -> PathBuf {
    let contents: Vec<String> = (0..count).map(|i| i.to_string().repeat(i % 5)).collect();
    let entries: Vec<Entry> = contents
        .iter()
        .enumerate()
        .map(|(i, content)| Entry {
            name: format!("Ordner {}/Größe {i}.txt", i % 7),
            size: content.len() as u64,
            crc32: crc32fast::hash(content.as_bytes()),
        })
        .collect();
    let (layout, content) = (Layout::new(&entries), contents.concat());
    let mut zip = Vec::new();
    for segment in layout.slice(0..layout.len()) {
        match segment {
            Segment::Bytes(bytes) => zip.extend_from_slice(&bytes),
            Segment::Content(range) => {
                zip.extend_from_slice(&content.as_bytes()[range.start as usize..range.end as usize]);
            }
        }
    }
    assert_eq!(zip.len() as u64, layout.len());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, zip).unwrap();
    path
}

fn pythons_zipfile_reads(path: &PathBuf, count: usize) {
    let python = Command::new("python3").args(["-c", PYTHON]).arg(path).arg(count.to_string()).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
}

#[test]
fn python_and_unzip_read_every_file_with_folder_umlaut_and_empty_content() {
    let path = write_zip("small.zip", 20);
    pythons_zipfile_reads(&path, 20);
    // `unzip` is not on every machine; Python's word stands alone there.
    if let Ok(unzip) = Command::new("unzip").arg("-t").arg(&path).output() {
        assert!(unzip.status.success(), "{}", String::from_utf8_lossy(&unzip.stdout));
    }
}

#[test]
fn python_reads_more_files_than_a_zip_without_zip64_can_count() {
    for count in [65_534, 65_535, 70_000] {
        let path = write_zip(&format!("many-{count}.zip"), count);
        pythons_zipfile_reads(&path, count);
    }
}

/// Reads the directory of the sparse zip `argv[1]`, the small file behind the big one, and the big one's first byte.
const PYTHON_BIG: &str = r"
import sys, zipfile
zip = zipfile.ZipFile(sys.argv[1])
big, small = zip.infolist()
assert (big.filename, big.file_size, big.header_offset) == ('big', 5 << 30, 0)
assert small.header_offset == 30 + 3 + 20 + (5 << 30), small.header_offset
assert zip.read(small) == b'after'
assert zip.open(big).read(1) == b'\0'
";

#[test]
fn python_finds_a_file_behind_one_of_5_gib() {
    let big = Entry { name: "big".to_owned(), size: 5 << 30, crc32: 0 };
    let layout = Layout::new(&[big, Entry { name: "small".to_owned(), size: 5, crc32: crc32fast::hash(b"after") }]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("big.zip");
    let (file, mut at) = (File::create(&path).unwrap(), 0);
    for segment in layout.slice(0..layout.len()) {
        match segment {
            Segment::Bytes(bytes) => file.write_all_at(&bytes, at).map(|()| at += bytes.len() as u64).unwrap(),
            Segment::Content(range) if range.start == 0 => at += range.end,
            Segment::Content(_) => file.write_all_at(b"after", at).map(|()| at += 5).unwrap(),
        }
    }
    assert_eq!(at, layout.len());
    let python = Command::new("python3").args(["-c", PYTHON_BIG]).arg(&path).output().unwrap();
    fs::remove_file(&path).unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
}
