//! A database that lost its last events is not written on, whoever asks, until an operator has agreed.

use crate::support::*;
use event_log::{Acceptance, Appended, Batch, LogError, WriteStop, Writer};
use rstest::rstest;

/// What a restore, or a failover to a server that had not everything, leaves of partition 0.
async fn loses_what_follows(test: &TestLog, position: i64) {
    test.tamper(&format!(
        "delete from events where partition = 0 and position > {position}"
    ))
    .await;
}

fn is_stopped(appended: Result<Appended, LogError>, seen: i64) {
    let stop = WriteStop::LostTail { partition: 0, seen };
    assert!(
        matches!(&appended, Err(LogError::WritesStopped(found)) if *found == stop),
        "{appended:?}"
    );
}

fn next_event(sequence: i64) -> Batch {
    batch(vec![new_event(product(1), sequence, nth_event(sequence))])
}

fn keyed(mut batch: Batch) -> Batch {
    batch.keys = vec![record("user1", "key1", "{}")];
    batch
}

#[rstest]
#[case::events(next_event(4), 3)]
#[case::events_and_keys(keyed(next_event(4)), 3)]
#[case::refusals(batch(vec![]), 3)]
#[case::refusals_with_keys(keyed(batch(vec![])), 3)]
#[case::events_behind_a_hole(next_event(4), 1)]
#[tokio::test]
async fn nothing_is_appended_where_the_last_event_that_was_seen_is_gone(
    #[case] batch: Batch,
    #[case] left: i64,
) {
    let (test, mut writer) = with_writer(3).await;
    loses_what_follows(&test, left.min(2)).await;
    is_stopped(writer.append(batch, writer.now()).await, 3);
    assert_eq!(
        (
            test.count("events").await,
            test.count("idempotency_keys").await
        ),
        (left.min(2), 0)
    );
    is_stopped(writer.append(next_event(4), writer.now()).await, 3);
    assert_eq!(test.log.readiness().failed(), ["log-lost-events"]);
}

#[rstest]
#[case::events(next_event(4))]
#[case::refusals(batch(vec![]))]
#[tokio::test]
async fn nothing_is_appended_with_the_lock_either(#[case] batch: Batch) {
    let (test, mut writer) = with_writer(3).await;
    acquire_append_lock(&mut writer).await;
    // The database is another one at once: nobody else's statement could get past the lock.
    loses_what_follows(&test, 2).await;
    is_stopped(writer.append(batch, writer.now()).await, 3);
}

/// 1. Two processes stand at position 3; the database loses it.
/// 2. The second one begins again, from what is there, and sells what was sold.
/// 3. The first knows position 3 as another event: neither its events nor its refusals are taken.
#[rstest]
#[case::events(next_event(5))]
#[case::refusals(batch(vec![]))]
#[tokio::test]
async fn nothing_is_appended_to_what_another_wrote_in_the_place_of_what_was_lost(
    #[case] batch: Batch,
) {
    let test = TestLog::with_events(3).await;
    let mut first = test.writer().await;
    loses_what_follows(&test, 2).await;
    let mut second = Writer::open(test.another_process().await, 0).await.unwrap();
    commit(
        &mut second,
        vec![
            new_event(product(1), 3, reserved(33, 1)),
            new_event(product(1), 4, reserved(44, 1)),
        ],
    )
    .await;
    is_stopped(first.append(batch, first.now()).await, 3);
    assert_eq!(test.count("events").await, 4);
}

#[tokio::test]
async fn what_was_missed_is_not_read_behind_a_lost_event() {
    let (test, mut writer) = with_writer(3).await;
    loses_what_follows(&test, 2).await;
    let read = writer.acquire_append_lock().await;
    assert!(
        matches!(
            read,
            Err(LogError::WritesStopped(WriteStop::LostTail { seen: 3, .. }))
        ),
        "{read:?}"
    );
    assert!(!writer.holds_append_lock());
}

#[tokio::test]
async fn a_partition_that_lost_nothing_goes_on() {
    let test = TestLog::with_partitions(2).await;
    let (mut even, mut odd) = (test.writer_of(0).await, test.writer_of(1).await);
    commit(&mut even, vec![new_event(product(2), 1, opened(2))]).await;
    loses_what_follows(&test, 0).await;
    is_stopped(even.append(batch(vec![]), even.now()).await, 1);
    commit(&mut odd, vec![new_event(product(1), 1, opened(1))]).await;
}

/// Also where nobody appends: readiness says so within moments.
#[tokio::test]
async fn whoever_polls_the_heads_notices_that_one_fell() {
    let test = TestLog::with_events(3).await;
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    let mut listener = process.subscribe(0).unwrap();
    soon(listener.head_past(2)).await;
    loses_what_follows(&test, 2).await;
    until("it is noticed", async || process.write_stop(0).is_some()).await;
    assert_eq!(
        process.write_stop(0),
        Some(WriteStop::LostTail {
            partition: 0,
            seen: 3
        })
    );
    assert_eq!(process.readiness().failed(), ["log-lost-events"]);
}

/// 1. A process has stopped writing.
/// 2. An operator agrees, in another process.
/// 3. The first one's writer is outdated: what it knows is what was lost. A new one goes on behind what is left.
#[tokio::test]
async fn an_operators_word_lets_it_go_on_from_what_is_there() {
    let test = TestLog::with_events(3).await;
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    soon(process.subscribe(0).unwrap().head_past(2)).await;
    let mut writer = Writer::open(process.clone(), 0).await.unwrap();
    loses_what_follows(&test, 2).await;
    is_stopped(writer.append(next_event(4), writer.now()).await, 3);
    assert!(!writer.is_outdated());

    assert_eq!(test.log.accept(Acceptance::Loss).await.unwrap(), [2]);
    until("it is heard", async || process.write_stop(0).is_none()).await;
    assert!(writer.is_outdated());
    let mut writer = Writer::open(process.clone(), 0).await.unwrap();
    assert!(!writer.is_outdated());
    commit(&mut writer, vec![new_event(product(1), 3, reserved(33, 1))]).await;
    assert_eq!(
        (
            test.log.verify(0).await.unwrap().position,
            process.readiness().failed().len()
        ),
        (3, 0)
    );
    // A head that is lower than it was is nothing new any more.
    until("the heads are polled again", async || {
        process.write_stop(0).is_none()
    })
    .await;
}

#[tokio::test]
async fn an_earlier_word_does_not_count() {
    let test = TestLog::with_events(3).await;
    test.log.accept(Acceptance::Loss).await.unwrap();
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    soon(process.subscribe(0).unwrap().head_past(2)).await;
    let mut writer = Writer::open(process.clone(), 0).await.unwrap();
    loses_what_follows(&test, 2).await;
    is_stopped(writer.append(next_event(4), writer.now()).await, 3);
    test.log.accept(Acceptance::Clock).await.unwrap();
    // The poll after the next has seen both.
    let mut later = test.another_process().await.subscribe(0).unwrap();
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(300), later.head_past(9))
            .await
            .is_err()
    );
    assert!(process.write_stop(0).is_some());
}
