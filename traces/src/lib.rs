//! Spans of traces, as OpenTelemetry has them: what a request led to, where, and how long each part took.
//!
//! Like the facade `metrics`, this crate keeps nothing and sends nothing: whoever exports spans calls [`record_with`] once. Before that,
//! and of a trace that is not sampled, no span is made and nothing is allocated.
//!
//! Whether a trace is sampled is decided once, at the request ([`OpenSpan::of_request`]). From then on it is said by the flag in the
//! W3C `traceparent` that is kept with the request's events, so every later part belongs to the trace without more: a child
//! ([`OpenSpan::child_of`]), or, where many are handled together, a child in each of their traces ([`BatchSpan`]).
//!
//! Words are in `docs/glossary.md`.

mod batch;
mod context;
mod span;

pub use batch::BatchSpan;
pub use context::{SpanContext, TraceParent};
pub use span::{Attribute, OpenSpan, Span, SpanKind, Value, Work};

use std::sync::OnceLock;

/// How many ids there are to decide by: the upper 63 bits of an id's lower half.
const ALL_TRACES: u64 = 1 << 63;

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Where spans go.
pub(crate) struct Recorder {
    /// Traces that begin here are sampled if their id is below it; see [`Self::samples`].
    threshold: u64,
    record: Box<dyn Fn(Span) + Send + Sync>,
}

/// Hands every span that ends from now on to `record`, which must not wait. Of the traces that begin here, at requests without a
/// `traceparent`, the fraction `ratio` is sampled, from 0 to 1; any other trace as its caller decided. A second call in one process
/// changes nothing.
pub fn record_with(ratio: f64, record: impl Fn(Span) + Send + Sync + 'static) {
    RECORDER.set(Recorder::new(ratio, record)).ok();
}

pub(crate) fn recorder() -> Option<&'static Recorder> {
    RECORDER.get()
}

impl Recorder {
    fn new(ratio: f64, record: impl Fn(Span) + Send + Sync + 'static) -> Self {
        let threshold = (ratio.clamp(0.0, 1.0) * ALL_TRACES as f64) as u64;
        Self {
            threshold,
            record: Box::new(record),
        }
    }

    /// Whether a trace that begins here is sampled: by its id, as OpenTelemetry does it, so that whoever decides by the same ratio
    /// decides the same.
    pub(crate) fn samples(&self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.threshold
    }

    pub(crate) fn record(&self, span: Span) {
        (self.record)(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled_of(ratio: f64) -> usize {
        let recorder = Recorder::new(ratio, |_| {});
        (0..10_000)
            .filter(|_| recorder.samples(rand::random()))
            .count()
    }

    #[test]
    fn the_ratio_of_the_traces_that_begin_here_is_sampled() {
        assert_eq!((sampled_of(0.0), sampled_of(1.0)), (0, 10_000));
        let tenth = sampled_of(0.1);
        assert!((800..1_200).contains(&tenth), "{tenth}");
    }

    #[test]
    fn the_decision_is_by_the_trace_id_alone() {
        let recorder = Recorder::new(0.5, |_| {});
        assert!(recorder.samples(0x7fff_ffff_ffff_ffff));
        assert!(!recorder.samples(0x8000_0000_0000_0000));
        assert!(
            recorder.samples(u128::from(u64::MAX) << 64),
            "the upper half of the id has no say"
        );
    }
}
