//! The log as an attacker holds it: all of its rows, read, and written back past the trigger.

use connection_pool::Pool;
use event_log::RawEvent;
use sqlx::Executor as _;
use testbed::chain::{genesis, insert, rehash};
use uuid::Uuid;

pub async fn read(pool: &Pool) -> Vec<RawEvent> {
    let rows = sqlx::query_as(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
                partition, position, event_id, recorded_at, hash
           from events order by partition, position",
    );
    rows.fetch_all(pool).await.unwrap()
}

/// Makes `rows` the log.
pub async fn write(pool: &Pool, rows: &[RawEvent]) {
    let mut transaction = pool.begin().await.unwrap();
    transaction.execute("alter table events disable trigger all").await.unwrap();
    transaction.execute("delete from events").await.unwrap();
    insert(&mut transaction, rows).await;
    transaction.execute("alter table events enable trigger all").await.unwrap();
    transaction.commit().await.unwrap();
}

/// Hashes the rows of a partition again from the row `from` on, as who may write to the database can.
pub fn rehash_from(log: Uuid, partitions: i32, rows: &mut [RawEvent], from: usize) {
    let Some(first) = rows.first() else { return };
    let previous = if from == 0 { genesis(log, partitions, first.partition) } else { rows[from - 1].hash };
    rehash(previous, &mut rows[from..]);
}
