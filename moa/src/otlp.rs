//! Sends the spans of traces to a collector, with OTLP over HTTP. Built in with the feature `otlp`; a build without it refuses to start
//! where a collector is set.

#[cfg(feature = "otlp")]
mod config;
#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod exporter;

use crate::settings::TraceSettings;

#[cfg(feature = "otlp")]
pub use exporter::Exporter;

/// Records spans from now on, and sends them to the collector that is set, as those of `service`; `None` where none is set. To be called
/// once, within the runtime.
///
/// # Errors
/// A setting cannot be used, or this build has no traces.
#[cfg(feature = "otlp")]
pub fn start(settings: &TraceSettings, service: &str) -> anyhow::Result<Option<Exporter>> {
    let Some(config) = config::Config::read(settings, service)? else {
        return Ok(None);
    };
    Exporter::start(config).map(Some)
}

/// Sends nothing: this build has no traces.
#[cfg(not(feature = "otlp"))]
#[derive(Debug)]
pub enum Exporter {}

#[cfg(not(feature = "otlp"))]
impl Exporter {
    /// There is none.
    pub async fn stop(self) {
        match self {}
    }
}

/// Refuses to start where a collector is set.
///
/// # Errors
/// One is set.
#[cfg(not(feature = "otlp"))]
pub fn start(settings: &TraceSettings, _service: &str) -> anyhow::Result<Option<Exporter>> {
    anyhow::ensure!(
        settings.otlp_endpoint.is_none(),
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this build of Moa has no traces: build it with `--features moa/otlp`, or unset it"
    );
    Ok(None)
}
