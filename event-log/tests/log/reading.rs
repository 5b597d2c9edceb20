//! The log is read in ranges.

use crate::support::*;

#[tokio::test]
async fn a_partition_is_read_by_position_and_a_stream_by_sequence() {
    let test = TestLog::with_partitions(2).await;
    let (mut even, mut odd) = (test.writer_of(0).await, test.writer_of(1).await);
    let in_odd = commit(
        &mut odd,
        vec![
            new_event(product(1), 1, opened(1)),
            new_event(product(3), 1, opened(3)),
        ],
    )
    .await;
    let in_even = commit(&mut even, vec![new_event(product(2), 1, opened(2))]).await;
    let more = commit(&mut odd, vec![new_event(product(1), 2, nth_event(2))]).await;

    assert_eq!(test.log.read_after(0, 0, 10).await.unwrap(), in_even);
    assert_eq!(test.log.read_after(1, 0, 2).await.unwrap(), in_odd);
    assert_eq!(test.log.read_after(1, 2, 10).await.unwrap(), more);
    assert_eq!(test.log.read_after(1, 3, 10).await.unwrap(), []);

    assert_eq!(
        test.log.read_stream(product(1), 0, 10).await.unwrap(),
        [in_odd[0].clone(), more[0].clone()]
    );
    assert_eq!(
        test.log.read_stream(product(1), 0, 1).await.unwrap(),
        in_odd[..1]
    );
    assert_eq!(test.log.read_stream(product(1), 1, 10).await.unwrap(), more);
    assert_eq!(test.log.read_stream(product(9), 0, 10).await.unwrap(), []);
}

#[tokio::test]
async fn the_heads_are_the_last_position_of_every_partition() {
    let test = TestLog::with_partitions(3).await;
    assert_eq!(test.log.heads().await.unwrap(), [0, 0, 0]);
    let stream = (1..=5).map(|sequence| new_event(product(1), sequence, nth_event(sequence)));
    commit(&mut test.writer_of(1).await, stream.collect()).await;
    assert_eq!(test.log.heads().await.unwrap(), [0, 5, 0]);
}

#[tokio::test]
async fn the_database_refuses_to_rewrite_history() {
    let test = TestLog::with_events(3).await;
    let before = test.events().await;
    for rewrite in [
        "update events set recorded_at = recorded_at",
        "delete from events where position = 3",
        "truncate events",
        "update events set position = 9 where false",
    ] {
        let refused = sqlx::raw_sql(rewrite)
            .execute(&test.pool)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("append-only"), "{rewrite}: {refused}");
    }
    assert_eq!(test.events().await, before);
}

#[tokio::test]
async fn reservations_are_counted_between_positions_of_each_partition() {
    let test = TestLog::with_partitions(2).await;
    let stream = |id: i64, last: i64| {
        let opening = new_event(product(id), 1, opened(id));
        let reserving =
            (2..=last).map(move |sequence| new_event(product(id), sequence, nth_event(sequence)));
        [opening].into_iter().chain(reserving).collect()
    };
    commit(&mut test.writer_of(0).await, stream(2, 4)).await;
    commit(&mut test.writer_of(1).await, stream(1, 6)).await;
    for (from, to, expected) in [
        ([0, 0], [4, 6], 8),
        ([4, 6], [4, 6], 0),
        ([1, 4], [3, 6], 4),
        ([0, 0], [1, 1], 0),
        ([4, 6], [0, 0], 0),
    ] {
        assert_eq!(
            test.log.reservations_between(&from, &to).await.unwrap(),
            expected,
            "{from:?} to {to:?}"
        );
    }
}
