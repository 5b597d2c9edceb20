//! Being the only one, for a while; and doing no harm when one was frozen and no longer is.

use crate::support::*;
use event_log::{Lease, Log, Position, RawEvent};
use std::time::Duration;

const LONG_DURATION: Duration = Duration::from_secs(3_600);
const EXPIRED_AFTER: Duration = Duration::ZERO;

async fn take(log: &Log, time: Duration) -> Option<Lease> {
    Lease::acquire(log, "relay.0", time).await.unwrap()
}

async fn stored(test: &TestLog) -> Vec<RawEvent> {
    test.log.raw_after(0, 0, 100).await.unwrap()
}

async fn position(lease: &Lease) -> Position {
    lease.position("relay", 0).await.unwrap()
}

#[tokio::test]
async fn one_has_it_and_another_waits_until_it_is_over() {
    let test = TestLog::with_one_partition().await;
    let elsewhere = test.another_process().await;
    let held = take(&test.log, LONG_DURATION).await.unwrap();
    assert!(take(&elsewhere, LONG_DURATION).await.is_none());
    assert!(
        Lease::acquire(&elsewhere, "relay.1", LONG_DURATION)
            .await
            .unwrap()
            .is_some(),
        "each name is one by itself"
    );
    assert!(held.renew(EXPIRED_AFTER).await.unwrap());
    let taken = take(&elsewhere, LONG_DURATION).await.unwrap();
    assert_eq!((held.epoch(), taken.epoch()), (1, 2));
}

#[tokio::test]
async fn it_can_be_renewed_until_another_took_it() {
    let test = TestLog::with_one_partition().await;
    let held = take(&test.log, EXPIRED_AFTER).await.unwrap();
    assert!(
        held.renew(EXPIRED_AFTER).await.unwrap(),
        "it is over, but nobody else was there"
    );
    let taken = take(&test.another_process().await, LONG_DURATION)
        .await
        .unwrap();
    assert!(!held.renew(LONG_DURATION).await.unwrap());
    assert!(taken.renew(LONG_DURATION).await.unwrap());
}

#[tokio::test]
async fn given_back_it_is_free_at_once_and_only_its_holder_can_give_it_back() {
    let test = TestLog::with_one_partition().await;
    take(&test.log, LONG_DURATION)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let late = take(&test.log, EXPIRED_AFTER).await.unwrap();
    let held = take(&test.log, LONG_DURATION).await.unwrap();
    late.release().await.unwrap();
    assert!(
        take(&test.log, LONG_DURATION).await.is_none(),
        "it is another's by now"
    );
    held.release().await.unwrap();
    assert!(take(&test.log, LONG_DURATION).await.is_some());
}

#[tokio::test]
async fn a_checkpoint_moves_only_from_where_it_stands() {
    let test = TestLog::with_events(5).await;
    let (lease, events) = (
        take(&test.log, LONG_DURATION).await.unwrap(),
        stored(&test).await,
    );
    assert_eq!(position(&lease).await, 0);
    assert!(lease.advance("relay", 0, &events[1]).await.unwrap());
    assert!(!lease.advance("relay", 0, &events[2]).await.unwrap());
    assert!(!lease.advance("relay", 1, &events[2]).await.unwrap());
    assert_eq!(position(&lease).await, 2);
    assert!(lease.advance("relay", 2, &events[4]).await.unwrap());
    let checkpoint = test.log.checkpoints().await.unwrap().pop().unwrap();
    assert_eq!(
        (checkpoint.position, checkpoint.hash),
        (5, Some(events[4].hash))
    );
}

/// Steps: one holds the lease and freezes; another takes over and goes on; the first one thaws.
#[tokio::test]
async fn a_holder_that_was_frozen_moves_nothing_when_it_thaws() {
    let test = TestLog::with_events(5).await;
    let (frozen, events) = (
        take(&test.log, EXPIRED_AFTER).await.unwrap(),
        stored(&test).await,
    );
    assert!(frozen.advance("relay", 0, &events[0]).await.unwrap());
    let successor = take(&test.another_process().await, LONG_DURATION)
        .await
        .unwrap();
    assert!(
        !frozen.advance("relay", 1, &events[1]).await.unwrap(),
        "before the successor did anything"
    );
    assert!(successor.advance("relay", 1, &events[2]).await.unwrap());
    assert!(
        !frozen.advance("relay", 3, &events[3]).await.unwrap(),
        "even from the right place"
    );
    assert_eq!(position(&successor).await, 3);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_gets_it() {
    let test = TestLog::with_one_partition().await;
    for round in 1..=10 {
        let asked = futures::future::join_all((0..8).map(|_| take(&test.log, LONG_DURATION))).await;
        let mut got: Vec<_> = asked.into_iter().flatten().collect();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].epoch(), round);
        got.remove(0).release().await.unwrap();
    }
}

/// Steps: an advance waits for the checkpoint's row, its lease is over meanwhile, and another wants it.
#[tokio::test]
async fn a_lease_is_not_taken_over_in_the_middle_of_an_advance() {
    let test = TestLog::with_events(2).await;
    let (held, events) = (
        take(&test.log, EXPIRED_AFTER).await.unwrap(),
        stored(&test).await,
    );
    assert!(held.advance("relay", 0, &events[0]).await.unwrap());
    let mut row = test.pool.begin().await.unwrap();
    sqlx::query("select from checkpoints for update")
        .execute(&mut *row)
        .await
        .unwrap();
    let advancing = tokio::spawn(async move { held.advance("relay", 1, &events[1]).await });
    until("the advance waits for the row", async || {
        waiting_for_a_row(&test).await == 1
    })
    .await;
    let elsewhere = test.another_process().await;
    let taking = tokio::spawn(async move { take(&elsewhere, LONG_DURATION).await });
    until("the other waits for the advance", async || {
        waiting_for_a_row(&test).await == 2
    })
    .await;
    row.rollback().await.unwrap();
    assert!(soon(advancing).await.unwrap().unwrap());
    let taken = soon(taking).await.unwrap().unwrap();
    assert_eq!(
        position(&taken).await,
        2,
        "who takes over sees how far it came"
    );
}

/// How many sessions wait for a row that another has locked.
async fn waiting_for_a_row(test: &TestLog) -> i64 {
    test.count(
        "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                            and wait_event in ('transactionid', 'tuple')",
    )
    .await
}
