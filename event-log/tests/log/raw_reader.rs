//! Rows in bulk, as they are stored.

use crate::support::*;
use event_log::{Log, MalformedRowError, Position, RawEvent, RawEventRef, RawReader, RawRows};
use tokio::sync::mpsc;

async fn copied(
    test: &TestLog,
    after: Option<Position>,
    upto: Position,
    limit: Position,
) -> (Vec<RawRows>, Option<Position>) {
    let mut reader = RawReader::open(&test.pool).await.unwrap();
    let (blocks, mut incoming) = mpsc::channel(1_000);
    let last = reader.copy(0, after, upto, limit, &blocks).await.unwrap();
    drop(blocks);
    let mut rows = Vec::new();
    while let Some(block) = incoming.recv().await {
        rows.push(block);
    }
    (rows, last)
}

#[tokio::test]
async fn rows_are_what_is_stored_and_hash_to_what_they_say() {
    let test = TestLog::with_events(3_000).await;
    let stored = test.log.raw_after(0, 0, 3_000).await.unwrap();
    let (blocks, last) = copied(&test, None, 3_000, 10_000).await;
    assert!(blocks.len() > 1, "more than one block");
    let rows: Vec<RawEventRef<'_>> = blocks
        .iter()
        .flat_map(RawRows::iter)
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        (rows.clone(), last),
        (stored.iter().map(RawEventRef::from).collect(), Some(3_000))
    );
    let (mut hash, mut room) = (test.log.identity().genesis(0), Vec::new());
    for (row, event) in rows.iter().zip(&stored) {
        hash = row.hash_after(&hash, &mut room);
        assert_eq!((hash, event.position), (event.hash, row.position));
    }
}

#[tokio::test]
async fn a_range_has_its_ends_and_its_limit() {
    let test = TestLog::with_events(20).await;
    let positions = async |after, upto, limit| {
        let (blocks, last) = copied(&test, after, upto, limit).await;
        (
            blocks
                .iter()
                .flat_map(RawRows::iter)
                .map(|row| row.unwrap().position)
                .collect::<Vec<_>>(),
            last,
        )
    };
    assert_eq!(positions(Some(3), 6, 100).await, (vec![4, 5, 6], Some(6)));
    assert_eq!(positions(Some(3), 20, 2).await, (vec![4, 5], Some(5)));
    assert_eq!(positions(Some(20), 30, 100).await, (vec![], None));
    test.tamper("delete from events where position = 5").await;
    assert_eq!(
        positions(Some(3), 6, 100).await,
        (vec![4, 6], Some(6)),
        "a hole is for the reader to see"
    );
}

#[tokio::test]
async fn a_row_that_is_none_is_told_and_the_next_is_read() {
    let test = TestLog::with_events(4).await;
    test.tamper("alter table events alter payload drop not null; update events set payload = null where position = 2")
        .await;
    let (blocks, last) = copied(&test, None, 4, 100).await;
    let read: Vec<_> = blocks
        .iter()
        .flat_map(RawRows::iter)
        .map(|row| row.map(|row| row.position))
        .collect();
    assert_eq!(
        (read, last),
        (
            vec![Ok(1), Err(MalformedRowError("payload")), Ok(3), Ok(4)],
            Some(4)
        )
    );
}

/// Steps: nobody takes the blocks; the read ends; the same reader reads again.
#[tokio::test]
async fn a_read_that_nobody_wants_ends_and_the_reader_goes_on() {
    let test = TestLog::with_events(3_000).await;
    let mut reader = RawReader::open(&test.pool).await.unwrap();
    let (blocks, incoming) = mpsc::channel(1);
    drop(incoming);
    assert_eq!(
        reader.copy(0, None, 3_000, 10_000, &blocks).await.unwrap(),
        None
    );
    let (blocks, _incoming) = mpsc::channel(1_000);
    assert_eq!(
        reader.copy(0, None, 3_000, 10_000, &blocks).await.unwrap(),
        Some(3_000)
    );
}

#[tokio::test]
async fn whoever_only_looks_changes_nothing() {
    let database = testbed::Database::fresh().await;
    let pool = database.pool().await;
    assert_eq!(Log::identity_of(&pool).await.unwrap(), None);
    let test = TestLog::with_events(5).await;
    assert_eq!(
        Log::identity_of(&test.pool).await.unwrap(),
        Some(*test.log.identity())
    );
    assert_eq!(Log::heads_of(&test.pool, 3).await.unwrap(), [5, 0, 0]);
    assert_eq!(Log::stray_of(&test.pool, 1).await.unwrap(), None);
    let hashes: Vec<_> = test
        .log
        .raw_after(0, 1, 2)
        .await
        .unwrap()
        .iter()
        .map(|row: &RawEvent| row.hash)
        .collect();
    assert_eq!(test.log.hashes(0, 2, 3).await.unwrap(), hashes);
    test.tamper("update events set partition = -1 where position = 5")
        .await;
    assert_eq!(Log::stray_of(&test.pool, 1).await.unwrap(), Some((-1, 5)));
}
