//! `serve` against real sockets: slow, broken and late clients.

use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(5);

struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
    asked: Arc<Notify>,
    answer: Arc<Notify>,
}

/// A server whose `/held` answers when `answer` is notified.
async fn served() -> Served {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let held = {
        let (asked, answer) = (asked.clone(), answer.clone());
        async move || {
            asked.notify_one();
            answer.notified().await;
            "held"
        }
    };
    let router = Router::new().route("/", get(async || "here")).route("/held", get(held));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let ended = tokio::spawn(edge::serve(listener, edge::finish(router, &[]), shutdown.clone()));
    Served { address, shutdown, ended, asked, answer }
}

impl Served {
    async fn sends(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn still_answers(&self) {
        let mut stream = self.sends("GET / HTTP/1.1\r\nhost: moa\r\nconnection: close\r\n\r\n").await;
        assert!(rest(&mut stream).await.ends_with("here"));
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(SOON + edge::HEADER_TIME_LIMIT, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut_off() {
    let served = served().await;
    let begun = Instant::now();
    let mut dawdler = served.sends("GET / HTTP/1.1\r\nho").await;
    let mut silent = served.sends("").await;
    served.still_answers().await;
    rest(&mut dawdler).await;
    rest(&mut silent).await;
    let held = begun.elapsed();
    assert!(held < edge::HEADER_TIME_LIMIT + SOON, "held a connection for {held:?}");
}

#[tokio::test]
async fn a_malformed_request_ends_only_its_connection() {
    let served = served().await;
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n"]
    {
        let mut stream = served.sends(garbage).await;
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 400"), "{garbage:?}");
    }
    served.still_answers().await;
}

/// 1. A request is in flight and another connection idles. 2. Shutdown. 3. New connections are refused while the request
/// still waits. 4. The request is answered, and only then does `serve` return.
#[tokio::test]
async fn shutdown_accepts_no_more_and_lets_requests_finish() {
    let served = served().await;
    let _idle = served.sends("").await;
    let mut held = served.sends("GET /held HTTP/1.1\r\nhost: moa\r\n\r\n").await;
    served.asked.notified().await;
    served.shutdown.cancel();
    timeout(SOON, async { while TcpStream::connect(served.address).await.is_ok() {} }).await.unwrap();
    assert!(!served.ended.is_finished());
    served.answer.notify_one();
    assert!(rest(&mut held).await.ends_with("held"));
    timeout(SOON, served.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let served = served().await;
    let _held = served.sends("GET /held HTTP/1.1\r\nhost: moa\r\n\r\n").await;
    served.asked.notified().await;
    served.shutdown.cancel();
    timeout(edge::SHUTDOWN_TIME_LIMIT + SOON, served.ended).await.unwrap().unwrap().unwrap();
}
