//! What pages load: where it lies, how long it keeps, how it is compressed, and how little the first page is.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::client::{Answer, Part};
use crate::sender::{Plain, unknown_id};
use crate::server::{Server, Store};

const FOREVER: &str = "public, max-age=31536000, immutable";

/// What a page loads, by address.
fn loaded(page: &str) -> BTreeSet<String> {
    let addresses = page.split(['"']).filter(|text| text.starts_with("/static/"));
    addresses.map(str::to_owned).collect()
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.the("content-encoding"), "gzip");
    let mut plain = Vec::new();
    GzDecoder::new(&*answer.body).read_to_end(&mut plain).unwrap();
    plain
}

fn media_type(address: &str) -> &'static str {
    match address.rsplit('.').next().unwrap() {
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        other => panic!("{other}"),
    }
}

#[test]
fn what_pages_load_is_typed_protected_and_never_asked_for_again() {
    let server = Server::start(Store::Embedded);
    let id = unknown_id();
    let mut addresses = BTreeSet::new();
    for (page, script) in
        [("/".to_string(), "/send.js"), (format!("/s/{id}"), "/receive.js"), (format!("/r/{id}"), "/receipt.js")]
    {
        for language in ["en", "de"] {
            let page = server.get(&page).header("Accept-Language", language).send().text();
            let loaded = loaded(&page);
            let ends = |end: &str| loaded.iter().any(|address| address.ends_with(end));
            assert!(
                ends(script) && ends("/app.css") && ends(&format!("/manifest.{language}.webmanifest")),
                "{loaded:?}"
            );
            addresses.extend(loaded);
        }
    }
    for address in addresses {
        let answer = server.get(&address).send().is(200);
        assert_eq!(answer.the("content-type"), media_type(&address), "{address}");
        assert_eq!(answer.the("cache-control"), FOREVER, "{address}");
        assert_eq!(answer.the("vary"), "Accept-Encoding", "{address}");
        assert_eq!(answer.the("x-content-type-options"), "nosniff", "{address}");
        assert_eq!(answer.the("cross-origin-resource-policy"), "same-origin", "{address}");
        let (_, path) = address.strip_prefix("/static/").unwrap().split_once('/').unwrap();
        let of_another_version = server.get(&format!("/static/00000000/{path}")).send().is(307);
        assert_eq!(of_another_version.the("cache-control"), "no-cache", "{path}");
        assert_eq!(of_another_version.the("location"), address, "{path}");
        server.head(&address).send().is(200);
    }
}

#[test]
fn workers_come_with_the_policy_that_they_run_under() {
    let server = Server::start(Store::Embedded);
    let page = server.get("/").send().text();
    let style = loaded(&page).into_iter().find(|address| address.ends_with("/app.css")).unwrap();
    let prefix = style.strip_suffix("/app.css").unwrap();
    let pages = server.get("/").send().the("content-security-policy").to_owned();
    let workers = ["/lib/upload.worker.js", "/lib/download.worker.js"].map(|path| format!("{prefix}{path}"));
    for address in workers.iter().map(String::as_str).chain(["/sw.js"]) {
        assert_eq!(server.get(address).send().is(200).the("content-security-policy"), pages, "{address}");
    }
    // A picture may be opened as a page.
    assert_eq!(server.get(&format!("{prefix}/icon.svg")).send().is(200).the("content-security-policy"), pages);
}

#[test]
fn what_is_no_asset_is_not_found() {
    let server = Server::start(Store::Embedded);
    let page = server.get("/").send().text();
    let style = loaded(&page).into_iter().find(|address| address.ends_with("/app.css")).unwrap();
    let prefix = style.strip_suffix("/app.css").unwrap();
    for path in ["/none.js", "/lib", "/lib/", "/text/en.json", "/openapi.yaml", "/../Cargo.toml", "/%2e%2e/Cargo.toml"]
    {
        server.get(&format!("{prefix}{path}")).send().is(404);
    }
    server.get("/static/app.css").send().is(404);
}

#[test]
fn assets_are_compressed_for_those_who_take_it() {
    let server = Server::start(Store::Embedded);
    let page = server.get("/").send().text();
    for address in loaded(&page) {
        let plain = server.get(&address).send().is(200);
        assert_eq!(plain.header("content-encoding"), None, "{address}");
        let refused = server.get(&address).header("Accept-Encoding", "gzip;q=0, br").send().is(200);
        assert_eq!(refused.header("content-encoding"), None, "{address}");
        let packed = server.get(&address).header("Accept-Encoding", "gzip, deflate, br").send().is(200);
        assert!(packed.body.len() <= plain.body.len(), "{address}");
        assert_eq!(packed.the("content-type"), plain.the("content-type"), "{address}");
        let text = media_type(&address).contains("charset") || address.ends_with(".webmanifest");
        if packed.header("content-encoding").is_some() || (text && plain.body.len() > 200) {
            assert_eq!(unpacked(&packed), plain.body, "{address}");
        }
    }
}

#[test]
fn the_first_page_and_all_that_it_loads_weigh_little() {
    let server = Server::start(Store::Embedded);
    for language in ["en", "de"] {
        let get = |address: &str| {
            let request = server.get(address).header("Accept-Encoding", "gzip").header("Accept-Language", language);
            request.send().is(200)
        };
        let page = get("/");
        let text = String::from_utf8(unpacked(&page)).unwrap();
        let weights = loaded(&text).into_iter().map(|address| (get(&address).body.len(), address));
        let mut weights: Vec<_> = weights.chain([(page.body.len(), "/".to_string())]).collect();
        weights.sort_unstable();
        let sum: usize = weights.iter().map(|(weight, _)| weight).sum();
        // Its service worker comes later, and its headers on top.
        assert!(sum <= 55_000, "{sum} bytes: {weights:#?}");
    }
}

#[test]
fn only_pages_without_secrets_are_compressed() {
    let server = Server::start(Store::Embedded);
    let share = Plain::put(&server, "/a", b"x");
    let browser = |address: &str| server.get(address).header("Accept", "text/html").header("Accept-Encoding", "gzip");
    for address in ["/".to_string(), format!("/s/{}", share.id), format!("/r/{}", share.id)] {
        let page = browser(&address).send().is(200);
        assert!(unpacked(&page).starts_with(b"<!doctype html>"), "{address}");
        assert_eq!(page.the("cache-control"), "no-store", "{address}");
        assert_eq!(server.get(&address).send().header("content-encoding"), None, "{address}");
    }
    for address in [share.link(), format!("/r/{}/{}", share.id, share.owner), "/nothing".into()] {
        assert_eq!(browser(&address).send().header("content-encoding"), None, "{address}");
    }
    let form = server.post("/").header("Accept", "text/html").header("Accept-Encoding", "gzip");
    let result = form.multipart(&[Part::file("a", b"x")]).send().is(201);
    assert_eq!(result.header("content-encoding"), None);
}

#[test]
fn the_service_worker_is_at_the_root_and_always_asked_for_anew() {
    let server = Server::start(Store::Embedded);
    let worker = server.get("/sw.js").send().is(200);
    assert_eq!(worker.the("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(worker.the("cache-control"), "no-cache");
    assert!(worker.the("content-security-policy").starts_with("default-src 'none'"));
    assert!(!worker.body.is_empty());
    assert_eq!(server.head("/sw.js").send().is(200).body, b"");
    server.post("/sw.js").body("x").send().expect(&[405]);
    // A file of that name is a share like any other.
    server.put("/sw.js").body("x").send().is(201);
    assert_eq!(server.get("/sw.js").send().is(200).body, worker.body);
}

#[test]
fn the_manifest_takes_in_what_phones_share() {
    let server = Server::start(Store::Embedded);
    for (language, word) in [("en", "once"), ("de", "einmal")] {
        let page = server.get("/").header("Accept-Language", language).send().text();
        let address = loaded(&page).into_iter().find(|address| address.ends_with(".webmanifest")).unwrap();
        assert!(page.contains(&format!("<link rel=\"manifest\" href=\"{address}\">")));
        let manifest = server.get(&address).send().is(200).json();
        assert_eq!(manifest["start_url"], "/");
        assert_eq!(manifest["display"], "standalone");
        assert!(manifest["description"].as_str().unwrap().contains(word), "{manifest}");
        let target = &manifest["share_target"];
        assert_eq!((&target["action"], &target["method"]), (&"/share-target".into(), &"POST".into()));
        assert_eq!(target["enctype"], "multipart/form-data");
        assert_eq!(target["params"]["files"][0]["name"], "file");
        let folder = address.rsplit_once('/').unwrap().0;
        for icon in manifest["icons"].as_array().unwrap() {
            let icon = format!("{folder}/{}", icon["src"].as_str().unwrap());
            assert!(server.get(&icon).send().is(200).body.len() < 16_000, "{icon}");
        }
    }
}
