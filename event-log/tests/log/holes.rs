//! The trigger on `events`: whoever inserts, a position is 1 or follows one that is there.

use crate::support::*;
use connection_pool::Connection;
use rstest::rstest;
use sqlx::Executor as _;

/// Inserts copies of event 1 at `positions` of partition `partition`, in one statement.
async fn insert_at(test: &TestLog, partition: i32, positions: &[i64]) -> Result<(), String> {
    let mut session = test.pool.acquire().await.unwrap();
    insert(&mut session, partition, positions).await
}

async fn insert(session: &mut Connection, partition: i32, positions: &[i64]) -> Result<(), String> {
    let inserted = sqlx::query(
        "insert into events select aggregate_type, 'other' || ($1::integer)::text, place, event_type, event_version, payload, metadata,
                                   $1, place, gen_random_uuid(), recorded_at, hash
           from unnest($2::bigint[]) as place, (select * from events where partition = 0 and position = 1) first",
    )
    .bind(partition)
    .bind(positions)
    .execute(session)
    .await;
    inserted
        .map(drop)
        .map_err(|error| error.as_database_error().unwrap().message().to_owned())
}

#[rstest]
#[case::behind_a_gap(0, &[5])]
#[case::with_a_gap_in_it(0, &[4, 6])]
#[case::in_a_partition_that_has_nothing(7, &[2])]
#[case::in_a_partition_that_has_nothing_after_its_first(7, &[1, 3])]
#[tokio::test]
async fn an_insert_that_leaves_a_hole_is_refused_with_its_place(
    #[case] partition: i32,
    #[case] positions: &[i64],
) {
    let test = TestLog::with_events(3).await;
    let refused = insert_at(&test, partition, positions).await.unwrap_err();
    let said = format!(
        "the log has no holes: an insert into partition {partition} at position {} leaves one",
        positions.iter().min().unwrap()
    );
    assert_eq!(refused, said);
    assert_eq!(test.count("events").await, 3);
}

#[rstest]
#[case::the_next(0, &[4, 5, 6])]
#[case::in_any_order(0, &[6, 4, 5])]
#[case::the_first_of_a_partition(7, &[1, 2])]
#[tokio::test]
async fn an_insert_that_follows_is_not_refused(#[case] partition: i32, #[case] positions: &[i64]) {
    let test = TestLog::with_events(3).await;
    insert_at(&test, partition, positions).await.unwrap();
}

/// Somebody's own settings must not make it look elsewhere.
#[tokio::test]
async fn another_search_path_does_not_mislead_it() {
    let test = TestLog::with_events(3).await;
    let mut session = test.pool.acquire().await.unwrap();
    session
        .execute(
            "create schema other; create table other.events (partition integer, position bigint)",
        )
        .await
        .unwrap();
    session
        .execute("insert into other.events values (0, 9); set search_path = other, public")
        .await
        .unwrap();
    let hole = session
        .execute(
            "insert into public.events select aggregate_type, aggregate_id, 10, event_type, event_version, payload, metadata,
                                              partition, 10, gen_random_uuid(), recorded_at, hash
               from public.events where position = 1",
        )
        .await;
    assert!(
        hole.unwrap_err()
            .to_string()
            .contains("the log has no holes")
    );
}

/// A session that began while the table was new, and knew nothing of it, keeps its plans as the table grows.
#[tokio::test]
async fn it_reads_one_row_however_many_there_are() {
    let test = TestLog::with_events(1).await;
    let mut session = test.pool.acquire().await.unwrap();
    let mut last = 1;
    while last < 6_000 {
        let positions: Vec<i64> = (last + 1..=last + 60).collect();
        insert(&mut session, 0, &positions).await.unwrap();
        last += 60;
    }
    session.execute("begin").await.unwrap();
    let before = rows_read(&mut session).await;
    let positions: Vec<i64> = (last + 1..=last + 60).collect();
    insert(&mut session, 0, &positions).await.unwrap();
    let read = rows_read(&mut session).await - before;
    // The row that is copied, and the one before.
    assert!(
        read <= 10,
        "{read} rows were read for an append behind {last}"
    );
}

/// Rows of `events` that the session has read in this transaction, and in those whose statistics it still keeps to itself.
async fn rows_read(session: &mut Connection) -> i64 {
    sqlx::query_scalar(
        "select (seq_tup_read + idx_tup_fetch)::bigint from pg_stat_xact_user_tables where relname = 'events'",
    )
    .fetch_one(session)
    .await
    .unwrap()
}
