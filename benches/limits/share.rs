//! What the clients of a share do, over one connection.

use std::fs::File as Source;
use std::io::{Write, sink};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use onetimeshare::seal::{File, Keys, Manifest, OVERHEAD, RECORD, RecordSealer, Sealer, sealed_len};
use onetimeshare::share::{Proof, Token, random};

use crate::http::{Answer, Client, Payload, head, path};

/// Bytes of a PATCH.
const PART: u64 = 16 << 20;
const OFFSET_STREAM: &str = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n";

/// What a client that seals would send: a real manifest, a real header, then noise, which no server can tell from records.
pub(crate) struct Share {
    manifest: usize,
    payload: Payload,
    downloads: u32,
}

/// A share that was uploaded, and what its recipients and its sender know of it.
pub(crate) struct Uploaded {
    pub(crate) id: String,
    proof: Proof,
    owner: String,
}

impl Share {
    /// Of `size` bytes before sealing, for one recipient.
    pub(crate) fn new(size: u64) -> Self {
        Self::for_many(size, 1)
    }

    /// For so many recipients.
    pub(crate) fn for_many(size: u64, downloads: u32) -> Self {
        let keys = Keys::derive(&Token::random());
        let (name, media_type) = ("bench.bin".into(), String::new());
        let file = File { name, media_type, size: Some(size), crc32: None, kind: None };
        let manifest = Manifest { v: 1, files: vec![file], note: String::new() };
        let mut front = manifest.seal(&keys).expect("a short manifest");
        let manifest = front.len();
        front.extend_from_slice(&Sealer::new(&keys.content).1);
        Self { manifest, payload: Payload::new(front, manifest as u64 + sealed_len(size)), downloads }
    }

    fn metadata(&self, proof: &Proof) -> String {
        let (manifest, verifier) = (self.manifest.to_string(), proof.verifier().to_string());
        let downloads = self.downloads.to_string();
        let pairs =
            [("manifest", &*manifest), ("verifier", &verifier), ("expires_in", "86400"), ("downloads", &downloads)];
        let pairs = pairs.map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
        format!("Upload-Length: {}\r\nUpload-Metadata: {}\r\n", self.payload.len(), pairs.join(","))
    }

    /// Uploads in parts.
    pub(crate) fn upload(&self, client: &mut Client) -> Uploaded {
        self.upload_parts(client, |client, location, headers, part| {
            client.send("PATCH", location, headers, &self.payload, part)
        })
    }

    /// The same out of a file, which is sealed on the way: the least that `send` does. What arrives nobody could open.
    pub(crate) fn upload_sealing(&self, client: &mut Client, source: &Source) -> Uploaded {
        let (sealer, mut buffer) = (RecordSealer::new(&random(), random()), vec![0; RECORD]);
        let size = source.metadata().expect("a file").len();
        self.upload_parts(client, |client, location, headers, part| {
            client.order(head("PATCH", location, headers, part.end - part.start).as_bytes());
            for at in part.clone().step_by(RECORD) {
                let record = &mut buffer[..(part.end - at).min(RECORD as u64) as usize];
                if let Some(room @ 1..) = record.len().checked_sub(OVERHEAD) {
                    source.read_exact_at(&mut record[..room], at.min(size - room as u64)).expect("a longer file");
                    sealer.seal(at / RECORD as u64, false, record);
                }
                client.order(record);
            }
            client.answer_kept()
        })
    }

    fn upload_parts(
        &self,
        client: &mut Client,
        mut send: impl FnMut(&mut Client, &str, &str, Range<u64>) -> Answer,
    ) -> Uploaded {
        let proof = Proof(random());
        let headers = format!("Tus-Resumable: 1.0.0\r\n{}", self.metadata(&proof));
        let created = client.ask("POST", "/api/v1/uploads", &headers, b"").is(201);
        let (location, mut at) = (created.location(), 0);
        while at < self.payload.len() {
            let end = (at + PART).min(self.payload.len());
            let headers = format!("{OFFSET_STREAM}Upload-Offset: {at}\r\n");
            send(client, &location, &headers, at..end).is(204);
            at = end;
        }
        uploaded(&created, proof)
    }

    /// Uploads in one request.
    pub(crate) fn upload_at_once(&self, client: &mut Client) -> Uploaded {
        let proof = Proof(random());
        let headers = format!("{OFFSET_STREAM}{}", self.metadata(&proof));
        let created = client.send("POST", "/api/v1/uploads", &headers, &self.payload, 0..self.payload.len()).is(201);
        uploaded(&created, proof)
    }

    /// Reads the whole of a claim, and throws it away.
    pub(crate) fn read(&self, client: &mut Client, claim: &str) {
        self.read_into(client, claim, &mut sink());
    }

    /// Reads the whole of a claim, and writes it to `content`.
    pub(crate) fn read_into(&self, client: &mut Client, claim: &str, content: &mut impl Write) {
        assert_eq!(client.fetch_into(claim, content), self.payload.len() - self.manifest as u64);
    }
}

fn uploaded(created: &Answer, proof: Proof) -> Uploaded {
    let header = |name| created.header(name).unwrap_or_else(|| panic!("no {name}")).to_owned();
    Uploaded { id: header("share-id"), proof, owner: header("owner-token") }
}

impl Uploaded {
    /// Claims; gives the claim's address.
    pub(crate) fn claim(&self, client: &mut Client) -> String {
        let proof = URL_SAFE_NO_PAD.encode(self.proof.0);
        let body = format!("{{\"proof\":\"{proof}\",\"claim\":\"{}\"}}", Token::random());
        let path = format!("/api/v1/shares/{}/claims", self.id);
        client.ask("POST", &path, "Content-Type: application/json\r\n", body.as_bytes()).is(201).location()
    }

    /// Withdraws it, so that its bytes are freed.
    pub(crate) fn revoke(&self, client: &mut Client) {
        let headers = format!("Authorization: Bearer {}\r\n", self.owner);
        client.ask("DELETE", &format!("/api/v1/shares/{}", self.id), &headers, b"").is(204);
    }
}

/// Says that everything arrived.
pub(crate) fn finish(client: &mut Client, claim: &str) {
    client.ask("DELETE", claim, "", b"").is(204);
}

/// Sends a payload for the server to seal, as curl does; gives the plain link's path.
pub(crate) fn put(client: &mut Client, payload: &Payload) -> String {
    let put = client.send("PUT", "/bench.bin", "", payload, 0..payload.len()).is(201);
    path(String::from_utf8_lossy(&put.body).trim())
}

/// Claims through a plain link, and reads what the server unseals. Gives its length.
pub(crate) fn take(client: &mut Client, link: &str) -> u64 {
    let claimed = client.ask("POST", link, "Content-Type: application/x-www-form-urlencoded\r\n", b"").is(303);
    client.fetch(&claimed.location())
}
