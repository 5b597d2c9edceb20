//! An HTTP/1 server in which no client can starve others: every connection has time-outs and little memory of its own, all
//! connections of a process share one budget of bytes, and no address can take all connections.

mod answer;
mod connection;
mod deadline;
mod handshake;
mod hosts;
mod listen;
mod policy;
mod refusal;
mod socket;
mod stage;

pub use connection::SHUTDOWN_TIMEOUT;
pub use handshake::HANDSHAKE_TIMEOUT;
pub use hosts::{AllowedHost, InvalidHostError};
pub use listen::{LISTEN_BACKLOG, listen};
pub use policy::{
    ConnectionPolicy, ConnectionSettings, IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER,
    MAX_SHARED_BYTES,
};

use axum::Router;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::Service;

use crate::rate_limited_log::RateLimitedLog;
use crate::{Places, Problem, client_address};

/// How long accepting rests after an error that is not the connection's own, such as too many open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Serves until `shutdown`: then accepts no more, lets requests in flight finish for at most [`SHUTDOWN_TIMEOUT`], and
/// returns. Broken clients and accept errors end only themselves.
///
/// # Errors
/// The listener has no address: it is closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    policy: ConnectionPolicy,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let hosts = Arc::new(policy.host_rule(listener.local_addr()?));
    let service = Service {
        router,
        policy: policy.clone(),
        hosts,
    };
    let places = Arc::new(Semaphore::new(policy.max_connections()));
    let (peers, connections) = (Places::default(), TaskTracker::new());
    // A client that expects TLS could not read it.
    let too_many = match policy.acceptor() {
        Some(_) => None,
        None => Some(refusal::serialized(Problem::RateLimited).await),
    };
    let (mut accepting, mut refusing) = (RateLimitedLog::default(), RateLimitedLog::default());
    while let Some((stream, peer, place)) =
        next(&listener, &places, &shutdown, &mut accepting).await
    {
        let Some(peer_place) = peers.admit(
            client_address::network(peer.ip()),
            policy.max_connections_per_peer(),
        ) else {
            refuse(&stream, too_many.as_deref(), peer, &mut refusing);
            continue;
        };
        let (service, shutdown) = (service.clone(), shutdown.child_token());
        connections.spawn(async move {
            let _places = (place, peer_place);
            connection::serve(stream, peer, service, shutdown).await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The next connection and its place; `None` on shutdown.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shutdown: &CancellationToken,
    log: &mut RateLimitedLog,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        let place = places.clone().acquire_owned().await.ok()?;
        let (stream, peer) = accept(listener, log).await;
        Some((stream, peer, place))
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        connection = accepted => connection,
    }
}

async fn accept(listener: &TcpListener, log: &mut RateLimitedLog) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                if let Some(times) = log.occurred() {
                    tracing::warn!(%error, times, "cannot accept connections, trying again");
                }
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Tells a peer that has its connections already, as far as its kernel takes it at once: it gets no memory of ours.
fn refuse(stream: &TcpStream, answer: Option<&[u8]>, peer: SocketAddr, log: &mut RateLimitedLog) {
    metrics::counter!("moa_http_connections_cut_total", "why" => "too many of one peer")
        .increment(1);
    if let Some(times) = log.occurred() {
        tracing::warn!(
            peer = %peer.ip(),
            times,
            "connections refused: this address has as many as MOA_MAX_CONNECTIONS_PER_PEER allows"
        );
    }
    // Best effort: it is closed in any case.
    answer.map(|answer| stream.try_write(answer).ok());
}
