//! Refuses a request that no handler has seen.

use axum::body::to_bytes;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::socket::{HeadRefusal, Socket};
use crate::middleware::with_correlation;
use crate::request_limits::MAX_HEAD_BYTES;
use crate::{Correlation, FieldProblem, Problem};

/// How long a client may go on to send what is not read any more, so that it sees why.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of it is thrown away.
const MAX_LINGER_BYTES: u64 = 512 * 1024;

/// The whole answer to a request with these headers, with a correlation id like any other.
pub(super) fn refuse(problem: Problem, headers: &HeaderMap) -> Response {
    with_correlation(problem.into_response(), &Correlation::of(headers))
}

/// The answer to a head that was refused when `unread` of it had come.
pub(super) fn problem(refusal: HeadRefusal, unread: &[u8]) -> Problem {
    match refusal {
        HeadRefusal::TooSlow => Problem::HeadTooSlow,
        HeadRefusal::NoMemory => Problem::Overloaded,
        HeadRefusal::Unreadable(StatusCode::URI_TOO_LONG) => Problem::UriTooLong,
        HeadRefusal::Unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            let ends_in_its_first_line = unread.len() >= MAX_HEAD_BYTES && !unread.contains(&b'\n');
            if ends_in_its_first_line {
                Problem::UriTooLong
            } else {
                Problem::HeadTooLarge
            }
        }
        HeadRefusal::Unreadable(_) => {
            Problem::invalid(FieldProblem::new("request", "must be well-formed HTTP/1.1"))
        }
    }
}

/// Sends the answer and lets the client read it.
pub(super) async fn send_problem(stream: &mut impl Socket, problem: Problem) {
    let sent = timeout(LINGER_TIMEOUT, write(stream, problem)).await;
    if matches!(sent, Ok(Ok(()))) {
        linger(stream).await;
    }
}

async fn write(stream: &mut impl Socket, problem: Problem) -> io::Result<()> {
    stream.write_all(&serialized(problem).await).await?;
    stream.shutdown().await
}

/// The answer as it goes over the wire.
pub(super) async fn serialized(problem: Problem) -> Vec<u8> {
    let (parts, body) = refuse(problem, &HeaderMap::new()).into_parts();
    let body = to_bytes(body, MAX_HEAD_BYTES).await.unwrap_or_default();
    let mut answer = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| *name != "connection")
    {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(
        format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    answer.extend_from_slice(&body);
    answer
}

/// Reads on for a while. A connection that is closed with bytes unread is reset, and a client that is reset may never see
/// what was sent to it.
pub(super) async fn linger(stream: &mut impl Socket) {
    let rest = async { copy(&mut stream.take(MAX_LINGER_BYTES), &mut sink()).await };
    // Whatever becomes of it, the connection is closed next.
    timeout(LINGER_TIMEOUT, rest).await.ok();
}
