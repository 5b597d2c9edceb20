//! The span of one call to the payment provider, in the trace of the invest's request.

use super::protocol::{ProviderAnswer, ProviderCall, ProviderError};
use reqwest::{StatusCode, Url};
use traces::{Attribute, OpenSpan, SpanContext, SpanKind, Work};

/// A call whose trace is sampled.
pub(super) struct CallSpan {
    call: ProviderCall,
    open: OpenSpan,
}

impl CallSpan {
    pub(super) fn begin(call: ProviderCall, traceparent: Option<&str>) -> Option<Self> {
        SpanContext::sampled(traceparent).map(|request| Self {
            call,
            open: OpenSpan::child_of(request),
        })
    }

    /// What the provider is sent: so its own spans are parts of the call.
    pub(super) fn traceparent(&self) -> String {
        self.open.context().to_string()
    }

    /// Ends with the status, if there was one, and what the call came to. As OpenTelemetry's conventions for HTTP clients have it, but for
    /// the URL, whose path may hold a secret.
    pub(super) fn end(
        self,
        provider: &Url,
        status: Option<StatusCode>,
        answer: &Result<ProviderAnswer, ProviderError>,
    ) {
        let (method, template) = method_and_template(self.call);
        let outcome = answer
            .as_ref()
            .map_or_else(ProviderError::name, ProviderAnswer::name);
        let mut attributes: Vec<Attribute> = vec![
            ("http.request.method", method.into()),
            ("url.template", template.into()),
            (
                "server.address",
                provider.host_str().unwrap_or_default().to_owned().into(),
            ),
            (
                "server.port",
                provider.port_or_known_default().unwrap_or_default().into(),
            ),
            ("moa.payment.outcome", outcome.into()),
        ];
        attributes
            .extend(status.map(|status| ("http.response.status_code", status.as_u16().into())));
        if answer.is_err() {
            attributes.push(("error.type", outcome.into()));
        }
        let name = format!("{method} {template}").into();
        self.open.end(Work {
            name,
            kind: SpanKind::Client,
            attributes,
            is_error: answer.is_err(),
        });
    }
}

fn method_and_template(call: ProviderCall) -> (&'static str, &'static str) {
    match call {
        ProviderCall::Pay => ("POST", "/payment"),
        ProviderCall::Query => ("GET", "/payment/{id}"),
        ProviderCall::Cancel => ("POST", "/payment/{id}/cancel"),
        ProviderCall::Refund => ("POST", "/payment/{id}/refund"),
    }
}
