//! What is set, read as OpenTelemetry describes it.

use crate::settings::TraceSettings;
use anyhow::{Context, bail, ensure};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Variables of OpenTelemetry that Moa reads.
const KNOWN_VARIABLES: [&str; 7] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];
const SERVICE_NAME: &str = "service.name";

/// Where spans are sent, and of which traces.
pub(super) struct Config {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Of the traces that begin here, from 0 to 1.
    pub(super) ratio: f64,
    /// What is said of this process.
    pub(super) resource: Vec<(String, String)>,
}

impl Config {
    /// `None` where no collector is set.
    pub(super) fn read(settings: &TraceSettings, service: &str) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(None);
        };
        warn_of_unknown_variables();
        if let Some(protocol) = settings
            .otlp_protocol
            .as_deref()
            .filter(|protocol| *protocol != "http/protobuf")
        {
            bail!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: Moa speaks http/protobuf alone, mostly at port 4318"
            );
        }
        let headers = settings
            .otlp_headers
            .as_ref()
            .map_or("", |headers| headers.reveal());
        Ok(Some(Self {
            url: url(endpoint).context("OTEL_EXPORTER_OTLP_ENDPOINT")?,
            headers: header_map(headers).context("OTEL_EXPORTER_OTLP_HEADERS")?,
            ratio: ratio(
                settings.traces_sampler.as_deref(),
                settings.traces_sampler_arg.as_deref(),
            )?,
            resource: resource(settings, service).context("OTEL_RESOURCE_ATTRIBUTES")?,
        }))
    }
}

/// They may be set for all programs alike, so they are no reason not to start.
fn warn_of_unknown_variables() {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown: Vec<_> = set
        .filter(|name| name.starts_with("OTEL_") && !KNOWN_VARIABLES.contains(&name.as_str()))
        .collect();
    if !unknown.is_empty() {
        tracing::warn!(
            "{}: variables of OpenTelemetry that have no effect on Moa",
            unknown.join(", ")
        );
    }
}

/// The path of traces below the endpoint. No error repeats the URL, which may hold a secret.
fn url(endpoint: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(endpoint)
        .ok()
        .context("cannot be read: give one such as http://127.0.0.1:4318")?;
    let is_http = ["http", "https"].contains(&url.scheme()) && url.has_host();
    ensure!(
        is_http,
        "must begin with http:// or https:// and name a host, such as http://127.0.0.1:4318"
    );
    ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "must end with its path: leave away what begins with ? or #"
    );
    // An http URL always has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["v1", "traces"]);
    }
    Ok(url)
}

fn header_map(text: &str) -> anyhow::Result<HeaderMap> {
    let header = |(name, value): (String, String)| {
        let name = HeaderName::try_from(&name)
            .with_context(|| format!("{name} is no name of a header"))?;
        let mut value = HeaderValue::try_from(value)
            .with_context(|| format!("the value of {name} is none of a header"))?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    pairs(text)?.into_iter().map(header).collect()
}

/// `a=1,b=2`, with percent-encoded values.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let pair = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        Some((
            name.trim().to_owned(),
            percent_decode_str(value.trim())
                .decode_utf8()
                .ok()?
                .into_owned(),
        ))
    };
    entries
        .map(|entry| {
            pair(entry).context("must be NAME=VALUE, separated by commas, values percent-encoded")
        })
        .collect()
}

fn ratio(sampler: Option<&str>, argument: Option<&str>) -> anyhow::Result<f64> {
    match sampler {
        None | Some("parentbased_always_on") => Ok(1.0),
        Some("parentbased_always_off") => Ok(0.0),
        Some("parentbased_traceidratio") => {
            let ratio = argument
                .unwrap_or("1")
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.context("OTEL_TRACES_SAMPLER_ARG must be a fraction from 0 to 1, such as 0.01")
        }
        Some(other) => bail!(
            "OTEL_TRACES_SAMPLER is {other}: it must be parentbased_always_on, parentbased_always_off or \
             parentbased_traceidratio, for Moa follows what a request's caller has decided"
        ),
    }
}

fn resource(settings: &TraceSettings, service: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut resource = pairs(settings.resource_attributes.as_deref().unwrap_or_default())?;
    let named = settings.service_name.clone();
    let named = named.or_else(|| {
        resource
            .iter()
            .find(|(name, _)| name == SERVICE_NAME)
            .map(|(_, value)| value.clone())
    });
    let ours = [
        (SERVICE_NAME, named.unwrap_or_else(|| service.to_owned())),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", Uuid::now_v7().to_string()),
    ];
    resource.retain(|(name, _)| name != SERVICE_NAME);
    for (name, value) in ours {
        if resource.iter().all(|(known, _)| known != name) {
            resource.push((name.to_owned(), value));
        }
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn set(endpoint: &str) -> TraceSettings {
        TraceSettings {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..TraceSettings::default()
        }
    }

    #[rstest]
    #[case("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces")]
    #[case("https://collector/", "https://collector/v1/traces")]
    #[case("https://collector/otlp", "https://collector/otlp/v1/traces")]
    fn traces_go_below_the_endpoint(#[case] endpoint: &str, #[case] expected: &str) {
        assert_eq!(url(endpoint).unwrap().as_str(), expected);
    }

    #[rstest]
    #[case("127.0.0.1:4318", "such as http://127.0.0.1:4318")]
    #[case("grpc://collector:4317", "must begin with http:// or https://")]
    #[case("http://collector?key=canary", "must end with its path")]
    fn an_endpoint_that_cannot_be_is_refused(#[case] endpoint: &str, #[case] why: &str) {
        let refused = format!("{:#}", Config::read(&set(endpoint), "moa").err().unwrap());
        assert!(
            refused.contains(why) && refused.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
            "{refused}"
        );
        assert!(!refused.contains("canary"), "{refused}");
    }

    #[rstest]
    #[case(None, None, Some(1.0))]
    #[case(Some("parentbased_always_off"), None, Some(0.0))]
    #[case(Some("parentbased_traceidratio"), Some("0.01"), Some(0.01))]
    #[case(Some("parentbased_traceidratio"), None, Some(1.0))]
    #[case(Some("parentbased_traceidratio"), Some("1.01"), None)]
    #[case(Some("parentbased_traceidratio"), Some("NaN"), None)]
    #[case(Some("always_on"), None, None)]
    fn samplers_follow_their_parent(
        #[case] sampler: Option<&str>,
        #[case] arg: Option<&str>,
        #[case] found: Option<f64>,
    ) {
        assert_eq!(ratio(sampler, arg).ok(), found);
    }

    #[test]
    fn headers_are_decoded_and_bad_ones_refused_without_their_values() {
        let headers = header_map("authorization=Basic%20YTpi+w==, x-tenant = one ,").unwrap();
        assert_eq!(headers["authorization"], "Basic YTpi+w==");
        assert_eq!(headers["x-tenant"], "one");
        for bad in ["canary", "a b=canary", "a=%00canary"] {
            let refused = format!("{:#}", header_map(bad).unwrap_err());
            assert!(!refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn a_process_is_called_what_is_set() {
        let name = |settings: &TraceSettings| {
            let named = resource(settings, "moa-relay").unwrap();
            let names: Vec<_> = named
                .into_iter()
                .filter(|(name, _)| name == SERVICE_NAME)
                .map(|(_, name)| name)
                .collect();
            names.join(",")
        };
        let mut settings = set("http://collector");
        assert_eq!(name(&settings), "moa-relay");
        settings.resource_attributes =
            Some("service.name=attribute,deployment.environment.name=test".into());
        assert_eq!(name(&settings), "attribute");
        settings.service_name = Some("variable".into());
        assert_eq!(name(&settings), "variable");
    }

    #[test]
    fn other_protocols_are_refused() {
        let settings = TraceSettings {
            otlp_protocol: Some("grpc".into()),
            ..set("http://collector")
        };
        let refused = Config::read(&settings, "moa").err().unwrap().to_string();
        assert!(refused.contains("http/protobuf"), "{refused}");
    }
}
