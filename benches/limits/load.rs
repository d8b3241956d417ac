//! The work that is measured, each kind against ours and against the limit.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use onetimeshare::seal::{File, Keys, Manifest, Sealer, sealed_len};
use onetimeshare::share::{Proof, Token, random};

use crate::http::{Client, Payload, path};
use crate::process::{Cost, Process};

/// Bytes of a PATCH.
const PART: u64 = 16 << 20;
const OFFSET_STREAM: &str = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n";

/// Up and down again.
pub(crate) struct Trip {
    pub(crate) up: Cost,
    pub(crate) down: Cost,
}

/// What a client that seals would send: a real manifest, a real header, then noise, which no server can tell from records.
pub(crate) struct Share {
    manifest: usize,
    payload: Payload,
}

impl Share {
    pub(crate) fn new(size: u64) -> Self {
        let (secret, size_known) = (Token::random(), Some(size));
        let keys = Keys::derive(&secret);
        let file =
            File { name: "bench.bin".into(), media_type: String::new(), size: size_known, crc32: None, kind: None };
        let mut front =
            Manifest { v: 1, files: vec![file], note: String::new() }.seal(&keys).expect("a short manifest");
        let manifest = front.len();
        front.extend_from_slice(&Sealer::new(&keys.content).1);
        Self { manifest, payload: Payload::new(front, manifest as u64 + sealed_len(size)) }
    }

    fn metadata(&self, proof: &Proof) -> String {
        let (manifest, verifier) = (self.manifest.to_string(), proof.verifier().to_string());
        let pairs = [("manifest", &*manifest), ("verifier", &verifier), ("expires_in", "86400"), ("downloads", "1")];
        let pairs = pairs.map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
        format!("Upload-Length: {}\r\nUpload-Metadata: {}\r\n", self.payload.len(), pairs.join(","))
    }

    /// Uploads in parts; gives the share's id.
    fn upload(&self, client: &mut Client, proof: &Proof) -> String {
        let headers = format!("Tus-Resumable: 1.0.0\r\n{}", self.metadata(proof));
        let created = client.ask("POST", "/api/v1/uploads", &headers, b"");
        assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
        let (location, mut at) = (created.location(), 0);
        while at < self.payload.len() {
            let (end, headers) =
                ((at + PART).min(self.payload.len()), format!("{OFFSET_STREAM}Upload-Offset: {at}\r\n"));
            let answer = client.send("PATCH", &location, &headers, &self.payload, at..end);
            assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
            at = end;
        }
        created.header("share-id").expect("a Share-Id").to_owned()
    }

    /// Uploads in one request.
    fn upload_at_once(&self, client: &mut Client, proof: &Proof) -> String {
        let headers = format!("{OFFSET_STREAM}{}", self.metadata(proof));
        let created = client.send("POST", "/api/v1/uploads", &headers, &self.payload, 0..self.payload.len());
        assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
        created.header("share-id").expect("a Share-Id").to_owned()
    }

    /// Claims and reads; gives the claim's address.
    fn download(&self, client: &mut Client, id: &str, proof: &Proof) -> String {
        let body = format!("{{\"proof\":\"{}\",\"claim\":\"{}\"}}", URL_SAFE_NO_PAD.encode(proof.0), Token::random());
        let headers = "Content-Type: application/json\r\n";
        let claimed = client.ask("POST", &format!("/api/v1/shares/{id}/claims"), headers, body.as_bytes());
        assert_eq!(claimed.status, 201, "{}", String::from_utf8_lossy(&claimed.body));
        assert_eq!(client.fetch(&claimed.location()), self.payload.len() - self.manifest as u64);
        claimed.location()
    }
}

/// Sealed by the client, over tus.
pub(crate) fn sealed(server: &Process, size: u64) -> Trip {
    let (share, proof, mut client) = (Share::new(size), Proof(random()), server.client());
    let (id, up) = server.measure(|| share.upload(&mut client, &proof));
    let (claim, down) = server.measure(|| share.download(&mut client, &id, &proof));
    assert_eq!(client.ask("DELETE", &claim, "", b"").status, 204);
    Trip { up, down }
}

/// Sealed and unsealed by the server, as for curl. What it leaves is freed a minute later.
pub(crate) fn plain(server: &Process, size: u64) -> Trip {
    let (payload, mut client) = (Payload::new(Vec::new(), size), server.client());
    let (put, up) = server.measure(|| client.send("PUT", "/bench.bin", "", &payload, 0..size));
    assert_eq!(put.status, 201, "{}", String::from_utf8_lossy(&put.body));
    let link = path(String::from_utf8_lossy(&put.body).trim());
    let (length, down) = server.measure(|| {
        let claimed = client.ask("POST", &link, "Content-Type: application/x-www-form-urlencoded\r\n", b"");
        assert_eq!(claimed.status, 303, "{}", String::from_utf8_lossy(&claimed.body));
        client.fetch(&claimed.location())
    });
    assert_eq!(length, size);
    Trip { up, down }
}

/// The same bytes through nginx.
pub(crate) fn webdav(nginx: &Process, size: u64) -> Trip {
    let (payload, mut client) = (Payload::new(Vec::new(), size), nginx.client());
    let name = format!("/{}", Token::random());
    let (put, up) = nginx.measure(|| client.send("PUT", &name, "", &payload, 0..size));
    assert_eq!(put.status, 201);
    let (length, down) = nginx.measure(|| client.fetch(&name));
    assert_eq!(length, size);
    assert_eq!(client.ask("DELETE", &name, "", b"").status, 204);
    Trip { up, down }
}

/// Does `work` in `count` threads at once.
pub(crate) fn at_once(count: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(&work))));
}

/// Cycles that many clients did, and how long each cycle took.
pub(crate) struct Cycles {
    pub(crate) cost: Cost,
    /// Milliseconds, ascending.
    pub(crate) latencies: Vec<f64>,
}

/// `create`, `claim`, `read`, over and over, by `clients` with a connection each.
pub(crate) fn cycles(server: &Process, clients: usize, time: Duration, size: u64) -> Cycles {
    let share = Share::new(size);
    repeat(server, clients, time, |client| {
        let proof = Proof(random());
        let id = share.upload_at_once(client, &proof);
        share.download(client, &id, &proof);
    })
}

/// PUT, GET and DELETE through nginx.
pub(crate) fn webdav_cycles(nginx: &Process, clients: usize, time: Duration, size: u64) -> Cycles {
    let payload = Payload::new(Vec::new(), size);
    repeat(nginx, clients, time, |client| {
        let name = format!("/{}", Token::random());
        assert_eq!(client.send("PUT", &name, "", &payload, 0..size).status, 201);
        assert_eq!(client.fetch(&name), size);
        assert_eq!(client.ask("DELETE", &name, "", b"").status, 204);
    })
}

fn repeat(server: &Process, clients: usize, time: Duration, cycle: impl Fn(&mut Client) + Sync) -> Cycles {
    let barrier = Barrier::new(clients);
    let client = || {
        let (mut client, mut latencies) = (server.client(), Vec::new());
        cycle(&mut client);
        barrier.wait();
        let begun = Instant::now();
        while begun.elapsed() < time {
            let cycle_begun = Instant::now();
            cycle(&mut client);
            latencies.push(cycle_begun.elapsed().as_secs_f64() * 1e3);
        }
        latencies
    };
    let (mut latencies, cost) = server.measure(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect::<Vec<f64>>()
        })
    });
    latencies.sort_by(f64::total_cmp);
    Cycles { cost: Cost { seconds: time.as_secs_f64(), ..cost }, latencies }
}
