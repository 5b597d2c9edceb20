//! The header names of the contract.

use axum::http::HeaderName;

/// Whose request it is; believed as the settings say.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// A gateway's secret, which shows that it is the gateway.
pub const GATEWAY_SECRET: HeaderName = HeaderName::from_static("x-gateway-secret");
/// A gateway's signature of the request, made with the secret.
pub const GATEWAY_SIGNATURE: HeaderName = HeaderName::from_static("x-gateway-signature");
/// What a limit allows.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The user's own name for a request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` on an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Names one request in answers, logs and event metadata.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The id of the invest that a request made, or may have made.
pub const INVEST_ID: HeaderName = HeaderName::from_static("x-invest-id");
/// Whole won that a sold out product still has.
pub const REMAINING_AMOUNT: HeaderName = HeaderName::from_static("x-remaining-amount");
/// Whole won that the user may still have of a product whose terms limit them.
pub const REMAINING_LIMIT: HeaderName = HeaderName::from_static("x-remaining-limit");
/// The state of the log that an answer shows, or that a read must have reached.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("x-consistency-token");
/// The token of the last event that a stream's reader has seen; a browser sends it when it connects again.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The IANA name of the service's time zone, which times without an offset are local to.
pub const TIME_ZONE: HeaderName = HeaderName::from_static("x-time-zone");
/// `reached` or `timeout`: what became of the wait for a consistency token.
pub const CONSISTENCY: HeaderName = HeaderName::from_static("x-consistency");
