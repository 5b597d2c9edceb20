//! What a processor does with a command, in the trace of its request: it waits in the queue, and is appended.
//!
//! Many commands are appended together. Each whose trace is sampled gets a span of the append as a part of its request, and all of them
//! are linked to the first: so the trace of one invest is whole, whatever it shared its batch with.

use super::PendingCommand;
use event_log::Partition;
use tokio::time::Instant;
use traces::{BatchSpan, SpanContext, SpanKind, Work};

/// Records how long each command has waited until `now`, when it is decided.
pub(super) fn waited(commands: &[PendingCommand], partition: Partition, now: Instant) {
    for PendingCommand { envelope, .. } in commands {
        if let Some(request) = SpanContext::sampled(envelope.metadata.traceparent.as_deref()) {
            let attributes = vec![("moa.partition", partition.into())];
            let work = Work {
                name: "queue".into(),
                kind: SpanKind::Internal,
                attributes,
                is_error: false,
            };
            work.took(request, envelope.waited(now));
        }
    }
}

/// The append of these commands, which begins now.
pub(super) fn append(commands: &[PendingCommand]) -> Option<BatchSpan> {
    BatchSpan::begin(
        commands
            .iter()
            .map(|command| command.envelope.metadata.traceparent.as_deref()),
    )
}

/// Ends the append, of so many events; refusals are confirmed against the head and have none.
pub(super) fn appended(span: BatchSpan, partition: Partition, events: usize, is_error: bool) {
    let attributes = vec![
        ("db.system.name", "postgresql".into()),
        ("db.collection.name", "events".into()),
        ("db.operation.name", "append".into()),
        ("db.operation.batch.size", events.into()),
        ("moa.partition", partition.into()),
    ];
    span.end(&Work {
        name: "append events".into(),
        kind: SpanKind::Client,
        attributes,
        is_error,
    });
}
