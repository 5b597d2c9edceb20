//! Raw connections to a served router.

use axum::Router;
use axum::routing::{get, post};
use edge::{ConnectionPolicy, ConnectionSettings, JsonObject};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Long enough on a machine that is busy with something else.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the kernel takes for a client that does not read.
pub const LARGE_ANSWER_BYTES: usize = 16 * 1024 * 1024;
const SEND_BUFFER_BYTES: u32 = 16 * 1024;
pub const SMALL: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

pub struct Served {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<std::io::Result<()>>,
    pub asked: Arc<Notify>,
    pub answer: Arc<Notify>,
}

/// A server whose `/held` answers when `answer` is notified.
pub async fn served() -> Served {
    served_with(ConnectionSettings::default()).await
}

pub async fn served_with(settings: ConnectionSettings) -> Served {
    served_by(ConnectionPolicy::new(settings)).await
}

pub async fn served_by(policy: ConnectionPolicy) -> Served {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let held = {
        let (asked, answer) = (asked.clone(), answer.clone());
        async move || {
            asked.notify_one();
            answer.notified().await;
            "held"
        }
    };
    let large = async || vec![b'x'; LARGE_ANSWER_BYTES];
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/held", get(held))
        .route("/large", get(large).post(large))
        .route("/body", post(async |_: JsonObject| edge::ok("read")));
    let listener = edge::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let ended = tokio::spawn(edge::serve(
        listener,
        edge::with_middleware(router, edge::CallerPolicy::default()),
        policy,
        shutdown.clone(),
    ));
    Served {
        address,
        shutdown,
        ended,
        asked,
        answer,
    }
}

impl Served {
    /// Sends `text` whole. The client's kernel keeps little of it, so it is certain that the server took most.
    pub async fn sends(&self, text: impl AsRef<[u8]>) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SEND_BUFFER_BYTES).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(text.as_ref()).await.unwrap();
        stream
    }

    /// Sends `text` on a connection of its own; the answer, up to the connection's end.
    pub async fn answers(&self, text: impl AsRef<[u8]>) -> String {
        rest(&mut self.sends(text).await).await
    }

    pub async fn still_answers(&self) {
        let answer = self
            .answers("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.ends_with("here"), "{answer}");
    }
}

/// Everything that comes until the connection ends.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(
        TEST_TIMEOUT + edge::HEAD_TIMEOUT,
        stream.read_to_end(&mut text),
    )
    .await
    .expect("it ends")
    .unwrap();
    String::from_utf8(text).unwrap()
}

/// Reads until `end` has come.
pub async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut some = [0; 4096];
        let read = timeout(TEST_TIMEOUT, stream.read(&mut some))
            .await
            .expect("it goes on")
            .unwrap();
        assert!(read > 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&some[..read]).unwrap());
    }
    text
}

/// Whether the answer is a refusal of this status and code in the contract's envelope, with a correlation id.
pub fn is_refusal(answer: &str, status: u16, code: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else {
        return false;
    };
    head.starts_with(&format!("HTTP/1.1 {status} "))
        && head.contains("x-correlation-id: ")
        && head.contains("content-type: application/json")
        && (&body["result"], &body["code"], &body["status"])
            == (&false.into(), &code.into(), &status.into())
}
