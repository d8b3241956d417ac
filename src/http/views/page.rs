//! What every page needs: the words of its language, and numbers, sizes and times as that language writes them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use askama::filters::{Html, HtmlSafe, escape};

use crate::http::assets;
use crate::share::Timestamp;
use crate::text::Lang;

/// Units of time, in seconds, with their texts.
const UNITS: [(u64, &str); 3] = [(24 * 3600, "days"), (3600, "hours"), (60, "minutes")];

/// What every page needs.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Where stylesheet, icon and scripts lie, without a closing slash: `/static/1a2b3c4d`.
    pub assets: &'a str,
    /// The time of the answer.
    pub now: Timestamp,
    /// The language that it speaks.
    pub lang: Lang,
}

impl Page<'_> {
    /// What a script needs at once, by path below `assets`.
    pub fn modules(&self, script: &str) -> Vec<String> {
        assets::imported(script, self.lang)
    }

    /// The text of a key.
    pub fn t(&self, key: &str) -> Words {
        Words::of(self.lang, self.lang.text(key))
    }

    /// The text of a key for `n` of something, with `{n}` filled.
    pub fn n(&self, key: &str, n: impl fmt::Display) -> Words {
        let n = n.to_string();
        Words::of(self.lang, self.lang.plural(key, n == "1")).with("n", n)
    }

    /// A time, as an element.
    pub fn time(&self, at: &Timestamp) -> Words {
        Words::of(self.lang, "{time}").at("time", at)
    }

    /// A duration in the largest unit that tells it well, rounded down: `45 seconds`, `1 day`, `36 hours`, `6 days`.
    pub fn span(&self, span: &Duration) -> Words {
        let seconds = span.as_secs();
        let unit = UNITS.into_iter().find(|(unit, _)| seconds >= 2 * unit || seconds == *unit);
        let (unit, key) = unit.unwrap_or((1, "seconds"));
        self.n(key, seconds / unit)
    }

    /// A duration in the largest unit that divides it: `1 day`, `36 hours`, `90 seconds`.
    pub fn exact(&self, span: &Duration) -> Words {
        let seconds = span.as_secs();
        let unit = UNITS.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
        let (unit, key) = unit.unwrap_or((1, "seconds"));
        self.n(key, seconds / unit)
    }

    /// How long is left, as a remark: `6 days left`.
    pub fn left(&self, until: &Timestamp) -> Words {
        self.t("left").with("span", self.span(&self.now.until(*until)))
    }

    /// Bytes, as people count them: `512 bytes`, `1.5 MiB`, `10 GiB`.
    pub fn size(&self, bytes: &u64) -> Words {
        let bytes = *bytes;
        if bytes < 1024 {
            return self.n("bytes", bytes);
        }
        let size = bytesize::ByteSize(bytes).display().iec().to_string().replace(".0 ", " ");
        self.number(size)
    }

    /// A duration that is short, in milliseconds: `0.8 ms`.
    pub fn latency(&self, latency: &Duration) -> Words {
        self.number(format!("{:.1} ms", latency.as_secs_f64() * 1000.0))
    }

    /// What was written with a decimal point, with the language's own.
    fn number(&self, number: String) -> Words {
        Words { html: Cow::Owned(number.replace('.', self.lang.text("number.point"))), lang: self.lang }
    }
}

/// A piece of a page: a text of `static/text`, which may hold `<strong>` and `<code>`, and what was put into it, escaped.
#[derive(Debug, Clone)]
pub struct Words {
    html: Cow<'static, str>,
    lang: Lang,
}

impl Words {
    pub(super) fn of(lang: Lang, text: &'static str) -> Self {
        Self { html: Cow::Borrowed(text), lang }
    }

    /// Fills the placeholder `{name}`.
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        let value = escape(value, Html).map_or_else(|never| match never {}, |value| value.to_string());
        self.html = Cow::Owned(self.html.replace(&format!("{{{name}}}"), &value));
        self
    }

    /// Fills the placeholder `{name}` with a time, as an element.
    pub fn at(mut self, name: &str, at: &Timestamp) -> Self {
        let element = format!("<time datetime=\"{at}\">{}</time>", moment(self.lang, *at));
        self.html = Cow::Owned(self.html.replace(&format!("{{{name}}}"), &element));
        self
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.html)
    }
}

/// The texts are the program's own, and [`Words::with`] escapes.
impl HtmlSafe for Words {}

/// A time for people, in UTC: `20 November 2026, 13:05 UTC`.
pub(super) fn moment(lang: Lang, at: Timestamp) -> String {
    // RFC 3339 is of fixed width: `2026-11-20T13:05:00.000Z`.
    let text = at.to_string();
    let month = text[5..7].parse::<usize>().ok().and_then(|month| month.checked_sub(1));
    let month = month.and_then(|month| lang.text("time.months").split(' ').nth(month));
    lang.text("time")
        .replace("{day}", text[8..10].trim_start_matches('0'))
        .replace("{month}", month.unwrap_or_default())
        .replace("{year}", &text[..4])
        .replace("{clock}", &text[11..16])
}
