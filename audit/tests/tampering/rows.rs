//! The log as an attacker holds it: all of its rows, read, and written back past the trigger.

use connection_pool::Pool;
use event_log::{Log, RawEvent};
use sqlx::Executor as _;
use testbed::chain::{genesis, insert, rehash};
use uuid::Uuid;

pub async fn read(log: &Log) -> Vec<RawEvent> {
    let mut rows = Vec::new();
    for partition in 0..log.identity().partitions {
        rows.extend(log.raw_after(partition, 0, i64::MAX).await.unwrap());
    }
    rows
}

/// Makes `rows` the log.
pub async fn write(pool: &Pool, rows: &[RawEvent]) {
    let mut transaction = pool.begin().await.unwrap();
    transaction
        .execute("alter table events disable trigger all")
        .await
        .unwrap();
    transaction.execute("delete from events").await.unwrap();
    insert(&mut transaction, rows).await;
    transaction
        .execute("alter table events enable trigger all")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// Hashes the rows of a partition again from the row `from` on, as who may write to the database can.
pub fn rehash_from(log: Uuid, partitions: i32, rows: &mut [RawEvent], from: usize) {
    let Some(first) = rows.first() else { return };
    let previous = if from == 0 {
        genesis(log, partitions, first.partition)
    } else {
        rows[from - 1].hash
    };
    rehash(previous, &mut rows[from..]);
}
