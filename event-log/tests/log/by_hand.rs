//! Rows written past the log's one append, hashed by the test kit's reading of `docs/log-format.md`: the code under test
//! has no part in it.

use event_log::RawEvent;
use testbed::TestLog;
use testbed::chain::{genesis, insert, rehash};
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
    pub async fn write(self, test: &TestLog) -> i64 {
        let before = test.log.raw_after(0, 0, 10_000).await.unwrap().pop();
        let (position, previous) = before.map_or_else(
            || {
                (
                    1,
                    genesis(
                        test.log.identity().log_id,
                        test.log.identity().partitions,
                        0,
                    ),
                )
            },
            |last| (last.position + 1, last.hash),
        );
        let recorded_at =
            sqlx::query_scalar("select greatest(clock_timestamp(), max(recorded_at)) from events");
        let mut event = RawEvent {
            aggregate_type: "product".into(),
            aggregate_id: "1".into(),
            sequence: test.count("events where aggregate_id = '1'").await + 1,
            event_type: self.event_type.into(),
            event_version: self.event_version.into(),
            payload: self.payload,
            metadata: self.metadata,
            partition: 0,
            position,
            event_id: Uuid::now_v7(),
            recorded_at: recorded_at.fetch_one(&test.pool).await.unwrap(),
            hash: [0; 32],
        };
        rehash(previous, std::slice::from_mut(&mut event));
        insert(&mut test.pool.acquire().await.unwrap(), &[event]).await;
        position
    }
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
