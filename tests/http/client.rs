//! A small blocking HTTP/1.1 client: one connection per request, and every byte under the test's control.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Nothing that the server answers may take longer.
const PATIENCE: Duration = Duration::from_secs(45);

/// Opens a connection that gives up after [`PATIENCE`].
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    connect_within(address, PATIENCE)
}

fn connect_within(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Bytes as base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64url without padding.
pub(crate) fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|_| panic!("not base64url without padding: {text}"))
}

/// A request about to be sent.
#[derive(Clone)]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    patience: Duration,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let origin = format!("http://{address}");
        let target = target.strip_prefix(&origin).unwrap_or(target);
        let (method, target) = (method.into(), target.into());
        Self { address, method, target, headers: Vec::new(), body: None, patience: PATIENCE }
    }

    /// Gives up where nothing moves for so long.
    #[allow(dead_code, reason = "only a history has servers that hang")]
    pub(crate) fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// The same, where something in between passes on GET and POST alone.
    pub(crate) fn by_post(mut self) -> Self {
        let method = std::mem::replace(&mut self.method, "POST".into());
        self.header("X-HTTP-Method-Override", method)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// Form fields, urlencoded.
    pub(crate) fn form(self, fields: &[(&str, &str)]) -> Self {
        let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.header("Content-Type", "application/x-www-form-urlencoded").body(pairs.join("&"))
    }

    /// Parts of a multipart form.
    pub(crate) fn multipart(self, parts: &[Part]) -> Self {
        let mut body = Vec::new();
        for part in parts {
            body.extend_from_slice(b"--the-boundary\r\n");
            body.extend_from_slice(&part.0);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--the-boundary--\r\n");
        self.header("Content-Type", "multipart/form-data; boundary=the-boundary").body(body)
    }

    fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        head += "Connection: close\r\n";
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// Sends everything and reads the whole answer.
    pub(crate) fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        self.try_send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// As [`Request::send`], where the server may go away.
    pub(crate) fn try_send(self) -> io::Result<Answer> {
        self.open()?.whole()
    }

    /// Sends everything and reads the head of the answer.
    pub(crate) fn open(self) -> io::Result<Live> {
        let mut stream = connect_within(self.address, self.patience)?;
        let mut bytes = self.head();
        if let Some(body) = &self.body {
            bytes += &format!("Content-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        stream.write_all(bytes.as_bytes())?;
        // A server that refuses early stops reading; its answer counts then, not the failed write.
        let _ = stream.write_all(self.body.as_deref().unwrap_or_default());
        Live::read(stream, self.method == "HEAD")
    }

    /// Sends the head alone, with these framing headers (`Content-Length: 5`), for a body sent by hand.
    pub(crate) fn begin(self, framing: &str) -> Sending {
        self.try_begin(framing).expect("the server listens")
    }

    /// As [`Request::begin`], where the server may be away.
    pub(crate) fn try_begin(self, framing: &str) -> io::Result<Sending> {
        let mut stream = connect_within(self.address, self.patience)?;
        let head = format!("{}{framing}\r\n\r\n", self.head());
        stream.write_all(head.as_bytes())?;
        Ok(Sending { stream })
    }
}

/// One part of a multipart form: headers, an empty line, and the content.
pub(crate) struct Part(pub(crate) Vec<u8>);

impl Part {
    pub(crate) fn field(name: &str, value: &str) -> Self {
        Self(format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}").into_bytes())
    }

    pub(crate) fn file(filename: &str, content: &[u8]) -> Self {
        let mut part = format!(
            "Content-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        part.extend_from_slice(content);
        Self(part)
    }
}

/// A request whose body the test sends by hand.
pub(crate) struct Sending {
    pub(crate) stream: TcpStream,
}

impl Sending {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the answer.
    pub(crate) fn answer(self) -> io::Result<Answer> {
        Live::read(self.stream, false)?.whole()
    }

    /// Hangs up in the middle.
    pub(crate) fn cut(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// How the end of a body is known.
enum Framing {
    Length(u64),
    Chunked(u64),
    Close,
    Done,
}

/// An answer whose body is still to be read.
pub(crate) struct Live {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    stream: BufReader<TcpStream>,
    framing: Framing,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_string())
}

impl Live {
    pub(crate) fn read(stream: TcpStream, to_head: bool) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(8 * 1024, stream);
        loop {
            let status = line(&mut stream)?;
            let status: u16 = status.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(broken("no status line"))?;
            let mut headers = Vec::new();
            loop {
                let header = line(&mut stream)?;
                if header.is_empty() {
                    break;
                }
                let (name, value) = header.split_once(':').ok_or(broken("no header"))?;
                headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
            }
            if (100..200).contains(&status) {
                continue;
            }
            let header =
                |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let framing = if to_head || status == 204 || status == 304 {
                Framing::Done
            } else if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
                Framing::Chunked(0)
            } else if let Some(length) = header("content-length") {
                Framing::Length(length.parse().map_err(|_| broken("bad Content-Length"))?)
            } else {
                Framing::Close
            };
            return Ok(Self { status, headers, stream, framing });
        }
    }

    /// The next line of the body.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while Read::read(self, &mut byte)? == 1 {
            if byte[0] == b'\n' {
                return Ok(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            line.push(byte[0]);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Exactly so many bytes of the body.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until the body ends; an error where it ends too soon.
    pub(crate) fn whole(mut self) -> io::Result<Answer> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(Answer { status: self.status, headers: self.headers, body })
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunked(0) = self.framing {
            let size = line(&mut self.stream)?;
            let size =
                u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| broken("bad chunk"))?;
            self.framing = Framing::Chunked(size);
            if size == 0 {
                while !line(&mut self.stream)?.is_empty() {}
                self.framing = Framing::Done;
            }
        }
        let most = match self.framing {
            Framing::Done | Framing::Length(0) => return Ok(0),
            Framing::Length(left) | Framing::Chunked(left) => buffer.len().min(left as usize),
            Framing::Close => buffer.len(),
        };
        let count = self.stream.read(&mut buffer[..most])?;
        match &mut self.framing {
            Framing::Length(left) if count > 0 => *left -= count as u64,
            Framing::Chunked(left) if count > 0 => {
                *left -= count as u64;
                if *left == 0 {
                    line(&mut self.stream)?;
                }
            }
            Framing::Close => {}
            _ if most == 0 => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(count)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value; several of one name are joined with commas.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        let values: Vec<&str> = self.headers.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// A header that must be there.
    pub(crate) fn the(&self, name: &str) -> String {
        self.header(name).unwrap_or_else(|| panic!("no header {name} in {} {:?}", self.status, self.headers))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: not JSON: {}", self.status, self.text()))
    }

    /// Fails unless the status is one of these.
    #[track_caller]
    pub(crate) fn expect(self, statuses: &[u16]) -> Self {
        assert!(statuses.contains(&self.status), "{statuses:?} expected, got {}: {}", self.status, self.text());
        self
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        self.expect(&[status])
    }

    /// The stable `code` of a problem (RFC 9457), whose shape is checked.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.the("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().unwrap_or_else(|| panic!("no code in {problem}")).to_string()
    }
}
