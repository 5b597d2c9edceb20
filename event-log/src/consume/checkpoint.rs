//! A consumer's checkpoint: the position up to which it has applied a partition. The row moves only from the position it has.

use crate::log::Log;
use crate::{LogError, RecordedEvent};
use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use log_format::{Hash, Partition, Position};

/// A consumer's checkpoint in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The consumer's name.
    pub consumer: String,
    /// The partition.
    pub partition: Partition,
    /// The last position that is applied; 0 is none.
    pub position: Position,
    /// The hash of that event; `None` at 0.
    pub hash: Option<Hash>,
    /// When it last moved.
    pub moved_at: DateTime<Utc>,
    /// The position that cannot be applied, and why.
    pub stuck: Option<(Position, String)>,
    /// The version of the code that wrote the rows.
    pub code_version: i32,
    /// An operator has paused it.
    pub paused: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    consumer: String,
    partition: Partition,
    position: Position,
    hash: Option<Vec<u8>>,
    moved_at: DateTime<Utc>,
    stuck_at: Option<Position>,
    stuck_reason: Option<String>,
    code_version: i32,
    paused: bool,
}

impl From<Row> for Checkpoint {
    fn from(row: Row) -> Self {
        Self {
            consumer: row.consumer,
            partition: row.partition,
            position: row.position,
            hash: row.hash.and_then(|hash| hash.try_into().ok()),
            moved_at: row.moved_at,
            stuck: row.stuck_at.zip(row.stuck_reason),
            code_version: row.code_version,
            paused: row.paused,
        }
    }
}

/// Whose checkpoint it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) consumer: &'a str,
    pub(super) partition: Partition,
    pub(super) code_version: i32,
    /// A missing checkpoint is created at 0.
    pub(super) begins: bool,
}

impl Log {
    /// The checkpoints of all consumers that have begun, by name and partition.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select consumer, partition, position, hash, moved_at, stuck_at, stuck_reason, code_version, paused
               from checkpoints order by consumer, partition",
        )
        .fetch_all(self.reads())
        .await?;
        Ok(rows.into_iter().map(Checkpoint::from).collect())
    }
}

/// Locks the checkpoint for this transaction; `None` while the holder may not move it: another instance has it, it is paused, its
/// rows are of another code version, or it is gone.
pub(super) async fn lock(
    transaction: &mut Connection,
    holder: Holder<'_>,
) -> sqlx::Result<Option<Checkpoint>> {
    let mut found = lock_existing(transaction, holder).await?;
    if found.is_none() && holder.begins {
        let begun = sqlx::query(
            "insert into checkpoints (consumer, partition, code_version) values ($1, $2, $3) on conflict do nothing",
        )
        .bind(holder.consumer)
        .bind(holder.partition)
        .bind(holder.code_version)
        .execute(&mut *transaction)
        .await?;
        if begun.rows_affected() == 1 {
            found = lock_existing(transaction, holder).await?;
        }
    }
    Ok(found.filter(|at| at.code_version == holder.code_version && !at.paused))
}

async fn lock_existing(
    transaction: &mut Connection,
    holder: Holder<'_>,
) -> sqlx::Result<Option<Checkpoint>> {
    let row: Option<Row> = sqlx::query_as(
        "select consumer, partition, position, hash, moved_at, stuck_at, stuck_reason, code_version, paused
           from checkpoints where consumer = $1 and partition = $2 for update skip locked",
    )
    .bind(holder.consumer)
    .bind(holder.partition)
    .fetch_optional(transaction)
    .await?;
    Ok(row.map(Checkpoint::from))
}

/// Moves the locked checkpoint from `from` to `to`. It compares `from` although it is locked: apply-once must not depend on the lock
/// alone. And it looks for `to` in the log, with its hash, which covers all events before: those that were handed over in memory may
/// be lost since.
pub(super) async fn advance(
    transaction: &mut Connection,
    consumer: &str,
    partition: Partition,
    from: &Checkpoint,
    to: &RecordedEvent,
) -> sqlx::Result<()> {
    let moved = sqlx::query(
        "update checkpoints
            set position = $4, hash = $5, moved_at = clock_timestamp(), stuck_at = null, stuck_reason = null
          where consumer = $1 and partition = $2 and position = $3 and hash is not distinct from $6
            and exists (select from events e where e.partition = $2 and e.position = $4 and e.hash = $5)",
    )
    .bind(consumer)
    .bind(partition)
    .bind(from.position)
    .bind(to.position)
    .bind(to.hash.as_slice())
    .bind(from.hash.as_ref().map(Hash::as_slice))
    .execute(transaction)
    .await?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let at = to.position;
    Err(sqlx::Error::Protocol(format!(
        "another consumer moved the checkpoint, or the event at position {at} was lost"
    )))
}

/// Stores the event at which a consumer is stuck, even if it is the first; not one that another instance has passed meanwhile.
pub(super) async fn stuck(
    pool: &Pool,
    consumer: &str,
    partition: Partition,
    position: Position,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into checkpoints as known (consumer, partition, stuck_at, stuck_reason) values ($1, $2, $3, $4)
         on conflict (consumer, partition) do update
            set stuck_at = excluded.stuck_at, stuck_reason = excluded.stuck_reason
          where known.position <= excluded.stuck_at",
    )
    .bind(consumer)
    .bind(partition)
    .bind(position)
    .bind(reason)
    .execute(pool)
    .await?;
    Ok(())
}
