use std::collections::BTreeMap;

use super::page::moment;
use super::*;
use crate::http::assets;
use crate::text::Lang;

const NOW: Timestamp = Timestamp(1_795_179_900_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const PAGE: Page<'static> = Page { assets: "/static/1a2b3c4d", now: NOW, lang: Lang::En };
const SEITE: Page<'static> = Page { lang: Lang::De, ..PAGE };
const LINK: &str = "https://send.example.org/s/0e4f7c1fb5b14d0c9f0d7a3b2c1d0e9f/Zm9vYmFyYmF6cXV4MTIzNA";
const RECEIPT: &str = "https://send.example.org/r/0e4f7c1fb5b14d0c9f0d7a3b2c1d0e9f/b3duZXJvd25lcm93bmVyMQ";
const HOSTILE: &[File<'static>] = &[
    File { name: "<script>alert(1)</script>.pdf", size: 1 },
    File { name: "\"onmouseover='x'\".txt", size: 2048 },
    File { name: "photo\u{202e}gpj.exe", size: 5_000_000 },
    File { name: "Projekt/Entwürfe/家族の写真/👩‍👩‍👧‍👦 Ausflug.heic", size: 1 << 33 },
    File {
        name: "a/very_long_name_without_any_place_to_break_it_so_that_it_must_be_broken_anywhere_and_still_be_read_whole_2026.tar.zst",
        size: 123_456_789,
    },
    File { name: "שלום עולם.docx", size: 0 },
];

fn ago(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 - i64::try_from(seconds).unwrap() * 1000)
}

fn send(page: Page<'static>) -> Send<'static> {
    Send {
        page,
        public_url: "https://send.example.org",
        max_size: 10 << 30,
        default_expires_in: DAY,
        max_expires_in: 7 * DAY,
        max_downloads: 100,
        upload_part: 16 << 20,
    }
}

fn receive<'a>(page: Page<'a>, contents: Contents<'a>) -> Receive<'a> {
    Receive { page, claim: Token::from_bytes([1; 16]), size: 8_700_000, expires_at: NOW.after(6 * DAY), contents }
}

fn claim(taken: u64, lease: u64, finished: Option<u64>, served: u64) -> Claim {
    Claim { claimed_at: ago(taken), lease_expires_at: ago(lease), finished_at: finished.map(ago), served }
}

fn history(downloads: u32, claims: Vec<Claim>) -> History {
    History {
        created_at: ago(7200),
        window_ends_at: NOW,
        abandoned_at: None,
        expires_at: Some(NOW.after(DAY)),
        revoked_at: None,
        downloads,
        size: 1,
        opened: 3,
        wrong_proofs: 0,
        claims,
    }
}

/// Every page in every variant and language, by a name for its file.
fn pages() -> Vec<(String, String)> {
    let german = pages_of(SEITE).into_iter().map(|(name, html)| (format!("{name}.de"), html));
    pages_of(PAGE).into_iter().chain(german).collect()
}

fn pages_of(page: Page<'static>) -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = vec![];
    let mut add = |name: &str, page: askama::Result<String>| pages.push((name.to_owned(), page.unwrap()));

    add("send", send(page).render());
    let sent = |downloads, password| Sent {
        page,
        link: LINK,
        receipt: RECEIPT,
        expires_at: NOW.after(DAY),
        downloads,
        password,
    };
    add("result", sent(1, false).render());
    add("result-password", sent(5, true).render());
    add("sealed", Sealed { page }.render());

    let one = [File { name: "report.pdf", size: 218_400 }];
    let note = "Hi Ada,\nhere it is. <b>Read it soon</b>.";
    add("receive", receive(page, Contents::Open { files: &one, note, downloads_left: 1 }).render());
    add("receive-hostile", receive(page, Contents::Open { files: HOSTILE, note: "", downloads_left: 3 }).render());
    let many: Vec<String> = (0..40).map(|n| format!("scans/page-{n:02}.tif")).collect();
    let many: Vec<File<'_>> = many.iter().map(|name| File { name, size: 40_000 }).collect();
    add("receive-many", receive(page, Contents::Open { files: &many, note, downloads_left: 1 }).render());
    for (name, attempt) in
        [("locked", Attempt::First), ("wrong", Attempt::Wrong), ("wait", Attempt::TooMany(Duration::from_secs(42)))]
    {
        add(&format!("receive-{name}"), receive(page, Contents::Locked(attempt)).render());
    }
    for state in [State::Claimed, State::Finished, State::Expired, State::Revoked, State::Lapsed] {
        let gone = Gone { page, ended: Ended { state, at: ago(5000) } };
        add(&format!("gone-{}", state.word()), gone.render());
    }

    let finished = claim(3000, 2000, Some(2900), 8_700_000);
    let lapsed = claim(1800, 900, None, 4_100_000);
    let running = Claim { lease_expires_at: NOW.after(Duration::from_secs(600)), ..claim(60, 0, None, 2_000_000) };
    let receipts = [
        ("waiting", history(1, vec![])),
        ("more", History { wrong_proofs: 2, ..history(3, vec![finished, lapsed]) }),
        ("finished", history(1, vec![finished])),
        ("lapsed", history(1, vec![lapsed])),
        ("sent", history(1, vec![claim(1800, 900, None, 8_700_000)])),
        ("claimed", history(1, vec![running])),
        ("expired", History { expires_at: Some(ago(60)), opened: 0, ..history(1, vec![]) }),
        ("revoked", History { revoked_at: Some(ago(60)), wrong_proofs: 1, ..history(1, vec![]) }),
        ("uploading", History { expires_at: None, window_ends_at: NOW.after(DAY), opened: 0, ..history(1, vec![]) }),
        ("abandoned", History { expires_at: None, opened: 0, ..history(1, vec![]) }),
    ];
    for (name, history) in &receipts {
        add(&format!("receipt-{name}"), Receipt { page, history, size: 8_700_000 }.render());
    }
    add("sealed-receipt", SealedReceipt { page }.render());

    let answer = Some(Answer { seen: 1234, latency: Duration::from_micros(840) });
    add("status", Status { page, store: "embedded", version: "0.1.0", answer }.render());
    add("status-down", Status { page, store: "Redis", version: "0.1.0", answer: None }.render());
    let failure = Failure {
        page,
        title: "That is too large",
        happened: "This server takes 10 GiB at most.",
        advice: "Send less at once, or ask whoever runs this server.",
    };
    add("error", failure.render());
    pages
}

fn page(name: &str) -> String {
    pages().into_iter().find(|(n, _)| n == name).unwrap().1
}

/// The start tags of a page.
fn tags(html: &str) -> Vec<&str> {
    let starts = html.split('<').skip(1).filter(|tag| tag.starts_with(|c: char| c.is_ascii_alphabetic()));
    starts.filter_map(|tag| tag.split('>').next()).collect()
}

/// The value of a tag's attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

/// Writes the pages where `PAGES_DIR` says, to be looked at.
#[test]
fn every_page_renders() {
    let pages = pages();
    assert!(pages.len() > 20);
    if let Some(dir) = std::env::var_os("PAGES_DIR") {
        let assets = std::path::Path::new(&dir).join("static/1a2b3c4d");
        std::fs::create_dir_all(&assets).unwrap();
        for file in ["app.css", "icon.svg"] {
            std::fs::copy(std::path::Path::new("static").join(file), assets.join(file)).unwrap();
        }
        for (name, html) in &pages {
            std::fs::write(std::path::Path::new(&dir).join(format!("{name}.html")), html).unwrap();
        }
    }
}

#[test]
fn no_page_has_inline_scripts_or_styles_or_asks_another_host() {
    for (name, html) in pages() {
        for tag in tags(&html) {
            assert!(!tag.starts_with("script") || attribute(tag, "src").is_some(), "{name}: <{tag}");
            assert!(!tag.starts_with("style"), "{name}: <{tag}");
            assert!(attribute(tag, "style").is_none(), "{name}: <{tag}");
            let handler = tag.split_ascii_whitespace().skip(1).any(|word| word.starts_with("on") && word.contains('='));
            assert!(!handler, "{name}: <{tag}");
            for address in ["src", "href", "action"].into_iter().filter_map(|a| attribute(tag, a)) {
                let own = address.starts_with('/') || address.starts_with('#') || [LINK, RECEIPT].contains(&address);
                assert!(own, "{name}: {address}");
            }
        }
        assert_eq!(html.matches("<script").count(), html.matches("></script>").count(), "{name}: a script with words");
        assert!(!html.contains("og:"), "{name}");
    }
}

#[test]
fn every_page_has_one_heading_one_main_a_language_and_a_neutral_title() {
    for (name, html) in pages() {
        let german = name.ends_with(".de");
        let lang = if german { "<html lang=\"de\">" } else { "<html lang=\"en\">" };
        // A template is shown in place of the page's own view, if ever.
        let shown: String = html.split("<template").map(|rest| rest.rsplit("</template>").next().unwrap()).collect();
        assert!(shown.contains("<h1"), "{name}");
        for template in html.split("<template").skip(1).filter_map(|rest| rest.split("</template>").next()) {
            assert!(template.matches("<h1").count() <= 1, "{name}: {template}");
        }
        for once in ["<h1", "<main ", lang, "<title>", "content=\"noindex\"", "content=\"light dark\""] {
            assert_eq!(shown.matches(once).count(), 1, "{name}: {once}");
        }
        let title = html.split_once("<title>").unwrap().1.split("</title>").next().unwrap();
        let titles = if german {
            ["Eine Datei für dich", "Fehler: Eine Datei für dich", "Bereit zum Abholen", "Quittung"]
        } else {
            ["A file for you", "Error: A file for you", "Ready to be taken", "Receipt"]
        };
        let others = ["OneTimeShare", "Status", "That is too large"];
        assert!(titles.contains(&title) || others.contains(&title), "{name}: {title}");
    }
}

#[test]
fn every_control_has_a_label_and_every_reference_an_id() {
    for (name, html) in pages() {
        let tags = tags(&html);
        let ids: Vec<&str> = tags.iter().filter_map(|tag| attribute(tag, "id")).collect();
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{name}: an id twice");
        for tag in &tags {
            let control = ["input ", "select ", "textarea "].iter().any(|t| tag.starts_with(t));
            if control && attribute(tag, "type") != Some("hidden") {
                let id = attribute(tag, "id");
                let mut labels = tags.iter().filter(|tag| tag.starts_with("label "));
                assert!(id.is_some() && labels.any(|label| attribute(label, "for") == id), "{name}: <{tag}");
            }
            for reference in ["for", "aria-describedby", "aria-labelledby"] {
                if let Some(id) = attribute(tag, reference) {
                    assert!(ids.contains(&id), "{name}: {reference}={id}");
                }
            }
        }
    }
}

#[test]
fn a_page_of_a_script_loads_its_modules_at_once() {
    for (page, script) in [("send", "send.js"), ("sealed", "receive.js"), ("sealed-receipt", "receipt.js")] {
        for (name, lang) in [(page.to_owned(), Lang::En), (format!("{page}.de"), Lang::De)] {
            let html = self::page(&name);
            let tags = tags(&html);
            let with = |kind: &str, name| -> Vec<&str> {
                tags.iter().filter(|tag| tag.starts_with(kind)).filter_map(|tag| attribute(tag, name)).collect()
            };
            assert_eq!(with("script type=\"module\"", "src"), [format!("/static/1a2b3c4d/{script}")], "{name}");
            let modules: Vec<String> =
                assets::imported(script, lang).iter().map(|module| format!("/static/1a2b3c4d/{module}")).collect();
            assert_eq!(with("link rel=\"modulepreload\"", "href"), modules, "{name}");
        }
    }
    for (name, html) in pages().iter().filter(|(_, html)| html.contains("<script")) {
        let known = ["send", "sealed", "sealed-receipt"].contains(&name.trim_end_matches(".de"));
        assert!(known && html.matches("<script").count() == 1, "{name}");
    }
}

#[test]
fn hostile_names_are_escaped_and_cannot_disguise_themselves() {
    let html = page("receive-hostile");
    assert!(html.contains("&#60;script&#62;alert(1)&#60;/") && html.contains("script&#62;.pdf"));
    assert!(html.contains("&#34;onmouseover=&#39;x&#39;&#34;.txt"));
    assert!(!html.contains("<script") && !html.contains('\u{202e}'));
    assert!(html.contains("photo\u{fffd}gpj.exe"));
    assert!(html.contains("Projekt/Entwürfe/家族の写真/</bdi></span><wbr><bdi dir=\"ltr\">👩‍👩‍👧‍👦 Ausflug.heic</bdi>"));
    assert!(page("receive").contains("here it is. &#60;b&#62;Read it soon"));
}

#[test]
fn a_locked_share_shows_no_names() {
    for name in ["receive-locked", "receive-wrong", "receive-wait"] {
        assert!(!page(name).contains("<bdi"), "{name}");
    }
}

#[test]
fn a_wrong_password_is_told_at_its_field() {
    for name in ["receive-wrong", "receive-wait"] {
        let html = page(name);
        let tag = *tags(&html).iter().find(|tag| attribute(tag, "name") == Some("password")).unwrap();
        assert_eq!(attribute(tag, "aria-invalid"), Some("true"), "{name}");
        assert_eq!(attribute(tag, "aria-describedby"), Some("password-error"), "{name}");
    }
    assert!(!page("receive-locked").contains("aria-invalid"));
}

#[test]
fn the_form_sends_its_options_before_the_files() {
    let html = page("send");
    let names: Vec<&str> = tags(&html).iter().filter_map(|tag| attribute(tag, "name")).collect();
    let form = ["password", "expires_in", "downloads", "note", "file", "text"];
    assert_eq!(names.into_iter().filter(|name| form.contains(name)).collect::<Vec<_>>(), form);
}

#[test]
fn only_a_waiting_share_is_kept_and_can_be_revoked() {
    for (name, html) in pages().iter().filter(|(name, _)| name.starts_with("receipt-")) {
        let waits = ["receipt-waiting", "receipt-more"].contains(&name.trim_end_matches(".de"));
        assert_eq!(html.contains("id=\"revoke\""), waits, "{name}");
        assert_eq!(html.contains("Kept until") || html.contains("Wartet bis"), waits, "{name}");
    }
}

#[test]
fn lifetimes_stay_below_the_maximum_and_include_it() {
    let words = |default, max| -> Vec<String> {
        let send = Send { default_expires_in: default, max_expires_in: max, ..send(PAGE) };
        send.lifetimes().into_iter().map(|lifetime| PAGE.exact(&lifetime).to_string()).collect()
    };
    assert_eq!(words(DAY, 7 * DAY), ["5 minutes", "1 hour", "1 day", "7 days"]);
    assert_eq!(words(DAY, 3 * DAY), ["5 minutes", "1 hour", "1 day", "3 days"]);
    assert_eq!(words(DAY, Duration::from_secs(60)), ["1 minute"]);
    assert_eq!(words(2 * DAY, 30 * DAY), ["5 minutes", "1 hour", "1 day", "2 days", "7 days", "30 days"]);
    assert_eq!(
        words(DAY, 7 * DAY + Duration::from_secs(3600)),
        ["5 minutes", "1 hour", "1 day", "7 days", "169 hours"]
    );
    assert_eq!(page("send").matches(" selected").count(), 1);
    assert!(page("send").contains("<option value=\"86400\" selected>1 day</option>"));
}

#[test]
fn the_result_shows_the_line_for_a_terminal() {
    assert!(page("result").contains(&format!("curl -fOJL -d &#39;&#39; {LINK}<")));
    assert!(page("result-password").contains(&format!("--data-urlencode &#39;password=PASSWORD&#39; {LINK}<")));
}

#[test]
fn sizes_are_told_in_words() {
    let told = [0, 1, 1023, 1024, 1536, 218_400, 10 << 30, u64::MAX].map(|size| PAGE.size(&size).to_string());
    assert_eq!(told, ["0 bytes", "1 byte", "1023 bytes", "1 KiB", "1.5 KiB", "213.3 KiB", "10 GiB", "16 EiB"]);
}

#[test]
fn durations_are_told_in_words() {
    let told = [0, 1, 59, 60, 90, 120, 3600, 5400, 86_400, 129_600, 600_000]
        .map(|s| PAGE.span(&Duration::from_secs(s)).to_string());
    let words = [
        "0 seconds",
        "1 second",
        "59 seconds",
        "1 minute",
        "90 seconds",
        "2 minutes",
        "1 hour",
        "90 minutes",
        "1 day",
        "36 hours",
        "6 days",
    ];
    assert_eq!(told, words);
}

#[test]
fn times_are_told_in_words() {
    assert_eq!(moment(Lang::En, Timestamp(0)), "1 January 1970, 00:00\u{a0}UTC");
    assert_eq!(moment(Lang::En, NOW), "20 November 2026, 13:05\u{a0}UTC");
    assert!(
        page("result").contains("<time datetime=\"2026-11-21T13:05:00.000Z\">21 November 2026, 13:05\u{a0}UTC</time>")
    );
}

#[test]
fn german_pages_write_numbers_and_times_the_german_way() {
    let size = |bytes: u64| SEITE.size(&bytes).to_string();
    assert_eq!([1, 512, 1536, 3 << 29].map(size), ["1 Byte", "512 Byte", "1,5 KiB", "1,5 GiB"]);
    let span = |seconds| SEITE.span(&Duration::from_secs(seconds)).to_string();
    assert_eq!(
        [1, 120, 5400, 129_600, 600_000].map(span),
        ["1 Sekunde", "2 Minuten", "90 Minuten", "36 Stunden", "6 Tage"]
    );
    assert_eq!(moment(Lang::De, NOW), "20. November 2026, 13:05\u{a0}UTC");
    assert_eq!(moment(Lang::De, Timestamp(5_270_400_000)), "3. März 1970, 00:00\u{a0}UTC");
    assert_eq!(SEITE.left(&NOW.after(6 * DAY)).to_string(), "noch 6 Tage");
    assert!(page("status.de").contains("in 0,8 ms"));
}

#[test]
fn german_pages_say_nothing_in_english() {
    let texts = |lang: Lang| serde_json::from_str::<BTreeMap<String, String>>(lang.file()).unwrap();
    let (english, german) = (texts(Lang::En), texts(Lang::De));
    let (pages, mut said) = (pages(), 0);
    for (key, text) in
        english.iter().filter(|(key, text)| german[*key] != **text && text.len() > 1 && !text.contains('{'))
    {
        for (name, html) in &pages {
            let between = [("<", ">"), ("\"", "\"")].map(|(after, before)| format!("{before}{text}{after}"));
            let says = between.iter().any(|text| html.contains(text));
            said += usize::from(says);
            assert!(!says || !name.ends_with(".de"), "{name} says {key}: {text}");
        }
    }
    assert!(said > 100, "only {said} texts were found");
}

#[test]
fn what_fills_a_text_is_escaped() {
    let words = Words::of(Lang::En, "a <strong>b</strong> {name}").with("name", "<i>\"&");
    assert_eq!(words.to_string(), "a <strong>b</strong> &#60;i&#62;&#34;&#38;");
}

/// The contrast of two colours, each `#rgb` or `#rrggbb` (WCAG 2.2, "contrast ratio").
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let digits = colour.trim_start_matches('#');
        let wide = if digits.len() == 3 { digits.chars().flat_map(|c| [c, c]).collect() } else { digits.to_owned() };
        let linear = |at: usize| {
            let part = f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(0) + 0.7152 * linear(2) + 0.0722 * linear(4)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn both_themes_have_enough_contrast() {
    let css = include_str!("../../../static/app.css");
    let themes: Vec<&str> = css.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    assert_eq!(themes.len(), 2);
    for theme in themes {
        let colour = |name: &str| theme.split_once(&format!("--{name}: ")).unwrap().1.split(';').next().unwrap();
        let check = |front: &str, back: &str, least: f64| {
            let ratio = contrast(colour(front), colour(back));
            assert!(ratio >= least, "{front} {} on {back} {}: {ratio:.2}", colour(front), colour(back));
        };
        for ground in ["paper", "card", "well"] {
            for text in ["ink", "soft", "accent", "accent-deep", "bad"] {
                check(text, ground, 4.5);
            }
            check("edge", ground, 3.0);
        }
        check("on-accent", "accent", 4.5);
        check("on-accent", "accent-deep", 4.5);
    }
    assert!((contrast("#fff", "#000000") - 21.0).abs() < 1e-9);
}
