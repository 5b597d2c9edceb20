//! One span: while it is open, and when it has ended.

use crate::context::{SpanContext, TraceParent, random_span_id, random_trace_id};
use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

/// A name and a value; names are those of OpenTelemetry's semantic conventions where they have one.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// On which side of a call or a queue a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Within the process.
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

/// What was done during a span.
#[derive(Clone, Debug)]
pub struct Work {
    /// One of few: no ids in it.
    pub name: Cow<'static, str>,
    /// On which side.
    pub kind: SpanKind,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// Whether it failed.
    pub is_error: bool,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its ids.
    pub context: SpanContext,
    /// The id of the span that it is a part of; `None` where its trace begins.
    pub parent: Option<u64>,
    /// A span of another trace that was handled together with it.
    pub link: Option<SpanContext>,
    /// When it began.
    pub began: SystemTime,
    /// When it ended; never before it began.
    pub ended: SystemTime,
    /// What was done.
    pub work: Work,
}

/// A span of a sampled trace that has not ended. Dropped, it is not recorded.
#[derive(Debug)]
pub struct OpenSpan {
    context: SpanContext,
    parent: Option<u64>,
    since: Instant,
}

impl OpenSpan {
    /// The span of a request that came with this `traceparent`: of the trace that it names, if its caller had that sampled; without one, of a
    /// new trace, if that is among those to be sampled. `None` for any other, and where spans are not recorded.
    pub fn of_request(traceparent: Option<&str>) -> Option<Self> {
        let recorder = crate::recorder()?;
        match traceparent.and_then(TraceParent::parse) {
            Some(parent) => parent
                .is_sampled()
                .then(|| Self::child_of(parent.context())),
            None => {
                let trace_id = random_trace_id();
                let context = || SpanContext {
                    trace_id,
                    span_id: random_span_id(),
                };
                recorder.samples(trace_id).then(|| Self {
                    context: context(),
                    parent: None,
                    since: Instant::now(),
                })
            }
        }
    }

    /// A span that begins now as a part of `parent`.
    pub fn child_of(parent: SpanContext) -> Self {
        Self {
            context: parent.child(),
            parent: Some(parent.span_id),
            since: Instant::now(),
        }
    }

    /// Its ids, for what is called within it.
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// Ends it.
    pub fn end(self, work: Work) {
        let Self {
            context,
            parent,
            since,
        } = self;
        record(context, parent, None, since.elapsed(), work);
    }
}

impl Work {
    /// Records it as a part of `parent` that took so long and ended just now.
    pub fn took(self, parent: SpanContext, took: Duration) {
        record(parent.child(), Some(parent.span_id), None, took, self);
    }
}

/// Records a span that ended now.
pub(crate) fn record(
    context: SpanContext,
    parent: Option<u64>,
    link: Option<SpanContext>,
    took: Duration,
    work: Work,
) {
    let Some(recorder) = crate::recorder() else {
        return;
    };
    let ended = SystemTime::now();
    let began = ended.checked_sub(took).unwrap_or(ended);
    recorder.record(Span {
        context,
        parent,
        link,
        began,
        ended,
        work,
    });
}
