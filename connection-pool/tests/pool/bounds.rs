//! Every wait for an answer has a bound, and no permit is lost by it.

use crate::proxied_pool::{ANSWER_TIMEOUT, CONNECTIONS, ProxiedPool};
use futures::TryStreamExt as _;
use sqlx::Executor as _;
use std::time::{Duration, Instant};
use testbed::until;
use tokio::time::timeout;

/// More than a call may take, on a slow machine, and much less than for ever.
const LONG_DURATION: Duration = Duration::from_secs(8);

fn is_unanswered(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

#[tokio::test]
async fn a_call_that_is_not_answered_fails_within_its_bound_and_the_next_one_works() {
    let test = ProxiedPool::full().await;
    test.proxy.silence();
    let began = Instant::now();
    let error = sqlx::query("select 1")
        .execute(&test.pool)
        .await
        .unwrap_err();
    assert!(is_unanswered(&error), "{error}");
    assert!(began.elapsed() >= ANSWER_TIMEOUT);
    let began = Instant::now();
    sqlx::query("select 1").execute(&test.pool).await.unwrap();
    assert!(
        began.elapsed() < ANSWER_TIMEOUT,
        "the idle ones beside it are not tried one after another"
    );
    test.is_whole().await;
    until("silent ones are closed", async || test.proxy.silent() == 0).await;
}

#[tokio::test]
async fn a_read_meets_a_lost_connection_by_asking_once_more() {
    let test = ProxiedPool::full().await;
    let reads = test.pool.clone().for_reads();
    for asked in 0..2 {
        until("one is idle", async || test.pool.num_idle() > 0).await;
        test.proxy.silence();
        let one: i32 = match asked {
            0 => sqlx::query_scalar("select $1::integer")
                .bind(7)
                .fetch_one(&reads)
                .await
                .unwrap(),
            _ => sqlx::query_scalar("select $1::integer")
                .bind(7)
                .fetch_all(&reads)
                .await
                .unwrap()[0],
        };
        assert_eq!(one, 7);
    }
    test.is_whole().await;
}

/// What was asked may have been done; only the caller knows whether it may be done twice.
#[tokio::test]
async fn a_write_is_not_asked_twice() {
    let test = ProxiedPool::full().await;
    test.proxy.silence();
    let written = sqlx::query("insert into notes values ('once')")
        .execute(&test.pool)
        .await;
    assert!(is_unanswered(&written.unwrap_err()));
    assert_eq!(test.notes().await, [""; 0]);
}

#[tokio::test]
async fn a_server_that_refuses_is_not_asked_again_and_its_connection_is_kept() {
    let test = ProxiedPool::full().await;
    let reads = test.pool.clone().for_reads();
    for _ in 0..5 {
        sqlx::query("select 1 / 0")
            .execute(&reads)
            .await
            .unwrap_err();
    }
    until("all are idle", async || {
        test.pool.num_idle() == CONNECTIONS as usize
    })
    .await;
    assert_eq!(test.proxy.accepted(), CONNECTIONS as usize);
}

/// Where a statement may take ten minutes, a connection that was lost before must not be found out by it.
#[tokio::test]
async fn a_pool_for_long_statements_hands_out_no_connection_that_is_lost() {
    let test = ProxiedPool::full().await;
    let long = test
        .pool
        .clone()
        .with_answer_timeout(Duration::from_secs(600));
    test.proxy.silence();
    timeout(LONG_DURATION, sqlx::query("select 1").execute(&long))
        .await
        .expect("within a bound")
        .unwrap();
    test.proxy.silence();
    let mut connection = timeout(LONG_DURATION, long.acquire())
        .await
        .expect("within a bound")
        .unwrap();
    sqlx::query("select 1")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection);
    test.proxy.silence();
    timeout(LONG_DURATION, long.begin())
        .await
        .expect("within a bound")
        .unwrap()
        .commit()
        .await
        .unwrap();
    test.is_whole().await;
}

#[tokio::test]
async fn all_connections_in_use_when_the_way_falls_silent_come_back_to_the_pool() {
    let test = ProxiedPool::full().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(test.pool.acquire().await.unwrap());
    }
    test.proxy.silence();
    // Idle while they are given back: it is the giving back that has a bound.
    drop(connections);
    timeout(LONG_DURATION, test.is_whole())
        .await
        .expect("the permits are free again");
}

/// A request whose client went away drops its call half way.
#[tokio::test]
async fn calls_that_are_given_up_half_way_come_back_to_the_pool() {
    let test = ProxiedPool::full().await;
    test.proxy.silence();
    for _ in 0..CONNECTIONS {
        let call = sqlx::query("select 1").execute(&test.pool);
        timeout(Duration::from_millis(50), call).await.unwrap_err();
    }
    timeout(LONG_DURATION, test.is_whole())
        .await
        .expect("the permits are free again");
}

#[tokio::test]
async fn a_call_that_is_given_up_while_the_server_works_at_it_keeps_its_connection() {
    let test = ProxiedPool::new().await;
    // Opening the connection may take a busy machine longer than the call is waited for.
    sqlx::query("select 1").execute(&test.pool).await.unwrap();
    until("it is idle", async || test.pool.num_idle() == 1).await;
    let slow = test.pool.clone().with_answer_timeout(LONG_DURATION);
    timeout(
        Duration::from_millis(100),
        sqlx::query("select pg_sleep(0.4)").execute(&slow),
    )
    .await
    .unwrap_err();
    until("one is idle", async || test.pool.num_idle() == 1).await;
    sqlx::query("select 1").execute(&test.pool).await.unwrap();
    assert_eq!(test.proxy.accepted(), 1);
}

#[tokio::test]
async fn after_a_call_without_an_answer_a_connection_takes_no_more() {
    let test = ProxiedPool::full().await;
    let mut connection = test.pool.acquire().await.unwrap();
    test.proxy.silence();
    sqlx::query("select 1")
        .execute(&mut connection)
        .await
        .unwrap_err();
    let began = Instant::now();
    assert!(
        sqlx::query("select 1")
            .fetch_all(&mut connection)
            .await
            .is_err()
    );
    assert!(
        sqlx::query("select 1")
            .fetch_optional(&mut connection)
            .await
            .is_err()
    );
    assert!(connection.begin().await.is_err());
    assert!(
        connection
            .copy_out_raw("copy notes to stdout")
            .await
            .is_err()
    );
    assert!(
        began.elapsed() < ANSWER_TIMEOUT,
        "it is not waited for again"
    );
}

/// The bound is between two answers: a long stream that goes on is not cut.
#[tokio::test]
async fn rows_that_keep_coming_may_take_longer_than_the_bound() {
    let test = ProxiedPool::new().await;
    let mut connection = test.pool.acquire().await.unwrap();
    let began = Instant::now();
    let mut rows =
        connection.fetch("select pg_sleep(0.1), repeat('x', 20000) from generate_series(1, 12)");
    let mut count = 0;
    while rows.try_next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 12);
    assert!(began.elapsed() > ANSWER_TIMEOUT * 2);
}

/// A slow reader is not the database's fault.
#[tokio::test]
async fn the_time_that_a_caller_takes_between_two_rows_does_not_count() {
    let test = ProxiedPool::new().await;
    let mut connection = test.pool.acquire().await.unwrap();
    let mut rows = connection.fetch("select repeat('x', 1000) from generate_series(1, 20000)");
    rows.try_next().await.unwrap().unwrap();
    tokio::time::sleep(ANSWER_TIMEOUT * 2).await;
    let mut count = 1;
    while rows.try_next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 20_000);
}

#[tokio::test]
async fn a_stream_that_falls_silent_half_way_ends_with_an_error() {
    let test = ProxiedPool::new().await;
    let mut connection = test.pool.acquire().await.unwrap();
    let mut rows =
        connection.fetch("select pg_sleep(0.2), repeat('x', 20000) from generate_series(1, 100)");
    rows.try_next().await.unwrap().unwrap();
    test.proxy.silence();
    let rest = timeout(LONG_DURATION, async {
        while rows.try_next().await?.is_some() {}
        Ok::<_, sqlx::Error>(())
    })
    .await;
    assert!(is_unanswered(&rest.unwrap().unwrap_err()));
    drop(rows);
    drop(connection);
    test.is_whole().await;
}

#[tokio::test]
async fn new_connections_that_are_silent_fail_within_the_pools_bound() {
    let test = ProxiedPool::new().await;
    test.proxy.silence_new(true);
    let refused = timeout(LONG_DURATION, sqlx::query("select 1").execute(&test.pool))
        .await
        .expect("within a bound");
    refused.unwrap_err();
    test.proxy.silence_new(false);
    test.is_whole().await;
}

#[tokio::test]
async fn a_copy_that_is_not_answered_fails_within_its_bound() {
    let test = ProxiedPool::new().await;
    let mut connection = test.pool.acquire().await.unwrap();
    let mut copying = connection
        .copy_in_raw("copy notes from stdin")
        .await
        .unwrap();
    copying.send(&b"one\n"[..]).await.unwrap();
    test.proxy.silence();
    assert!(is_unanswered(&copying.finish().await.unwrap_err()));
    drop(connection);
    test.is_whole().await;
}

/// sqlx would take the rest of it for the answer to what is asked next.
#[tokio::test]
async fn a_copy_that_is_left_half_way_closes_its_connection() {
    let test = ProxiedPool::new().await;
    sqlx::query("insert into notes select repeat('x', 1000) from generate_series(1, 20000)")
        .execute(&test.direct)
        .await
        .unwrap();
    let mut connection = test.pool.acquire().await.unwrap();
    connection
        .copy_out_raw("copy notes to stdout")
        .await
        .unwrap()
        .try_next()
        .await
        .unwrap()
        .unwrap();
    drop(connection);
    let asked: Vec<i32> = sqlx::query_scalar("select 7")
        .fetch_all(&test.pool)
        .await
        .unwrap();
    assert_eq!((asked, test.proxy.accepted()), (vec![7], 2));
    until("one is idle", async || test.pool.num_idle() == 1).await;
    let mut whole = test.pool.acquire().await.unwrap();
    let rows = whole.copy_out_raw("copy notes to stdout").await.unwrap();
    assert_eq!(
        rows.try_fold(0, async |count, _| Ok(count + 1))
            .await
            .unwrap(),
        20_000
    );
    drop(whole);
    until("one is idle", async || test.pool.num_idle() == 1).await;
    assert_eq!(
        test.proxy.accepted(),
        2,
        "one that was read to its end is kept"
    );
}
