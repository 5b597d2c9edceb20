//! How far a consumer has come: a row that moves only from where it stands.

use crate::chain::Hash;
use crate::log::{Log, Partition, Position};
use crate::{LogError, RecordedEvent};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

/// How far a consumer has come in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Who.
    pub consumer: String,
    /// Where.
    pub partition: Partition,
    /// The last position that is applied; 0 is none.
    pub position: Position,
    /// The hash of that event; `None` at 0.
    pub hash: Option<Hash>,
    /// When it last moved.
    pub moved_at: DateTime<Utc>,
    /// The position that cannot be applied, and why.
    pub stuck: Option<(Position, String)>,
}

type Columns = (String, Partition, Position, Option<Vec<u8>>, DateTime<Utc>, Option<Position>, Option<String>);

fn checkpoint((consumer, partition, position, hash, moved_at, stuck_at, reason): Columns) -> Checkpoint {
    let hash = hash.and_then(|hash| hash.try_into().ok());
    Checkpoint { consumer, partition, position, hash, moved_at, stuck: stuck_at.zip(reason) }
}

impl Log {
    /// Where all consumers stand that have begun, by name and partition.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        let rows: Vec<Columns> = sqlx::query_as(
            "select consumer, partition, position, hash, moved_at, stuck_at, stuck_reason
               from checkpoints order by consumer, partition",
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(checkpoint).collect())
    }
}

/// Locks the checkpoint for this transaction, making it when it is the first; `None` while another instance has it.
pub(super) async fn lock(
    transaction: &mut PgConnection,
    consumer: &str,
    partition: Partition,
) -> sqlx::Result<Option<Checkpoint>> {
    if let Some(found) = lock_existing(transaction, consumer, partition).await? {
        return Ok(Some(found));
    }
    sqlx::query("insert into checkpoints (consumer, partition) values ($1, $2) on conflict do nothing")
        .bind(consumer)
        .bind(partition)
        .execute(&mut *transaction)
        .await?;
    lock_existing(transaction, consumer, partition).await
}

async fn lock_existing(
    transaction: &mut PgConnection,
    consumer: &str,
    partition: Partition,
) -> sqlx::Result<Option<Checkpoint>> {
    let row: Option<Columns> = sqlx::query_as(
        "select consumer, partition, position, hash, moved_at, stuck_at, stuck_reason
           from checkpoints where consumer = $1 and partition = $2 for update skip locked",
    )
    .bind(consumer)
    .bind(partition)
    .fetch_optional(transaction)
    .await?;
    Ok(row.map(checkpoint))
}

/// Moves the locked checkpoint from `from` to `to`. Compared all the same: apply-once must not hang on the lock alone.
pub(super) async fn advance(
    transaction: &mut PgConnection,
    consumer: &str,
    partition: Partition,
    from: &Checkpoint,
    to: &RecordedEvent,
) -> sqlx::Result<()> {
    let moved = sqlx::query(
        "update checkpoints
            set position = $4, hash = $5, moved_at = clock_timestamp(), stuck_at = null, stuck_reason = null
          where consumer = $1 and partition = $2 and position = $3 and hash is not distinct from $6",
    )
    .bind(consumer)
    .bind(partition)
    .bind(from.position)
    .bind(to.position)
    .bind(to.hash.as_slice())
    .bind(from.hash.as_ref().map(Hash::as_slice))
    .execute(transaction)
    .await?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Names the event that a consumer cannot get past, be it the first; not one that another instance is past by now.
pub(super) async fn stuck(
    pool: &PgPool,
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
