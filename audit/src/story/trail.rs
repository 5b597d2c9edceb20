//! The trail of the checkpoints: once a second it is written down which have moved, and where they stand. By it is known,
//! later, between which times a consumer came past an event.

use connection_pool::Pool;
use event_log::{Lease, Log, LogError, RepeatedFault};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the checkpoints are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Who looks: one of all processes. The lease is renewed with each look.
const LEASE: Duration = Duration::from_secs(5);
const LEASE_NAME: &str = "checkpoint_trail";
/// How long a trail is kept, in days.
const KEPT_DAYS: i32 = 7;
/// How often it is looked for what is too old.
const FORGET: Duration = Duration::from_secs(60);
/// Rows that are forgotten at a time.
const FORGOTTEN: i64 = 10_000;
/// Such times in a row at most.
const TIMES: usize = 20;

/// Keeps the trail, whenever no other process does, until `shutdown`. What fails is tried again at the next look.
pub async fn keep_trail(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut fault = RepeatedFault::new("the trail of the checkpoints cannot be kept", "");
    while !shutdown.is_cancelled() {
        match keep(&log, &pool, &shutdown).await {
            Ok(()) => fault.recovered(),
            Err(error) => fault.failed(&error),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
}

/// As long as it is this process's; back at once when it is another's.
async fn keep(log: &Log, pool: &Pool, shutdown: &CancellationToken) -> Result<(), LogError> {
    let Some(lease) = Lease::take(log, LEASE_NAME, LEASE).await? else { return Ok(()) };
    let mut forgotten: Option<Instant> = None;
    while !shutdown.is_cancelled() && lease.renew(LEASE).await? {
        if !look(pool, &lease).await? {
            return Ok(());
        }
        if forgotten.is_none_or(|at| at.elapsed() >= FORGET) {
            forget(log, pool).await?;
            forgotten = Some(Instant::now());
        }
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
    lease.release().await
}

/// Writes down which checkpoints have moved; says whether it was still this one's to do.
async fn look(pool: &Pool, lease: &Lease) -> Result<bool, LogError> {
    let mut transaction = pool.begin().await?;
    let held = lease.guard(&mut transaction).await?;
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

/// Deletes what is too old, so much at a time that nobody waits for it.
async fn forget(log: &Log, pool: &Pool) -> sqlx::Result<()> {
    for _ in 0..TIMES {
        let deleted = sqlx::query(
            "delete from checkpoint_trail where ctid = any(array(
                 select ctid from checkpoint_trail 
                  where moved_at < least(clock_timestamp(), $3::timestamptz) - make_interval(days => $1)
                  order by moved_at limit $2))",
        )
        .bind(KEPT_DAYS)
        .bind(FORGOTTEN)
        .bind(log.believed_time())
        .execute(pool)
        .await?;
        if (deleted.rows_affected() as i64) < FORGOTTEN {
            break;
        }
    }
    Ok(())
}
