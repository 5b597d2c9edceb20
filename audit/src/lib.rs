//! The auditor's HTTP calls: search events, show the past, prove what was sealed. They only read the log and what other crates
//! record beside it.
//!
//! - `event`: events by any filter, in pages or as a stream.
//! - `as_of`: a product, or a read model, at a time in the past.
//! - `timeline`: one invest, cause by cause.
//! - `refusal`: commands that were refused.
//! - [`proof`]: the sealer, verification of the live log, making inclusion proofs; the pure part is the crate `proof`.
//! - [`export`]: the log as a file that can be verified without Moa.
//! - [`access`]: the record of who read the audit.
//! - `acts`: what operators did.
//! - [`mod@reference`]: what the OpenAPI document says of them.
//!
//! Words are in `docs/glossary.md`.

mod accept;
pub mod access;
mod acts;
mod as_of;
mod audit;
mod event;
pub mod export;
mod problem;
pub mod proof;
pub mod reference;
mod refusal;
mod time_cursor;
mod timeline;

pub use audit::Audit;
pub use refusal::RETENTION_DAYS as REFUSAL_RETENTION_DAYS;
pub use timeline::record_checkpoint_history;

use axum::Router;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer of the audit may take: some fold long streams, or verify the whole log.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// The audit's routes, below `/admin/audit`; to be guarded, and passed to [`edge::with_middleware_and_timeouts`].
pub fn routes(audit: Audit) -> Router {
    let audit = Arc::new(audit);
    let routes = Router::new()
        .merge(event::routes())
        .merge(as_of::routes())
        .merge(timeline::routes())
        .merge(refusal::routes())
        .merge(proof::routes())
        .merge(export::routes())
        .merge(access::routes())
        .merge(acts::routes())
        .with_state(audit.clone());
    access::with_record(routes, audit)
}
