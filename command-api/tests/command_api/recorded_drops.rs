//! Notes are written a bounded number at a time, and never waited for: what finds no room, or no database, is dropped and
//! counted; what is old is forgotten.

use crate::recorded::{all_is_written, refuses, refuses_of};
use crate::write_side::{WriteSide, soon, until};
use command_api::{purge_records, run_recorder};
use connection_pool::Pool;
use sqlx::PgPool;
use std::time::{Duration, Instant};
use testbed::Proxy;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// 1. Nobody writes what is recorded, and there is room for ten.
/// 2. Refusals and accepts go on, and never wait.
/// 3. Somebody writes: ten are there, and the rest is told.
#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted() {
    let test = WriteSide::with_one_partition().await;
    let (app, recording) = test.moa_with_room(10).await;
    let product = app.opens(1_000).await;
    app.invest(product, 1).sent().await.is_ok();
    refuses(&app, product, 50).await;
    app.invest(product, 1).sent().await.is_ok();
    all_is_written(recording, &test.pool).await;
    assert_eq!(test.count("refusals").await, 10);
    assert_eq!(test.dropped().await, ["REFUSAL FULL 40"]);
    assert_eq!(
        test.count("recorder_drops where from_time < to_time and to_time <= now()")
            .await,
        1
    );
}

/// 1. The table is locked: whoever writes is stuck, and then refused.
/// 2. Accepts and refusals go on as if nothing were.
/// 3. The lock is gone: what was dropped is told, and what is refused from now on is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_writer_that_is_stuck() {
    let test = WriteSide::with_one_partition().await;
    let (app, recording) = test.moa_with_room(100).await;
    let options = test.options().options([("lock_timeout", "1s")]);
    let pool = Pool::from(PgPool::connect_with(options).await.unwrap());
    let over = CancellationToken::new();
    let writing: JoinHandle<()> = tokio::spawn(run_recorder(recording, pool, over.clone()));
    let product = app.opens(1_000_000).await;
    let mut lock = test.pool.begin().await.unwrap();
    sqlx::query("lock table refusals in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();

    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        app.invest(product, 1).sent().await.is_ok();
        slowest = slowest.max(asked.elapsed());
        refuses(&app, product, 20).await;
    }
    assert!(
        slowest < Duration::from_secs(1),
        "an accept took {slowest:?}"
    );
    lock.rollback().await.unwrap();

    test.until_there_is("recorder_drops where reason = 'FULL'")
        .await;
    test.until_there_is("recorder_drops where reason = 'DATABASE'")
        .await;
    test.execute("delete from refusals").await;
    // Of somebody else: what is recorded of one user has a budget, and a fast machine may have used it up.
    refuses_of(&app, product, ["somebody"]).await;
    test.until_there_is("refusals").await;
    over.cancel();
    soon(writing).await.unwrap();
}

/// 1. The database is away for whoever writes down.
/// 2. What is recorded is tried twice and dropped, so that the queue goes on.
/// 3. It is back: how much is missing is told, though nothing else is to be written.
#[tokio::test]
async fn what_the_database_does_not_take_is_dropped_and_counted() {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let (app, recording) = test.moa_that_notes().await;
    let pool = Pool::from(PgPool::connect_lazy_with(options));
    tokio::spawn(run_recorder(recording, pool, CancellationToken::new()));
    let product = app.opens(1_000).await;
    refuses(&app, product, 3).await;
    test.refused(3).await;

    proxy.cut();
    refuses(&app, product, 7).await;
    app.invest(product, 1).sent().await.is_ok();
    let given_up = Instant::now() + Duration::from_secs(1);
    until("they were tried twice", async || Instant::now() > given_up).await;
    assert_eq!(test.dropped().await, [""; 0]);
    proxy.mend();
    test.until_there_is("recorder_drops").await;
    assert_eq!(test.dropped().await, ["REFUSAL DATABASE 7"]);
    refuses(&app, product, 2).await;
    test.refused(5).await;
}

#[tokio::test]
async fn so_many_are_written_in_a_second_and_at_the_end_all_at_once() {
    let test = WriteSide::with_one_partition().await;
    let (app, recording) = test.moa_that_notes().await;
    let product = app.opens(100).await;
    refuses(&app, product, 2_500).await;
    let over = CancellationToken::new();
    let (began, writing) = (
        Instant::now(),
        tokio::spawn(run_recorder(recording, test.pool.clone(), over.clone())),
    );
    until("1,500 are written", async || {
        test.count("refusals").await >= 1_500
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    over.cancel();
    soon(writing).await.unwrap();
    assert_eq!(test.count("refusals").await, 2_500);
    assert_eq!(test.dropped().await, [""; 0]);
}

/// Nobody fills the table by being refused, and nobody else's refusals are left out for it.
#[tokio::test]
async fn of_one_user_a_thousand_are_written_and_the_rest_is_counted() {
    let test = WriteSide::with_one_partition().await;
    let (app, recording) = test.moa_that_notes().await;
    let product = app.opens(100).await;
    refuses_of(&app, product, vec!["eager"; 1_200]).await;
    refuses(&app, product, 3).await;
    all_is_written(recording, &test.pool).await;
    let written = test.count("refusals where user_id = 'eager'").await;
    assert!(
        (1_000..1_003).contains(&written),
        "{written}: one more comes free in a minute"
    );
    assert_eq!(test.count("refusals where user_id <> 'eager'").await, 3);
    assert_eq!(
        test.dropped().await,
        [format!("REFUSAL FULL {}", 1_200 - written)]
    );
}

/// More than go in one delete.
#[tokio::test]
async fn what_is_old_is_forgotten_in_steps() {
    let test = WriteSide::with_one_partition().await;
    test.execute(
        "insert into refusals
             select now() - case when n <= 6000 then interval '30 days 1 minute' else interval '29 days' end,
                    gen_random_uuid(), 'user1', 1, 1, 'CLOSED', null, 0, 1, 0, 'c' from generate_series(1, 6003) n;
             insert into payment_calls
             select gen_random_uuid(), now() - make_interval(days => n), 'PAY', 'PAID', null, 1, 0
               from generate_series(29, 32) n;
             insert into recorder_drops
             select 'REFUSAL', 'FULL', n, now() - make_interval(days => n + 1), now() - make_interval(days => n)
               from generate_series(29, 32) n",
    )
    .await;
    let over = CancellationToken::new();
    let purging = tokio::spawn(purge_records(
        test.log.clone(),
        test.pool.clone(),
        over.clone(),
    ));
    test.until_there_is_no("recorder_drops where number > 29")
        .await;
    let left = (
        test.count("refusals").await,
        test.count("payment_calls").await,
        test.count("recorder_drops").await,
    );
    assert_eq!(left, (3, 1, 1));
    over.cancel();
    soon(purging).await.unwrap();
}
