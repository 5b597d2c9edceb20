//! Spans as messages of OTLP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use prost::Message as _;
use std::time::{SystemTime, UNIX_EPOCH};
use traces::{Span, SpanContext, Value};

/// The flag of a sampled trace.
const SAMPLED: u32 = 1;

/// The body of a request with these spans of a process.
pub(super) fn request(resource: &[(String, String)], spans: Vec<Span>) -> Vec<u8> {
    let attributes = resource
        .iter()
        .map(|(name, value)| attribute(name, any_value::Value::StringValue(value.clone())))
        .collect();
    let (name, version) = ("moa".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope {
            name,
            version,
            ..InstrumentationScope::default()
        }),
        spans: spans.into_iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
    .encode_to_vec()
}

fn span(
    Span {
        context,
        parent,
        link: linked,
        began,
        ended,
        work,
    }: Span,
) -> otlp::Span {
    let code = if work.is_error {
        StatusCode::Error
    } else {
        StatusCode::Unset
    };
    otlp::Span {
        trace_id: context.trace_id.to_be_bytes().into(),
        span_id: context.span_id.to_be_bytes().into(),
        parent_span_id: parent.map(|id| id.to_be_bytes().into()).unwrap_or_default(),
        flags: SAMPLED,
        name: work.name.into_owned(),
        kind: kind(work.kind).into(),
        start_time_unix_nano: nanoseconds(began),
        end_time_unix_nano: nanoseconds(ended),
        attributes: work
            .attributes
            .into_iter()
            .map(|(name, it)| attribute(name, value(it)))
            .collect(),
        links: linked.into_iter().map(link).collect(),
        status: Some(Status {
            code: code.into(),
            ..Status::default()
        }),
        ..otlp::Span::default()
    }
}

fn link(SpanContext { trace_id, span_id }: SpanContext) -> Link {
    let (trace_id, span_id) = (trace_id.to_be_bytes().into(), span_id.to_be_bytes().into());
    Link {
        trace_id,
        span_id,
        flags: SAMPLED,
        ..Link::default()
    }
}

fn kind(kind: traces::SpanKind) -> SpanKind {
    match kind {
        traces::SpanKind::Internal => SpanKind::Internal,
        traces::SpanKind::Server => SpanKind::Server,
        traces::SpanKind::Client => SpanKind::Client,
        traces::SpanKind::Producer => SpanKind::Producer,
        traces::SpanKind::Consumer => SpanKind::Consumer,
    }
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn value(value: Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Number(number) => any_value::Value::IntValue(number),
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
