use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;

/// Keys that the program puts together, by what they begin with.
const BUILT: &str = "problem.";

fn texts(lang: Lang) -> BTreeMap<String, String> {
    serde_json::from_str(lang.file()).unwrap()
}

fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).map(|rest| rest.split_once('}').expect("a brace that closes").0).collect()
}

/// The files below a folder whose names end so, by path.
fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(ending) && !name.contains("/vendor/") {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn code() -> BTreeMap<String, String> {
    let mut code = files("templates", ".html");
    code.extend(files("static", ".js"));
    code.extend(files("src/http", ".rs"));
    code
}

/// What stands in `call("…")`, with these quotes.
fn named<'a>(code: &'a str, call: &str, quote: char) -> Vec<&'a str> {
    let calls = code.match_indices(call).filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric()));
    calls.filter_map(|(at, _)| code[at + call.len()..].trim_start().strip_prefix(quote)?.split(quote).next()).collect()
}

#[test]
fn every_language_has_the_same_keys_and_placeholders() {
    let english = texts(Lang::En);
    assert!(english.len() > 50);
    for lang in Lang::ALL {
        let texts = texts(lang);
        assert_eq!(texts.keys().collect::<Vec<_>>(), english.keys().collect::<Vec<_>>(), "{lang}");
        for (key, text) in &texts {
            assert_eq!(placeholders(text), placeholders(&english[key]), "{lang}: {key}");
        }
    }
}

#[test]
fn every_file_names_a_key_once() {
    for lang in Lang::ALL {
        let lines = lang.file().lines().filter(|line| line.trim_start().starts_with('"')).count();
        assert_eq!(lines, texts(lang).len(), "{lang}: a key twice, or two on a line");
    }
}

#[test]
fn texts_may_go_into_a_page_as_they_are() {
    for lang in Lang::ALL {
        for (key, text) in texts(lang) {
            let plain = ["strong", "code"].iter().fold(text.clone(), |text, tag| {
                text.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), "")
            });
            assert!(!plain.contains(['<', '>', '&', '"']), "{lang}: {key}: {text}");
            assert!(!plain.is_empty() && plain.trim() == plain, "{lang}: {key}: {text}");
        }
    }
}

#[test]
fn every_plural_has_both_forms() {
    let texts = texts(Lang::En);
    for key in texts.keys() {
        for (one, other) in [(".one", ".other"), (".other", ".one")] {
            if let Some(stem) = key.strip_suffix(one) {
                assert!(texts.contains_key(&format!("{stem}{other}")), "{key}");
            }
        }
    }
}

#[test]
fn every_key_that_is_named_has_a_text() {
    let texts = texts(Lang::En);
    let has = |key: &str| texts.contains_key(key);
    let mut seen = 0;
    for (path, code) in code().into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let script = path.ends_with(".js");
        for key in named(&code, "t(", '"') {
            seen += 1;
            assert!(has(key) || script && has(&format!("{key}.other")), "{path}: {key}");
            let elements = texts.get(key).is_some_and(|text| text.contains('<'));
            assert!(!(script && elements), "{path}: {key} has elements, which a script would show as text");
        }
        for key in named(&code, "n(", '"').into_iter().filter(|_| !script) {
            seen += 1;
            assert!(has(&format!("{key}.other")), "{path}: {key}");
        }
        for literal in named(&code, "t(", '`') {
            let beginning = literal.split("${").next().unwrap();
            let whole = texts.keys().any(|key| key.starts_with(beginning)) && beginning.ends_with('.');
            assert!(whole, "{path}: `{beginning}` begins no key");
        }
    }
    assert!(seen > 50, "only {seen} keys were found: the check reads the code wrongly");
}

#[test]
fn every_text_is_used() {
    let code: Vec<String> = code().into_values().collect();
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let literals = code.iter().flat_map(|code| code.split('`').filter_map(|literal| literal.split_once("${")));
    let built = literals.map(|(beginning, _)| beginning).chain([BUILT]);
    let built: Vec<&str> = built.filter(|text| text.ends_with('.') && text.chars().all(in_key)).collect();
    for key in texts(Lang::En).into_keys() {
        let stem = key.strip_suffix(".one").or(key.strip_suffix(".other"));
        let named = |key: &str| code.iter().any(|code| code.contains(&format!("\"{key}\"")));
        let built = built.iter().any(|beginning| key.starts_with(beginning));
        assert!(built || named(&key) || stem.is_some_and(named), "nobody says {key}");
    }
}

#[test]
fn the_reader_chooses_the_language() {
    let cases = [
        ("", Lang::En),
        ("de", Lang::De),
        ("de-AT,de;q=0.9,en;q=0.8", Lang::De),
        ("en-GB,de;q=0.9", Lang::En),
        ("en;q=0.5, de;q=0.7", Lang::De),
        ("en;q=0.7, de;q=0.7", Lang::En),
        ("de;q=0.7, en;q=0.7", Lang::De),
        ("fr-FR, fr;q=0.9, de;q=0.2", Lang::De),
        ("fr, *;q=0.5", Lang::En),
        ("fr, *;q=0.5, de;q=0.4", Lang::En),
        ("de;q=0", Lang::En),
        ("DE", Lang::De),
        ("de ; q=0.3", Lang::De),
        ("deutsch", Lang::En),
        ("de;q=much", Lang::En),
        (";;,,=", Lang::En),
    ];
    for (accepted, lang) in cases {
        assert_eq!(Lang::preferred(accepted), lang, "{accepted}");
    }
}
