//! One connection, from its first byte to its last.

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as HyperService, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::handshake::shake_hands;
use super::hosts::HostRule;
use super::policy::{ConnectionPolicy, SharedBytes};
use super::refusal;
use super::socket::{ClientSocket, HeadRefusal, Socket, WRITE_TIMEOUT};
use super::stage::{Progress, Stage};
use crate::request_limits::{MAX_HEAD_BYTES, MAX_URI_BYTES};
use crate::{Peer, Problem};

/// How long requests in flight get to finish after the shutdown.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// What all connections of a listener are served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) policy: ConnectionPolicy,
    pub(super) hosts: Arc<HostRule>,
}

/// Serves `stream` until its client goes, breaks a limit, or `shutdown` and its request is done; over TLS where the policy says so.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: Service,
    shutdown: CancellationToken,
) {
    // Without it small answers wait for the peer's delayed acknowledgements; a socket that refuses is closing anyway.
    stream.set_nodelay(true).ok();
    drop_when_nothing_is_taken(&stream);
    let ends = Ends {
        peer,
        local: stream.local_addr().ok(),
    };
    match service.policy.acceptor().cloned() {
        None => serve_over(stream, ends, service, shutdown).await,
        Some(acceptor) => {
            if let Some(stream) = shake_hands(&acceptor, stream, &shutdown).await {
                serve_over(stream, ends, service, shutdown).await;
            }
        }
    }
}

async fn serve_over(
    stream: impl Socket + Send + 'static,
    ends: Ends,
    service: Service,
    shutdown: CancellationToken,
) {
    let progress = Progress::default();
    let socket = ClientSocket::new(stream, progress.clone(), service.policy.clone());
    let mut connection = http().serve_connection(
        TokioIo::new(socket),
        requests(service, ends, progress.clone()),
    );
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        () = shutdown.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            timeout(SHUTDOWN_TIMEOUT, &mut connection).await.ok()
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
        None => return tracing::warn!("connection cut: its request outlasted the shutdown"),
    }
    let parts = connection.into_parts();
    let (mut stream, refused) = parts.io.into_inner().into_parts();
    match refused {
        Some(refused) => refuse(&mut stream, refused, &parts.read_buf).await,
        None if progress.closes() => refusal::linger(&mut stream).await,
        None => {}
    }
}

/// Has the kernel end a connection whose peer takes nothing of what the kernel has for it: ours sees only what the kernel does not
/// take from us, and a reader of a stream that has gone without a word would hold its place for a quarter of an hour.
fn drop_when_nothing_is_taken(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream)
        .set_tcp_user_timeout(Some(WRITE_TIMEOUT))
        .ok();
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Both ends of a connection; one that is gone already has none of its own.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: Option<SocketAddr>,
}

/// What hyper hands each request of a connection to.
fn requests(
    service: Service,
    ends: Ends,
    progress: Progress,
) -> impl HyperService<
    Request<Incoming>,
    Response = hyper::Response<Answer>,
    Error = Infallible,
    Future: Send,
> {
    let Service {
        router,
        policy,
        hosts,
    } = service;
    let router = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        progress.enter(Stage::Serving);
        let (method, policy, progress) =
            (request.method().clone(), policy.clone(), progress.clone());
        let answer = match admit(&request, &hosts, ends.local, &policy) {
            Ok(memory) => {
                request.extensions_mut().insert(Peer(ends.peer));
                Ok((memory, router.call(request)))
            }
            Err(problem) => Err(refusal::refuse(problem, request.headers())),
        };
        async move {
            let response = match answer {
                Ok((_memory, answer)) => answer.await?,
                Err(refused) => refused,
            };
            Ok(Answer::send(response, &method, &policy, progress))
        }
    })
}

async fn refuse(stream: &mut impl Socket, refused: HeadRefusal, unread: &[u8]) {
    metrics::counter!("moa_http_connections_cut_total", "why" => why(refused)).increment(1);
    refusal::send_problem(stream, refusal::problem(refused, unread)).await;
}

fn why(refused: HeadRefusal) -> &'static str {
    match refused {
        HeadRefusal::Unreadable(_) => "unreadable head",
        HeadRefusal::TooSlow => "slow head",
        HeadRefusal::NoMemory => "no memory",
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The socket has limits of its own for idling and for heads. hyper's limit of 100 headers is kept: setting it, even to
    // the same, costs a heap allocation for each request.
    http.header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(true);
    http
}

/// What the request's body may take beyond the connection's own memory, or why the request is not served.
fn admit(
    request: &Request<Incoming>,
    hosts: &HostRule,
    local: Option<SocketAddr>,
    policy: &ConnectionPolicy,
) -> Result<Option<SharedBytes>, Problem> {
    if request
        .uri()
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > MAX_URI_BYTES)
    {
        return Err(Problem::UriTooLong);
    }
    hosts.check(request.version(), request.uri(), request.headers(), local)?;
    policy.take_for_body(request.body())
}
