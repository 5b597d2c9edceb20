//! Leases: exclusive ownership of some work until a time, by the database's clock. The epoch, one higher with each holder, is a
//! fencing token: whoever writes under a lease compares it in the same transaction, so a holder that was frozen and resumes after
//! another took over changes nothing.

use crate::LogError;
use crate::log::Log;
use connection_pool::Connection;
use log_format::{Partition, Position, RawEvent};
use std::time::Duration;
use uuid::Uuid;

/// A lease that this process holds. Dropped, it expires; [`Lease::release`] ends it at once.
pub struct Lease {
    log: Log,
    name: String,
    holder: Uuid,
    epoch: i64,
}

impl Lease {
    /// Acquires the lease `name` for `time` if it is free or expired; `None` while another holds it.
    pub async fn acquire(log: &Log, name: &str, time: Duration) -> Result<Option<Self>, LogError> {
        let holder = Uuid::now_v7();
        let epoch: Option<i64> = sqlx::query_scalar(
            "insert into leases as held (name, holder, epoch, until)
             values ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
                 on conflict (name) do update
                    set holder = excluded.holder, epoch = held.epoch + 1, until = excluded.until
                  where held.until <= clock_timestamp()
                     -- Longer than any lease lasts: it was acquired under a clock that was ahead and has been set back.
                     or held.until > clock_timestamp() + make_interval(secs => $3) + interval '1 minute'
              returning epoch",
        )
        .bind(name)
        .bind(holder)
        .bind(time.as_secs_f64())
        .fetch_optional(log.pool())
        .await?;
        Ok(epoch.map(|epoch| Self {
            log: log.clone(),
            name: name.into(),
            holder,
            epoch,
        }))
    }

    /// The fencing token: how many holders the lease has had, this one included.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Extends it to `time` from now; false when another has taken it over.
    pub async fn renew(&self, time: Duration) -> Result<bool, LogError> {
        let renewed = sqlx::query(
            "update leases set until = clock_timestamp() + make_interval(secs => $4)
              where name = $1 and holder = $2 and epoch = $3",
        )
        .bind(&self.name)
        .bind(self.holder)
        .bind(self.epoch)
        .bind(time.as_secs_f64())
        .execute(self.log.pool())
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Whether it is still held under this epoch. Until the caller's transaction ends nobody else can acquire it.
    pub async fn verify_held(&self, transaction: &mut Connection) -> Result<bool, LogError> {
        let held = sqlx::query(
            "select from leases where name = $1 and holder = $2 and epoch = $3 for share",
        )
        .bind(&self.name)
        .bind(self.holder)
        .bind(self.epoch)
        .fetch_optional(transaction)
        .await?;
        Ok(held.is_some())
    }

    /// Ends it, so that another need not wait until it expires.
    pub async fn release(&self) -> Result<(), LogError> {
        sqlx::query("update leases set until = clock_timestamp() where name = $1 and holder = $2 and epoch = $3")
            .bind(&self.name)
            .bind(self.holder)
            .bind(self.epoch)
            .execute(self.log.pool())
            .await?;
        Ok(())
    }

    /// The position of `consumer`'s checkpoint in `partition`; 0 before the first.
    pub async fn position(
        &self,
        consumer: &str,
        partition: Partition,
    ) -> Result<Position, LogError> {
        let position: Option<Position> = sqlx::query_scalar(
            "select position from checkpoints where consumer = $1 and partition = $2",
        )
        .bind(consumer)
        .bind(partition)
        .fetch_optional(self.log.reads())
        .await?;
        Ok(position.unwrap_or(0))
    }

    /// Moves `consumer`'s checkpoint from `from` to the event `to` if the lease is still held under this epoch; returns whether
    /// it moved.
    pub async fn advance(
        &self,
        consumer: &str,
        from: Position,
        to: &RawEvent,
    ) -> Result<bool, LogError> {
        let moved = sqlx::query(
            "with held as (select from leases where name = $1 and holder = $2 and epoch = $3 for share)
             insert into checkpoints as known (consumer, partition, position, hash)
             select $4, $5, $6, $7 from held
                 on conflict (consumer, partition) do update
                    set position = excluded.position, hash = excluded.hash, moved_at = clock_timestamp()
                  where known.position = $8",
        )
        .bind(&self.name)
        .bind(self.holder)
        .bind(self.epoch)
        .bind(consumer)
        .bind(to.partition)
        .bind(to.position)
        .bind(to.hash.as_slice())
        .bind(from)
        .execute(self.log.pool())
        .await?;
        Ok(moved.rows_affected() == 1)
    }
}
