//! Only what the log says is believed, however it was made.

use crate::by_hand::failed_in_the_old_shape;
use crate::support::*;
use connection_pool::Pool;
use event_log::{DeliveryMismatch, Log, Position, RawEvent, RecordedEvent};
use sqlx::postgres::PgPoolOptions;
use testbed::chain::rehash;
use uuid::Uuid;

async fn stored(test: &TestLog) -> Vec<RawEvent> {
    test.log.raw_after(0, 0, 100).await.unwrap()
}

async fn verify_delivery(
    test: &TestLog,
    range: &[RawEvent],
) -> Result<Vec<RecordedEvent>, DeliveryMismatch> {
    test.log.verify_delivery(0, range).await.unwrap()
}

async fn refused(test: &TestLog, range: &[RawEvent]) -> (Position, &'static str) {
    let DeliveryMismatch { position, reason } = verify_delivery(test, range)
        .await
        .expect_err("it is not the log's");
    (position, reason)
}

#[tokio::test]
async fn every_stretch_of_the_log_is_believed_and_read() {
    let test = TestLog::with_events(6).await;
    failed_in_the_old_shape(invest(3), 2, "EXPIRED : late")
        .write(&test)
        .await;
    let (stored, events) = (stored(&test).await, test.events().await);
    for first in 0..stored.len() {
        for end in first..=stored.len() {
            assert_eq!(
                verify_delivery(&test, &stored[first..end]).await.unwrap(),
                events[first..end],
                "{first}..{end}"
            );
        }
    }
}

#[tokio::test]
async fn any_other_byte_is_refused() {
    let test = TestLog::with_events(6).await;
    let stored = stored(&test).await;
    let changes: [fn(&mut RawEvent); 10] = [
        |event| event.aggregate_type.push('s'),
        |event| event.aggregate_id = "2".into(),
        |event| event.sequence += 1,
        |event| event.event_type = "InvestSettled".into(),
        |event| event.event_version = "1.0.1".into(),
        |event| event.payload.push(' '),
        |event| event.metadata = r#"{"correlationId":"another"}"#.into(),
        |event| event.event_id = Uuid::now_v7(),
        |event| event.recorded_at += chrono::TimeDelta::microseconds(1),
        |event| event.hash[31] ^= 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut range = stored[1..5].to_vec();
        change(&mut range[2]);
        assert_eq!(
            refused(&test, &range).await,
            (4, "its hash does not follow from the log"),
            "change {number}"
        );
    }
}

/// The first, one in the middle, and the last of a range, each changed and everything from there on hashed again.
#[tokio::test]
async fn a_chain_that_was_made_anew_is_refused() {
    let test = TestLog::with_events(6).await;
    let stored = stored(&test).await;
    for changed in 2..=4 {
        let mut range = stored[2..=4].to_vec();
        range[changed - 2].payload = range[changed - 2].payload.replace("user1", "user2");
        rehash(stored[1].hash, &mut range);
        assert_eq!(
            refused(&test, &range).await,
            (5, "the log has another event here"),
            "position {}",
            changed + 1
        );
    }
}

#[tokio::test]
async fn what_the_log_does_not_have_is_refused() {
    let test = TestLog::with_events(3).await;
    let stored = stored(&test).await;
    let mut next = RawEvent {
        position: 4,
        sequence: 4,
        ..stored[2].clone()
    };
    rehash(stored[2].hash, std::slice::from_mut(&mut next));
    let no_such = "the log has no such position";
    assert_eq!(
        refused(&test, &[stored[2].clone(), next.clone()]).await,
        (4, no_such)
    );
    assert_eq!(
        refused(
            &test,
            &[RawEvent {
                position: 1_000_000,
                ..next
            }]
        )
        .await,
        (1_000_000, no_such)
    );
}

#[tokio::test]
async fn what_is_no_stretch_of_the_partition_is_refused() {
    let test = TestLog::with_events(5).await;
    let stored = stored(&test).await;
    let pick = |positions: &[usize]| {
        positions
            .iter()
            .map(|at| stored[at - 1].clone())
            .collect::<Vec<_>>()
    };
    let broken = "there is a hole, or a repeat";
    assert_eq!(refused(&test, &pick(&[1, 2, 4])).await, (3, broken));
    assert_eq!(refused(&test, &pick(&[2, 2])).await, (3, broken));
    assert_eq!(refused(&test, &pick(&[3, 2])).await, (4, broken));
    for position in [0, -1, i64::MIN] {
        assert_eq!(
            refused(
                &test,
                &[RawEvent {
                    position,
                    ..stored[0].clone()
                }]
            )
            .await,
            (position, broken)
        );
    }
    let elsewhere = RawEvent {
        partition: 1,
        ..stored[1].clone()
    };
    assert_eq!(
        refused(&test, &[stored[0].clone(), elsewhere]).await,
        (2, "it is of another partition")
    );
}

/// Another log's first events, byte for byte what they are there.
#[tokio::test]
async fn the_events_of_another_log_are_refused() {
    let (test, another) = (TestLog::with_events(3).await, TestLog::with_events(3).await);
    assert_eq!(
        refused(&test, &stored(&another).await).await,
        (1, "its hash does not follow from the log")
    );
}

/// It is the log's all the same: not to be parked, but to be met in the log, where a consumer names it.
#[tokio::test]
async fn what_comes_before_an_event_of_a_later_release_is_vouched_for() {
    let test = TestLog::with_events(2).await;
    crate::by_hand::ByHand {
        event_type: "ProductRenamed",
        event_version: "1.0.0",
        payload: r#"{"ProductRenamed":{}}"#.into(),
        metadata: r#"{"correlationId":"from a later release"}"#.into(),
    }
    .write(&test)
    .await;
    let vouched = test
        .log
        .verify_delivery(0, &stored(&test).await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        vouched
            .iter()
            .map(|event| event.position)
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

/// A connection that planned it while the log was short keeps its plan, as Moa's connections do.
#[tokio::test]
async fn it_reads_two_rows_however_long_the_log_is() {
    let test = TestLog::with_events(3).await;
    let options = test.options().options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
    ]);
    let pool = Pool::from(
        PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .unwrap(),
    );
    let log = Log::open(pool.clone(), 1).await.unwrap();
    log.verify_delivery(0, &stored(&test).await)
        .await
        .unwrap()
        .unwrap();
    let stream = (4..=3_000).map(|sequence| new_event(product(1), sequence, nth_event(sequence)));
    commit(&mut test.writer().await, stream.collect()).await;
    let range = test.log.raw_after(0, 2_000, 100).await.unwrap();
    let mut read = 0;
    // The connection's own count starts again whenever it is handed over to the server's.
    while read <= 0 {
        let before = rows_read(&pool).await;
        log.verify_delivery(0, &range).await.unwrap().unwrap();
        read = rows_read(&pool).await - before;
    }
    assert!(read <= 4, "{read} rows were read to verify a delivery");
}

/// Rows of `events` that the pool's one connection has read and not yet reported.
async fn rows_read(pool: &Pool) -> i64 {
    sqlx::query_scalar(
        "select (seq_tup_read + idx_tup_fetch)::bigint from pg_stat_xact_user_tables where relname = 'events'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}
