//! What is too old is forgotten, by a function of the database: whoever reads the audit may call it, and delete nothing else.

use connection_pool::Pool;
use event_log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets who read the audit 400 days ago and before, a bounded batch at a time, until `shutdown`.
pub async fn forget_old(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        while !shutdown.is_cancelled() {
            match forget_batch(&log, &pool).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old readings of the audit were not forgotten; trying again later");
                    break;
                }
            }
        }
    }
}

/// Says how many it found. None by a clock that is ahead: what it takes for old may be of yesterday.
async fn forget_batch(log: &Log, pool: &Pool) -> sqlx::Result<i64> {
    let forgotten = sqlx::query_scalar(
        "select case when clock_timestamp() < $1 + interval '1 minute' then forget_audit_access() else 0 end",
    );
    forgotten.bind(log.believed_time()).fetch_one(pool).await
}
