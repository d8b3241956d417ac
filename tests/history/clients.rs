//! Senders and recipients, as real ones behave: they repeat what got no answer, with the same tokens, at whatever server they reach.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use onetimeshare::share::{Digest, Proof, Token};
use serde_json::json;

use super::log::{Deed, Log, Op, Outcome};
use super::random::Random;
use super::rig::{Rig, WEBS};
use crate::client::{Answer, Request, base64url};

pub const CLIENTS: usize = 8;
/// The client beyond them, which only looks whether there is service.
pub const PROBE: usize = CLIENTS;
const MANIFEST: usize = 48;
/// A server that hangs is given up after this.
const PATIENCE: Duration = Duration::from_secs(6);

/// A share that somebody is to send, and who will want it.
#[derive(Debug, Clone)]
pub struct Errand {
    pub at: u64,
    pub size: usize,
    pub downloads: usize,
    /// Sent in pieces with pauses between, so that much can happen meanwhile.
    pub slowly: bool,
    /// When the sender withdraws it, in milliseconds of the run.
    pub revoked_at: Option<u64>,
    /// Who wants it, and when.
    pub rivals: Vec<(usize, u64)>,
}

/// What is sent and claimed within `time` (ms): the seed decides.
pub fn errands(seed: u64, shares: usize, time: u64) -> Vec<Errand> {
    let mut random = Random::new(seed, u64::MAX - 1);
    let errand = |number| {
        let at = number as u64 * time / shares as u64 + random.within(0..1_000);
        let size = match random.within(0..4) {
            0 | 1 => random.within(1..4_000),
            2 => random.within(70_000..200_000),
            _ => random.within(1 << 20..5 << 20),
        } as usize;
        let downloads = if random.one_in(4) { 2 } else { 1 };
        let rivals = (0..downloads + 2).map(|_| (random.index(CLIENTS), at + random.within(0..15_000))).collect();
        let revoked_at = random.one_in(15).then(|| at + random.within(0..10_000));
        Errand { at, size, downloads, slowly: size > 1 << 20 && !random.one_in(3), revoked_at, rivals }
    };
    (0..shares).map(errand).collect()
}

/// A share that was published, as its sender and its recipients know it.
#[derive(Clone)]
pub struct Share {
    pub id: String,
    owner: String,
    proof: Proof,
    size: usize,
}

/// What all clients have in common.
pub struct World<'a> {
    rig: &'a Rig,
    log: &'a Log,
    seed: u64,
    errands: Vec<Errand>,
    /// By errand, once its publishing was acknowledged.
    pub shares: Vec<Mutex<Option<Share>>>,
    /// Once set, nothing more goes wrong, and whoever still waits for a sender gives up.
    pub over: AtomicBool,
    /// Set where the rig does not come back: nobody waits for it any longer.
    given_up: AtomicBool,
}

impl<'a> World<'a> {
    pub fn new(rig: &'a Rig, log: &'a Log, seed: u64, errands: Vec<Errand>) -> Self {
        let shares = errands.iter().map(|_| Mutex::default()).collect();
        Self { rig, log, seed, errands, shares, over: AtomicBool::new(false), given_up: AtomicBool::new(false) }
    }
}

/// Lets the clients go where the rig does not come back.
pub struct GivesUp<'a>(pub &'a World<'a>);

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.0.given_up.store(thread::panicking(), Ordering::Relaxed);
    }
}

/// What a client has to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Send(usize),
    Revoke(usize),
    Claim(usize),
}

/// A client, with chances of its own.
pub struct Client<'a> {
    world: &'a World<'a>,
    number: usize,
    random: Random,
}

impl<'a> Client<'a> {
    pub fn new(world: &'a World<'a>, number: usize) -> Self {
        Self { world, number, random: Random::new(world.seed, number as u64) }
    }

    /// Does what the plan wants of this client.
    pub fn work(mut self) {
        let mut tasks = BinaryHeap::new();
        for (number, errand) in self.world.errands.iter().enumerate() {
            if number % CLIENTS == self.number {
                tasks.push(Reverse((errand.at, Task::Send(number))));
                tasks.extend(errand.revoked_at.map(|at| Reverse((at, Task::Revoke(number)))));
            }
            let wanted = errand.rivals.iter().filter(|(client, _)| *client == self.number);
            tasks.extend(wanted.map(|(_, at)| Reverse((*at, Task::Claim(number)))));
        }
        while let Some(Reverse((at, task))) = tasks.pop() {
            thread::sleep(Duration::from_millis(at.saturating_sub(self.world.log.now())));
            if !self.does(&task) && !self.world.over.load(Ordering::Relaxed) {
                tasks.push(Reverse((self.world.log.now() + 300, task)));
            }
        }
    }

    /// `false` where the share is not there yet.
    fn does(&mut self, task: &Task) -> bool {
        let share = |number: usize| self.world.shares[number].lock().expect("nobody panics with it").clone();
        match *task {
            Task::Send(number) => self.send(number),
            Task::Claim(number) => match share(number) {
                Some(share) => self.take(&share),
                None => return false,
            },
            Task::Revoke(number) => match share(number) {
                Some(share) => self.revoke(&share),
                None => return false,
            },
        }
        true
    }

    fn send(&mut self, number: usize) {
        let errand = &self.world.errands[number];
        let share = loop {
            let sent = if errand.size < 60_000 { self.send_at_once(errand) } else { self.upload(errand) };
            match sent {
                Some(share) => break share,
                None => self.pause(),
            }
        };
        *self.world.shares[number].lock().expect("nobody panics with it") = Some(share);
    }

    /// A small share by one request. One that got no answer has no name, and another is sent instead.
    fn send_at_once(&mut self, errand: &Errand) -> Option<Share> {
        let (proof, run) = self.sealed(errand.size);
        let call = Call::begin(self);
        let request = creation(call.post("/api/v1/uploads"), &proof, run.len(), errand.downloads);
        let answer = request.header("Content-Type", BODY).body(run.clone()).try_send();
        let deed = Deed::Publish { downloads: errand.downloads, sum: sum(&run) };
        let share =
            answer.as_ref().ok().filter(|answer| answer.status == 201).map(|answer| share(answer, &proof, errand));
        let id = share.as_ref().map_or("", |share| &share.id);
        (call.done(id, deed, &answer) == Outcome::Ok).then_some(share)?
    }

    /// A larger share: created, then sent in turns, each from where the server stands. `None` where the server lost it.
    fn upload(&mut self, errand: &Errand) -> Option<Share> {
        let (proof, run) = self.sealed(errand.size);
        let call = Call::begin(self);
        let answer = creation(call.post("/api/v1/uploads"), &proof, run.len(), errand.downloads).try_send();
        let created = answer.as_ref().ok().filter(|answer| answer.status == 201);
        let id = created.map(|answer| answer.the("share-id")).unwrap_or_default();
        call.done(&id, Deed::Upload, &answer);
        let (share, location) = (share(created?, &proof, errand), path(&created?.the("location")));
        let published = Deed::Publish { downloads: errand.downloads, sum: sum(&run) };
        loop {
            let call = Call::begin(self);
            let answer = tus(call.request("HEAD", &location)).try_send();
            let at = answer.as_ref().ok().and_then(|answer| answer.header("upload-offset")?.parse::<usize>().ok());
            // A HEAD makes up for a publishing that was cut off.
            let deed = if at.is_none_or(|at| at == run.len()) { published.clone() } else { Deed::Upload };
            let outcome = call.done(&share.id, deed, &answer);
            match (outcome, at) {
                (Outcome::Ok, Some(at)) => {
                    let whole = at == run.len();
                    if whole || self.patch(&share, &location, &run, at, errand.slowly, &published) {
                        return Some(share);
                    }
                }
                (Outcome::Refused, _) => return None,
                _ => {}
            }
            self.pause();
        }
    }

    /// Sends the rest, or some of it; says whether that published the share.
    fn patch(&mut self, share: &Share, location: &str, run: &[u8], at: usize, slowly: bool, published: &Deed) -> bool {
        let end = if self.random.one_in(3) { at + 1 + self.random.index(run.len() - at) } else { run.len() };
        let pause = if slowly { self.random.within(100..600) } else { 0 };
        let call = Call::begin(self);
        let request = tus(call.request("PATCH", location)).header("Upload-Offset", at).header("Content-Type", BODY);
        let answer = request.try_begin(&format!("Content-Length: {}", end - at)).and_then(|mut sending| {
            for piece in run[at..end].chunks(if slowly { 300_000 } else { 1 << 20 }) {
                // What the server says early counts, not the failed write.
                if sending.push(piece).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(pause));
            }
            sending.answer()
        });
        let last = end == run.len();
        let outcome = call.done(&share.id, if last { published.clone() } else { Deed::Upload }, &answer);
        last && outcome == Outcome::Ok
    }

    fn revoke(&mut self, share: &Share) {
        self.until_answered(&share.id, &Deed::Revoke, |call| {
            call.request("DELETE", &format!("/api/v1/shares/{}", share.id)).bearer(&share.owner)
        });
    }

    /// Claims the share with a token of its own, reads it all, and mostly says so.
    pub fn take(&mut self, share: &Share) {
        let token = Token::random().to_string();
        let Some(manifest) = self.claim(share, &token) else { return };
        if self.read(share, &token, manifest) && !self.random.one_in(4) {
            self.until_answered(&share.id, &Deed::Finish { token: token.clone() }, |call| {
                call.request("DELETE", &format!("/api/v1/shares/{}/claims/{token}", share.id))
            });
        }
    }

    /// Gives the manifest, where the claim was granted.
    fn claim(&mut self, share: &Share, token: &str) -> Option<Vec<u8>> {
        let asked = json!({"proof": base64url(&share.proof.0), "claim": token});
        let deed = Deed::Claim { token: token.to_owned() };
        let answer = self.until_answered(&share.id, &deed, |call| {
            call.post(&format!("/api/v1/shares/{}/claims", share.id)).json(&asked)
        })?;
        // Now and then the answer is lost on its way, as far as this client knows.
        let answer = if self.random.one_in(5) {
            self.until_answered(&share.id, &deed, |call| {
                call.post(&format!("/api/v1/shares/{}/claims", share.id)).json(&asked)
            })?
        } else {
            answer
        };
        Some(crate::client::from_base64url(answer.json()["manifest"].as_str().unwrap_or_default()))
    }

    /// Reads the content behind the manifest, in several turns where it is cut off; says whether it came.
    fn read(&mut self, share: &Share, token: &str, mut got: Vec<u8>) -> bool {
        let (content, whole) = (got.len(), got.len() + share.size);
        loop {
            let offset = got.len() - content;
            // Some ask for a part at a time, and some are slow. None hangs up: what is on its way to it then is served, too.
            let end = if self.random.one_in(4) { got.len() + 1 + self.random.index(whole - got.len()) } else { whole };
            let pause = if self.random.one_in(4) { 200 } else { 0 };
            let call = Call::begin(self);
            let request = call.request("GET", &format!("/api/v1/shares/{}/claims/{token}", share.id));
            let range = format!("bytes={offset}-{}", end - content - 1);
            let answer = request.header("Range", range).open().and_then(|mut live| {
                if live.status != 206 {
                    return live.whole();
                }
                let mut piece = vec![0; 256 * 1024];
                loop {
                    let read = live.read(&mut piece)?;
                    if read == 0 {
                        return Ok(Answer { status: live.status, headers: live.headers, body: Vec::new() });
                    }
                    got.extend_from_slice(&piece[..read]);
                    thread::sleep(Duration::from_millis(pause));
                }
            });
            let done = got.len() == whole;
            let deed = Deed::Read { token: token.to_owned(), sum: done.then(|| sum(&got)) };
            match call.done(&share.id, deed, &answer) {
                Outcome::Ok if done => return true,
                Outcome::Ok => {}
                Outcome::Refused => return false,
                // A broken share stays broken.
                Outcome::Unknown if answer.is_ok_and(|answer| answer.status == 500) && self.settled() => return false,
                Outcome::Unknown => self.pause(),
            }
        }
    }

    /// What the sender is shown in the end.
    pub fn receipt(&mut self, share: &Share) {
        loop {
            let call = Call::begin(self);
            let answer = call.request("GET", &format!("/api/v1/receipts/{}", share.id)).bearer(&share.owner).try_send();
            let shown = answer.as_ref().ok().filter(|answer| answer.status == 200).map(Answer::json);
            let claims = shown.as_ref().and_then(|shown| shown["claims"].as_array()).cloned().unwrap_or_default();
            let finished = claims.iter().filter(|claim| claim["state"] == "finished").count();
            let deed = Deed::Receipt { claims: claims.len(), finished };
            if call.done(&share.id, deed, &answer) != Outcome::Unknown {
                return;
            }
            self.pause();
        }
    }

    /// Publishes and claims small shares, one after the other, until the faults are over.
    pub fn probe(mut self) -> Vec<Share> {
        let errand = Errand { at: 0, size: 100, downloads: 1, slowly: false, revoked_at: None, rivals: Vec::new() };
        let mut shares = Vec::new();
        while !self.world.over.load(Ordering::Relaxed) {
            if let Some(share) = self.send_at_once(&errand) {
                self.claim(&share, &Token::random().to_string());
                shares.push(share);
            }
            thread::sleep(Duration::from_millis(100));
        }
        shares
    }

    /// Repeats the call until it has an answer that counts; gives it where it is a success.
    fn until_answered(&mut self, share: &str, deed: &Deed, request: impl Fn(&Call<'_>) -> Request) -> Option<Answer> {
        loop {
            let call = Call::begin(self);
            let answer = request(&call).try_send();
            match call.done(share, deed.clone(), &answer) {
                Outcome::Ok => return answer.ok(),
                Outcome::Refused => return None,
                Outcome::Unknown => self.pause(),
            }
        }
    }

    fn settled(&self) -> bool {
        self.world.over.load(Ordering::Relaxed)
    }

    fn pause(&mut self) {
        assert!(!self.world.given_up.load(Ordering::Relaxed), "the run was given up");
        thread::sleep(Duration::from_millis(if self.number == PROBE { 50 } else { self.random.within(100..500) }));
    }

    /// A proof, and manifest and content that nobody else has.
    fn sealed(&mut self, size: usize) -> (Proof, Vec<u8>) {
        let proof = Proof(self.random.bytes(32).try_into().expect("32 bytes"));
        (proof, self.random.bytes(MANIFEST + size))
    }
}

const BODY: &str = "application/offset+octet-stream";

/// A call to a server at random, timed for the log.
struct Call<'a> {
    world: &'a World<'a>,
    client: usize,
    web: usize,
    began: u64,
}

impl<'a> Call<'a> {
    fn begin(client: &mut Client<'a>) -> Self {
        let web = client.random.index(WEBS);
        Self { world: client.world, client: client.number, web, began: client.world.log.now() }
    }

    fn request(&self, method: &str, target: &str) -> Request {
        let patience = if self.client == PROBE { Duration::from_secs(2) } else { PATIENCE };
        Request::new(self.world.rig.web(self.web), method, target).within(patience)
    }

    fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// Writes down how it went.
    fn done(self, share: &str, deed: Deed, answer: &std::io::Result<Answer>) -> Outcome {
        let (outcome, status, note) = match answer {
            Ok(answer) => (outcome(&deed, answer.status), answer.status, note(answer)),
            Err(error) => (Outcome::Unknown, 0, error.kind().to_string()),
        };
        let Self { world, client, web, began } = self;
        let share = share.to_owned();
        world.log.add(Op { began, ended: world.log.now(), client, web, share, deed, outcome, status, note });
        outcome
    }
}

fn outcome(deed: &Deed, status: u16) -> Outcome {
    match status {
        200..300 => Outcome::Ok,
        0 | 408 | 500..600 => Outcome::Unknown,
        // The upload stands elsewhere, or is published: the next HEAD will tell.
        409 if *deed != Deed::Revoke => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}

fn note(answer: &Answer) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
    let said = ["code", "reason", "detail"].iter().filter_map(|field| problem[field].as_str());
    if answer.status < 300 { String::new() } else { said.collect::<Vec<_>>().join(": ") }
}

fn creation(request: Request, proof: &Proof, length: usize, downloads: usize) -> Request {
    let pairs = [
        ("manifest", MANIFEST.to_string()),
        ("verifier", proof.verifier().to_string()),
        ("expires_in", "86400".to_owned()),
        ("downloads", downloads.to_string()),
    ];
    let metadata: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
    tus(request).header("Upload-Length", length).header("Upload-Metadata", metadata.join(","))
}

fn tus(request: Request) -> Request {
    request.header("Tus-Resumable", "1.0.0")
}

/// The share that an upload becomes, from the answer to its creation.
fn share(answer: &Answer, proof: &Proof, errand: &Errand) -> Share {
    let (id, owner) = (answer.the("share-id"), answer.the("owner-token"));
    Share { id, owner, proof: *proof, size: errand.size }
}

/// An address without its server: any of them will do.
fn path(location: &str) -> String {
    let rest = location.split_once("://").map_or(location, |(_, rest)| rest);
    rest[rest.find('/').unwrap_or(0)..].to_owned()
}

fn sum(run: &[u8]) -> String {
    Digest::of(run).to_string()
}
