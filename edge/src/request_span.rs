//! The span of one request.

use crate::Correlation;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use std::mem::take;
use traces::{Attribute, OpenSpan, SpanKind, Work};

/// What the route of a request is called that has none.
pub(crate) const UNKNOWN_ROUTE: &str = "none";
/// Routes that machines ask every few seconds: a trace of such a call tells nobody anything.
const UNTRACED_ROUTES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// A request whose trace is sampled. Ends when it is dropped: also that of a client which has gone away has a span, for the spans of what
/// it led to are parts of it.
pub(crate) struct RequestSpan {
    open: Option<OpenSpan>,
    method: Method,
    route: String,
    path: String,
    answered: Option<StatusCode>,
}

impl RequestSpan {
    /// Of a request at this route, if its trace is sampled; `path` is as it may be shown.
    pub(crate) fn begin(
        request: &Request,
        correlation: &Correlation,
        route: &str,
        path: &str,
    ) -> Option<Self> {
        if UNTRACED_ROUTES.contains(&route) {
            return None;
        }
        let open = OpenSpan::of_request(correlation.traceparent())?;
        let (method, answered) = (request.method().clone(), None);
        Some(Self {
            open: Some(open),
            method,
            route: route.to_owned(),
            path: path.to_owned(),
            answered,
        })
    }

    /// The correlation of what is done within it.
    pub(crate) fn within(&self, correlation: Correlation) -> Correlation {
        match &self.open {
            Some(open) => correlation.with_traceparent(&open.context().to_string()),
            None => correlation,
        }
    }

    /// Notes the answer.
    pub(crate) fn answer(&mut self, status: StatusCode) {
        self.answered = Some(status);
    }

    /// As OpenTelemetry's conventions for HTTP servers have it.
    fn work(&mut self) -> Work {
        let (mut name, route) = (self.method.to_string(), take(&mut self.route));
        let mut attributes: Vec<Attribute> = vec![
            ("http.request.method", name.clone().into()),
            ("url.path", take(&mut self.path).into()),
        ];
        if route != UNKNOWN_ROUTE {
            name = format!("{name} {route}");
            attributes.push(("http.route", route.into()));
        }
        let is_error = self.answered.is_none_or(|status| status.is_server_error());
        match self.answered {
            Some(status) => attributes.push(("http.response.status_code", status.as_u16().into())),
            None => attributes.push(("error.type", "cancelled".into())),
        }
        if let Some(status) = self.answered.filter(|_| is_error) {
            attributes.push(("error.type", status.as_str().to_owned().into()));
        }
        Work {
            name: name.into(),
            kind: SpanKind::Server,
            attributes,
            is_error,
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.end(self.work());
        }
    }
}
