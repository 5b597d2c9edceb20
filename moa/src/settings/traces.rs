//! The settings of traces. Variables have the names that OpenTelemetry gives them, for an operator often sets them for all programs alike.

use crate::secret::Secret;
use clap::Args;

/// Where spans are sent, and of which traces. Only `serve` reads them, and nothing but the endpoint turns anything on.
#[derive(Clone, Debug, Default, Args)]
pub struct TraceSettings {
    /// The collector that spans of traces are sent to with OTLP over HTTP, e.g. http://127.0.0.1:4318; without it there are none
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        global = true,
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,
    /// Headers for the collector, NAME=VALUE separated by commas, values percent-encoded
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        global = true,
        hide_env_values = true
    )]
    pub otlp_headers: Option<Secret>,
    /// The one protocol that there is: http/protobuf
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", global = true)]
    pub otlp_protocol: Option<String>,
    /// What this process is called in traces [default: moa, or moa- and the service]
    #[arg(long, env = "OTEL_SERVICE_NAME", global = true)]
    pub service_name: Option<String>,
    /// What else is said of this process in traces, NAME=VALUE separated by commas, values percent-encoded
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", global = true)]
    pub resource_attributes: Option<String>,
    /// Which traces that begin here are sampled: parentbased_always_on, parentbased_always_off or parentbased_traceidratio; of others their
    /// caller has decided [default: parentbased_always_on]
    #[arg(long, env = "OTEL_TRACES_SAMPLER", global = true)]
    pub traces_sampler: Option<String>,
    /// The fraction of parentbased_traceidratio, 0 to 1 [default: 1]
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", global = true)]
    pub traces_sampler_arg: Option<String>,
}
