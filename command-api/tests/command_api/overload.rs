//! "Overloaded" means: definitely not accepted, now or later.

use crate::app::invest_command;
use crate::call::Call;
use crate::write_side::{WriteSide, soon, until};
use command_api::processor::CommandError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::ConnectOptions as _;
use std::time::{Duration, Instant};

/// A command waits for 2 s, of which the processor may be at one statement for all.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(3_500);

async fn is_told_to_come_back(invest: Call<'_>) {
    let asked = Instant::now();
    invest
        .sent()
        .await
        .is_overloaded()
        .is_silent_about("x-consistency-token");
    assert!(
        asked.elapsed() < REFUSAL_TIMEOUT,
        "told after {:?}",
        asked.elapsed()
    );
}

/// 1. Somebody holds the append lock and does not let go: nobody can append.
/// 2. An invest waits for longer than it may, and is told so.
/// 3. The append lock is free again: the next invest is accepted, and the first has left nothing behind.
#[tokio::test]
async fn an_invest_that_waited_too_long_is_never_accepted() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    is_told_to_come_back(app.invest(product, 60).key("k")).await;
    assert_eq!(test.reservations().await, []);

    holder.release().await;
    let next = app.invest(product, 100).by("user2").sent().await;
    assert_eq!(
        test.reservations().await.len(),
        1,
        "its amount would not have fitted"
    );
    next.is_ok();
    assert_eq!(test.count("idempotency_keys").await, 0);
    app.invest(product, 60)
        .key("k")
        .sent()
        .await
        .is_sold_out(0)
        .is_fresh();
}

/// A refusal must be certain as well: it is not given while nobody can say whether it still holds.
#[tokio::test]
async fn a_refusal_that_cannot_be_confirmed_is_not_given() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let mut somebody = test.options().connect().await.unwrap();
    sqlx::raw_sql("begin; lock table events in access exclusive mode")
        .execute(&mut somebody)
        .await
        .unwrap();
    is_told_to_come_back(app.invest(product, 101)).await;
    sqlx::raw_sql("rollback")
        .execute(&mut somebody)
        .await
        .unwrap();
    app.invest(product, 101).sent().await.is_sold_out(100);
}

/// 1. A first command is at the processor, which waits for the append lock.
/// 2. More come than may wait: those past the bound are told at once, whatever becomes of the others.
/// 3. The append lock is free: each of the others gets its outcome, and each accepted one is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_sheds_at_once() {
    const QUEUE: usize = 8_192;
    const MORE: usize = 100;
    let (test, app, product) = WriteSide::with_product(1, 1_000_000).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    let first = tokio::spawn({
        let (processors, envelope) = (app.processors.clone(), invest_command(product, "first", 1));
        async move { processors.submit(envelope).await }
    });
    test.until_waiting_for_append_lock(1).await;

    let envelope = |n| {
        app.processors
            .submit(invest_command(product, &format!("user{n}"), 1))
    };
    let mut crowd: FuturesUnordered<_> = (0..QUEUE + MORE).map(envelope).collect();
    for _ in 0..MORE {
        assert_eq!(
            soon(crowd.next()).await.unwrap(),
            Err(CommandError::Overloaded)
        );
    }
    assert_eq!(test.reservations().await, []);

    holder.release().await;
    assert_eq!(soon(first).await.unwrap().unwrap().decision, Ok(()));
    let outcomes: Vec<_> = soon(crowd.collect()).await;
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.is_ok() || *outcome == Err(CommandError::Overloaded))
    );
    assert_eq!(test.reservations().await.len(), 1 + accepted);
}

/// 1. The processor waits for the append lock with an invest.
/// 2. The caller hangs up.
/// 3. The append lock is free: the invest is decided all the same, once.
#[tokio::test]
async fn a_caller_that_hangs_up_takes_nothing_back() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    tokio::select! {
        biased;
        answer = app.invest(product, 60).correlation_id("gone").sent() => panic!("it cannot be answered: {answer:?}"),
        () = test.until_waiting_for_append_lock(1) => {}
    }
    holder.release().await;
    until("it is in the log", async || {
        test.reservations().await.len() == 1
    })
    .await;
    assert_eq!(test.reservations().await[0].metadata.correlation_id, "gone");
    app.invest(product, 41).sent().await.is_sold_out(40);
    app.invest(product, 40).sent().await.is_ok();
    assert_eq!(test.reservations().await.len(), 2);
}

/// 1. Commands are queued while the processor waits for the append lock.
/// 2. The instance stops: nobody can send commands any more.
/// 3. The append lock is free: what was queued is finished before the processors end.
#[tokio::test]
async fn processors_finish_what_is_queued_before_they_end() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    let envelope = |n| {
        let (processors, envelope) = (
            app.processors.clone(),
            invest_command(product, &format!("user{n}"), 1),
        );
        tokio::spawn(async move { processors.submit(envelope).await })
    };
    let queued: Vec<_> = (0..10).map(envelope).collect();
    test.until_waiting_for_append_lock(1).await;
    let ((), ()) = tokio::join!(app.stops(), holder.release());
    for outcome in queued {
        assert_eq!(soon(outcome).await.unwrap().unwrap().decision, Ok(()));
    }
    assert_eq!(test.reservations().await.len(), 10);
}
