//! Pages follow the reader's language; what programs read does not.

use crate::client::Part;
use crate::sender::{Plain, token, unknown_id};
use crate::server::{Server, Store};

#[test]
fn every_page_speaks_the_readers_language() {
    let server = Server::start(Store::Embedded);
    let share = Plain::put(&server, "/a", b"x");
    let addresses = [
        ("/".to_string(), "Send a file once.", "Einmal senden."),
        (format!("/s/{}", share.id), "A file for you", "Eine Datei für dich"),
        (share.link(), "A file for you", "Eine Datei für dich"),
        (format!("/r/{}", share.id), "Receipt", "Quittung"),
        (format!("/r/{}/{}", share.id, share.owner), "Receipt", "Quittung"),
        ("/status".into(), "All is well.", "Alles in Ordnung."),
        ("/nothing".into(), "Nothing here", "Hier ist nichts"),
        (format!("/s/{}/{}", unknown_id(), token()), "Nothing here", "Hier ist nichts"),
    ];
    let languages = [
        (None, "en"),
        (Some("en-GB,en;q=0.9,de;q=0.8"), "en"),
        (Some("fr"), "en"),
        (Some("de"), "de"),
        (Some("fr-CH, de-CH;q=0.9, en;q=0.5, *;q=0.1"), "de"),
        (Some("en;q=0.4, de;q=0.6"), "de"),
    ];
    for (address, english, german) in addresses {
        for (accepted, language) in languages {
            let mut request = server.get(&address).header("Accept", "text/html");
            if let Some(accepted) = accepted {
                request = request.header("Accept-Language", accepted);
            }
            let page = request.send().text();
            let heading = if language == "de" { german } else { english };
            assert!(page.contains(&format!("<html lang=\"{language}\">")), "{address} for {accepted:?}");
            assert!(page.contains(&format!(">{heading}</h1>")), "{address} for {accepted:?}: {page}");
        }
    }
}

#[test]
fn the_answers_to_forms_speak_it_too() {
    let server = Server::start(Store::Embedded);
    let post = |address: &str| server.post(address).header("Accept", "text/html").header("Accept-Language", "de");
    let result = post("/").multipart(&[Part::field("password", "right"), Part::file("a", b"x")]).send().is(201);
    assert!(result.text().contains("<h1>Bereit zum Abholen.</h1>"), "{}", result.text());
    let link = result.text().split("/s/").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_string();
    let wrong = post(&format!("/s/{link}")).form(&[("password", "wrong")]).send().is(403);
    assert!(wrong.text().contains("Das Passwort ist falsch."), "{}", wrong.text());
    let nothing = post("/").multipart(&[Part::field("note", "x")]).send().is(400);
    assert!(nothing.text().contains("Es ist keine Datei und kein Text dabei: Such etwas aus."), "{}", nothing.text());
    let much = post("/").multipart(&[Part::field("downloads", "0"), Part::file("a", b"x")]).send().is(400);
    assert!(much.text().contains("downloads muss eine ganze Zahl von 1 bis 100 sein."), "{}", much.text());
}

#[test]
fn programs_are_answered_in_english_whatever_they_read() {
    let server = Server::start(Store::Embedded);
    let id = unknown_id();
    let problem = server.get(&format!("/api/v1/shares/{id}")).header("Accept-Language", "de").send().is(404);
    assert_eq!(problem.json()["title"], "Nothing here");
    assert!(problem.json()["detail"].as_str().unwrap().starts_with("There is nothing at this address"));
    let line = server.get("/no/such/page").header("Accept-Language", "de").send().is(404).text();
    assert!(line.starts_with("There is nothing at this address"), "{line}");
}
