//! A proxy that knows only one server: HTTP requests, CONNECT and SOCKS 5 all lead there, whatever host they name.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module. Its threads end with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What each connection began with.
    heads: Mutex<Vec<String>>,
    /// Bytes that went to the server.
    passed: AtomicU64,
}

impl Proxy {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let proxy = Self { address, seen: seen.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || _ = serve(client, server, &seen));
            }
        });
        proxy
    }

    /// As a variable names it: `scheme://[user:password@]127.0.0.1:port`.
    pub(crate) fn named(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}{}", self.address)
    }

    /// What each connection so far began with.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// Bytes that went through it to the server.
    pub(crate) fn passed(&self) -> u64 {
        self.seen.passed.load(Ordering::SeqCst)
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, seen: &Seen) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    let mut server = TcpStream::connect(server)?;
    let head = if first == [5] { socks(&mut client)? } else { head(first[0], &mut client)? };
    seen.heads.lock().unwrap().push(head.clone());
    if head.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else if !head.starts_with("SOCKS ") {
        server.write_all(head.as_bytes())?;
    }
    let (mut answers, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let mut bytes = [0; 16 * 1024];
    while let count @ 1.. = client.read(&mut bytes)? {
        server.write_all(&bytes[..count])?;
        seen.passed.fetch_add(count as u64, Ordering::SeqCst);
    }
    server.shutdown(std::net::Shutdown::Both)
}

/// A request's head, with the empty line.
fn head(first: u8, client: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut next) = (vec![first], [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut next)?;
        head.push(next[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Greets as RFC 1928 says, for a client that names its host; gives `SOCKS host`.
fn socks(client: &mut TcpStream) -> io::Result<String> {
    let mut count = [0];
    client.read_exact(&mut count)?;
    client.read_exact(&mut vec![0; count[0].into()])?;
    client.write_all(&[5, 0])?;
    // Version, command, reserved, kind of address (3: a name), its length.
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    assert_eq!(request[..4], [5, 1, 0, 3], "CONNECT, to a name");
    let mut host = vec![0; request[4].into()];
    client.read_exact(&mut host)?;
    client.read_exact(&mut [0; 2])?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(format!("SOCKS {}", String::from_utf8_lossy(&host)))
}
