//! The log as an attacker holds it: rows that can be changed at will, hashed again by the letter of `docs/log-format.md`, a
//! reading of its own, and written past the log's one append.

use connection_pool::Connection;
use event_log::{Hash, Partition, RawEvent};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What the first event of a partition follows.
pub fn genesis(log_id: Uuid, partitions: i32, partition: Partition) -> Hash {
    let (partitions, partition) = (
        i64::from(partitions).to_be_bytes(),
        i64::from(partition).to_be_bytes(),
    );
    let parts: [&[u8]; 4] = [b"moa-log-1", log_id.as_bytes(), &partitions, &partition];
    Sha256::digest(parts.concat()).into()
}

/// Gives `events` the hashes that follow from `previous`.
pub fn rehash(mut previous: Hash, events: &mut [RawEvent]) {
    for event in events {
        event.hash = link(previous, event);
        previous = event.hash;
    }
}

fn link(previous: Hash, event: &RawEvent) -> Hash {
    let columns: [&[u8]; 11] = [
        event.aggregate_type.as_bytes(),
        event.aggregate_id.as_bytes(),
        &event.sequence.to_be_bytes(),
        event.event_type.as_bytes(),
        event.event_version.as_bytes(),
        event.payload.as_bytes(),
        event.metadata.as_bytes(),
        &i64::from(event.partition).to_be_bytes(),
        &event.position.to_be_bytes(),
        event.event_id.as_bytes(),
        &event.recorded_at.timestamp_micros().to_be_bytes(),
    ];
    let mut bytes = previous.to_vec();
    for column in columns {
        bytes.extend((column.len() as u64).to_be_bytes());
        bytes.extend(column);
    }
    Sha256::digest(&bytes).into()
}

/// Writes them as they are.
pub async fn insert(connection: &mut Connection, events: &[RawEvent]) {
    let texts =
        |column: fn(&RawEvent) -> &String| events.iter().map(column).cloned().collect::<Vec<_>>();
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             partition, position, event_id, recorded_at, hash)
         select a, b, c, d, e, f::json, g::json, h, i, j, k, l
           from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                       $8::int[], $9::bigint[], $10::uuid[], $11::timestamptz[], $12::bytea[])
                as row (a, b, c, d, e, f, g, h, i, j, k, l)",
    )
    .bind(texts(|event| &event.aggregate_type))
    .bind(texts(|event| &event.aggregate_id))
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(texts(|event| &event.event_type))
    .bind(texts(|event| &event.event_version))
    .bind(texts(|event| &event.payload))
    .bind(texts(|event| &event.metadata))
    .bind(events.iter().map(|event| event.partition).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.hash.to_vec()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .expect("written");
}
