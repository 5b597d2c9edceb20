//! What is too old is forgotten, by a function of the database: whoever reads the audit may call it, and delete nothing else.

use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets who read the audit 400 days ago and before, a bounded batch at a time, until `shutdown`.
pub async fn forget_old(pool: PgPool, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        while !shutdown.is_cancelled() {
            match forget_batch(&pool).await {
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

/// Says how many it found.
async fn forget_batch(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select forget_audit_access()").fetch_one(pool).await
}
