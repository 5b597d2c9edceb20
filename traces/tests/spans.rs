//! What is recorded, and what is not. One process has one recorder, so this is one test.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::sync::{Arc, Mutex};
use std::time::Duration;
use traces::{BatchSpan, OpenSpan, Span, SpanContext, SpanKind, Work, record_with};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn work(name: &'static str) -> Work {
    Work {
        name: name.into(),
        kind: SpanKind::Internal,
        attributes: vec![],
        is_error: false,
    }
}

#[test]
fn spans_of_sampled_traces_are_recorded_with_their_parents() {
    assert!(
        OpenSpan::of_request(Some(SAMPLED)).is_none()
            && BatchSpan::begin([Some(SAMPLED)]).is_none()
    );
    let recorded = Arc::new(Mutex::new(Vec::<Span>::new()));
    let sink = recorded.clone();
    record_with(1.0, move |span| sink.lock().unwrap().push(span));
    let taken = || std::mem::take(&mut *recorded.lock().unwrap());
    let parent = SpanContext::sampled(Some(SAMPLED)).unwrap();

    // A caller's trace is recorded as the caller has decided.
    assert!(OpenSpan::of_request(Some(NOT_SAMPLED)).is_none());
    let request = OpenSpan::of_request(Some(SAMPLED)).unwrap();
    let within = request.context();
    assert_eq!(
        (within.trace_id, within.span_id == parent.span_id),
        (parent.trace_id, false)
    );
    work("queue").took(within, Duration::from_secs(3));
    request.end(work("request"));
    let [queue, request] = taken().try_into().unwrap();
    assert_eq!(
        (request.context, request.parent),
        (within, Some(parent.span_id))
    );
    assert_eq!(
        (queue.context.trace_id, queue.parent),
        (within.trace_id, Some(within.span_id))
    );
    assert_eq!(
        queue.ended.duration_since(queue.began).unwrap(),
        Duration::from_secs(3)
    );

    // Without a caller's, or with one that cannot be read, a trace begins here.
    for none in [None, Some("nonsense")] {
        OpenSpan::of_request(none).unwrap().end(work("root"));
        let [root] = taken().try_into().unwrap();
        assert_eq!(root.parent, None);
        assert_ne!(root.context.trace_id, parent.trace_id);
    }

    // A batch is in each of its traces once, and what was handled together is linked.
    assert!(BatchSpan::begin([None, Some(NOT_SAMPLED), Some("nonsense")]).is_none());
    BatchSpan::begin([
        Some(SAMPLED),
        None,
        Some(OTHER),
        Some(NOT_SAMPLED),
        Some(SAMPLED),
    ])
    .unwrap()
    .end(&work("batch"));
    let [first, second] = taken().try_into().unwrap();
    assert_eq!((first.link, second.link), (None, Some(first.context)));
    assert_eq!(
        (first.parent, second.parent),
        (Some(parent.span_id), Some(parent.span_id))
    );
    assert_eq!(first.context.trace_id, parent.trace_id);
    assert_ne!(second.context.trace_id, parent.trace_id);
}
