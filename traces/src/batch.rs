//! Work on a batch, which belongs to as many traces as the batch has.

use crate::context::SpanContext;
use crate::span::{Work, record};
use std::time::Instant;

/// What is done with a batch, as a span in each of its sampled traces. All of them are linked to the first, so that it can be
/// seen what was handled together.
#[derive(Debug)]
pub struct BatchSpan {
    parents: Vec<SpanContext>,
    since: Instant,
}

impl BatchSpan {
    /// Begins now, with the `traceparent` of each in the batch. `None` when no trace of it is sampled, or spans are not recorded; then
    /// nothing is allocated.
    pub fn begin<'a>(traceparents: impl IntoIterator<Item = Option<&'a str>>) -> Option<Self> {
        crate::recorder()?;
        let mut parents: Vec<_> = traceparents
            .into_iter()
            .filter_map(SpanContext::sampled)
            .collect();
        // A reservation and its fate may be in one batch.
        parents.sort_unstable();
        parents.dedup();
        (!parents.is_empty()).then(|| Self {
            parents,
            since: Instant::now(),
        })
    }

    /// Ends it in every trace.
    pub fn end(self, work: &Work) {
        let (took, mut first) = (self.since.elapsed(), None);
        for parent in self.parents {
            let context = parent.child();
            record(context, Some(parent.span_id), first, took, work.clone());
            first.get_or_insert(context);
        }
    }
}
