//! Shares as a client that seals makes them, and as one request to the server makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use onetimeshare::seal::{self, File, Keys, Manifest, stretch};
use onetimeshare::share::{Digest, Token};
use serde_json::{Value, json};

use crate::client::{Answer, Request, Sending, base64url};
use crate::server::Server;

/// Bytes that repeat nowhere near and need no random source.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ count as u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// A file of a manifest.
pub(crate) fn file(name: &str, content: &[u8]) -> File {
    let media_type = "application/octet-stream".into();
    File { name: name.into(), media_type, size: Some(content.len() as u64), crc32: None, kind: None }
}

/// What a client sealed.
pub(crate) struct Sealed {
    pub(crate) secret: Token,
    pub(crate) keys: Keys,
    pub(crate) password: bool,
    pub(crate) manifest: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) plain: Vec<u8>,
}

impl Sealed {
    pub(crate) fn new(plain: &[u8]) -> Self {
        Self::named(plain, "a.bin", "", None)
    }

    pub(crate) fn with_password(plain: &[u8], password: &str) -> Self {
        Self::named(plain, "a.bin", "", Some(password))
    }

    pub(crate) fn named(plain: &[u8], name: &str, note: &str, password: Option<&str>) -> Self {
        Self::of(vec![file(name, plain)], note, plain, password)
    }

    /// Seals `plain`, which these files make up.
    pub(crate) fn of(files: Vec<File>, note: &str, plain: &[u8], password: Option<&str>) -> Self {
        let secret = Token::random();
        let keys = Keys::derive(&password.map_or(secret, |password| stretch(&secret, password)));
        let manifest = Manifest { v: 1, files, note: note.into() };
        Self {
            manifest: manifest.seal(&keys).expect("a short manifest"),
            content: seal::seal(&keys.content, plain),
            plain: plain.to_vec(),
            password: password.is_some(),
            secret,
            keys,
        }
    }

    /// The run of bytes that is uploaded.
    pub(crate) fn run(&self) -> Vec<u8> {
        [&self.manifest[..], &self.content].concat()
    }

    pub(crate) fn verifier(&self) -> String {
        self.keys.proof.verifier().to_string()
    }

    pub(crate) fn proof(&self) -> String {
        base64url(&self.keys.proof.0)
    }

    /// `Upload-Metadata` for a day and so many downloads.
    pub(crate) fn metadata(&self, downloads: u32) -> String {
        self.metadata_for(86_400, downloads)
    }

    pub(crate) fn metadata_for(&self, expires_in: u64, downloads: u32) -> String {
        let (manifest, verifier) = (self.manifest.len().to_string(), self.verifier());
        let (expires_in, downloads) = (expires_in.to_string(), downloads.to_string());
        let mut pairs = vec![("manifest", &*manifest), ("verifier", &*verifier)];
        pairs.extend([("expires_in", &*expires_in), ("downloads", &*downloads)]);
        if self.password {
            pairs.push(("password", "1"));
        }
        metadata(&pairs)
    }

    /// Unseals what was downloaded.
    #[track_caller]
    pub(crate) fn assert_opens(&self, content: &[u8]) {
        assert!(content == self.content, "the sealed content comes back ({} bytes)", content.len());
        assert!(seal::open(&self.keys.content, content).expect("it verifies") == self.plain);
    }
}

/// `Upload-Metadata` of tus.
pub(crate) fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
    pairs.join(",")
}

/// An upload that has begun, or the share that it became.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// Where the bytes go.
    pub(crate) location: String,
}

/// A request of tus 1.0.0.
pub(crate) fn tus(request: Request) -> Request {
    request.header("Tus-Resumable", "1.0.0")
}

/// The request that creates an upload of `sealed`.
pub(crate) fn creation(server: &Server, sealed: &Sealed, metadata: &str) -> Request {
    tus(server.post("/api/v1/uploads"))
        .header("Upload-Length", sealed.manifest.len() + sealed.content.len())
        .header("Upload-Metadata", metadata)
}

impl Upload {
    /// Reads the answer to a creation.
    #[track_caller]
    pub(crate) fn created(server: &Server, answer: &Answer) -> Self {
        assert_eq!(answer.status, 201, "{}", answer.text());
        let location = answer.the("location");
        let location = location.strip_prefix(&server.origin()).unwrap_or(&location).to_string();
        let id = answer.the("share-id");
        let token = location.strip_prefix(&format!("/api/v1/uploads/{id}/")).expect("the upload is below its id");
        token.parse::<Token>().expect("an upload token");
        let owner = answer.the("owner-token");
        owner.parse::<Token>().expect("an owner token");
        Self { id, owner, location }
    }

    #[track_caller]
    pub(crate) fn create(server: &Server, sealed: &Sealed, downloads: u32) -> Self {
        Self::created(server, &creation(server, sealed, &sealed.metadata(downloads)).send())
    }

    /// A share of `sealed`, made by creation and one PATCH.
    #[track_caller]
    pub(crate) fn publish(server: &Server, sealed: &Sealed, downloads: u32) -> Self {
        let upload = Self::create(server, sealed, downloads);
        upload.patch(server, 0, &sealed.run()).send().is(204);
        upload
    }

    /// A share that expires so many seconds from now.
    #[track_caller]
    pub(crate) fn publish_for(server: &Server, sealed: &Sealed, expires_in: u64) -> Self {
        let answer = creation(server, sealed, &sealed.metadata_for(expires_in, 1)).send();
        let upload = Self::created(server, &answer);
        upload.patch(server, 0, &sealed.run()).send().is(204);
        upload
    }

    pub(crate) fn patch(&self, server: &Server, offset: usize, bytes: &[u8]) -> Request {
        self.patching(server, offset).body(bytes)
    }

    /// A PATCH whose body is still to come.
    pub(crate) fn patching(&self, server: &Server, offset: usize) -> Request {
        tus(server.patch(&self.location))
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
    }

    pub(crate) fn head(&self, server: &Server) -> Answer {
        tus(server.head(&self.location)).send()
    }

    #[track_caller]
    pub(crate) fn offset(&self, server: &Server) -> usize {
        let answer = self.head(server).expect(&[200, 204]);
        answer.the("upload-offset").parse().expect("a number")
    }

    pub(crate) fn share(&self) -> String {
        format!("/api/v1/shares/{}", self.id)
    }

    pub(crate) fn peek(&self, server: &Server, sealed: &Sealed) -> Answer {
        server.get(&self.share()).bearer(&sealed.proof()).send()
    }

    /// Asks for the claim with this token.
    pub(crate) fn claim(&self, server: &Server, sealed: &Sealed, claim: &str) -> Request {
        server.post(&format!("{}/claims", self.share())).json(&json!({"proof": sealed.proof(), "claim": claim}))
    }

    /// Claims with a fresh token; gives the claim's address.
    #[track_caller]
    pub(crate) fn claimed(&self, server: &Server, sealed: &Sealed) -> String {
        let claim = token();
        self.claim(server, sealed, &claim).send().is(201);
        self.claim_address(&claim)
    }

    pub(crate) fn claim_address(&self, claim: &str) -> String {
        format!("{}/claims/{claim}", self.share())
    }

    pub(crate) fn receipt(&self, server: &Server) -> Value {
        server.get(&format!("/api/v1/receipts/{}", self.id)).bearer(&self.owner).send().is(200).json()
    }

    #[track_caller]
    pub(crate) fn state(&self, server: &Server) -> String {
        self.receipt(server)["state"].as_str().expect("a state").to_string()
    }
}

/// Sends a file whose length the server learns at its end, as far as it takes it, but not that end.
pub(crate) fn without_end(server: &Server, content: &[u8]) -> Sending {
    let mut sending = server.put("/a").begin("Transfer-Encoding: chunked");
    for piece in content.chunks(500_000) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        if sending.push(&chunk).is_err() {
            break;
        }
    }
    sending
}

/// What the server says to a file whose length it learns at its end.
#[track_caller]
pub(crate) fn of_unknown_length(server: &Server, content: &[u8]) -> Answer {
    let mut sending = without_end(server, content);
    let _ = sending.push(b"0\r\n\r\n");
    sending.answer().expect("a clear answer")
}

/// A fresh token as a client makes it.
pub(crate) fn token() -> String {
    Token::random().to_string()
}

/// An id that no share has.
pub(crate) fn unknown_id() -> String {
    onetimeshare::share::ShareId::random().to_string()
}

/// A share made by one request, sealed by the server.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) owner: String,
}

impl Plain {
    /// Reads the answer to a plain upload, whatever its form.
    #[track_caller]
    pub(crate) fn made(server: &Server, answer: &Answer) -> Self {
        assert_eq!(answer.status, 201, "{}", answer.text());
        let receipt = answer.the("receipt");
        let owner = answer.the("owner-token");
        owner.parse::<Token>().expect("an owner token");
        assert_eq!(answer.the("x-url-delete"), receipt);
        let id = receipt.strip_prefix(&format!("{}/r/", server.origin())).and_then(|rest| rest.split('/').next());
        let id = id.unwrap_or_else(|| panic!("an absolute receipt: {receipt}")).to_string();
        assert_eq!(receipt, format!("{}/r/{id}/{owner}", server.origin()));
        let text = answer.text();
        let link = format!("/s/{id}/");
        let start = text.find(&link).unwrap_or_else(|| panic!("no plain link in {text}")) + link.len();
        let secret = text[start..start + 22].to_string();
        secret.parse::<Token>().expect("a secret");
        Self { id, secret, owner }
    }

    #[track_caller]
    pub(crate) fn put(server: &Server, target: &str, content: &[u8]) -> Self {
        Self::made(server, &server.put(target).body(content).send())
    }

    pub(crate) fn link(&self) -> String {
        format!("/s/{}/{}", self.id, self.secret)
    }

    /// Claims through the plain link; gives the address of the bytes.
    #[track_caller]
    pub(crate) fn claimed(&self, server: &Server) -> String {
        let answer = server.post(&self.link()).form(&[]).send().is(303);
        let location = answer.the("location");
        location.strip_prefix(&server.origin()).unwrap_or(&location).to_string()
    }

    /// Keys and address, as a client that unseals has them.
    pub(crate) fn keys(&self) -> Keys {
        Keys::derive(&self.secret.parse::<Token>().expect("a secret"))
    }

    pub(crate) fn peek(&self, server: &Server) -> Answer {
        let proof = base64url(&self.keys().proof.0);
        server.get(&format!("/api/v1/shares/{}", self.id)).bearer(&proof).send()
    }

    pub(crate) fn manifest(&self, server: &Server) -> Value {
        let sealed =
            crate::client::from_base64url(self.peek(server).is(200).json()["manifest"].as_str().expect("text"));
        serde_json::from_slice(&seal::open(&self.keys().manifest, &sealed).expect("it verifies")).expect("JSON")
    }

    pub(crate) fn receipt(&self, server: &Server) -> Value {
        server.get(&format!("/api/v1/receipts/{}", self.id)).bearer(&self.owner).send().is(200).json()
    }
}

/// Hexadecimal SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Digest::of(bytes).0
}
