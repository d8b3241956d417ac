//! A real S3 server of a test's own, in this process, on a free port, ended with the test. It can be made to fail.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const BUCKET: &str = "sealed-bytes";
const KEY: &str = "the-key";
const SECRET: &str = "the-secret";

type Failing = Result<Response<BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>, Infallible>;

pub struct S3Server {
    address: SocketAddr,
    folder: TempDir,
    faults: Arc<Faults>,
    runtime: Option<Runtime>,
}

/// Which requests fail.
#[derive(Default)]
struct Faults {
    /// Of a hundred.
    fail: AtomicU32,
    /// So many more are never answered.
    stall: AtomicU32,
    /// What is said to whoever puts an object.
    refusal: Mutex<Option<&'static str>>,
    /// What chance is drawn from: the same for the same requests in the same order.
    state: Mutex<u64>,
    failed: AtomicU64,
    requests: AtomicU64,
}

#[allow(dead_code, reason = "not every suite makes it fail")]
impl S3Server {
    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("a folder");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (service, faults) = (builder.build(), Arc::new(Faults { state: Mutex::new(42), ..Faults::default() }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(accept(listener, service, faults.clone()));
        Self { address, folder, faults, runtime: Some(runtime) }
    }

    /// What the environment of a server on it says.
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_ACCESS_KEY_ID", KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/some/prefix")
    }

    /// The names of all objects.
    pub fn names(&self) -> BTreeSet<String> {
        let bucket = self.folder.path().join(BUCKET);
        let mut names = BTreeSet::new();
        collect(&bucket, &bucket, &mut names);
        names
    }

    /// Puts an object there past everybody, as if written so long ago.
    pub fn plant(&self, name: &str, content: &[u8], ago: Duration) {
        let path = self.folder.path().join(BUCKET).join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("an object");
        let object = fs::File::options().write(true).open(path).expect("an object");
        object.set_modified(SystemTime::now() - ago).expect("a time");
    }

    /// From now on so many of a hundred requests are answered with 500 or 503.
    pub fn fail(&self, of_hundred: u32) {
        self.faults.fail.store(of_hundred, Ordering::SeqCst);
    }

    /// So many of the next requests are never answered.
    pub fn stall(&self, requests: u32) {
        self.faults.stall.store(requests, Ordering::SeqCst);
    }

    /// From now on no object is taken, for the reason with this code.
    pub fn refuse(&self, code: &'static str) {
        *self.faults.refusal.lock().expect("nobody panics with it") = Some(code);
    }

    /// How many requests failed, and how many there were.
    pub fn counted(&self) -> (u64, u64) {
        (self.faults.failed.load(Ordering::SeqCst), self.faults.requests.load(Ordering::SeqCst))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn collect(folder: &Path, bucket: &Path, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, bucket, names);
        } else if let Ok(name) = path.strip_prefix(bucket) {
            names.insert(name.display().to_string());
        }
    }
}

async fn accept(listener: TcpListener, service: S3Service, faults: Arc<Faults>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, faults) = (service.clone(), faults.clone());
        let answer = service_fn(move |request| answer(service.clone(), faults.clone(), request));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(service: S3Service, faults: Arc<Faults>, request: Request<Incoming>) -> Failing {
    faults.requests.fetch_add(1, Ordering::SeqCst);
    let less = |left: u32| left.checked_sub(1);
    if faults.stall.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
        std::future::pending::<()>().await;
    }
    let refusal = faults.refusal.lock().expect("nobody panics with it").filter(|_| request.method() == Method::PUT);
    let refusal = refusal.map(|code| error(StatusCode::FORBIDDEN, code));
    if let Some(failure) = refusal.or_else(|| faults.draw()) {
        faults.failed.fetch_add(1, Ordering::SeqCst);
        // Taken to its end, so that the client hears the answer and not a broken connection.
        let _ = request.into_body().collect().await;
        return Ok(failure.map(|body| Full::new(body).map_err(|never| match never {}).boxed()));
    }
    match service.call(request.map(s3s::Body::from)).await {
        Ok(response) => Ok(response.map(|body| body.boxed())),
        Err(error) => panic!("the S3 server failed: {error:?}"),
    }
}

impl Faults {
    fn draw(&self) -> Option<Response<Bytes>> {
        let fail = self.fail.load(Ordering::SeqCst);
        let mut state = self.state.lock().expect("nobody panics with it");
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let (drawn, which) = (*state % 100, *state / 100 % 2);
        let (status, code) = match which {
            0 => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        };
        (drawn < u64::from(fail)).then(|| error(status, code))
    }
}

fn error(status: StatusCode, code: &str) -> Response<Bytes> {
    let body = Bytes::from(format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"));
    Response::builder().status(status).body(body).expect("an answer")
}
