//! Server-sent events as a client reads them, from bytes in whatever pieces they come.

use serde_json::Value;
use std::collections::VecDeque;
use std::time::Instant;

/// An event, as a browser dispatches it.
#[derive(Clone, Debug)]
pub struct SseEvent {
    /// Its name.
    pub name: String,
    /// The last id that was sent.
    pub id: String,
    /// Its data, which is JSON here.
    pub data: Value,
    /// When its last byte came.
    pub at: Instant,
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct SseReader {
    unread: Vec<u8>,
    events: VecDeque<SseEvent>,
    id: String,
    retry: Option<u64>,
    comments: usize,
}

impl SseReader {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            self.read(std::str::from_utf8(&block).expect("text"));
        }
    }

    fn read(&mut self, block: &str) {
        let (mut name, mut data) = (String::from("message"), None);
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("id", id)) => self.id = id.to_owned(),
                Some(("event", event)) => name = event.to_owned(),
                Some(("data", text)) => data = Some(serde_json::from_str(text).expect("JSON")),
                Some(("retry", millis)) => self.retry = Some(millis.parse().expect("milliseconds")),
                _ if line.starts_with(':') => self.comments += 1,
                _ => panic!("no line of a stream: {line}"),
            }
        }
        let event = |data| SseEvent {
            name,
            id: self.id.clone(),
            data,
            at: Instant::now(),
        };
        self.events.extend(data.map(event));
    }

    /// The next event that has come whole.
    pub fn event(&mut self) -> Option<SseEvent> {
        self.events.pop_front()
    }

    /// What a client sends when it connects again; empty before any event.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long a client is to wait before it connects again, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Comments that came so far.
    pub fn comments(&self) -> usize {
        self.comments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_whatever_pieces() {
        let stream = "retry: 1500\n\n:\n\nid: a\nevent: product\ndata: {\"x\":1}\n\nevent: product\ndata: 2\n\nid: b\n\n";
        for size in [1, 7, 1_000] {
            let mut reader = SseReader::default();
            stream
                .as_bytes()
                .chunks(size)
                .for_each(|piece| reader.push(piece));
            let events: Vec<_> = std::iter::from_fn(|| reader.event()).collect();
            let read: Vec<_> = events
                .iter()
                .map(|event| (&*event.name, &*event.id, event.data.to_string()))
                .collect();
            assert_eq!(
                read,
                [
                    ("product", "a", r#"{"x":1}"#.into()),
                    ("product", "a", "2".into())
                ]
            );
            assert_eq!(
                (reader.id(), reader.retry(), reader.comments()),
                ("b", Some(1500), 1)
            );
        }
    }
}
