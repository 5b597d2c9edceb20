//! Processes tell each other of appends, and do not believe what they are told.

use crate::support::*;
use futures::FutureExt as _;
use sqlx::postgres::PgListener;

async fn append_one(test: &TestLog, sequence: i64) {
    let event = new_event(product(1), sequence, nth_event(sequence));
    commit(&mut test.writer().await, vec![event]).await;
}

/// The session that listens to appends, once there is one that is not `but`.
async fn listener(test: &TestLog, but: Option<i32>) -> Option<i32> {
    let mut found = None;
    until("the process listens", async || {
        found = sqlx::query_scalar(
            "select pid from pg_stat_activity where datname = current_database() and query = 'LISTEN \"moa_append\"'",
        )
        .fetch_optional(&test.pool)
        .await
        .unwrap();
        found.is_some() && found != but
    })
    .await;
    found
}

#[tokio::test]
async fn an_append_says_how_far_the_log_goes() {
    let test = TestLog::with_one_partition().await;
    let mut listener = PgListener::connect_with(test.pool.inner()).await.unwrap();
    listener.listen("moa_append").await.unwrap();
    append_one(&test, 1).await;
    let hint = soon(listener.recv()).await.unwrap();
    assert_eq!(hint.payload(), "0 1");
}

/// 1. A process listens. Its connection breaks, and it listens again.
/// 2. Somebody sends a hint of events that are not there: nobody takes them for lost.
/// 3. What is appended then is known.
#[tokio::test]
async fn a_hint_is_looked_into_and_not_believed() {
    let test = TestLog::with_one_partition().await;
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    let first = listener(&test, None).await;
    sqlx::query("select pg_terminate_backend($1)")
        .bind(first)
        .execute(&test.pool)
        .await
        .unwrap();
    listener(&test, first).await;

    sqlx::query("notify moa_append, '0 1000000'")
        .execute(&test.pool)
        .await
        .unwrap();
    let mut subscription = process.subscribe(0).unwrap();
    for sequence in 1..=2 {
        append_one(&test, sequence).await;
        soon(subscription.head_past(sequence - 1)).await;
        let believed = subscription.head_past(sequence).now_or_never();
        assert!(believed.is_none(), "there is nothing past {sequence}");
    }
    assert_eq!(process.write_stop(0), None);
}
