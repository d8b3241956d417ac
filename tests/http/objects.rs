//! Sealed bytes apart from the ledger: in a bucket that speaks S3, or in a folder that servers share.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use onetimeshare::share::ShareId;
use tempfile::TempDir;

use crate::s3_server::S3Server;
use crate::sender::{Plain, Sealed, Upload, bytes, token};
use crate::server::{Server, Store, binary, files, until, wait};

const MIB: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(30);
/// Bytes are freed at least this soon after their end.
const A_MINUTE: Duration = Duration::from_secs(65);

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Where the bytes lie.
enum Place {
    Bucket(Box<S3Server>),
    Folder(TempDir),
}

impl Place {
    fn bucket() -> Self {
        Self::Bucket(Box::new(S3Server::start()))
    }

    fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        match self {
            Self::Bucket(s3) => s3.url(),
            Self::Folder(folder) => format!("file://{}", folder.path().display()),
        }
    }

    fn serve(&self, store: Store) -> Server {
        let variables = match self {
            Self::Bucket(s3) => s3.variables(),
            Self::Folder(_) => Vec::new(),
        };
        Server::with_variables(store, &["--blobs-url", &self.url()], variables)
    }

    /// What holds bytes now: objects or files.
    fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Bucket(s3) => s3.names(),
            Self::Folder(folder) => files(folder.path()).iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

macro_rules! wherever_the_bytes_are {
    ($(fn $case:ident($store:ident, $place:ident) $body:block)+) => {
        $(fn $case($store: Store, $place: &Place) $body)+

        wherever_the_bytes_are!(redis_and_a_bucket, Store::Redis, Place::bucket(), $($case)+);
        wherever_the_bytes_are!(embedded_and_a_bucket, Store::Embedded, Place::bucket(), $($case)+);
        wherever_the_bytes_are!(redis_and_a_folder, Store::Redis, Place::folder(), $($case)+);
        wherever_the_bytes_are!(embedded_and_a_folder, Store::Embedded, Place::folder(), $($case)+);
    };
    ($combination:ident, $store:expr, $place:expr, $($case:ident)+) => {
        mod $combination {
            use super::{Place, Store};

            $(#[test] fn $case() { super::$case($store, &$place) })+
        }
    };
}

/// Sends `sealed` in pieces of these sizes, and what is left as the last.
fn send_in_pieces(server: &Server, upload: &Upload, sealed: &Sealed, sizes: &[usize]) {
    let run = sealed.run();
    let mut offset = 0;
    for size in sizes.iter().copied().chain([run.len()]) {
        let end = run.len().min(offset + size);
        upload.patch(server, offset, &run[offset..end]).send().is(204);
        offset = end;
    }
}

/// Odd ones, around what is cut off for one object.
const PIECES: [usize; 6] = [1, 70_000, 3_333_333, 8 * MIB, 8 * MIB + 1, 5];

/// Reads ranges, whole, and cut off in the middle and resumed.
#[track_caller]
fn assert_is_read_from_anywhere(server: &Server, address: &str, sealed: &Sealed) {
    let content = &sealed.content;
    for (from, to) in [(0, 0), (1, 70_000), (MIB - 1, 9 * MIB), (content.len() - 10, content.len() - 1)] {
        let range = server.get(address).header("Range", format!("bytes={from}-{to}")).send().is(206);
        assert!(range.body == content[from..=to], "{from}-{to}");
    }
    let mut live = server.get(address).open().unwrap();
    let mut got = live.exactly(content.len() / 2).unwrap();
    drop(live);
    got.extend(server.get(address).header("Range", format!("bytes={}-", got.len())).send().is(206).body);
    sealed.assert_opens(&got);
}

wherever_the_bytes_are! {
    fn a_share_arrives_whole_and_leaves_nothing(store, place) {
        let server = place.serve(store);
        assert_eq!(server.get("/api/v1/config").send().is(200).json()["max_size"], 10_u64 << 30);
        let sealed = Sealed::new(&bytes(30 * MIB));
        let upload = Upload::create(&server, &sealed, 1);
        send_in_pieces(&server, &upload, &sealed, &PIECES);
        assert!(!place.names().is_empty() && server.blobs().is_empty(), "all bytes are where they belong");
        let address = upload.claimed(&server, &sealed);
        assert_is_read_from_anywhere(&server, &address, &sealed);
        server.delete(&address).send().is(204);
        assert_eq!(place.names(), BTreeSet::new(), "what is finished is freed at once");
        server.get("/readyz").send().is(200);
    }

    fn a_share_of_the_plain_kind_arrives_too(store, place) {
        let server = place.serve(store);
        let content = bytes(9 * MIB);
        let plain = Plain::put(&server, "/a", &content);
        let address = plain.claimed(&server);
        assert!(server.get(&address).send().is(200).body == content);
        let range = server.get(&address).header("Range", "bytes=8000000-8999999").send().is(206);
        assert!(range.body == content[8_000_000..9_000_000]);
    }

    fn a_small_share_stays_in_the_ledger(store, place) {
        let server = place.serve(store);
        let plain = Plain::put(&server, "/a", b"small");
        assert_eq!(place.names(), BTreeSet::new());
        assert_eq!(server.get(&plain.claimed(&server)).send().is(200).body, b"small");
    }

    fn an_upload_goes_on_after_a_kill(store, place) {
        let mut server = place.serve(store);
        let sealed = Sealed::new(&bytes(12 * MIB));
        let run = sealed.run();
        let upload = Upload::create(&server, &sealed, 1);
        let mut offset = 0;
        for size in [5, MIB, 300_000] {
            upload.patch(&server, offset, &run[offset..offset + size]).send().is(204);
            server.crash();
            offset += size;
            assert_eq!(upload.offset(&server), offset, "after a part");
            let mut sending = upload.patching(&server, offset).begin(&format!("Content-Length: {}", run.len() - offset));
            sending.push(&run[offset..offset + 2 * MIB]).unwrap();
            server.crash();
            let reached = upload.offset(&server);
            assert!((offset..=offset + 2 * MIB).contains(&reached), "{reached} in the middle of a part");
            offset = reached;
        }
        upload.patch(&server, offset, &run[offset..]).send().is(204);
        server.crash();
        let address = upload.claimed(&server, &sealed);
        sealed.assert_opens(&server.get(&address).send().is(200).body);
        server.delete(&address).send().is(204);
        assert_eq!(place.names(), BTreeSet::new());
    }

    fn what_is_given_up_revoked_or_expired_is_freed(store, place) {
        let server = place.serve(store);
        let sealed = Sealed::new(&bytes(MIB));
        let given_up = Upload::create(&server, &sealed, 1);
        given_up.patch(&server, 0, &sealed.run()[..500_000]).send().is(204);
        crate::sender::tus(server.delete(&given_up.location)).send().is(204);
        let revoked = Upload::publish(&server, &sealed, 1);
        server.delete(&revoked.share()).bearer(&revoked.owner).send().is(204);
        assert_eq!(place.names(), BTreeSet::new());
        Upload::publish_for(&server, &sealed, 2);
        let taken_down = Upload::publish(&server, &sealed, 1);
        assert!(server.command(&["takedown", &taken_down.id]).status.success());
        until("nothing is left", A_MINUTE, || place.names().is_empty());
    }
}

/// One upload and its download, each request at another of two servers.
fn assert_two_servers_are_as_good_as_one(place: &Place) {
    let a = place.serve(Store::Redis);
    let b = a.beside();
    let sealed = Sealed::new(&bytes(20 * MIB));
    let run = sealed.run();
    let upload = Upload::create(&a, &sealed, 1);
    upload.patch(&a, 0, &run[..3_333_333]).send().is(204);
    upload.patch(&b, 3_333_333, &run[3_333_333..11_000_000]).send().is(204);
    upload.patch(&a, 11_000_000, &run[11_000_000..]).send().is(204);
    let claim = token();
    upload.claim(&b, &sealed, &claim).send().is(201);
    upload.claim(&a, &sealed, &claim).send().is(200);
    let address = upload.claim_address(&claim);
    let mut live = b.get(&address).open().unwrap();
    let mut got = live.exactly(7_000_000).unwrap();
    drop(live);
    got.extend(a.get(&address).header("Range", format!("bytes={}-", got.len())).send().is(206).body);
    sealed.assert_opens(&got);
    b.delete(&address).send().is(204);
    a.get(&address).send().is(410);
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn two_servers_are_as_good_as_one_on_a_bucket() {
    assert_two_servers_are_as_good_as_one(&Place::bucket());
}

#[test]
fn two_servers_are_as_good_as_one_on_a_folder() {
    assert_two_servers_are_as_good_as_one(&Place::folder());
}

#[test]
fn where_a_fifth_of_all_requests_fail_the_bytes_are_right_and_nothing_stays() {
    let s3 = S3Server::start();
    let place = Place::Bucket(Box::new(s3));
    for store in [Store::Redis, Store::Embedded] {
        let server = place.serve(store);
        let Place::Bucket(s3) = &place else { unreachable!() };
        s3.fail(20);
        for _ in 0..3 {
            let sealed = Sealed::new(&bytes(20 * MIB));
            let upload = Upload::create(&server, &sealed, 1);
            send_in_pieces(&server, &upload, &sealed, &PIECES);
            let address = upload.claimed(&server, &sealed);
            assert_is_read_from_anywhere(&server, &address, &sealed);
            server.delete(&address).send().is(204);
        }
        let content = bytes(3 * MIB);
        let plain = Plain::put(&server, "/a", &content);
        assert!(server.get(&plain.claimed(&server)).send().is(200).body == content);
        server.delete(&format!("/api/v1/shares/{}", plain.id)).bearer(&plain.owner).send();
        s3.fail(0);
        let (failed, all) = s3.counted();
        println!("{failed} of {all} requests failed");
        assert!(failed * 10 > all, "{failed} of {all} requests failed");
        drop(server);
    }
}

#[test]
fn a_bucket_that_is_away_is_told_and_waited_for() {
    let s3 = S3Server::start();
    let variables = s3.variables();
    let server = Server::with_variables(Store::Redis, &["--blobs-url", &s3.url()], variables);
    let sealed = Sealed::new(&bytes(2 * MIB));
    let upload = Upload::create(&server, &sealed, 1);
    s3.fail(100);
    until("it is not ready", SOON, || server.get("/readyz").send().status == 503);
    let refused = upload.patch(&server, 0, &sealed.run()).send();
    assert_eq!(refused.status, 503, "{}", refused.text());
    refused.the("retry-after").parse::<u64>().expect("seconds");
    let printed = server.printed();
    assert!(!printed.contains(&upload.id), "no id is printed: {printed}");
    s3.fail(0);
    upload.patch(&server, 0, &sealed.run()).send().is(204);
    let address = upload.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
    server.get("/readyz").send().is(200);
}

#[test]
fn a_request_that_is_never_answered_is_repeated() {
    let s3 = S3Server::start();
    let server = Server::with_variables(Store::Embedded, &["--blobs-url", &s3.url()], s3.variables());
    let sealed = Sealed::new(&bytes(2 * MIB));
    let upload = Upload::create(&server, &sealed, 1);
    s3.stall(1);
    upload.patch(&server, 0, &sealed.run()).send().is(204);
    let address = upload.claimed(&server, &sealed);
    sealed.assert_opens(&server.get(&address).send().is(200).body);
}

/// The name below which the server keeps its blobs.
fn home(place: &Place) -> String {
    let name = place.names().into_iter().next().expect("a blob");
    let Place::Bucket(_) = place else { return name.split("/blobs/").next().unwrap().to_owned() };
    name.rsplitn(3, '/').last().unwrap().to_owned()
}

#[test]
fn what_a_crash_left_without_a_record_is_freed_by_any_of_several_servers() {
    let s3 = Arc::new(S3Server::start());
    let variables = s3.variables();
    let first = Server::with_variables(Store::Redis, &["--blobs-url", &s3.url()], variables);
    let sealed = Sealed::new(&bytes(MIB));
    let kept: Vec<Upload> = (0..5).map(|_| Upload::publish(&first, &sealed, 1)).collect();
    let under_way = Upload::create(&first, &sealed, 1);
    under_way.patch(&first, 0, &sealed.run()[..300_000]).send().is(204);
    let others: BTreeSet<String> = s3.names();
    let home = others.first().unwrap().rsplitn(3, '/').last().unwrap().to_owned();
    let orphans: Vec<String> =
        (0..40).map(|_| format!("{home}/{}/000000000000-000000000005", ShareId::random())).collect();
    orphans.iter().for_each(|orphan| s3.plant(orphan, b"bytes", 2 * A_DAY));
    // Another ledger's blobs are none of this one's; and what is young may have a record that a Redis cut off does not know.
    let object = "000000000000-000000000005";
    let foreign = format!("some/prefix/fedcba9876543210/{}/{object}", ShareId::random());
    s3.plant(&foreign, b"bytes", 2 * A_DAY);
    let young = format!("{home}/{}/{object}", ShareId::random());
    s3.plant(&young, b"bytes", A_DAY / 2);
    let servers: Vec<Server> = (0..3).map(|_| first.beside()).collect();
    until("the orphans are freed", SOON, || s3.names().iter().all(|name| !orphans.contains(name)));
    let left: BTreeSet<String> = s3.names();
    assert_eq!(left, others.into_iter().chain([foreign, young]).collect(), "everything else stays");
    let run = sealed.run();
    under_way.patch(&servers[0], 300_000, &run[300_000..]).send().is(204);
    for (upload, server) in kept.iter().chain([&under_way]).zip(servers.iter().cycle()) {
        sealed.assert_opens(&server.get(&upload.claimed(server, &sealed)).send().is(200).body);
    }
}

#[test]
fn what_a_crash_left_is_freed_at_the_start_of_an_embedded_server() {
    for place in [Place::bucket(), Place::folder()] {
        let mut server = place.serve(Store::Embedded);
        let sealed = Sealed::new(&bytes(MIB));
        let upload = Upload::publish(&server, &sealed, 1);
        let (kept, home) = (place.names(), home(&place));
        server.kill();
        let id = ShareId::random().to_string();
        match &place {
            Place::Bucket(s3) => s3.plant(&format!("{home}/{id}/000000000000-000000000005"), b"bytes", Duration::ZERO),
            Place::Folder(_) => {
                let folder = format!("{home}/blobs/{}", &id[..2]);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(format!("{folder}/{id}"), b"bytes").unwrap();
            }
        }
        server.start_again();
        assert_eq!(place.names(), kept, "the orphan is freed before it listens");
        sealed.assert_opens(&server.get(&upload.claimed(&server, &sealed)).send().is(200).body);
    }
}

#[test]
fn memory_stays_bounded_with_16_uploads_at_once() {
    let s3 = S3Server::start();
    let server = Server::with_variables(Store::Embedded, &["--blobs-url", &s3.url()], s3.variables());
    let sealed = Sealed::new(&bytes(24 * MIB));
    Upload::publish(&server, &Sealed::new(&bytes(9 * MIB)), 1);
    let before = server.peak();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| Upload::publish(&server, &sealed, 1));
        }
    });
    let uploads = server.peak().saturating_sub(before);
    println!("{} MiB before, {} MiB more for 16 uploads of 24 MiB", before / MIB as u64, uploads / MIB as u64);
    assert!(uploads < 160 * MIB as u64, "{} MiB more", uploads / MIB as u64);
}

#[test]
fn a_stalled_reader_holds_little() {
    let s3 = S3Server::start();
    let server = Server::with_variables(Store::Embedded, &["--blobs-url", &s3.url()], s3.variables());
    let sealed = Sealed::new(&bytes(16 * MIB));
    let upload = Upload::publish(&server, &sealed, 20);
    let addresses: Vec<String> = (0..20).map(|_| upload.claimed(&server, &sealed)).collect();
    let before = server.peak();
    let mut stalled: Vec<_> = addresses.iter().map(|address| server.get(address).open().unwrap()).collect();
    stalled.iter_mut().for_each(|live| assert!(live.exactly(1000).is_ok()));
    server.get("/healthz").send().is(200);
    let grown = server.peak().saturating_sub(before);
    println!("{} MiB more for 20 readers that stand still", grown / MIB as u64);
    assert!(grown < 120 * MIB as u64, "{} MiB for 20 of 16 MiB", grown / MIB as u64);
}

/// A bucket waits for nobody: what it answers is taken while the client takes nothing.
#[test]
fn a_reader_that_pauses_gets_the_rest() {
    let s3 = S3Server::start();
    let server = Server::with_variables(Store::Embedded, &["--blobs-url", &s3.url()], s3.variables());
    let sealed = Sealed::new(&bytes(16 * MIB));
    let upload = Upload::publish(&server, &sealed, 1);
    let mut live = server.get(&upload.claimed(&server, &sealed)).open().unwrap();
    let mut content = live.exactly(1000).unwrap();
    thread::sleep(Duration::from_secs(25));
    content.extend(live.exactly(sealed.content.len() - 1000).unwrap());
    sealed.assert_opens(&content);
}

/// Starts a server that must refuse to, and gives what it said.
#[track_caller]
fn refused(url: &str, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = binary();
    child.args(["--listen", "127.0.0.1:0", "--blobs-url", url]).envs(variables.iter().copied());
    let mut child = child.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    assert!(!wait(&mut child).success(), "{url} {variables:?}");
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.lines().count(), 1, "one line, not {said:?}");
    println!("{said}");
    said
}

#[test]
fn a_place_that_can_not_be_used_stops_the_start_with_one_line() {
    let s3 = S3Server::start();
    let right: Vec<(String, String)> = s3.variables();
    let with = |name: &'static str, value: &'static str| -> Vec<(&str, &str)> {
        let kept = right.iter().map(|(name, value)| (&**name, &**value)).filter(|(other, _)| *other != name);
        kept.chain((!value.is_empty()).then_some((name, value))).collect()
    };
    assert!(refused("s3://no-such-bucket/x", &with("", "")).contains("no bucket no-such-bucket"));
    for (name, value) in [("AWS_ACCESS_KEY_ID", "another"), ("AWS_SECRET_ACCESS_KEY", "another")] {
        assert!(refused(&s3.url(), &with(name, value)).contains("AWS_SECRET_ACCESS_KEY"));
    }
    assert!(refused(&s3.url(), &with("AWS_ENDPOINT", "http://127.0.0.1:1")).contains("AWS_ENDPOINT"));
    assert!(refused(&s3.url(), &with("AWS_ALLOW_HTTP", "")).contains("AWS_ALLOW_HTTP"));
    assert!(refused(&s3.url(), &with("AWS_SECRET_ACCESS_KEY", "")).contains("AWS_"));
    assert!(refused("file:///proc", &[]).contains("/proc"));
    assert!(refused("file:///dev/null", &[]).contains("/dev/null"));
    assert!(refused("file:///there/is/none", &[]).contains("/there/is/none"));
    assert_eq!(s3.names(), BTreeSet::new(), "nothing stays of what was tried");
}
