//! Stands before a server and speaks TLS, with a certificate of an authority that no system knows.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

use crate::certificates::certify;

/// See the module. Its threads end with the test's process.
pub(crate) struct Terminator {
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Terminator {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        let config = Arc::new(config(folder.path()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let config = config.clone();
                thread::spawn(move || {
                    let _ = serve(&client, server, config);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, folder }
    }

    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}

fn config(folder: &Path) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(folder.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    config.with_single_cert(vec![certificate], key).unwrap()
}

fn serve(mut client: &TcpStream, server: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let tls = Arc::new(Mutex::new(ServerConnection::new(config).unwrap()));
    let (answers, to, sealing) = (server.try_clone()?, client.try_clone()?, tls.clone());
    thread::spawn(move || {
        let _ = seal(answers, &to, &sealing);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 16 * 1024];
    while let count @ 1.. = client.read(&mut bytes)? {
        let plain = unseal(&mut tls.lock().unwrap(), &bytes[..count], client)?;
        server.write_all(&plain)?;
    }
    server.shutdown(Shutdown::Both)
}

/// What came, and was meant for the server.
fn unseal(tls: &mut ServerConnection, mut sealed: &[u8], mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    while !sealed.is_empty() {
        tls.read_tls(&mut sealed)?;
        let state = tls.process_new_packets();
        // Handshakes, and alerts where they fail, are answered from here.
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        let count = state.map_err(io::Error::other)?.plaintext_bytes_to_read();
        tls.reader().take(count as u64).read_to_end(&mut plain)?;
    }
    Ok(plain)
}

fn seal(mut answers: TcpStream, mut client: &TcpStream, tls: &Mutex<ServerConnection>) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    while let count @ 1.. = answers.read(&mut bytes)? {
        let mut tls = tls.lock().unwrap();
        tls.writer().write_all(&bytes[..count])?;
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
    }
    Ok(())
}
