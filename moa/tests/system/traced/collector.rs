//! A collector of traces in this process: OTLP over HTTP, decoded with OpenTelemetry's own messages.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{TEST_TIMEOUT, within};

/// What it was sent. It goes with its value.
pub struct Collector {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    _serving: AbortOnDropHandle<()>,
}

/// A span, and what was said of the process that it is from.
#[derive(Clone, Debug)]
pub struct Received {
    pub span: Span,
    pub resource: Vec<KeyValue>,
    /// The request's header of this name.
    pub tenant: Option<String>,
}

impl Collector {
    pub async fn open() -> Self {
        Self::at(0).await
    }

    /// On this port of loopback.
    pub async fn at(port: u16) -> Self {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let routes = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(received.clone());
        Self::serving(port, routes, received).await
    }

    /// One that takes requests and never answers.
    pub async fn silent() -> Self {
        let silent = async || std::future::pending::<()>().await;
        Self::serving(
            0,
            Router::new().route("/v1/traces", post(silent)),
            Arc::default(),
        )
        .await
    }

    async fn serving(port: u16, routes: Router, received: Arc<Mutex<Vec<Received>>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            port,
            received,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// All spans so far with this name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let named = self
            .received()
            .into_iter()
            .map(|received| received.span)
            .filter(|span| span.name == name);
        named.collect()
    }

    /// Waits until it has so many spans with this name.
    pub async fn has(&self, name: &str, count: usize) -> Vec<Span> {
        let what = format!("{count} spans named {name}");
        within(TEST_TIMEOUT, &what, async || {
            Some(self.named(name)).filter(|spans| spans.len() >= count)
        })
        .await
    }
}

async fn receive(
    State(received): State<Arc<Mutex<Vec<Received>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    if headers
        .get("content-type")
        .is_none_or(|kind| kind != "application/x-protobuf")
    {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let tenant = headers
        .get("x-tenant")
        .map(|tenant| tenant.to_str().unwrap().to_owned());
    for of_process in request.resource_spans {
        let resource = of_process.resource.unwrap_or_default().attributes;
        let spans = of_process
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        let all = spans.map(|span| Received {
            span,
            resource: resource.clone(),
            tenant: tenant.clone(),
        });
        received.lock().unwrap().extend(all);
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

/// An attribute as text; empty when there is none.
pub fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
