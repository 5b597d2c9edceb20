//! A batch of events as an AMQP message. Its properties and headers are for programs that route or count without parsing it.

use crate::cloud_events::{self, CONTENT_TYPE};
use event_log::{Forks, RawEvent};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

/// Written to disk by the server.
const PERSISTENT: u8 = 2;

/// Consecutive events of one partition, or a selection of them, ready to be published.
pub(crate) struct Message {
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BasicProperties,
    /// How many events are in it.
    pub(crate) events: usize,
}

impl Message {
    /// The first of `events`, as many as one message holds; `None` when there are none.
    pub(crate) fn of(
        log_id: Uuid,
        forks: &Forks,
        events: &[RawEvent],
    ) -> serde_json::Result<Option<Self>> {
        Ok(Self::new(
            cloud_events::encode(log_id, forks, events)?,
            log_id,
            forks,
            events,
        ))
    }

    /// The same, with the message and each event marked as replayed.
    pub(crate) fn replayed(
        log_id: Uuid,
        forks: &Forks,
        events: &[RawEvent],
    ) -> serde_json::Result<Option<Self>> {
        let encoded = cloud_events::encode_replayed(log_id, forks, events)?;
        Ok(Self::new(encoded, log_id, forks, events).map(Self::mark_replayed))
    }

    fn new(
        (body, written): (Vec<u8>, usize),
        log_id: Uuid,
        forks: &Forks,
        events: &[RawEvent],
    ) -> Option<Self> {
        let events = &events[..written];
        let (first, last) = (events.first()?, events.last()?);
        let properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_app_id("moa".into())
            .with_type("product.events".into())
            .with_message_id(message_id(forks, first, last))
            .with_timestamp(u64::try_from(last.recorded_at.timestamp()).unwrap_or(0))
            .with_headers(headers(log_id, events, first, last));
        Some(Self {
            body,
            properties,
            events: written,
        })
    }

    fn mark_replayed(mut self) -> Self {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert("replayed".into(), AMQPValue::Boolean(true));
        self.properties = self.properties.with_headers(headers);
        self
    }
}

/// The same for the same range of positions of the same incarnation, so that consumers can recognise a repeat.
fn message_id(forks: &Forks, first: &RawEvent, last: &RawEvent) -> ShortString {
    let range = format!("{}-{}-{}", first.partition, first.position, last.position);
    match forks.of(last.partition, last.position) {
        Some(fork) => format!("{range}-{}", fork.incarnation).into(),
        None => range.into(),
    }
}

fn headers(log_id: Uuid, events: &[RawEvent], first: &RawEvent, last: &RawEvent) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("log-id".into(), text(log_id.hyphenated().to_string()));
    headers.insert("partition".into(), AMQPValue::LongInt(first.partition));
    headers.insert(
        "first-position".into(),
        AMQPValue::LongLongInt(first.position),
    );
    headers.insert(
        "last-position".into(),
        AMQPValue::LongLongInt(last.position),
    );
    // At most 500, so it fits.
    headers.insert("events".into(), AMQPValue::LongInt(events.len() as i32));
    if let Some(traceparent) = events
        .iter()
        .find_map(|event| cloud_events::metadata(event)?.traceparent)
    {
        headers.insert("traceparent".into(), text(traceparent));
    }
    headers
}

fn text(value: String) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
