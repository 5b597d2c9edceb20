//! The write side: requests over HTTP, the partition processors ([`processor`]) that decide them, and the settlement of reservations.
//!
//! Words are in `docs/glossary.md`.

mod command_api;
mod command_envelope;
mod command_outcome;
mod idempotency;
mod invest;
mod problem;
pub mod processor;
mod product;
mod recorder;
pub mod reference;
mod refusal_budget;
mod settlement;
mod withdraw;

pub use command_api::CommandApi;
pub use idempotency::IdempotencyKey;
pub use product::routes as product_routes;
pub use recorder::{
    RETENTION_DAYS, Recorder, RecorderTask, purge_records, recorder, recorder_with_capacity,
    run_recorder,
};
pub use settlement::{
    FastPathReceiver, FastPathSender, Http, InvalidPaymentUrlError, OpenInvest, Provider,
    fast_path, settle,
};

use axum::Router;
use event_log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often old idempotency keys are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// The public routes of the write side; to be passed to [`edge::with_middleware`].
pub fn routes(api: CommandApi) -> Router {
    let invest = Router::new()
        .route("/api/invest", axum::routing::post(invest::invest))
        .route(
            "/api/invest/{investId}/withdraw",
            axum::routing::post(withdraw::withdraw),
        )
        .with_state(api);
    invest.merge(edge::reference::reference(
        &reference::LISTENER,
        &reference::endpoints(),
    ))
}

/// Purges idempotency keys that are older than a day, a bounded batch at a time, until `shutdown`.
pub async fn purge_idempotency_keys(log: Log, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PURGE_INTERVAL);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        loop {
            match log.purge_idempotency_keys().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old idempotency keys were not purged; trying again later");
                    break;
                }
            }
        }
    }
}
