//! Start, settings, commands, and an orderly end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Redis, Server, Store, binary, signal, until, wait};

const MIB: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(10);

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the first line of a server that starts says.
fn listens_at(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("listening on http://").expect("the first line").parse().unwrap()
}

/// Fails unless the command failed and said why in one line.
#[track_caller]
fn assert_one_line(output: &Output, what: &str) {
    assert!(!output.status.success(), "{what}: it must fail");
    let said = said(output);
    assert_eq!(said.lines().filter(|line| !line.trim().is_empty()).count(), 1, "{what}: one line, not {said:?}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

on_both_stores! {
    fn a_download_that_runs_is_finished_before_the_end(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(24 * MIB));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let mut live = server.get(&address).open().unwrap();
        let mut got = live.exactly(MIB).unwrap();
        server.terminate();
        until("it takes no new connections", SOON, || server.get("/healthz").try_send().is_err());
        assert!(server.runs(), "it waits for the transfer");
        got.extend(live.whole().expect("it comes to its end").body);
        sealed.assert_opens(&got);
        assert_eq!(server.wait().code(), Some(0));
        server.start_again();
        server.delete(&address).send().is(204);
        assert_eq!(upload.state(&server), "finished");
    }

    fn an_upload_that_runs_is_finished_before_the_end(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(2 * MIB));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        let mut sending = upload.patching(&server, 0).begin(&format!("Content-Length: {}", run.len()));
        sending.push(&run[..MIB]).unwrap();
        until("it is under way", SOON, || upload.state(&server) == "uploading");
        thread::sleep(Duration::from_millis(200));
        server.terminate();
        until("it takes no new connections", SOON, || server.get("/healthz").try_send().is_err());
        sending.push(&run[MIB..]).unwrap();
        sending.answer().expect("it is answered").is(204);
        assert_eq!(server.wait().code(), Some(0));
        server.start_again();
        let address = upload.claimed(&server, &sealed);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
    }

    fn a_second_signal_ends_it_at_once(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(24 * MIB));
        let upload = Upload::publish(&server, &sealed, 1);
        let address = upload.claimed(&server, &sealed);
        let mut live = server.get(&address).open().unwrap();
        let mut got = live.exactly(MIB).unwrap();
        server.terminate();
        until("it takes no new connections", SOON, || server.get("/healthz").try_send().is_err());
        assert!(server.runs());
        server.terminate();
        let asked = Instant::now();
        server.wait();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        server.start_again();
        got.extend(server.get(&address).header("Range", format!("bytes={}-", got.len())).send().is(206).body);
        sealed.assert_opens(&got);
    }

    fn an_idle_server_ends_when_told(store) {
        let mut server = Server::start(store);
        let upload = Upload::publish(&server, &Sealed::new(b"x"), 1);
        let events = server.get(&format!("/api/v1/receipts/{}/events", upload.id)).bearer(&upload.owner).open().unwrap();
        let idle = crate::client::connect(server.address).unwrap();
        server.terminate();
        assert_eq!(server.wait().code(), Some(0), "neither a watcher nor a silent connection holds it up");
        drop((events, idle));
    }

    fn an_interrupt_is_as_good(store) {
        let mut server = Server::start(store);
        server.interrupt();
        assert_eq!(server.wait().code(), Some(0));
    }

    fn a_healthcheck_asks_the_server(store) {
        let mut server = Server::start(store);
        let output = server.command(&["healthcheck"]);
        assert!(output.status.success(), "{}", said(&output));
        server.kill();
        assert!(!server.command(&["healthcheck"]).status.success());
    }

    fn shares_outlive_the_process(store) {
        let mut server = Server::start(store);
        let shares: Vec<(Plain, Vec<u8>)> = [10, 500_000]
            .map(|size| (Plain::put(&server, "/a", &bytes(size)), bytes(size)))
            .into();
        server.terminate();
        assert_eq!(server.wait().code(), Some(0));
        server.start_again();
        for (share, content) in shares {
            assert!(server.get(&share.claimed(&server)).send().is(200).body == content);
        }
    }

    fn an_operator_takes_a_share_down(store) {
        let mut server = Server::start(store);
        let sealed = Sealed::new(&bytes(200_000));
        // Beside the running server, and without it.
        for beside in [true, false] {
            let upload = Upload::publish(&server, &sealed, 2);
            let address = upload.claimed(&server, &sealed);
            if !beside {
                server.terminate();
                server.wait();
            }
            let output = server.command(&["takedown", &upload.id]);
            assert!(output.status.success(), "{}", said(&output));
            if !beside {
                server.start_again();
            }
            assert_eq!(upload.claim(&server, &sealed, &token()).send().status, 410);
            assert_eq!(server.get(&address).send().status, 410, "running leases end too");
            until("its bytes are freed", SOON, || server.blobs().is_empty());
        }
        assert_one_line(&server.command(&["takedown", &crate::sender::unknown_id()]), "an unknown id");
        assert_one_line(&server.command(&["takedown", "nonsense"]), "no id at all");
    }
}

#[test]
fn a_server_that_still_waits_for_its_redis_ends_when_told() {
    let mut server = binary();
    server.args(["--listen", "127.0.0.1:0", "--redis-url", "redis://127.0.0.1:1"]);
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("can't be reached"), "{line}");
    signal("TERM", server.id());
    assert_eq!(wait(&mut server).code(), Some(0));
}

#[test]
fn a_data_directory_that_is_in_use_is_refused() {
    let server = Server::start(Store::Embedded);
    let share = Plain::put(&server, "/a", b"x");
    let mut second = binary();
    second.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(server.data());
    let mut second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut second);
    let output = second.wait_with_output().unwrap();
    assert_one_line(&output, "the folder is in use");
    assert!(output.stdout.is_empty(), "it never listened");
    assert!(said(&output).contains(&server.data().display().to_string()), "it names the folder: {}", said(&output));
    assert_eq!(server.get(&share.claimed(&server)).send().is(200).body, b"x", "the first is unharmed");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let output = binary().args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&file).output().unwrap();
    assert_one_line(&output, "a file in its place");
}

#[test]
fn an_address_in_use_is_named() {
    let server = Server::start(Store::Embedded);
    let folder = tempfile::tempdir().unwrap();
    let address = server.address.to_string();
    let output = binary().args(["--listen", &address]).current_dir(folder.path()).output().unwrap();
    assert_one_line(&output, "the port is taken");
    assert!(said(&output).contains(&address), "{}", said(&output));
}

#[test]
fn wrong_or_contradictory_settings_stop_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: &[&[&str]] = &[
        &["--listen", "nonsense"],
        &["--listen", "127.0.0.1:99999"],
        &["--max-size", "many"],
        &["--max-size=-1"],
        &["--max-size", "2GiB", "--max-storage", "1GiB"],
        &["--default-expires-in", "8d"],
        &["--default-expires-in", "500ms"],
        &["--default-expires-in", "900ms", "--max-expires-in", "900ms"],
        &["--default-expires-in", "2h", "--max-expires-in", "1h"],
        &["--max-expires-in", "0s"],
        &["--max-downloads", "0"],
        &["--max-downloads=-1"],
        &["--lease", "0s"],
        &["--lease", "soon"],
        &["--upload-window", "0"],
        &["--upload-rate", "0"],
        &["--trusted-proxies", "nonsense"],
        &["--trusted-proxies", "10.0.0.0/99"],
        &["--public-url", "nonsense"],
        &["--public-url", "ftp://example.com"],
        &["--public-url", "https://example.com#here"],
        &["--public-url", "https://user:password@example.com"],
        &["--redis-url", "http://example.com"],
        &["--redis-url", "redis://127.0.0.1:1", "--redis-host", "127.0.0.1"],
        &["--redis-port", "6379"],
        &["--blobs-url", "s3:/x"],
        &["--blobs-url", "file://shared/folder"],
        &["--blobs-url", "file:///there/is/none"],
        &["--blobs-url", "s3://bucket", "--redis-host", "127.0.0.1", "--max-storage", "1TiB"],
        &["--redis-password", "hush"],
        &["--redis-sentinels", "a:26379"],
        &["--redis-master-name", "shares"],
        &["--redis-sentinels", "a:b", "--redis-master-name", "shares"],
        &["--redis-sentinels", "a:1", "--redis-master-name", "shares", "--redis-host", "b"],
        &["--redis-sentinels", "a:1", "--redis-master-name", "shares", "--redis-port", "6379"],
        &["--redis-sentinel-password", "hush", "--redis-host", "b"],
        &["--redis-min-acks", "1"],
        &["--redis-replicas", "2"],
        &["--redis-allow-eviction"],
        &["--redis-min-acks", "most", "--redis-host", "b"],
        &["--redis-min-acks", "all", "--redis-host", "b"],
        &["--redis-min-acks", "all", "--redis-replicas", "0", "--redis-host", "b"],
        &["--redis-min-acks", "3", "--redis-replicas", "2", "--redis-host", "b"],
        &["--redis-cluster", "a:b"],
        &["--redis-cluster", "a:6379,b/c"],
        &["--redis-cluster", "a:6379", "--redis-url", "redis://127.0.0.1:1"],
        &["--redis-cluster", "a:6379", "--redis-db", "1"],
        &["--redis-host", "127.0.0.1", "--redis-db=-1"],
        &["--log-format", "xml"],
        &["--no-such-setting"],
        &["--metrics-listen", "127.0.0.1:7777", "--listen", "127.0.0.1:7777"],
    ];
    for flags in wrong {
        let mut child = binary();
        let mut child = child
            .args(*flags)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = wait(&mut child);
        assert!(!status.success());
        let output = child.wait_with_output().unwrap();
        assert_one_line(&output, &flags.join(" "));
        assert!(output.stdout.is_empty(), "{flags:?}: it never listened");
    }
    for (variable, value) in [("LISTEN", "nonsense"), ("MAX_SIZE", "many"), ("LEASE", "0s"), ("REDIS_PORT", "many")] {
        let output = binary().env(variable, value).current_dir(folder.path()).output().unwrap();
        assert_one_line(&output, variable);
        let named = said(&output).to_uppercase().replace('-', "_");
        assert!(named.contains(variable), "it names {variable}: {}", said(&output));
    }
}

#[test]
fn a_database_that_redis_does_not_have_is_told_at_once() {
    let redis = Redis::start();
    let (server, _) = redis.url().rsplit_once('/').map(|(server, db)| (server.to_owned(), db.to_owned())).unwrap();
    let output = binary().args(["--redis-url", &format!("{server}/99")]).output().unwrap();
    assert_one_line(&output, "database 99");
    assert!(said(&output).contains("out of range"), "{}", said(&output));
}

#[test]
fn a_server_whose_blobs_are_gone_is_not_ready() {
    let server = Server::start(Store::Embedded);
    let (blobs, away) = (server.data().join("blobs"), server.data().join("away"));
    fs::rename(&blobs, &away).unwrap();
    for request in [server.get("/readyz"), server.put("/a").body(vec![0; 200_000])] {
        assert_eq!(request.header("Accept", "application/json").send().is(503).code(), "store_unavailable");
    }
    fs::rename(&away, &blobs).unwrap();
    server.get("/readyz").send().is(200);
}

#[test]
fn a_redis_that_may_evict_is_told_by_whoever_runs_on_it_all_the_same() {
    let redis = Redis::start();
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "1gb"]);
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder, &["--redis-url", &redis.url(), "--redis-allow-eviction"]);
    assert!(server.get("/readyz").send().is(200).text().contains("may evict shares"));
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until("it sees that it is mended", SOON, || server.get("/readyz").send().is(200).text() == "ready\n");
}

#[test]
fn the_help_names_every_setting_and_its_variable() {
    let text = |arguments: &[&str]| {
        let output = binary().args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let help = text(&["--help"]) + &text(&["serve", "--help"]);
    let settings = [
        "listen",
        "data-dir",
        "public-url",
        "redis-url",
        "redis-host",
        "redis-port",
        "redis-db",
        "redis-username",
        "redis-password",
        "blobs-url",
        "redis-sentinels",
        "redis-master-name",
        "redis-sentinel-password",
        "redis-min-acks",
        "redis-replicas",
        "redis-cluster",
        "max-size",
        "max-storage",
        "default-expires-in",
        "max-expires-in",
        "max-downloads",
        "lease",
        "upload-window",
        "upload-rate",
        "trusted-proxies",
        "metrics-listen",
        "log-format",
    ];
    let missing: Vec<String> = settings
        .iter()
        .flat_map(|setting| [format!("--{setting}"), format!("[env: {}=", setting.to_uppercase().replace('-', "_"))])
        .filter(|wanted| !help.contains(wanted) && !help.contains(&wanted.replace('=', "]")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for command in ["serve", "healthcheck", "takedown"] {
        assert!(help.contains(command), "{command}");
    }
    assert!(text(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_arguments_it_serves_from_the_folder_data() {
    for arguments in [&[][..], &["serve"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = binary();
        child.args(arguments).env("LISTEN", "127.0.0.1:0").env("REDIS_URL", "").current_dir(folder.path());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect("the first line").parse().unwrap();
        crate::client::Request::new(address, "GET", "/readyz").send().is(200);
        assert!(folder.path().join("data").is_dir());
        signal("TERM", child.id());
        assert_eq!(wait(&mut child).code(), Some(0));
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = binary();
    child.args(["--listen", ":0", "--data-dir"]).arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    drop(child.stderr.take());
    let address = listens_at(&mut child);
    crate::client::Request::new(address, "PUT", "/a").body("x").send().is(201);
    signal("TERM", child.id());
    assert!(wait(&mut child).success());
}

#[test]
fn variables_are_as_good_as_flags() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = binary();
    child.env("LISTEN", ":0").env("DATA_DIR", folder.path().join("elsewhere")).env("MAX_DOWNLOADS", "3");
    let mut child = child.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let address = listens_at(&mut child);
    let config = crate::client::Request::new(address, "GET", "/api/v1/config").send().is(200).json();
    assert_eq!(config["max_downloads"], 3);
    assert!(folder.path().join("elsewhere").is_dir());
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_connection_serves_several_requests() {
    use std::io::{Read, Write};
    let server = Server::start(Store::Embedded);
    let mut stream = crate::client::connect(server.address).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.take(length).read_to_end(&mut Vec::new()).unwrap();
    }
}
