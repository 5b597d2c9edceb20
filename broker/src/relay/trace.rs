//! A round of the relay, in the traces of the requests that its events go back to.

use crate::topology;
use chrono::Utc;
use event_log::consume::MAX_TRACED_AGE;
use event_log::{Partition, RawEvent};
use traces::{BatchSpan, SpanKind, Work};
use uuid::Uuid;

/// How metadata has a `traceparent`, as this release writes it: nothing is parsed and copied for an event whose trace is not sampled.
const FIELD: &str = r#""traceparent":""#;

/// The round that sends these events, which begins now: a span in each of their sampled traces. A round that fails is repeated, and has
/// none.
pub(super) fn send(events: &[RawEvent]) -> Option<BatchSpan> {
    let span = BatchSpan::begin(events.iter().map(|event| traceparent(&event.metadata)))?;
    let is_recent = Utc::now() - events.last()?.recorded_at < MAX_TRACED_AGE;
    is_recent.then_some(span)
}

/// RabbitMQ has confirmed the round.
pub(super) fn sent(span: BatchSpan, log_id: Uuid, partition: Partition, events: usize) {
    let exchange = topology::exchange(log_id);
    let attributes = vec![
        ("messaging.system", "rabbitmq".into()),
        ("messaging.operation.type", "send".into()),
        ("messaging.operation.name", "publish".into()),
        ("messaging.destination.name", exchange.into()),
        (
            "messaging.rabbitmq.destination.routing_key",
            topology::routing_key(partition).to_string().into(),
        ),
        ("messaging.batch.message_count", events.into()),
    ];
    span.end(&Work {
        name: "publish product.events".into(),
        kind: SpanKind::Producer,
        attributes,
        is_error: false,
    });
}

fn traceparent(metadata: &str) -> Option<&str> {
    let (_, rest) = metadata.split_once(FIELD)?;
    rest.split_once('"').map(|(traceparent, _)| traceparent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use event_log::Metadata;

    #[test]
    fn the_traceparent_is_found_in_metadata_as_it_is_written() {
        let written = |metadata: &Metadata| serde_json::to_string(metadata).unwrap();
        let (correlation_id, traceparent_of_it) = (
            r#""traceparent":"x""#.to_owned(),
            Some("00-1-2-01".to_owned()),
        );
        let mut metadata = Metadata {
            correlation_id,
            ..Metadata::default()
        };
        assert_eq!(traceparent(&written(&metadata)), None);
        metadata.traceparent = traceparent_of_it;
        assert_eq!(traceparent(&written(&metadata)), Some("00-1-2-01"));
    }
}
