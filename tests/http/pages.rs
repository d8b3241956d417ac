//! Pages, errors, headers, and what the operator looks at.

use std::net::SocketAddr;

use crate::client::{Answer, Request};
use crate::sender::{Plain, Sealed, Upload, bytes, token, unknown_id};
use crate::server::{Server, Store, free_port};

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                   connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
                   frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types onetimeshare";

/// The headers that every page has.
#[track_caller]
fn assert_page(answer: &Answer) {
    assert!(answer.the("content-type").starts_with("text/html"), "{}", answer.the("content-type"));
    let headers = [
        ("content-security-policy", CSP),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-robots-tag", "noindex"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=(), clipboard-write=(self), web-share=(self)"),
    ];
    for (name, value) in headers {
        assert_eq!(answer.the(name).trim_end_matches(';'), value, "{name}");
    }
}

on_both_stores! {
    fn every_page_has_the_headers_of_a_page(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        let addresses = [
            "/".to_string(),
            format!("/s/{}", share.id),
            share.link(),
            format!("/r/{}", share.id),
            format!("/r/{}/{}", share.id, share.owner),
            "/status".into(),
            "/test-redis".into(),
        ];
        for address in addresses {
            let page = server.get(&address).header("Accept", "text/html").send().is(200);
            assert_page(&page);
            let head = server.head(&address).header("Accept", "text/html").send().is(200);
            assert!(head.body.is_empty());
            assert_page(&head);
        }
    }

    fn an_unknown_share_has_the_same_page_but_not_found(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/a", b"x");
        let known = server.get(&format!("/s/{}", share.id)).header("Accept", "text/html").send().is(200);
        let id = unknown_id();
        let unknown = server.get(&format!("/s/{id}")).header("Accept", "text/html").send().is(404);
        assert_page(&unknown);
        assert_eq!(known.text().replace(&share.id, "ID"), unknown.text().replace(&id, "ID"));
        if let Some(redis) = &server.redis {
            assert!(redis.keys(&format!("*{id}*")).is_empty(), "an unknown id makes no key");
        }
    }

    fn only_a_get_of_the_receive_page_of_a_live_share_is_a_hit(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100));
        let upload = Upload::publish(&server, &sealed, 1);
        let page = format!("/s/{}", upload.id);
        for _ in 0..3 {
            server.get(&page).send().is(200);
        }
        server.head(&page).send().is(200);
        server.request("OPTIONS", &page).send();
        server.get(&format!("{page}/{}", sealed.secret)).send().is(200);
        server.get(&upload.share()).send().is(200);
        upload.peek(&server, &sealed).is(200);
        assert_eq!(upload.receipt(&server)["opened"], 3);
        if let Some(redis) = &server.redis {
            let key = format!("share:{}:hits", upload.id);
            assert_eq!(redis.ask::<u64>(&["GET", &key]), 3);
            let (hits, share) = (redis.ask::<i64>(&["TTL", &key]), redis.ask::<i64>(&["TTL", &format!("share:{}", upload.id)]));
            assert!((share - 2..=share + 2).contains(&hits), "the share's TTL: {hits}, {share}");
        }
        upload.claimed(&server, &sealed);
        server.get(&page).send().is(404);
        assert_eq!(upload.receipt(&server)["opened"], 3, "it waits no more");
    }

    fn an_error_speaks_to_whoever_asked(store) {
        let server = Server::start(store);
        let id = unknown_id();
        let problem = server.get(&format!("/api/v1/shares/{id}")).send().is(404);
        problem.code();
        let link = format!("/s/{id}/{}", token());
        let page = server.post(&link).header("Accept", "text/html").form(&[]).send().is(404);
        assert_page(&page);
        for accept in [None, Some("*/*"), Some("text/plain")] {
            let mut request = server.post(&link).form(&[]);
            if let Some(accept) = accept {
                request = request.header("Accept", accept);
            }
            let line = request.send().is(404);
            assert!(line.the("content-type").starts_with("text/plain"), "{}", line.the("content-type"));
            assert_eq!(line.text().trim_end().lines().count(), 1, "{}", line.text());
        }
        let nowhere = server.get("/no/such/page").header("Accept", "text/html").send().is(404);
        assert_page(&nowhere);
        assert_eq!(server.get("/no/such/page").send().is(404).text().trim_end().lines().count(), 1);
        server.get("/api/v1/no-such-thing").send().is(404).code();
    }

    fn the_status_page_counts_its_visits(store) {
        let server = Server::start(store);
        let seen = |path: &str| {
            let page = server.get(path).send().is(200).text();
            let text: String = page.split('<').map(|rest| rest.split_once('>').map_or(rest, |(_, text)| text)).collect();
            let rest = text.split("seen ").nth(1).unwrap_or_else(|| panic!("no count in {text}"));
            let number = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().expect("a number");
            (number, text)
        };
        let (first, text) = seen("/status");
        let word = if store == Store::Redis { "redis" } else { "embedded" };
        assert!(text.to_lowercase().contains(word), "it says which store: {text}");
        assert!(text.contains("ms"), "it says the latency: {text}");
        assert_eq!(seen("/test-redis").0, first + 1);
        server.head("/status").send().is(200);
        assert_eq!(seen("/status").0, first + 2, "HEAD counts nothing");
    }

    fn a_ready_server_says_so(store) {
        let server = Server::start(store);
        for path in ["/healthz", "/readyz"] {
            server.get(path).send().is(200);
            assert!(server.head(path).send().is(200).body.is_empty());
        }
    }

    fn a_state_is_not_changed_from_another_site(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(b"x");
        let upload = Upload::publish(&server, &sealed, 1);
        let plain = Plain::put(&server, "/a", b"x");
        let foreign = |request: Request| request.header("Sec-Fetch-Site", "cross-site").send();
        let requests = [
            server.post("/").multipart(&[crate::client::Part::file("a", b"x")]),
            server.put("/a").body("x"),
            server.post(&plain.link()).form(&[]),
            server.post(&format!("/r/{}/{}", plain.id, plain.owner)).form(&[]),
            server.delete(&format!("/r/{}/{}", plain.id, plain.owner)),
            server.delete(&upload.share()).bearer(&upload.owner),
            upload.claim(&server, &sealed, &token()),
            crate::sender::creation(&server, &sealed, &sealed.metadata(1)),
        ];
        for request in requests {
            foreign(request).is(403);
        }
        foreign(server.get(&plain.link())).is(200);
        foreign(server.get(&format!("/s/{}", upload.id))).is(200);
        assert_eq!(upload.state(&server), "ready");
        assert_eq!(plain.receipt(&server)["state"], "ready");
        for site in ["same-origin", "same-site", "none"] {
            server.put("/a").header("Sec-Fetch-Site", site).body("x").send().is(201);
        }
    }

    fn who_is_refused_while_still_sending_hears_of_it(store) {
        let server = Server::start(store);
        for _ in 0..20 {
            server.put("/a").header("Sec-Fetch-Site", "cross-site").body(vec![7; 20_000_000]).send().is(403);
        }
    }

    fn wrong_methods_are_told_which_are_right(store) {
        let server = Server::start(store);
        let (id, token) = (unknown_id(), token());
        let wrong = [
            ("DELETE", "/".to_string()),
            ("PATCH", "/".into()),
            ("POST", format!("/s/{id}")),
            ("PUT", format!("/s/{id}/{token}")),
            ("DELETE", format!("/s/{id}/{token}")),
            ("POST", "/status".into()),
            ("POST", "/healthz".into()),
            ("POST", "/api/v1/config".into()),
            ("GET", "/api/v1/uploads".into()),
            ("POST", format!("/api/v1/shares/{id}")),
            ("PUT", format!("/api/v1/shares/{id}/claims/{token}")),
            ("POST", format!("/api/v1/receipts/{id}")),
        ];
        for (method, path) in wrong {
            let answer = server.request(method, &path).body("").send();
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            assert!(!answer.the("allow").is_empty(), "{method} {path}");
        }
        assert_eq!(server.delete("/a.txt").send().is(405).the("allow"), "PUT", "GET is 404 there");
        server.get("/a.txt").send().is(404);
    }
}

#[test]
fn a_share_target_that_reaches_the_server_leads_home() {
    let server = Server::start(Store::Embedded);
    for site in ["none", "cross-site"] {
        let request = server.post("/share-target").header("Sec-Fetch-Site", site);
        let answer = request.multipart(&[crate::client::Part::file("a", b"x")]).send().is(303);
        let location = answer.the("location");
        assert_eq!(location.strip_prefix(&server.origin()).unwrap_or(&location), "/");
    }
    // Its body is unread: the answer comes before the body does.
    let sending = server.post("/share-target").begin("Content-Length: 1000000000");
    sending.answer().unwrap().is(303);
}

#[test]
fn the_interface_is_described() {
    let server = Server::start(Store::Embedded);
    let answer = server.get("/api/v1/openapi.yaml").send().is(200);
    let text = answer.text();
    assert!(text.starts_with("openapi:") || text.contains("\nopenapi:"), "{text}");
    for path in [
        "/api/v1/config",
        "/api/v1/uploads",
        "/api/v1/shares/{id}",
        "/api/v1/shares/{id}/claims",
        "/api/v1/receipts/{id}",
    ] {
        assert!(text.contains(path), "{path}");
    }
    server.head("/api/v1/openapi.yaml").send().is(200);
}

#[test]
fn everything_that_a_page_asks_for_is_there() {
    let server = Server::start(Store::Embedded);
    let page = server.get("/").header("Accept", "text/html").send().is(200).text();
    let mut found = 0;
    for attribute in ["href=\"", "src=\""] {
        for rest in page.split(attribute).skip(1) {
            let address = rest.split('"').next().unwrap();
            if address.starts_with('/') {
                let answer = server.get(address).header("Accept", "text/html").send();
                assert_eq!(answer.status, 200, "{address}");
                found += 1;
            } else {
                assert!(!address.starts_with("http"), "nothing comes from elsewhere: {address}");
            }
        }
    }
    assert!(found >= 2, "a style sheet and a script");
    assert!(
        !page.contains(" style=\"") && !page.contains("<style") && !page.contains(" onclick="),
        "the CSP forbids it"
    );
}

#[test]
fn metrics_are_served_on_their_own_address_only() {
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Server::with(Store::Embedded, &["--metrics-listen", &metrics.to_string()]);
    let share = Plain::put(&server, "/a", b"x");
    server.get(&share.claimed(&server)).send().is(200);
    server.get("/metrics").send().expect(&[404, 405]);
    let told = Request::new(metrics, "GET", "/metrics").send().is(200).text();
    assert!(told.contains("# TYPE onetimeshare_"), "{told}");
    for word in [&share.id, &share.secret, &share.owner] {
        assert!(!told.contains(word), "an id or a token among the metrics");
    }
}

#[test]
fn behind_a_trusted_proxy_links_and_limits_follow_the_client() {
    let server =
        Server::with(Store::Embedded, &["--trusted-proxies", "127.0.0.0/8", "--public-url", "https://share.example"]);
    let answer = server.put("/a").header("Share-Password", "right").body("x").send().is(201);
    let link = answer.text().trim_end().to_string();
    assert!(link.starts_with("https://share.example/s/"), "{link}");
    assert!(answer.the("receipt").starts_with("https://share.example/r/"));
    let path = link.strip_prefix("https://share.example").unwrap();
    let guess =
        |client: &str| server.post(path).header("X-Forwarded-For", client).form(&[("password", "wrong")]).send().status;
    for _ in 0..10 {
        assert_eq!(guess("192.0.2.1"), 403);
    }
    assert_eq!(guess("192.0.2.1"), 429);
    assert_eq!(guess("192.0.2.2"), 403, "another network");
    assert_eq!(guess("2001:db8::1"), 403);
}

#[test]
fn a_forwarded_address_from_nobody_trusted_means_nothing() {
    let server = Server::start(Store::Embedded);
    let share = Plain::made(&server, &server.put("/a").header("Share-Password", "right").body("x").send());
    let guess = |number: usize| {
        let request = server.post(&share.link()).header("X-Forwarded-For", format!("192.0.2.{number}"));
        request.form(&[("password", "wrong")]).send().status
    };
    assert_eq!((0..10).map(guess).collect::<Vec<_>>(), [403; 10]);
    assert_eq!(guess(11), 429);
}

#[test]
fn looking_at_what_ended_is_no_guess_and_tells_nothing() {
    let server = Server::start(Store::Embedded);
    let share = Plain::made(&server, &server.put("/a").header("Share-Password", "right").body("x").send());
    let claim = token();
    let take = |password: &str| server.post(&share.link()).form(&[("claim", &claim), ("password", password)]).send();
    take("right").is(303);
    for _ in 0..12 {
        server.get(&share.link()).send().is(404);
        server.post(&share.link()).form(&[("claim", "")]).send().is(404);
    }
    // The claim's own repeat is still answered.
    take("right").is(303);
}
