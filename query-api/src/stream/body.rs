//! A stream's answer. The events are bytes that all listeners share, which axum's own `Sse` would write for each.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::feeder::Listening;
use super::limits::Permit;
use super::topic::TopicReader;

/// After so long without an event a comment is sent, so that both ends and all between them know that the other is there.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");
/// When a listener connects again, in milliseconds: these, and up to as many more, so that not all come back at once.
const MIN_RETRY_MILLIS: u64 = 1_000;
const RETRY_SPREAD_MILLIS: u64 = 2_000;
/// Without a common factor with the spread: one after another they fall apart.
const RETRY_STEP_MILLIS: u64 = 773;

/// Everything that one listener has.
pub(super) struct Listener {
    pub(super) reader: TopicReader,
    pub(super) shutdown: CancellationToken,
    pub(super) _listening: Listening,
    pub(super) _permit: Permit,
}

/// The answer that goes on until the listener leaves or the process stops. What a cache or a proxy kept of it would be of no use.
pub(super) fn respond(listener: Listener) -> Response {
    let opening = futures::stream::iter([Ok::<_, Infallible>(retry())]);
    let events = unfold(listener, |mut listener| async move {
        Some((Ok(listener.next().await?), listener))
    });
    let body = Body::from_stream(futures::StreamExt::chain(opening, events));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-store"),
        ),
        // nginx would hold events back until its buffer is full.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, body).into_response()
}

fn retry() -> Bytes {
    static LISTENERS: AtomicU64 = AtomicU64::new(0);
    let spread = LISTENERS
        .fetch_add(1, Relaxed)
        .wrapping_mul(RETRY_STEP_MILLIS)
        % RETRY_SPREAD_MILLIS;
    format!("retry: {}\n\n", MIN_RETRY_MILLIS + spread).into()
}

impl Listener {
    /// The next piece; `None` when the process stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            if let Some(piece) = self.reader.take() {
                return Some(piece);
            }
            let changed = self.shutdown.run_until_cancelled(self.reader.changed());
            if timeout(HEARTBEAT_INTERVAL, changed).await.is_err() {
                return Some(HEARTBEAT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamLimits;
    use crate::stream::feeder::Audience;
    use crate::stream::limits::Admission;
    use crate::stream::topic::{Topic, Zone};
    use futures::StreamExt as _;
    use std::sync::Arc;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_stream_says_that_it_is_there_until_the_process_stops() {
        let (topic, shutdown) = (
            Arc::new(Topic::new("none".into())),
            CancellationToken::new(),
        );
        topic.publish(vec![], "at0".into());
        let listener = Listener {
            reader: TopicReader::new(topic, Zone::Local, None, "none".into()),
            shutdown: shutdown.clone(),
            _listening: Audience::new("test").join(),
            _permit: Admission::new(StreamLimits::default())
                .admit(None, None)
                .unwrap(),
        };
        let mut pieces = respond(listener).into_body().into_data_stream();
        assert!(
            pieces
                .next()
                .await
                .unwrap()
                .unwrap()
                .starts_with(b"retry: ")
        );
        let began = Instant::now();
        assert_eq!(pieces.next().await.unwrap().unwrap(), HEARTBEAT);
        assert!(began.elapsed() >= HEARTBEAT_INTERVAL);
        shutdown.cancel();
        assert!(pieces.next().await.is_none());
    }
}
