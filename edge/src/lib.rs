//! The HTTP toolkit that every listener shares: the envelope, problems, strict parsing, consistency tokens, local times, cursors,
//! and a server that slow or broken clients cannot harm.
//!
//! A service builds its routes, hands them to [`with_middleware`], and the finished router to [`serve`]. Handlers return
//! `Result<Response, Problem>`; extractors ([`UserIdHeader`], [`IdempotencyKey`], [`JsonObject`], [`Params`], the paths)
//! refuse with the same [`Problem`], so every answer has the one shape of the contract.
//!
//! Words are in `docs/glossary.md`.

mod actor;
mod auth_fault;
mod body;
mod caller_policy;
mod client_address;
mod consistency;
mod correlation;
mod cors;
mod envelope;
mod field_problem;
mod fields;
pub mod header;
mod health;
mod idempotency_key;
mod middleware;
mod params;
mod path;
mod places;
mod problem;
mod problem_answer;
mod problem_details;
mod rate_limit;
mod rate_limited_log;
pub mod reference;
mod request_limits;
mod request_span;
mod serve;
mod service_time;
mod submission;
mod times;
mod user_auth;
mod user_id_header;

pub use actor::{Actor, InvalidActorError, Role};
pub use auth_fault::AuthFault;
pub use body::JsonObject;
pub use caller_policy::CallerPolicy;
pub use client_address::{ClientAddress, InvalidNetworkError, Peer, ProxyNetwork};
pub use consistency::{ConsistencyToken, LogIncarnation};
pub use correlation::Correlation;
pub use cors::{AllowedOrigin, InvalidOriginError};
pub use envelope::{Envelope, ListData, accepted, ok, ok_body, ok_with};
pub use field_problem::FieldProblem;
pub use fields::Fields;
pub use health::health;
pub use idempotency_key::IdempotencyKey;
pub use middleware::{REQUEST_TIMEOUT, with_middleware, with_middleware_and_timeouts};
pub use params::{MAX_PAGE_NUMBER, MAX_ROWS_PER_PAGE, Paging, Params};
pub use path::{InvestIdPath, ProductIdPath};
pub use places::{Place, Places};
pub use problem::Problem;
pub use rate_limit::{
    Exhausted, InvalidRateError, OverRate, Rate, RateLimits, Rates, TokenBuckets,
};
pub use request_limits::{HEAD_TIMEOUT, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_URI_BYTES};
pub use serve::{
    AllowedHost, ConnectionPolicy, ConnectionSettings, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT,
    InvalidHostError, LISTEN_BACKLOG, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER, MAX_SHARED_BYTES,
    SHUTDOWN_TIMEOUT, listen, serve,
};
pub use service_time::{InvalidTimeError, ServiceTime, within_bounds};
pub use submission::Submission;
pub use times::Times;
pub use user_auth::{
    GatewaySecrets, InvalidKeysError, InvalidSecretError, JwtRules, JwtVerifier, MAX_KEYS,
    MAX_KEYS_BYTES, SIGNATURE_LIFETIME_SECONDS, UserAuth, signed_text,
};
pub use user_id_header::UserIdHeader;
