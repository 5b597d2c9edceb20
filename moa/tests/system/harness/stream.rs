//! A client of a stream of server-sent events, with no limit on how long it goes on.

use reqwest::{Client, Response};
use serde_json::Value;
use std::time::Duration;
use testbed::{SseEvent, SseReader};
use tokio::time::timeout;

use super::TEST_TIMEOUT;

/// A stream that is read.
pub struct StreamListener {
    answer: Response,
    pub reader: SseReader,
}

impl StreamListener {
    /// Listens at the read listener `url`, once the answer's head has come.
    pub async fn open(url: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let request = Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(format!("{url}{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let answer = timeout(TEST_TIMEOUT, request.send())
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        Self {
            answer,
            reader: SseReader::default(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    /// The next event, within `bound`; `None` when the stream has ended.
    pub async fn next_within(&mut self, bound: Duration) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.reader.event() {
                return Some(event);
            }
            // A process that is killed ends its streams with an error.
            let piece = timeout(bound, self.answer.chunk())
                .await
                .expect("an event")
                .ok()
                .flatten();
            self.reader.push(&piece?);
        }
    }

    /// Reads on until an event's data is `wanted`; the last event.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> SseEvent {
        loop {
            let event = self
                .next_within(TEST_TIMEOUT)
                .await
                .expect("the stream goes on");
            if wanted(&event.data) {
                return event;
            }
        }
    }

    /// Reads to its end.
    pub async fn ended(&mut self) {
        while self.next_within(TEST_TIMEOUT).await.is_some() {}
    }
}
