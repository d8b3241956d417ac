use std::io::Read;
use std::path::PathBuf;

use axum::http::HeaderValue;
use flate2::read::GzDecoder;

use super::*;

fn in_folder(folder: &str) -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("static");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() { names.extend(in_folder(&name)) } else { names.push(name) }
    }
    names
}

#[test]
fn every_file_is_served_or_is_known_not_to_be() {
    for name in in_folder("") {
        let other = name == "openapi.yaml"
            || name == "manifest.webmanifest"
            || name.ends_with(".json")
            || name.ends_with(".d.mts");
        assert_eq!(ASSETS.files.contains_key(&name), !other, "{name}: has its ending a media type?");
    }
}

#[test]
fn what_is_compressed_is_the_same_and_smaller() {
    let mut compressed = 0;
    for (path, asset) in &ASSETS.files {
        let Some(gzip) = asset.gzip() else { continue };
        let mut plain = Vec::new();
        GzDecoder::new(&**gzip).read_to_end(&mut plain).unwrap();
        assert!(plain == asset.plain && gzip.len() < plain.len(), "{path}");
        compressed += 1;
    }
    assert!(compressed > 5);
}

#[test]
fn the_manifests_icons_and_colours_are_those_of_the_pages() {
    let style = std::str::from_utf8(&ASSETS.files["app.css"].plain).unwrap();
    let papers: Vec<&str> = style.split("--paper: ").skip(1).map(|rest| rest.split(';').next().unwrap()).collect();
    for lang in Lang::ALL {
        let manifest = &ASSETS.files[&format!("manifest.{lang}.webmanifest")];
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.plain).unwrap();
        assert_eq!(manifest["lang"], lang.tag());
        assert_eq!(manifest["description"], lang.text("manifest.description"));
        for colour in ["background_color", "theme_color"] {
            assert_eq!(manifest[colour], papers[0]);
        }
        for icon in manifest["icons"].as_array().unwrap() {
            let path = icon["src"].as_str().unwrap();
            let file = &ASSETS.files[path];
            assert_eq!(icon["type"], file.media_type, "{path}");
            if file.media_type == "image/png" {
                // A PNG's first chunk tells width and height (PNG 3rd ed. §11.2.1).
                let side = u32::from_be_bytes(file.plain[16..20].try_into().unwrap());
                assert_eq!(file.plain[16..20], file.plain[20..24], "{path}");
                assert_eq!(icon["sizes"], format!("{side}x{side}"), "{path}");
            }
        }
    }
    let layout = include_str!("../../../templates/layout.html");
    for paper in papers {
        assert!(layout.contains(&format!("content=\"{paper}\"")), "a theme-color {paper}");
    }
}

#[test]
fn gzip_is_sent_to_those_that_take_it() {
    let cases = [
        ("gzip", true),
        ("gzip, deflate, br, zstd", true),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
        ("GZIP", true),
        ("", false),
        ("br", false),
        ("identity", false),
        ("gzip;q=0", false),
        ("gzip; q=0.000", false),
        ("br, gzipped", false),
    ];
    for (accepted, takes) in cases {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
        assert_eq!(takes_gzip(&headers), takes, "{accepted}");
    }
    assert!(!takes_gzip(&HeaderMap::new()));
}
