//! A client that costs as little as one can, and the same whoever answers.

use std::io::{Read, Write, sink};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

const MIB: usize = 1 << 20;
const SHORT: u64 = 64 * 1024;

/// What is sent: a few real bytes, then noise until `len`.
pub(crate) struct Payload {
    front: Vec<u8>,
    noise: Vec<u8>,
    len: u64,
}

impl Payload {
    /// `len` bytes that begin with `front`. Holds 1 MiB of noise, over and over.
    pub(crate) fn new(front: Vec<u8>, len: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = (0..MIB / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { front, noise: noise.collect(), len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes `range`, in pieces of at most 1 MiB.
    fn pieces(&self, mut range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            let piece = match self.front.get(range.start as usize..) {
                Some(front) if !front.is_empty() => front,
                _ => &self.noise,
            };
            let piece = &piece[..piece.len().min((range.end - range.start) as usize)];
            range.start += piece.len() as u64;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// An answer whose body was kept.
pub(crate) struct Answer {
    status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }

    /// The status line and the headers.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Bytes of head and body.
    pub(crate) fn length(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The path that `Location` names.
    pub(crate) fn location(&self) -> String {
        path(self.header("location").expect("a Location"))
    }
}

/// The path of an address.
pub(crate) fn path(address: &str) -> String {
    match address.split_once("://") {
        Some((_, rest)) => rest[rest.find('/').expect("a path")..].to_owned(),
        None => address.to_owned(),
    }
}

/// One keep-alive connection, with a buffer of 1 MiB.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, buffer: vec![0; MIB] }
    }

    /// Sends a request with a short body; keeps the answer's body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut request = head(method, path, headers, body.len() as u64).into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).expect("the server reads");
        self.answer_kept()
    }

    /// Sends `range` of a payload as the body; a short one in one write with the head.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &Payload,
        range: Range<u64>,
    ) -> Answer {
        let length = range.end - range.start;
        let mut head = head(method, path, headers, length).into_bytes();
        if length <= SHORT {
            body.pieces(range.clone()).for_each(|piece| head.extend_from_slice(piece));
        }
        self.stream.write_all(&head).expect("the server reads");
        if length > SHORT {
            body.pieces(range).for_each(|piece| self.stream.write_all(piece).expect("the server reads"));
        }
        self.answer_kept()
    }

    /// Reads `path` and throws it away; gives its length.
    pub(crate) fn fetch(&mut self, path: &str) -> u64 {
        self.fetch_into(path, &mut sink())
    }

    /// Reads `path` and writes it to `body`; gives its length.
    pub(crate) fn fetch_into(&mut self, path: &str, body: &mut impl Write) -> u64 {
        self.order(head("GET", path, "", 0).as_bytes());
        self.receive_into(body)
    }

    /// Sends a request, or a part of one, as it is; waits for no answer.
    pub(crate) fn order(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the server reads");
    }

    /// Waits for the answer and throws it away; gives its body's length.
    pub(crate) fn receive(&mut self) -> u64 {
        self.receive_into(&mut sink())
    }

    fn receive_into(&mut self, body: &mut impl Write) -> u64 {
        content_length(&self.answer(body).is(200))
    }

    /// Waits for the answer; keeps its body.
    pub(crate) fn answer_kept(&mut self) -> Answer {
        let mut body = Vec::new();
        let answer = self.answer(&mut body);
        Answer { body, ..answer }
    }

    fn answer(&mut self, body: &mut impl Write) -> Answer {
        let mut filled = 0;
        let end = loop {
            filled += self.read(filled);
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status line");
        let answer = Answer { status, head, body: Vec::new() };
        let mut left = content_length(&answer);
        let mut here = end..filled;
        loop {
            left -= here.len() as u64;
            body.write_all(&self.buffer[here]).expect("room");
            if left == 0 {
                return answer;
            }
            here = 0..self.read(0);
        }
    }

    fn read(&mut self, at: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[at..]).expect("the server answers");
        assert_ne!(read, 0, "the server hung up");
        read
    }
}

fn content_length(answer: &Answer) -> u64 {
    answer.header("content-length").map_or(0, |length| length.parse().expect("a length"))
}

/// The head of a request whose body has so many bytes.
pub(crate) fn head(method: &str, path: &str, headers: &str, length: u64) -> String {
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {length}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}{headers}\r\n")
}
