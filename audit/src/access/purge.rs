//! Deletes old records through a function of the database: a login that reads the audit may call it, and delete nothing else.

use connection_pool::Pool;
use event_log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often old records are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Deletes records of 400 days ago and before, a bounded batch at a time, until `shutdown`.
pub async fn purge_old_records(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PURGE_INTERVAL);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        while !shutdown.is_cancelled() {
            match purge_batch(&log, &pool).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old records of who read the audit were not deleted; trying again later");
                    break;
                }
            }
        }
    }
}

/// Returns how many it deleted: none by a clock that is ahead, which would take yesterday's for old.
async fn purge_batch(log: &Log, pool: &Pool) -> sqlx::Result<i64> {
    let forgotten = sqlx::query_scalar(
        "select case when clock_timestamp() < $1 + interval '1 minute' then forget_audit_access() else 0 end",
    );
    forgotten.bind(log.trusted_time()).fetch_one(pool).await
}
