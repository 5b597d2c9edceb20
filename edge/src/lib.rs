//! The HTTP edge that every listener shares: the envelope, the refusals, strict parsing at the door, consistency tokens,
//! local times, and serving that slow or broken clients cannot harm.
//!
//! A service builds its routes, hands them to [`finish`], and the finished router to [`serve`]. Handlers return
//! `Result<Response, Problem>`; extractors ([`UserIdHeader`], [`IdempotencyKey`], [`JsonObject`], [`Params`], the paths)
//! refuse with the same [`Problem`], so every answer has the one shape of the contract.
//!
//! Words are in `docs/glossary.md`.

mod body;
mod consistency;
mod correlation;
mod cors;
mod envelope;
mod fields;
mod finish;
mod given;
pub mod header;
mod health;
mod idempotency_key;
mod params;
mod path;
mod problem;
mod serve;
mod service_time;
mod submission;
mod user_id;

pub use body::{BODY_LIMIT, JsonObject};
pub use consistency::ConsistencyToken;
pub use correlation::Correlation;
pub use cors::{AllowedOrigin, InvalidOrigin};
pub use envelope::{Envelope, ListData, accepted, ok};
pub use fields::Fields;
pub use finish::{REQUEST_TIME_LIMIT, finish, finish_patiently};
pub use given::FieldProblem;
pub use health::health;
pub use idempotency_key::IdempotencyKey;
pub use params::{MAX_PAGE, MAX_SIZE, Paging, Params};
pub use path::{InvestIdPath, ProductIdPath};
pub use problem::Problem;
pub use serve::{
    AllowedHost, ConnectionPolicy, ConnectionSettings, HEAD_TIMEOUT, IDLE_TIMEOUT, InvalidHost, LISTEN_BACKLOG,
    MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER, MAX_HEAD_BYTES, MAX_SHARED_BYTES, MAX_URI_BYTES, Peer,
    SHUTDOWN_TIME_LIMIT, listen, serve,
};
pub use service_time::{InvalidTime, ServiceTime, within_bounds};
pub use submission::Submission;
pub use user_id::UserIdHeader;
