//! The append lock: taken by one, given back in every way there is.

use crate::support::*;
use event_log::{LogError, RecordedEvent, Writer};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SESSIONS_IN_A_TRANSACTION: &str =
    "pg_stat_activity where datname = current_database() and state like 'idle in transaction%'";

/// A test in which one writer has the append lock and another, of another process, waits for it.
async fn one_holds_and_one_waits() -> (TestLog, Writer, JoinHandle<(Writer, Vec<RecordedEvent>)>) {
    let test = TestLog::with_one_partition().await;
    let mut holder = Writer::open(test.another_process().await, 0).await.unwrap();
    acquire_append_lock(&mut holder).await;
    let waiter = start_waiting(&test).await;
    (test, holder, waiter)
}

async fn start_waiting(test: &TestLog) -> JoinHandle<(Writer, Vec<RecordedEvent>)> {
    let mut waiter = Writer::open(test.another_process().await, 0).await.unwrap();
    let waiting = tokio::spawn(async move {
        let missed = acquire_append_lock(&mut waiter).await;
        (waiter, missed)
    });
    test.until_waiting_for_append_lock(1).await;
    waiting
}

#[tokio::test]
async fn an_append_releases_the_append_lock_and_the_next_sees_what_it_wrote() {
    let (_test, mut holder, waiter) = one_holds_and_one_waits().await;
    let written = commit(&mut holder, vec![new_event(product(1), 1, opened(1))]).await;
    let (mut next, missed) = soon(waiter).await.unwrap();
    assert_eq!(missed, written);
    commit(&mut next, vec![new_event(product(1), 2, nth_event(2))]).await;
}

#[tokio::test]
async fn a_conflicting_or_refused_append_releases_the_append_lock() {
    let (test, mut holder, waiter) = one_holds_and_one_waits().await;
    test.execute("insert into idempotency_keys values ('user1', 'key1', '', '1')")
        .await;
    let mut batch = batch(vec![new_event(product(1), 1, opened(1))]);
    batch.keys = vec![record("user1", "key1", "2")];
    holder.append(batch, holder.now()).await.unwrap();
    let (_next, missed) = soon(waiter).await.unwrap();
    assert_eq!(missed, []);
}

#[tokio::test]
async fn the_append_lock_can_be_released_unused() {
    let (_test, mut holder, waiter) = one_holds_and_one_waits().await;
    holder.release_append_lock().await.unwrap();
    assert!(!holder.holds_append_lock());
    let (next, missed) = soon(waiter).await.unwrap();
    assert!(next.holds_append_lock() && missed.is_empty());
}

#[tokio::test]
async fn a_dropped_writer_leaves_neither_the_append_lock_nor_an_open_transaction_behind() {
    let test = TestLog::with_one_partition().await;
    // Its pool lives on, and could take the connection back as it is.
    let its_process = test.another_process().await;
    let mut holder = Writer::open(its_process.clone(), 0).await.unwrap();
    acquire_append_lock(&mut holder).await;
    let waiter = start_waiting(&test).await;

    drop(holder);
    let (next, _) = soon(waiter).await.unwrap();
    drop(next);
    until("no session is left in a transaction", async || {
        test.count(SESSIONS_IN_A_TRANSACTION).await == 0
    })
    .await;
    assert_eq!(its_process.heads().await.unwrap(), [0]);
}

#[tokio::test]
async fn a_holder_whose_connection_is_killed_loses_the_append_lock_and_comes_back() {
    let (test, mut holder, waiter) = one_holds_and_one_waits().await;
    test.kill_session_of_append_lock(true).await;
    let (mut next, missed) = soon(waiter).await.unwrap();
    assert_eq!(missed, []);
    let written = commit(&mut next, vec![new_event(product(1), 1, opened(1))]).await;

    let refused = holder
        .append(
            batch(vec![new_event(product(2), 1, opened(2))]),
            holder.now(),
        )
        .await;
    assert!(
        matches!(refused, Err(LogError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(!holder.holds_append_lock());
    assert_eq!(acquire_append_lock(&mut holder).await, written);
    commit(&mut holder, vec![new_event(product(2), 1, opened(2))]).await;
    assert_eq!(positions(&test.events().await), [1, 2]);
}

/// As the program sets it for those who write: whoever stalls with the append lock loses it within 2 s.
#[tokio::test]
async fn a_holder_that_stalls_loses_the_append_lock_within_two_seconds() {
    let test = TestLog::with_one_partition().await;
    let strict = test.options().options([
        ("idle_in_transaction_session_timeout", "2s"),
        ("lock_timeout", "2s"),
    ]);
    let mut staller = Writer::open(test.process_with(strict).await, 0)
        .await
        .unwrap();
    let stalled = Instant::now();
    acquire_append_lock(&mut staller).await;

    let (mut next, _) = soon(start_waiting(&test).await).await.unwrap();
    assert!(
        stalled.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        stalled.elapsed()
    );
    let written = commit(&mut next, vec![new_event(product(1), 1, opened(1))]).await;

    let refused = staller
        .append(
            batch(vec![new_event(product(2), 1, opened(2))]),
            staller.now(),
        )
        .await;
    assert!(
        matches!(refused, Err(LogError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(test.events().await, written);
    assert_eq!(acquire_append_lock(&mut staller).await, written);
}

#[tokio::test]
async fn append_locks_of_different_partitions_do_not_wait_for_each_other() {
    let test = TestLog::with_partitions(2).await;
    let (mut even, mut odd) = (test.writer_of(0).await, test.writer_of(1).await);
    acquire_append_lock(&mut even).await;
    soon(acquire_append_lock(&mut odd)).await;
    assert!(even.holds_append_lock() && odd.holds_append_lock());
}

#[tokio::test]
async fn after_some_locked_appends_that_missed_nothing_a_writer_appends_optimistically_again() {
    let test = TestLog::with_one_partition().await;
    let (mut other, mut writer) = (test.writer().await, test.writer().await);
    commit(&mut other, vec![new_event(product(1), 1, opened(1))]).await;
    writer.append(batch(vec![]), writer.now()).await.unwrap();
    let mut locked_appends = 0;
    while writer.is_contested() {
        acquire_append_lock(&mut writer).await;
        locked_appends += 1;
        assert!(locked_appends < 100, "contested for ever");
    }
    assert!(locked_appends > 1, "one quiet append proves nothing");
}
