//! How long records are kept, and their purge.

use connection_pool::Pool;
use event_log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Days that records are kept.
pub const RETENTION_DAYS: i32 = 30;
/// How often old records are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// Rows that one delete removes at most, so that no purge holds locks for long.
const PURGE_BATCH_ROWS: i64 = 5_000;
/// The pause between two deletes: at most 50,000 rows a second are deleted, many times as many as are inserted.
const PURGE_DELAY: Duration = Duration::from_millis(100);

/// One bounded delete of each table.
const DELETES: [&str; 3] = [
    "delete from refusals where (refused_at, invest_id) in (
         select refused_at, invest_id from refusals
          where refused_at < least(clock_timestamp(), $3::timestamptz) - make_interval(days => $1)
          order by refused_at limit $2)",
    "delete from payment_calls where (invest_id, asked_at, call) in (
         select invest_id, asked_at, call from payment_calls
          where asked_at < least(clock_timestamp(), $3::timestamptz) - make_interval(days => $1)
          order by asked_at limit $2)",
    "delete from recorder_drops where ctid = any (array(
         select ctid from recorder_drops
          where to_time < least(clock_timestamp(), $3::timestamptz) - make_interval(days => $1)
          order by to_time limit $2))",
];

/// Purges records that are older than [`RETENTION_DAYS`], a bounded batch at a time, until `shutdown`.
pub async fn purge_records(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PURGE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        if let Some(Err(error)) = shutdown.run_until_cancelled(purge(&log, &pool)).await {
            tracing::warn!(%error, "old records of refusals and payment calls were not purged; trying again later");
        }
    }
}

async fn purge(log: &Log, pool: &Pool) -> sqlx::Result<()> {
    for delete in DELETES {
        loop {
            let deletion = sqlx::query(delete)
                .bind(RETENTION_DAYS)
                .bind(PURGE_BATCH_ROWS)
                .bind(log.trusted_time());
            if deletion.execute(pool).await?.rows_affected() == 0 {
                break;
            }
            tokio::time::sleep(PURGE_DELAY).await;
        }
    }
    Ok(())
}
