//! What people read, in their language: `static/text/*.json`, one flat object of key and text per language.
//!
//! A text may have placeholders, `{name}`. One that depends on a number `n` is two: `key.one` for 1, `key.other` for the rest. Pages'
//! scripts read the same files. Knows neither pages nor requests.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

type Texts = HashMap<String, String>;

static ENGLISH: LazyLock<Texts> = LazyLock::new(|| parsed(Lang::En));
static GERMAN: LazyLock<Texts> = LazyLock::new(|| parsed(Lang::De));

/// A language that people are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English: what everybody gets who wants neither.
    #[default]
    En,
    /// German.
    De,
}

impl Lang {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::En, Self::De];

    /// The language that an `Accept-Language` header likes best (RFC 9110 §12.5.4); of equals, the first.
    pub fn preferred(accepted: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in accepted.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let primary = tag.split('-').next().unwrap_or_default().trim();
            let lang = Self::ALL.into_iter().find(|lang| primary.eq_ignore_ascii_case(lang.tag()));
            let Some(lang) = lang.or((primary == "*").then_some(Self::default())) else { continue };
            let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
            if weight > best.0 {
                best = (weight, lang);
            }
        }
        best.1
    }

    /// Its tag, as in `<html lang>`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
        }
    }

    /// The file of its texts.
    pub fn file(self) -> &'static str {
        match self {
            Self::En => include_str!("../static/text/en.json"),
            Self::De => include_str!("../static/text/de.json"),
        }
    }

    /// The text of a key; of one that is missing, which only a defect makes, nothing.
    pub fn text(self, key: &str) -> &'static str {
        let text = self.texts().get(key);
        debug_assert!(text.is_some(), "no text {key}");
        text.map_or("", String::as_str)
    }

    /// The text of a key that depends on a number, its placeholder `{n}` not yet filled.
    pub fn plural(self, key: &str, is_one: bool) -> &'static str {
        let text = self.texts().get(&format!("{key}.{}", if is_one { "one" } else { "other" }));
        debug_assert!(text.is_some(), "no text {key}.one or {key}.other");
        text.map_or("", String::as_str)
    }

    fn texts(self) -> &'static Texts {
        match self {
            Self::En => &ENGLISH,
            Self::De => &GERMAN,
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

/// The file is part of the program: one that does not parse fails the tests.
fn parsed(lang: Lang) -> Texts {
    serde_json::from_str(lang.file()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
