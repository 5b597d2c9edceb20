//! The log's time is the database's clock and never goes back.

use crate::support::*;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::Writer;

async fn time_in_the_database(test: &TestLog) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&test.pool)
        .await
        .unwrap()
}

async fn is_the_databases_time(test: &TestLog, writer: &Writer) {
    let (before, now) = (time_in_the_database(test).await, writer.now());
    let after = time_in_the_database(test).await;
    let slack = TimeDelta::milliseconds(200);
    assert!(
        before - slack < now && now < after + slack,
        "{now} is not between {before} and {after}"
    );
}

#[tokio::test]
async fn events_are_recorded_at_the_time_they_were_decided_at() {
    let (test, mut writer) = with_writer(0).await;
    is_the_databases_time(&test, &writer).await;
    let decided_at = writer.now();
    let batch = batch(vec![
        new_event(product(1), 1, opened(1)),
        new_event(product(1), 2, nth_event(2)),
    ]);
    let recorded = committed(writer.append(batch, decided_at).await);
    assert!(recorded.iter().all(|event| event.recorded_at == decided_at));
    assert_eq!(test.events().await, recorded);
}

#[tokio::test]
async fn what_is_handed_back_is_what_is_stored_also_for_a_time_finer_than_the_database_keeps() {
    let (test, mut writer) = with_writer(0).await;
    let fine = at("2026-03-01T12:00:00.123456789Z");
    let recorded = committed(
        writer
            .append(batch(vec![new_event(product(1), 1, opened(1))]), fine)
            .await,
    );
    assert_eq!(test.events().await, recorded);
    test.log.verify(0).await.unwrap();
}

#[tokio::test]
async fn time_never_falls_behind_the_head_whoever_writes() {
    let (test, mut writer) = with_writer(0).await;
    let ahead = writer.now() + TimeDelta::seconds(3);
    committed(
        writer
            .append(batch(vec![new_event(product(1), 1, opened(1))]), ahead)
            .await,
    );
    assert_eq!(writer.now(), ahead);
    assert_eq!(test.writer().await.now(), ahead);

    let earlier = at("2026-01-01T00:00:00Z");
    committed(
        writer
            .append(batch(vec![new_event(product(1), 2, nth_event(2))]), earlier)
            .await,
    );
    let recorded: Vec<_> = test
        .events()
        .await
        .iter()
        .map(|event| event.recorded_at)
        .collect();
    assert_eq!(recorded, [ahead, ahead]);
    test.log.verify(0).await.unwrap();
}

/// As it is after a clock was an hour ahead for a moment: a window that has half an hour left is not over.
#[tokio::test]
async fn windows_are_judged_by_the_clock_where_the_last_event_is_too_far_ahead() {
    let (test, mut writer) = with_writer(0).await;
    let ahead = writer.now() + TimeDelta::hours(1);
    committed(
        writer
            .append(batch(vec![new_event(product(1), 1, opened(1))]), ahead)
            .await,
    );
    for _ in 0..2 {
        is_the_databases_time(&test, &writer).await;
        let sequence = writer.position() + 1;
        let recorded = commit(
            &mut writer,
            vec![new_event(product(1), sequence, nth_event(sequence))],
        )
        .await;
        assert_eq!(
            recorded[0].recorded_at, ahead,
            "and yet what is recorded does not fall"
        );
        // As after a restart.
        writer = test.writer().await;
    }
    test.log.verify(0).await.unwrap();
}

/// 1. Somebody has the append lock for a second.
/// 2. An append waits for it all that time, so its answer says the time long after it was asked.
/// 3. The writer's clock is the database's all the same.
#[tokio::test]
async fn an_append_that_waited_for_the_append_lock_does_not_put_the_clock_out() {
    let (test, mut writer) = with_writer(0).await;
    let holder = test.pool.clone();
    let held = tokio::spawn(async move {
        sqlx::raw_sql("begin; select pg_advisory_xact_lock(x'4d6f61'::integer, 0); select pg_sleep(1); commit")
            .execute(&holder)
            .await
    });
    until("the append lock is held", async || {
        test.count("pg_locks where locktype = 'advisory' and granted")
            .await
            > 0
    })
    .await;
    commit(&mut writer, vec![new_event(product(1), 1, opened(1))]).await;
    is_the_databases_time(&test, &writer).await;
    held.await.unwrap().unwrap();
}
