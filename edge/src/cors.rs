//! CORS: the origins whose pages may call from a browser.

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::header as ours;

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// An origin that browsers may call from: `scheme://host` or `scheme://host:port`; or any of this machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(Allowed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Exactly(HeaderValue),
    Loopback,
}

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
        HeaderValue::try_from(origin)
            .map(Allowed::Exactly)
            .map(Self)
            .map_err(|_| InvalidOriginError)
    }
}

impl AllowedOrigin {
    /// Every page that this machine serves: `localhost` or a loopback address, on any port. For those who build a page against a Moa that
    /// listens on loopback.
    pub fn loopback() -> Self {
        Self(Allowed::Loopback)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.0 {
            Allowed::Exactly(allowed) => allowed == origin,
            Allowed::Loopback => origin.to_str().is_ok_and(is_loopback),
        }
    }
}

fn is_loopback(origin: &str) -> bool {
    let uri: Option<Uri> = origin.parse().ok();
    let host = uri
        .as_ref()
        .filter(|uri| uri.scheme().is_some())
        .and_then(Uri::host)
        .unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The CORS headers for these origins; `None` without any.
pub(crate) fn cors(origins: &[AllowedOrigin]) -> Option<CorsLayer> {
    let allowed = origins.to_vec();
    let is_allowed =
        move |origin: &HeaderValue, _: &Parts| allowed.iter().any(|allowed| allowed.allows(origin));
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            ours::USER_ID,
            ours::IDEMPOTENCY_KEY,
            ours::CONSISTENCY_TOKEN,
            ours::LAST_EVENT_ID,
            ours::CORRELATION_ID,
            ours::TRACEPARENT,
        ])
        .expose_headers([
            header::DATE,
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            ours::RATE_LIMIT,
            ours::RATE_LIMIT_POLICY,
            ours::TIME_ZONE,
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

    #[rstest]
    #[case("http://localhost", true)]
    #[case("http://localhost:3000", true)]
    #[case("https://127.0.0.1:3000", true)]
    #[case("http://127.9.9.9", true)]
    #[case("http://[::1]:3000", true)]
    #[case("http://localhost.evil.example", false)]
    #[case("http://127.0.0.1.evil.example", false)]
    #[case("http://10.0.0.1:3000", false)]
    #[case("https://moa.example", false)]
    #[case("localhost", false)]
    #[case("null", false)]
    #[case("", false)]
    fn an_origin_of_this_machine_is_loopback(
        #[case] origin: &'static str,
        #[case] is_allowed: bool,
    ) {
        assert_eq!(
            AllowedOrigin::loopback().allows(&HeaderValue::from_static(origin)),
            is_allowed
        );
    }
}
