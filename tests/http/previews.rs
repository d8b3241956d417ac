//! Chat previews and mail scanners open every address they see; that must cost nothing.

use crate::client::base64url;
use crate::sender::{Plain, Sealed, Upload, bytes};
use crate::server::Server;

const BOTS: [&str; 15] = [
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "WhatsApp/2.23.20.0",
    "TelegramBot (like TwitterBot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "Mozilla/5.0 (compatible; MicrosoftPreview/2.0; +https://aka.ms/MicrosoftPreview)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 \
     Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "Mattermost-Bot/1.1",
    "Synapse (bot; +https://github.com/matrix-org/synapse)",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
];

on_both_stores! {
    fn looking_costs_nothing_whoever_looks(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(100_000));
        let upload = Upload::publish(&server, &sealed, 2);
        let plain = Plain::put(&server, "/a?downloads=2", b"x");
        let addresses = [
            format!("/s/{}", upload.id),
            format!("/s/{}/{}", upload.id, sealed.secret),
            format!("/s/{}", plain.id),
            plain.link(),
            format!("/r/{}", upload.id),
            format!("/r/{}/{}", upload.id, upload.owner),
            format!("/r/{}/{}", plain.id, plain.owner),
            upload.share(),
            format!("/api/v1/shares/{}", plain.id),
            format!("{}/claims", upload.share()),
            format!("/api/v1/receipts/{}", upload.id),
            upload.location.clone(),
        ];
        for bot in BOTS {
            for address in &addresses {
                for method in ["GET", "HEAD", "OPTIONS"] {
                    let request = server.request(method, address).header("User-Agent", bot).header("Accept", "*/*");
                    let answer = request.header("Range", "bytes=0-524287").send();
                    assert!(answer.status < 500, "{method} {address} as {bot}: {}", answer.status);
                }
            }
        }
        assert_eq!(upload.peek(&server, &sealed).is(200).json()["downloads_left"], 2);
        assert_eq!(plain.peek(&server).is(200).json()["downloads_left"], 2);
        for receipt in [upload.receipt(&server), plain.receipt(&server)] {
            assert_eq!((&receipt["state"], &receipt["wrong_proofs"]), (&"ready".into(), &0.into()));
            assert_eq!(receipt["claims"].as_array().unwrap().len(), 0);
        }
        for _ in 0..2 {
            let address = upload.claimed(&server, &sealed);
            sealed.assert_opens(&server.get(&address).send().is(200).body);
            assert_eq!(server.get(&plain.claimed(&server)).send().is(200).body, b"x");
        }
    }

    fn what_a_bot_is_shown_is_neutral(store) {
        let server = Server::start(store);
        let share = Plain::put(&server, "/secret-plans.pdf?note=meet-me-at-noon", b"x");
        for address in [share.link(), format!("/s/{}", share.id)] {
            let page = server.get(&address).header("User-Agent", BOTS[0]).send().is(200);
            let text = page.text();
            let text = text.split("<body").next().expect("it has a head");
            for word in ["og:", "twitter:", "secret-plans", "meet-me-at-noon"] {
                assert!(!text.contains(word), "{address} names {word}");
            }
            assert_eq!(page.the("x-robots-tag"), "noindex");
        }
    }

    fn a_scanner_with_the_proof_may_peek_for_ever(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(b"x");
        let upload = Upload::publish(&server, &sealed, 1);
        for _ in 0..50 {
            let answer = server.get(&upload.share()).bearer(&base64url(&sealed.keys.proof.0)).send().is(200);
            assert_eq!(answer.json()["downloads_left"], 1);
        }
        upload.claimed(&server, &sealed);
    }
}
