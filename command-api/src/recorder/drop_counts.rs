//! Counts dropped records until they are reported in `recorder_drops`.

use super::Record;
use connection_pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Why a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The queue was full, or the budget used up: more came than may be written.
    Full,
    /// The database refused it or did not answer.
    Database,
}

impl Reason {
    const ALL: [Self; 2] = [Self::Full, Self::Database];

    fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Database => "DATABASE",
        }
    }
}

/// Counts of one kind of record.
#[derive(Debug, Default)]
pub(super) struct DropCounts {
    full: AtomicU64,
    database: AtomicU64,
}

impl DropCounts {
    pub(super) fn add<T: Record>(&self, reason: Reason, number: u64) {
        self.of(reason).fetch_add(number, Ordering::Relaxed);
        metrics::counter!(T::DROPPED_METRIC, "reason" => reason.name().to_ascii_lowercase())
            .increment(number);
    }

    pub(super) fn is_none(&self) -> bool {
        Reason::ALL
            .iter()
            .all(|reason| self.of(*reason).load(Ordering::Relaxed) == 0)
    }

    /// Inserts how many were dropped since `since`, and starts again at 0. What cannot be inserted stays counted.
    pub(super) async fn report<T: Record>(&self, pool: &Pool, since: Instant) -> sqlx::Result<()> {
        for reason in Reason::ALL {
            let number = self.of(reason).load(Ordering::Relaxed);
            if number > 0 {
                report::<T>(pool, reason, number, since).await?;
                self.of(reason).fetch_sub(number, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn of(&self, reason: Reason) -> &AtomicU64 {
        match reason {
            Reason::Full => &self.full,
            Reason::Database => &self.database,
        }
    }
}

async fn report<T: Record>(
    pool: &Pool,
    reason: Reason,
    number: u64,
    since: Instant,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into recorder_drops (what, reason, number, from_time, to_time)
         select $1, $2, $3, now - make_interval(secs => $4), now from clock_timestamp() now",
    )
    .bind(T::KIND)
    .bind(reason.name())
    .bind(i64::try_from(number).unwrap_or(i64::MAX))
    .bind(since.elapsed().as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}
