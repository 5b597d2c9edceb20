//! The checkpoint history: once a second, the checkpoints that have moved are recorded. It tells later between which times a
//! consumer applied an event. The table is `checkpoint_trail`.

use connection_pool::Pool;
use event_log::{Lease, Log, LogError, RepeatedFault};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the checkpoints are recorded.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
/// One of all processes records.
const LEASE_DURATION: Duration = Duration::from_secs(5);
const LEASE_RENEW_INTERVAL: Duration = Duration::from_secs(2);
const LEASE_NAME: &str = "checkpoint_trail";
/// How long the history is kept.
const RETENTION_DAYS: i32 = 7;
/// How often rows that are too old are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// Rows that one statement deletes.
const ROWS_PER_DELETE: i64 = 10_000;
/// Such statements in a row at most.
const MAX_DELETES: usize = 20;

/// Records the history whenever no other process does, until `shutdown`. What fails is tried again at the next interval.
pub async fn record_checkpoint_history(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut fault = RepeatedFault::new("the checkpoint history cannot be recorded", "");
    while !shutdown.is_cancelled() {
        match record_while_leased(&log, &pool, &shutdown).await {
            Ok(()) => fault.recovered(),
            Err(error) => fault.failed(&error),
        }
        shutdown
            .run_until_cancelled(tokio::time::sleep(RECORD_INTERVAL))
            .await;
    }
}

/// Records as long as this process holds the lease; returns at once when another holds it.
async fn record_while_leased(
    log: &Log,
    pool: &Pool,
    shutdown: &CancellationToken,
) -> Result<(), LogError> {
    let Some(lease) = Lease::acquire(log, LEASE_NAME, LEASE_DURATION).await? else {
        return Ok(());
    };
    let (mut renewed_at, mut purged_at) = (Instant::now(), None::<Instant>);
    while !shutdown.is_cancelled() {
        if renewed_at.elapsed() >= LEASE_RENEW_INTERVAL {
            renewed_at = Instant::now();
            if !lease.renew(LEASE_DURATION).await? {
                return Ok(());
            }
        }
        if have_moved(pool).await? && !record(pool, &lease).await? {
            return Ok(());
        }
        if purged_at.is_none_or(|at| at.elapsed() >= PURGE_INTERVAL) {
            purge(log, pool).await?;
            purged_at = Some(Instant::now());
        }
        shutdown
            .run_until_cancelled(tokio::time::sleep(RECORD_INTERVAL))
            .await;
    }
    lease.release().await
}

/// Whether there is anything to record: a Moa that nobody uses writes nothing here.
async fn have_moved(pool: &Pool) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from checkpoints c
                         where position > 0
                           and not exists (select from checkpoint_trail t
                                            where (t.consumer, t.partition, t.position)
                                                = (c.consumer, c.partition, c.position)))",
    )
    .fetch_one(pool)
    .await
}

/// Records which checkpoints have moved; returns false if the lease was lost.
async fn record(pool: &Pool, lease: &Lease) -> Result<bool, LogError> {
    let mut transaction = pool.begin().await?;
    let held = lease.verify_held(&mut transaction).await?;
    if held {
        sqlx::query(
            "insert into checkpoint_trail (consumer, partition, position, moved_at)
             select consumer, partition, position, moved_at from checkpoints where position > 0
                 on conflict do nothing",
        )
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(held)
}

/// Deletes what is too old, in statements so short that nobody waits for them.
async fn purge(log: &Log, pool: &Pool) -> sqlx::Result<()> {
    for _ in 0..MAX_DELETES {
        let deleted = sqlx::query(
            "delete from checkpoint_trail where ctid = any(array(
                 select ctid from checkpoint_trail 
                  where moved_at < least(clock_timestamp(), $3::timestamptz) - make_interval(days => $1)
                  order by moved_at limit $2))",
        )
        .bind(RETENTION_DAYS)
        .bind(ROWS_PER_DELETE)
        .bind(log.trusted_time())
        .execute(pool)
        .await?;
        if (deleted.rows_affected() as i64) < ROWS_PER_DELETE {
            break;
        }
    }
    Ok(())
}
