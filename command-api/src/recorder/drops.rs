//! What was dropped and not yet told in `recorder_drops`.

use super::Note;
use connection_pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// There was no room for it: more came than may be written.
    Full,
    /// The database did not take it.
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

/// Counts of one kind of notes.
#[derive(Debug, Default)]
pub(super) struct Drops {
    full: AtomicU64,
    database: AtomicU64,
}

impl Drops {
    pub(super) fn add<T: Note>(&self, reason: Reason, number: u64) {
        self.of(reason).fetch_add(number, Ordering::Relaxed);
        metrics::counter!(T::DROPPED, "reason" => reason.name().to_ascii_lowercase()).increment(number);
    }

    pub(super) fn is_none(&self) -> bool {
        Reason::ALL.iter().all(|reason| self.of(*reason).load(Ordering::Relaxed) == 0)
    }

    /// Writes down how many were dropped since `since`, and counts from nothing. What is not written stays counted.
    pub(super) async fn tell<T: Note>(&self, pool: &Pool, since: Instant) -> sqlx::Result<()> {
        for reason in Reason::ALL {
            let number = self.of(reason).load(Ordering::Relaxed);
            if number > 0 {
                tell::<T>(pool, reason, number, since).await?;
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

async fn tell<T: Note>(pool: &Pool, reason: Reason, number: u64, since: Instant) -> sqlx::Result<()> {
    sqlx::query(
        "insert into recorder_drops (what, reason, number, from_time, to_time)
         select $1, $2, $3, now - make_interval(secs => $4), now from clock_timestamp() now",
    )
    .bind(T::WHAT)
    .bind(reason.name())
    .bind(i64::try_from(number).unwrap_or(i64::MAX))
    .bind(since.elapsed().as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}
