//! What the OpenAPI document of a listener with [`super::Ops::routes`] says of them.

use edge::reference::{Endpoint, health};

/// `/livez`, `/readyz` and `/metrics`. None needs a token.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let metrics = Endpoint::get(
        "/metrics",
        "getMetrics",
        "What the process counts and measures, for Prometheus",
    )
    .described("docs/metrics.md has every metric, ops/alerts.yaml the alarms.")
    .without_token()
    .gives_text(
        "text/plain",
        "Prometheus' text format, version 0.0.4.",
        "# TYPE moa_ready gauge\nmoa_ready{clause=\"database\"} 1\n",
    );
    health().into_iter().chain([metrics]).collect()
}
