//! CORS: the origins whose pages may call from a browser.

use axum::http::{HeaderValue, Method, Uri, header};
use std::str::FromStr;
use std::time::Duration;
use tower_http::cors::CorsLayer;

use crate::header as ours;

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// An origin that browsers may call from: `scheme://host` or `scheme://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(HeaderValue);

/// Not an origin. Says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an origin such as https://moa.example or http://localhost:3000, without a path")]
pub struct InvalidOriginError;

impl FromStr for AllowedOrigin {
    type Err = InvalidOriginError;

    fn from_str(text: &str) -> Result<Self, InvalidOriginError> {
        let uri: Uri = text.parse().map_err(|_| InvalidOriginError)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidOriginError);
        };
        let origin = format!("{scheme}://{authority}").to_ascii_lowercase();
        // Browsers send origins in lower case and bare: a path, user or capital in the setting would never match.
        if origin != text || origin.contains('@') {
            return Err(InvalidOriginError);
        }
        HeaderValue::try_from(origin).map(Self).map_err(|_| InvalidOriginError)
    }
}

/// The CORS headers for these origins; `None` without any.
pub(crate) fn cors(origins: &[AllowedOrigin]) -> Option<CorsLayer> {
    let allowed: Vec<HeaderValue> = origins.iter().map(|origin| origin.0.clone()).collect();
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            ours::USER_ID,
            ours::IDEMPOTENCY_KEY,
            ours::CONSISTENCY_TOKEN,
            ours::CORRELATION_ID,
            ours::TRACEPARENT,
        ])
        .expose_headers([
            header::RETRY_AFTER,
            ours::INVEST_ID,
            ours::REMAINING_AMOUNT,
            ours::REMAINING_LIMIT,
            ours::CONSISTENCY_TOKEN,
            ours::CONSISTENCY,
            ours::CORRELATION_ID,
            ours::IDEMPOTENCY_REPLAYED,
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    (!origins.is_empty()).then_some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://moa.example", true)]
    #[case("http://localhost:3000", true)]
    #[case("https://moa.example/", false)]
    #[case("https://moa.example/app", false)]
    #[case("https://Moa.example", false)]
    #[case("https://user@moa.example", false)]
    #[case("moa.example", false)]
    #[case("*", false)]
    #[case("null", false)]
    #[case("", false)]
    fn an_origin_is_bare(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<AllowedOrigin>().is_ok(), good);
    }
}
