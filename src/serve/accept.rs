//! The accept loop: one task per connection, its limits, and its end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::reads::{self, Reads};
use super::wire::Wire;
use super::workers::Workers;
use crate::blobs::Outlet;
use crate::http::{Connection, Drained, Moving};

/// The head of a request must be here in this time; between two requests, the next one must begin in it.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a request's head at the most.
const HEAD_MOST: usize = 256 * 1024;
/// Files and other things that are no connections.
const RESERVED_FILES: u64 = 512;
const CONNECTIONS: u64 = 60_000;

/// Serves connections until `stopping`, and then until the last of them has ended.
pub(super) async fn accept(listener: TcpListener, router: Router, workers: Arc<Workers>, stopping: CancellationToken) {
    let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(places())));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.max_buf_size(reads::MOST).max_header_size(HEAD_MOST);
    let bulk = Arc::default();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, peer, place) = match accepted {
            (Ok((stream, peer)), place) => (stream, peer, place),
            (Err(error), _) => {
                // Mostly too many open files: others must close before it gets better.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without it an answer in two writes waits 40 ms for the client's acknowledgement (Nagle, RFC 896).
        let _ = stream.set_nodelay(true);
        let Ok(stream) = stream.into_std() else { continue };
        let (http, router, stopping) = (http.clone(), router.clone(), stopping.clone());
        let reads = Reads::new(&bulk);
        workers.spawn(&tasks, async move {
            let _place = place;
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let known =
                Connection { peer, drained: Drained::new(), moving: Moving::default(), outlet: Outlet::default() };
            let wire = TokioIo::new(Wire::new(stream, reads, &known));
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(known.clone());
                router.clone().call(request)
            });
            let mut connection = std::pin::pin!(http.serve_connection(wire, service));
            // How a connection fails is its client's business.
            let ended = tokio::select! {
                _ = connection.as_mut() => true,
                () = stopping.cancelled() => false,
            };
            if !ended {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// How many connections there may be: as many as the system gives files, once asked for all of them.
fn places() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(RESERVED_FILES).clamp(16, CONNECTIONS)).unwrap_or(16)
}
