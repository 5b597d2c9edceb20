//! What a consumer does with events, in the traces of the requests that they go back to.

use crate::RecordedEvent;
use chrono::{TimeDelta, Utc};
use traces::{Attribute, BatchSpan, SpanKind, Work};

/// What is done with events has no span when the last of them is older: a new consumer reads the whole log, and nobody looks for traces
/// of last year.
pub const MAX_TRACED_AGE: TimeDelta = TimeDelta::days(1);

/// A step that applies events, in every trace that is sampled and has one of them. Dropped, it is not recorded: a step that fails is
/// tried again, for ever.
#[derive(Debug)]
pub struct ProcessSpan {
    span: BatchSpan,
    queue: Option<String>,
    events: usize,
}

impl ProcessSpan {
    /// Begins now, with events delivered from this queue of RabbitMQ; without one they were read from the log. `None` when no trace of
    /// them is sampled.
    pub fn begin(events: &[RecordedEvent], queue: Option<&str>) -> Option<Self> {
        let span = BatchSpan::begin(
            events
                .iter()
                .map(|event| event.metadata.traceparent.as_deref()),
        )?;
        let is_recent = Utc::now() - events.last()?.recorded_at < MAX_TRACED_AGE;
        is_recent.then(|| Self {
            span,
            queue: queue.map(str::to_owned),
            events: events.len(),
        })
    }

    /// Ends when `consumer` has applied the events.
    pub fn end(self, consumer: &str) {
        let (system, destination) = match self.queue {
            Some(queue) => ("rabbitmq", queue),
            None => ("postgresql", "events".to_owned()),
        };
        let attributes: Vec<Attribute> = vec![
            ("messaging.system", system.into()),
            ("messaging.operation.type", "process".into()),
            ("messaging.operation.name", "process".into()),
            ("messaging.destination.name", destination.into()),
            ("messaging.consumer.group.name", consumer.to_owned().into()),
            ("messaging.batch.message_count", self.events.into()),
        ];
        let (name, kind) = (format!("process {consumer}").into(), SpanKind::Consumer);
        self.span.end(&Work {
            name,
            kind,
            attributes,
            is_error: false,
        });
    }
}
