//! The way in: requests over HTTP, the [`desk`]s that decide them, and the settlement of what was reserved.
//!
//! Words are in `docs/glossary.md`.

pub mod desk;
mod door;
mod invest;
mod product;
mod recorder;
mod settlement;

pub use door::Door;
pub use product::routes as product_routes;
pub use recorder::{KEPT_DAYS, Recorder, Recording, purge_notes, record, recorder, recorder_with_room};
pub use settlement::{HandOver, Handed, Http, InvalidPaymentUrl, OpenInvest, Provider, hand_over, settle};

use axum::Router;
use event_log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often old idempotency keys are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// The public routes of the way in; to be passed to [`edge::with_middleware`].
pub fn routes(door: Door) -> Router {
    Router::new().route("/api/invest", axum::routing::post(invest::invest)).with_state(door)
}

/// Forgets idempotency keys a day after they were used, a bounded batch at a time, until `shutdown`.
pub async fn purge_idempotency_keys(log: Log, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PURGE_EVERY);
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
