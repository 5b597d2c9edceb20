//! Serving HTTP/1 so that no client can hold what others need.

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stall::NoStall;

/// How long a request's head may take to arrive, and how long a connection may idle between requests.
pub const HEADER_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Connections served at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 10_000;
/// How long requests in flight get to finish after the shutdown.
pub const SHUTDOWN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long accepting rests after an error that is not the connection's own, such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Who is at the other end of a request's connection: an extension of every request that is served here. Behind a proxy it
/// is the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves until `shutdown`: then accepts no more, lets requests in flight finish for at most [`SHUTDOWN_TIME_LIMIT`], and
/// returns. Broken clients and accept errors end only themselves.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some((stream, permit)) = next(&listener, &permits, &shutdown).await {
        connections.spawn(attend(stream, router.clone(), shutdown.child_token(), permit));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The next connection and its place; `None` on shutdown.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepted = async {
        let permit = permits.clone().acquire_owned().await.ok()?;
        Some((accept(listener).await, permit))
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        connection = accepted => connection,
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn attend(stream: TcpStream, router: Router, shutdown: CancellationToken, _place: OwnedSemaphorePermit) {
    // Without it small answers wait for the peer's delayed acknowledgements; a socket that refuses is closing anyway.
    stream.set_nodelay(true).ok();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_LIMIT);
    // A connection that is gone already has none.
    let (peer, service) = (stream.peer_addr().ok().map(Peer), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        service.call(request)
    });
    let io = NoStall::new(TokioIo::new(stream));
    let mut connection = pin!(http.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(SHUTDOWN_TIME_LIMIT, connection).await.ok()
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
        None => tracing::warn!("connection cut: its request outlasted the shutdown"),
    }
}
