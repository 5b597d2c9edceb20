//! Rows written past the log's one append, hashed by a second reading of `docs/log-format.md`: the code under test has
//! no part in it.

use crate::house::House;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A row of `events`, to be written at the head of partition 0 as product 1's next event.
pub struct ByHand {
    pub event_type: &'static str,
    pub event_version: &'static str,
    pub payload: String,
    pub metadata: String,
}

impl ByHand {
    /// Writes the row with the right sequence, position and hash, and gives its position.
    pub async fn write(self, house: &House) -> i64 {
        let (position, previous): (i64, Vec<u8>) =
            sqlx::query_as("select position, hash from events where partition = 0 order by position desc limit 1")
                .fetch_optional(&house.pool)
                .await
                .unwrap()
                .unwrap_or_else(|| (0, genesis(house)));
        let sequence = house.count("events where aggregate_id = '1'").await + 1;
        let recorded_at: DateTime<Utc> =
            sqlx::query_scalar("select greatest(clock_timestamp(), max(recorded_at)) from events")
                .fetch_one(&house.pool)
                .await
                .unwrap();
        let event_id = Uuid::now_v7();
        let columns: [&[u8]; 11] = [
            b"product",
            b"1",
            &sequence.to_be_bytes(),
            self.event_type.as_bytes(),
            self.event_version.as_bytes(),
            self.payload.as_bytes(),
            self.metadata.as_bytes(),
            &0_i64.to_be_bytes(),
            &(position + 1).to_be_bytes(),
            event_id.as_bytes(),
            &recorded_at.timestamp_micros().to_be_bytes(),
        ];
        sqlx::query(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 partition, position, event_id, recorded_at, hash)
             values ('product', '1', $1, $2, $3, $4::json, $5::json, 0, $6, $7, $8, $9)",
        )
        .bind(sequence)
        .bind(self.event_type)
        .bind(self.event_version)
        .bind(&self.payload)
        .bind(&self.metadata)
        .bind(position + 1)
        .bind(event_id)
        .bind(recorded_at)
        .bind(hash(&previous, &columns))
        .execute(&house.pool)
        .await
        .unwrap();
        position + 1
    }
}

fn genesis(house: &House) -> Vec<u8> {
    let identity = house.log.identity();
    let partitions = i64::from(identity.partitions).to_be_bytes();
    let parts: [&[u8]; 4] = [b"moa-log-1", identity.log_id.as_bytes(), &partitions, &0_i64.to_be_bytes()];
    Sha256::digest(parts.concat()).to_vec()
}

fn hash(previous: &[u8], columns: &[&[u8]]) -> Vec<u8> {
    let mut bytes = previous.to_vec();
    for column in columns {
        bytes.extend((column.len() as u64).to_be_bytes());
        bytes.extend(*column);
    }
    Sha256::digest(bytes).to_vec()
}

/// An `InvestFailed` in the shape of version 1.0.0, for the invest and amount given.
pub fn failed_in_the_old_shape(invest: domain::InvestId, amount: i64, reason: &str) -> ByHand {
    let reason = serde_json::to_string(reason).unwrap();
    ByHand {
        event_type: "InvestFailed",
        event_version: "1.0.0",
        payload: format!(
            r#"{{"InvestFailed":{{"investId":"{invest}","userId":"user1","amount":{amount},"reason":{reason}}}}}"#
        ),
        metadata: r#"{"correlationId":"an old request"}"#.into(),
    }
}
