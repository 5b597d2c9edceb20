//! The log as an attacker holds it: rows that can be changed at will, and hashed anew, and written back past the trigger. The
//! hash is a reading of `docs/log-format.md` of its own.

use connection_pool::Pool;
use sha2::{Digest, Sha256};
use sqlx::Executor as _;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Row {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    pub partition: i32,
    pub position: i64,
    pub event_id: Uuid,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    pub hash: Vec<u8>,
}

pub async fn read(pool: &Pool) -> Vec<Row> {
    let rows = sqlx::query_as(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
                partition, position, event_id, (extract(epoch from recorded_at) * 1000000)::bigint as recorded_at, hash
           from events order by partition, position",
    );
    rows.fetch_all(pool).await.unwrap()
}

/// Makes `rows` the log.
pub async fn write(pool: &Pool, rows: &[Row]) {
    let mut transaction = pool.begin().await.unwrap();
    transaction.execute("alter table events disable trigger all").await.unwrap();
    transaction.execute("delete from events").await.unwrap();
    let texts = |column: fn(&Row) -> &String| rows.iter().map(column).cloned().collect::<Vec<_>>();
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             partition, position, event_id, recorded_at, hash)
         select a, b, c, d, e, f::json, g::json, h, i, j, 'epoch'::timestamptz + k * interval '1 microsecond', l
           from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                       $8::int[], $9::bigint[], $10::uuid[], $11::bigint[], $12::bytea[])
                as row (a, b, c, d, e, f, g, h, i, j, k, l)",
    )
    .bind(texts(|row| &row.aggregate_type))
    .bind(texts(|row| &row.aggregate_id))
    .bind(rows.iter().map(|row| row.sequence).collect::<Vec<_>>())
    .bind(texts(|row| &row.event_type))
    .bind(texts(|row| &row.event_version))
    .bind(texts(|row| &row.payload))
    .bind(texts(|row| &row.metadata))
    .bind(rows.iter().map(|row| row.partition).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recorded_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.hash.clone()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.execute("alter table events enable trigger all").await.unwrap();
    transaction.commit().await.unwrap();
}

/// Hashes the rows of a partition anew from the row `from` on, as who may write to the database can.
pub fn hash_anew(log: Uuid, partitions: i32, rows: &mut [Row], from: usize) {
    for at in from..rows.len() {
        let before = if at == 0 { genesis(log, partitions, rows[0].partition) } else { rows[at - 1].hash.clone() };
        rows[at].hash = link(before, &rows[at]);
    }
}

fn genesis(log: Uuid, partitions: i32, partition: i32) -> Vec<u8> {
    let (partitions, partition) = (i64::from(partitions).to_be_bytes(), i64::from(partition).to_be_bytes());
    let parts: [&[u8]; 4] = [b"moa-log-1", log.as_bytes(), &partitions, &partition];
    Sha256::digest(parts.concat()).to_vec()
}

fn link(mut bytes: Vec<u8>, row: &Row) -> Vec<u8> {
    let columns: [&[u8]; 11] = [
        row.aggregate_type.as_bytes(),
        row.aggregate_id.as_bytes(),
        &row.sequence.to_be_bytes(),
        row.event_type.as_bytes(),
        row.event_version.as_bytes(),
        row.payload.as_bytes(),
        row.metadata.as_bytes(),
        &i64::from(row.partition).to_be_bytes(),
        &row.position.to_be_bytes(),
        row.event_id.as_bytes(),
        &row.recorded_at.to_be_bytes(),
    ];
    for column in columns {
        bytes.extend((column.len() as u64).to_be_bytes());
        bytes.extend(column);
    }
    Sha256::digest(bytes).to_vec()
}
