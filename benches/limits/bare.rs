//! A server that does nothing but hand bytes on to Redis and back: what is left to any other one.
//!
//! It is this program again, started as `limits --bare ADDRESS REDIS`, and speaks as much of tus and of claims as one client needs
//! for one share after the other. A thread reads, writes and waits; chunks are as long as ours, [`AHEAD`] are on their way. Whoever asks gets
//! what is there: nothing is checked, counted or decided. A part is answered once its chunks and a note of it are in Redis.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What this program is started with to be that server.
pub(crate) const FLAG: &str = "--bare";
/// Bytes of a chunk, as in `blobs/redis.rs`.
const CHUNK: usize = 512 * 1024 - 64;
/// Chunks that are written, or asked for, before the first of them is answered.
const AHEAD: usize = 3;

/// Serves one client after the other, for ever.
pub(crate) fn serve(address: SocketAddr, redis: SocketAddr) -> ! {
    let listener = TcpListener::bind(address).expect("a free port");
    loop {
        let (client, _) = listener.accept().expect("a client");
        let mut bare = Bare { client: buffered(client), redis: Redis::connect(redis), chunks: Vec::new(), manifest: 0 };
        while bare.answer().is_some() {}
    }
}

/// What one client brings and fetches.
struct Bare {
    client: BufReader<TcpStream>,
    redis: Redis,
    /// Bytes of each chunk.
    chunks: Vec<usize>,
    manifest: usize,
}

impl Bare {
    /// Answers a request; `None` where the client has hung up.
    fn answer(&mut self) -> Option<()> {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            self.client.read_line(&mut line).ok().filter(|read| *read > 0)?;
            head.push_str(&line);
        }
        let header = |name| head.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
        let length = header("Content-Length:").parse().unwrap_or(0);
        let place = "Location: /bare\r\nShare-Id: bare\r\nOwner-Token: bare\r\n";
        match head.split_once(' ')?.0 {
            "PATCH" => {
                self.bring(length)?;
                self.head("204 No Content", "")
            }
            "GET" => self.fetch(),
            "DELETE" => {
                (0..self.chunks.len()).for_each(|chunk| self.redis.ask(&["UNLINK", &chunk.to_string()]));
                self.redis.answered(self.chunks.len());
                self.chunks.clear();
                self.head("204 No Content", "")
            }
            _ => {
                if let Some(manifest) = header("Upload-Metadata:").strip_prefix("manifest ") {
                    let digits = STANDARD.decode(manifest.split(',').next()?).expect("base64");
                    self.manifest = String::from_utf8_lossy(&digits).parse().expect("a number");
                }
                self.client.read_exact(&mut vec![0; length]).ok()?;
                self.head("201 Created", &format!("Content-Length: 0\r\n{place}"))
            }
        }
    }

    fn head(&mut self, status: &str, headers: &str) -> Option<()> {
        self.client.get_mut().write_all(format!("HTTP/1.1 {status}\r\n{headers}\r\n").as_bytes()).ok()
    }

    /// Hands on a part of so many bytes.
    fn bring(&mut self, mut left: usize) -> Option<()> {
        let (mut chunk, mut under_way) = (vec![0; CHUNK], 0);
        self.redis.ask(&["GET", "note"]);
        self.redis.answered(1);
        while left > 0 {
            let bytes = &mut chunk[..left.min(CHUNK)];
            self.client.read_exact(bytes).ok()?;
            self.redis.set(&self.chunks.len().to_string(), bytes);
            self.chunks.push(bytes.len());
            left -= bytes.len();
            under_way += 1;
            if under_way == AHEAD {
                self.redis.answered(1);
                under_way -= 1;
            }
        }
        self.redis.answered(under_way);
        self.redis.set("note", self.chunks.len().to_string().as_bytes());
        self.redis.answered(1);
        Some(())
    }

    /// Hands everything back but the manifest.
    fn fetch(&mut self) -> Option<()> {
        let length = self.chunks.iter().sum::<usize>() - self.manifest;
        self.head("200 OK", &format!("Content-Length: {length}\r\n"))?;
        let (mut buffer, mut skip) = (vec![0; CHUNK], self.manifest);
        for chunk in 0..self.chunks.len() + AHEAD {
            if chunk < self.chunks.len() {
                self.redis.ask(&["GET", &chunk.to_string()]);
            }
            let Some(length) = chunk.checked_sub(AHEAD).map(|chunk| self.chunks[chunk]) else { continue };
            self.redis.value(&mut buffer[..length]);
            self.client.get_mut().write_all(&buffer[std::mem::take(&mut skip)..length]).ok()?;
        }
        Some(())
    }
}

/// A connection to Redis: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
struct Redis(BufReader<TcpStream>);

impl Redis {
    fn connect(address: SocketAddr) -> Self {
        Self(buffered(TcpStream::connect(address).expect("Redis listens")))
    }

    fn ask(&mut self, command: &[&str]) {
        let arguments = command.iter().map(|argument| format!("${}\r\n{argument}\r\n", argument.len()));
        let command = format!("*{}\r\n{}", command.len(), arguments.collect::<String>());
        self.0.get_mut().write_all(command.as_bytes()).expect("Redis reads");
    }

    /// Writes a value that vanishes by itself.
    fn set(&mut self, key: &str, bytes: &[u8]) {
        let head = format!("*5\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), bytes.len());
        let stream = self.0.get_mut();
        for part in [head.as_bytes(), bytes, b"\r\n$2\r\nEX\r\n$3\r\n600\r\n"] {
            stream.write_all(part).expect("Redis reads");
        }
    }

    /// Waits for so many answers, and throws them away.
    fn answered(&mut self, count: usize) {
        for _ in 0..count {
            let line = self.line();
            assert!(!line.starts_with('-'), "{line}");
            if let Some(length) = line.strip_prefix('$').and_then(|length| length.trim().parse::<usize>().ok()) {
                self.0.read_exact(&mut vec![0; length + 2]).expect("Redis answers");
            }
        }
    }

    /// Waits for a value of just so many bytes.
    fn value(&mut self, bytes: &mut [u8]) {
        assert_eq!(self.line(), format!("${}\r\n", bytes.len()));
        self.0.read_exact(bytes).expect("Redis answers");
        self.0.read_exact(&mut [0; 2]).expect("Redis answers");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("Redis answers");
        line
    }
}

/// What is longer than the buffer is read past it.
fn buffered(stream: TcpStream) -> BufReader<TcpStream> {
    stream.set_nodelay(true).expect("a TCP socket");
    BufReader::with_capacity(16 * 1024, stream)
}
