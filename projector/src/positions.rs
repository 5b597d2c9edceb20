//! The positions of a consumer: its checkpoints in all partitions.

use connection_pool::{Connection, Pool};
use event_log::Position;
use sqlx::PgExecutor;

/// A consumer's position in every partition, 0 where it has no checkpoint.
pub(crate) async fn positions(
    executor: impl PgExecutor<'_>,
    consumer: &str,
) -> sqlx::Result<Vec<Position>> {
    sqlx::query_scalar(
        "select coalesce(position, 0)
           from log_identity cross join generate_series(0, partitions - 1) as p
           left join checkpoints on consumer = $1 and partition = p
          order by p",
    )
    .bind(consumer)
    .fetch_all(executor)
    .await
}

/// Inserts the checkpoints that a consumer does not have yet, at position 0: [`hold`] locks only those that exist.
pub(crate) async fn ensure_checkpoints(
    pool: &Pool,
    consumer: &str,
    partitions: i32,
    code_version: i32,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into checkpoints (consumer, partition, code_version)
         select $1, p, $3 from generate_series(0, $2 - 1) as p on conflict do nothing",
    )
    .bind(consumer)
    .bind(partitions)
    .bind(code_version)
    .execute(pool)
    .await?;
    Ok(())
}

/// Locks every checkpoint of a consumer, so that it does not move while the transaction lives; returns its positions.
pub(crate) async fn hold(
    transaction: &mut Connection,
    consumer: &str,
) -> sqlx::Result<Vec<Position>> {
    sqlx::query_scalar(
        "select position from checkpoints where consumer = $1 order by partition for update",
    )
    .bind(consumer)
    .fetch_all(transaction)
    .await
}
