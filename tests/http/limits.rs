//! Bounded: what does not fit is refused before it is accepted.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use crate::client::Part;
use crate::sender::{Plain, Sealed, Upload, bytes, creation, of_unknown_length, tus, without_end};
use crate::server::{Server, Store, until};

const SOON: Duration = Duration::from_secs(15);
/// Room for two shares of [`A_THIRD`], and not for three: Redis counts its own memory too, and rounds each chunk up.
const STORAGE: &str = "44000000";
const A_THIRD: usize = 15_000_000;

on_both_stores! {
    fn what_is_larger_than_the_limit_is_refused_and_leaves_nothing(store) {
        let server = Server::with(store, &["--max-size", "1000000"]);
        let content = bytes(1_500_000);
        let sealed = Sealed::new(&content);
        server.put("/a").body(&content[..]).send().is(413);
        server.post("/").multipart(&[Part::file("a", &content)]).send().is(413);
        without_end(&server, &content).answer().expect("an answer").is(413);
        creation(&server, &sealed, &sealed.metadata(1)).send().is(413).code();
        let early = server.put("/a").begin("Content-Length: 99999999999");
        early.answer().expect("before the body").is(413);
        let early = server.put("/a").header("Expect", "100-continue").begin("Content-Length: 99999999999");
        early.answer().expect("before the body").is(413);
        let deferred = || {
            let request = tus(server.post("/api/v1/uploads")).header("Upload-Defer-Length", 1);
            Upload::created(&server, &request.header("Upload-Metadata", sealed.metadata(1)).send())
        };
        // It can never be whole: the server may give it up at once.
        let outgrown = deferred();
        outgrown.patch(&server, 0, &sealed.run()).send().is(413);
        tus(server.delete(&outgrown.location)).send().expect(&[204, 404, 410]);
        let declared = deferred();
        declared.patch(&server, 0, b"").header("Upload-Length", 9_999_999).send().is(413);
        tus(server.delete(&declared.location)).send().expect(&[204, 404, 410]);
        until("nothing is left", SOON, || server.blobs().is_empty());
        assert_eq!(server.get(&Plain::put(&server, "/a", &content[..900_000]).claimed(&server)).send().is(200).body.len(), 900_000);
    }

    fn what_is_small_and_still_larger_than_the_limit_is_refused_too(store) {
        let server = Server::with(store, &["--max-size", "1000"]);
        let (small, large) = (Sealed::new(&bytes(1_000)), Sealed::new(&bytes(20_000)));
        let whole_at_once = |sealed: &Sealed| {
            let request = creation(&server, sealed, &sealed.metadata(1));
            request.header("Content-Type", "application/offset+octet-stream").body(sealed.run()).send()
        };
        whole_at_once(&large).is(413).code();
        creation(&server, &large, &large.metadata(1)).send().is(413);
        server.put("/a").body(bytes(20_000)).send().is(413);
        Upload::created(&server, &whole_at_once(&small));
    }

    fn no_more_is_stored_than_is_allowed_and_nobodys_share_makes_room(store) {
        let server = Server::with(store, &["--max-storage", STORAGE]);
        let sealed = Sealed::new(&bytes(A_THIRD));
        let shares = [Upload::publish(&server, &sealed, 1), Upload::publish(&server, &sealed, 1)];
        let refused = creation(&server, &sealed, &sealed.metadata(1)).send().is(507);
        refused.code();
        server.put("/a").body(bytes(A_THIRD)).send().is(507);
        of_unknown_length(&server, &bytes(A_THIRD)).is(507);
        for share in &shares {
            assert_eq!(share.state(&server), "ready");
        }
        let address = shares[0].claimed(&server, &sealed);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
        let mut again = None;
        until("its room is free again", SOON, || {
            let answer = creation(&server, &sealed, &sealed.metadata(1)).send();
            let fits = answer.status == 201;
            again = Some(answer);
            fits
        });
        let upload = Upload::created(&server, &again.unwrap());
        upload.patch(&server, 0, &sealed.run()).send().is(204);
        let address = shares[1].claimed(&server, &sealed);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
    }

    fn an_upload_reserves_its_room(store) {
        let server = Server::with(store, &["--max-storage", STORAGE]);
        let sealed = Sealed::new(&bytes(A_THIRD));
        let first = Upload::create(&server, &sealed, 1);
        Upload::create(&server, &sealed, 1);
        creation(&server, &sealed, &sealed.metadata(1)).send().is(507);
        tus(server.delete(&first.location)).send().is(204);
        until("its room is free again", SOON, || creation(&server, &sealed, &sealed.metadata(1)).send().status == 201);
    }

    fn what_comes_without_a_length_takes_no_room_that_others_have_reserved(store) {
        let server = Server::with(store, &["--max-storage", STORAGE]);
        let mut reserved = Vec::new();
        for sealed in [A_THIRD, 100_000].map(|size| Sealed::new(&bytes(size))) {
            until("all is reserved", SOON, || {
                let answer = creation(&server, &sealed, &sealed.metadata(1)).send().expect(&[201, 507]);
                let fits = answer.status == 201;
                reserved.extend(fits.then(|| (Upload::created(&server, &answer), sealed.run())));
                !fits
            });
        }
        // In Redis reservations count for others once they were sampled.
        until("nothing else fits", SOON, || {
            let answer = of_unknown_length(&server, &bytes(200_000)).expect(&[201, 507]);
            if answer.status == 201 {
                server.delete(&answer.the("receipt").replace(&server.origin(), "")).send().is(204);
            }
            answer.status == 507
        });
        for (upload, run) in reserved {
            upload.patch(&server, 0, &run).send().is(204);
        }
    }

    fn the_bytes_of_what_ended_are_freed_within_a_minute(store) {
        let server = Server::with(store, &["--lease", "1s", "--upload-window", "2s"]);
        let sealed = Sealed::new(&bytes(200_000));
        let lapsed = Upload::publish(&server, &sealed, 1);
        lapsed.claimed(&server, &sealed);
        let expired = Upload::publish_for(&server, &sealed, 1);
        let revoked = Upload::publish(&server, &sealed, 1);
        server.delete(&revoked.share()).bearer(&revoked.owner).send().is(204);
        let abandoned = Upload::create(&server, &sealed, 1);
        abandoned.patch(&server, 0, &sealed.run()[..100_000]).send().is(204);
        assert!(!server.blobs().is_empty());
        until("all their bytes are freed", Duration::from_secs(65), || server.blobs().is_empty());
        for (upload, state) in [(lapsed, "lapsed"), (expired, "expired"), (revoked, "revoked"), (abandoned, "abandoned")] {
            assert_eq!(upload.state(&server), state);
        }
    }

    fn options_are_limited_as_configured(store) {
        let server = Server::with(store, &["--max-downloads", "2", "--max-expires-in", "1h", "--default-expires-in", "10m"]);
        server.put("/a?downloads=3").body("x").send().is(400);
        server.put("/a?expires_in=3601").body("x").send().is(400);
        let share = Plain::put(&server, "/a?downloads=2", b"x");
        let receipt = share.receipt(&server);
        let time = |key: &str| humantime::parse_rfc3339(receipt[key].as_str().unwrap()).unwrap();
        let waits = time("expires_at").duration_since(time("created_at")).unwrap().as_secs();
        assert!((599..=602).contains(&waits), "{waits}");
        let sealed = Sealed::new(b"x");
        creation(&server, &sealed, &sealed.metadata_for(3601, 1)).send().is(400);
        creation(&server, &sealed, &sealed.metadata_for(3600, 3)).send().is(400);
    }

    fn memory_stays_flat_whatever_the_size(store) {
        let server = Server::start(store);
        let warm = Plain::put(&server, "/a", &bytes(3_000_000));
        server.get(&warm.claimed(&server)).send().is(200);
        let before = server.peak();
        let content = bytes(96 * 1024 * 1024);
        let plain = Plain::put(&server, "/a", &content);
        let body = server.get(&plain.claimed(&server)).send().is(200).body;
        assert!(body == content);
        let sealed = Sealed::new(&content);
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        assert!(server.get(&address).send().is(200).body == sealed.content);
        let grown = server.peak().saturating_sub(before);
        assert!(grown < 48 * 1024 * 1024, "{} KiB more for 96 MiB", grown / 1024);
    }

    fn a_stalled_reader_holds_little(store) {
        let server = Server::start(store);
        let sealed = Sealed::new(&bytes(16 * 1024 * 1024));
        let upload = Upload::publish(&server, &sealed, 20);
        let addresses: Vec<String> = (0..20).map(|_| upload.claimed(&server, &sealed)).collect();
        let before = server.peak();
        let stalled: Vec<_> = addresses
            .iter()
            .map(|address| {
                let mut live = server.get(address).open().unwrap();
                live.exactly(1000).unwrap();
                live
            })
            .collect();
        server.get("/healthz").send().is(200);
        let grown = server.peak().saturating_sub(before);
        assert!(grown < 120 * 1024 * 1024, "{} KiB for 20 of 16 MiB", grown / 1024);
        drop(stalled);
    }
}

/// A small file system of its own; unmounted in the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// `None` where this user may not mount.
    fn with(mebibytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A server on a disk of 24 MiB; `None`, which is said, where this user may not mount.
fn on_small_disk() -> Option<(Mounted, Server)> {
    let Some(disk) = Mounted::with(24) else {
        println!("skipped: mounting a tmpfs needs root");
        return None;
    };
    let folder = tempfile::tempdir_in(disk.0.path()).expect("a folder on it");
    Some((disk, Server::in_folder(folder, &[])))
}

#[test]
fn a_full_disk_refuses_the_new_and_keeps_the_old() {
    let Some((_disk, mut server)) = on_small_disk() else { return };
    let sealed = Sealed::new(&bytes(4_000_000));
    let kept = Upload::publish(&server, &sealed, 1);
    let kept_blobs = server.blobs();
    let large = bytes(30_000_000);
    server.put("/a").body(&large[..]).send().is(507);
    without_end(&server, &large).answer().expect("an answer").is(507);
    let big = Sealed::new(&large);
    let answer = creation(&server, &big, &big.metadata(1)).send().expect(&[201, 507]);
    if answer.status == 201 {
        let upload = Upload::created(&server, &answer);
        upload.patch(&server, 0, &big.run()).send().is(507);
        tus(server.delete(&upload.location)).send().is(204);
    }
    until("nothing half is left", Duration::from_secs(65), || server.blobs() == kept_blobs);
    assert_eq!(kept.state(&server), "ready");
    server.crash();
    let small = Plain::put(&server, "/b", b"there is room again");
    assert_eq!(server.get(&small.claimed(&server)).send().is(200).body, b"there is room again");
    let address = kept.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

/// What a transaction that can't be committed answers is the same for all: it gives nobody a right.
#[test]
fn on_a_full_disk_nobody_frees_what_is_not_theirs() {
    let Some((disk, server)) = on_small_disk() else { return };
    let sealed = Sealed::new(&bytes(4_000_000));
    let upload = Upload::publish(&server, &sealed, 1);
    let blobs = server.blobs();
    let mut file = std::fs::File::create(disk.0.path().join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let mut answers = Vec::new();
    for _ in 0..100 {
        server.get(&format!("/s/{}", upload.id)).send();
        for location in [&upload.location, &format!("/api/v1/uploads/{}/{}", upload.id, "A".repeat(22))] {
            answers.push(tus(server.delete(location)).send().status);
        }
        assert!(server.blobs() == blobs, "{answers:?}");
    }
    server.put("/a").body("x").send().is(507);
    file.set_len(0).unwrap();
    let address = upload.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

#[test]
fn a_client_network_begins_so_many_uploads_a_minute() {
    let server = Server::with(Store::Embedded, &["--upload-rate", "3"]);
    let sealed = Sealed::new(b"x");
    Plain::put(&server, "/a", b"x");
    Plain::made(&server, &server.post("/").multipart(&[Part::file("a", b"x")]).send());
    let upload = Upload::create(&server, &sealed, 1);
    for refused in [server.put("/a").body("x").send(), creation(&server, &sealed, &sealed.metadata(1)).send()] {
        let refused = refused.is(429);
        let wait: u64 = refused.the("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{wait} s");
    }
    upload.patch(&server, 0, &sealed.run()).send().is(204);
}

#[test]
fn what_a_client_forwards_itself_is_not_believed() {
    let server = Server::with(Store::Embedded, &["--trusted-proxies", "127.0.0.1/32", "--upload-rate", "1"]);
    let begin = |forwarded: &str| server.put("/a").header("X-Forwarded-For", forwarded).body("x").send().status;
    // The proxy appends the address that it saw; what stands before it is the client's own word.
    assert_eq!(begin("6.6.6.1, 198.51.100.9"), 201);
    for forged in ["6.6.6.2, 198.51.100.9", "x, 198.51.100.9", "6.6.6.3, x, 198.51.100.9", "198.51.100.9, 127.0.0.1"] {
        assert_eq!(begin(forged), 429, "{forged}");
    }
    assert_eq!(begin("198.51.100.10"), 201);
    for forged in ["198.51.100.10:51234", "\u{ff}, 198.51.100.10"] {
        assert_eq!(begin(forged), 429, "{forged}");
    }
    assert_eq!(begin("[2001:db8::1]:443"), 201);
    assert_eq!(begin("2001:db8::1"), 429);
}

#[test]
fn uploads_at_once_can_not_reserve_the_same_room() {
    let server = Server::with(Store::Embedded, &["--max-size", "100TiB"]);
    let disk = std::process::Command::new("df").args(["-B1", "--output=avail"]).arg(server.data()).output().unwrap();
    let free: u64 = String::from_utf8(disk.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap();
    let create = || {
        let request = server.post("/api/v1/uploads").header("Tus-Resumable", "1.0.0");
        let request = request.header("Upload-Length", (free / 10 * 6).to_string());
        request.header("Upload-Metadata", Sealed::new(b"x").metadata(1)).send()
    };
    create().is(201);
    assert_eq!(create().is(507).code(), "store_full");
}

#[test]
fn many_long_media_types_take_no_memory() {
    let server = Server::start(Store::Embedded);
    let long = "a/".to_string() + &"b".repeat(20_000);
    let mut body = String::new();
    for number in 0..2000 {
        body += &format!(
            "--x\r\nContent-Disposition: form-data; name=f; filename=f{number}\r\nContent-Type: {long}\r\n\r\n1\r\n"
        );
    }
    body += "--x--\r\n";
    server.post("/").header("Content-Type", "multipart/form-data; boundary=x").body(body).send().is(201);
    assert!(server.peak() < 40 << 20, "{} MiB", server.peak() >> 20);
}

#[test]
fn a_creation_that_fails_with_its_bytes_reserves_nothing() {
    let server = Server::with(Store::Embedded, &["--max-storage", "1MB", "--max-size", "900kB"]);
    let sealed = Sealed::new(&bytes(700_000));
    let mut run = sealed.run();
    for (checksum, status) in [("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=", 460), ("md5 AAAA", 400)] {
        let request = creation(&server, &sealed, &sealed.metadata(1)).header("Upload-Checksum", checksum);
        request.header("Content-Type", "application/offset+octet-stream").body(run.clone()).send().is(status);
    }
    run.truncate(300_000);
    // Its address was never told, so what it reserved must be free for the next at once.
    let upload = Upload::create(&server, &sealed, 1);
    upload.patch(&server, 0, &run).send().is(204);
}
