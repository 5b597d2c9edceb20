//! One writer gets the next position; the other learns of it, catches up and goes on.

use crate::support::*;
use event_log::{Appended, Log, Writer};
use std::collections::HashMap;
use std::time::Duration;

/// 1. Both writers stand at head 0, each in a process of its own.
/// 2. The first appends position 1.
/// 3. The second, which has not seen it, wants position 1 too: a conflict, and nothing of it is written.
/// 4. It acquires the append lock, sees what it missed, and appends position 2.
/// 5. Now the first has lost; it does the same and gets position 3.
#[tokio::test]
async fn of_two_writers_the_one_with_the_conflict_acquires_the_append_lock_reads_what_it_missed_and_appends()
 {
    let test = TestLog::with_one_partition().await;
    let mut first = test.writer().await;
    let mut second = Writer::open(test.another_process().await, 0).await.unwrap();

    let by_first = commit(&mut first, vec![new_event(product(1), 1, opened(1))]).await;
    let lost = second
        .append(
            batch(vec![new_event(product(2), 1, opened(2))]),
            second.now(),
        )
        .await
        .unwrap();
    assert_eq!(lost, Appended::Conflict);
    assert!(second.is_contested());
    assert_eq!(test.events().await, by_first);

    assert_eq!(acquire_append_lock(&mut second).await, by_first);
    let by_second = commit(&mut second, vec![new_event(product(2), 1, opened(2))]).await;
    assert!(
        !second.holds_append_lock(),
        "an append releases the append lock"
    );

    let lost = first
        .append(
            batch(vec![new_event(product(3), 1, opened(3))]),
            first.now(),
        )
        .await
        .unwrap();
    assert_eq!(lost, Appended::Conflict);
    assert_eq!(acquire_append_lock(&mut first).await, by_second);
    commit(&mut first, vec![new_event(product(3), 1, opened(3))]).await;

    let all = test.events().await;
    assert_eq!(positions(&all), [1, 2, 3]);
    assert_eq!(test.log.verify(0).await.unwrap().hash, all[2].hash);
}

/// A writer in a process of its own appends `appends` times to the one stream there is, as a processor does: hoping for the
/// best while it is alone, with the append lock first when it is not.
async fn append_in_a_race(log: Log, name: String, appends: usize) {
    let mut writer = Writer::open(log, 0).await.unwrap();
    let mut done = 0;
    while done < appends {
        if writer.is_contested() {
            acquire_append_lock(&mut writer).await;
        }
        let sequence = writer.position() + 1;
        let mut event = new_event(product(1), sequence, nth_event(sequence));
        event.metadata.correlation_id.clone_from(&name);
        match writer
            .append(batch(vec![event]), writer.now())
            .await
            .unwrap()
        {
            Appended::Committed(_) => done += 1,
            Appended::Conflict => assert!(writer.is_contested(), "{name} lost and does not care"),
            Appended::KeysTaken(keys) => panic!("there are no keys here: {keys:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_leave_no_gap_lose_nothing_and_all_make_progress() {
    const WRITERS: usize = 4;
    const APPENDS: usize = 50;
    let test = TestLog::with_one_partition().await;
    let mut race = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        race.spawn(append_in_a_race(
            test.another_process().await,
            format!("writer {number}"),
            APPENDS,
        ));
    }
    soon(race.join_all()).await;

    let all = test.events().await;
    assert_eq!(
        positions(&all),
        (1..=(WRITERS * APPENDS) as i64).collect::<Vec<_>>()
    );
    assert!(all.iter().all(|event| event.sequence == event.position));
    assert!(all.is_sorted_by_key(|event| event.recorded_at));
    let mut by_writer = HashMap::new();
    all.iter()
        .for_each(|event| *by_writer.entry(&event.metadata.correlation_id).or_insert(0) += 1);
    assert_eq!(
        by_writer.into_values().collect::<Vec<_>>(),
        [APPENDS; WRITERS]
    );
    assert_eq!(
        test.log.verify(0).await.unwrap().hash,
        all.last().unwrap().hash
    );
}

/// The append lock is fair: while one writer appends without end, another gets its few appends in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_writer_does_not_starve_a_modest_one() {
    let test = TestLog::with_one_partition().await;
    let busy = tokio::spawn(append_in_a_race(
        test.another_process().await,
        "busy".into(),
        usize::MAX,
    ));
    let modest = append_in_a_race(test.another_process().await, "modest".into(), 20);
    tokio::time::timeout(Duration::from_secs(10), modest)
        .await
        .expect("the modest writer starves");
    busy.abort();
}

#[tokio::test]
async fn a_batch_with_a_conflict_writes_nothing() {
    let test = TestLog::with_one_partition().await;
    let (mut winner, mut loser) = (test.writer().await, test.writer().await);
    commit(&mut winner, vec![new_event(product(1), 1, opened(1))]).await;

    let mut batch = batch(vec![
        new_event(product(2), 1, opened(2)),
        new_event(product(2), 2, reserved(1, 10)),
    ]);
    batch.keys = vec![record("user1", "key1", "{}")];
    assert_eq!(
        loser.append(batch, loser.now()).await.unwrap(),
        Appended::Conflict
    );
    assert_eq!(
        (
            test.count("events").await,
            test.count("idempotency_keys").await
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn a_sequence_of_a_stream_is_given_once_even_at_a_free_position() {
    let (test, mut writer) = with_writer(2).await;
    let twice = batch(vec![new_event(product(1), 2, reserved(9, 9))]);
    assert_eq!(
        writer.append(twice, writer.now()).await.unwrap(),
        Appended::Conflict
    );
    assert_eq!(test.count("events").await, 2);
}

#[tokio::test]
async fn a_batch_without_events_confirms_that_nobody_wrote_since() {
    let test = TestLog::with_events(1).await;
    let mut reader = test.writer().await;
    assert_eq!(
        committed(reader.append(batch(vec![]), reader.now()).await),
        []
    );

    let by_other = commit(
        &mut test.writer().await,
        vec![new_event(product(1), 2, nth_event(2))],
    )
    .await;
    assert_eq!(
        reader.append(batch(vec![]), reader.now()).await.unwrap(),
        Appended::Conflict
    );

    assert_eq!(acquire_append_lock(&mut reader).await, by_other);
    assert_eq!(
        committed(reader.append(batch(vec![]), reader.now()).await),
        []
    );
    assert!(
        !reader.holds_append_lock(),
        "a confirmation releases the append lock"
    );
}

#[tokio::test]
async fn a_tail_longer_than_one_read_is_read_in_parts_and_the_append_lock_acquired_after_the_last()
{
    let test = TestLog::with_one_partition().await;
    let mut late = test.writer().await;
    let stream = (1..=2_345).map(|sequence| new_event(product(1), sequence, nth_event(sequence)));
    let all = commit(&mut test.writer().await, stream.collect()).await;
    assert_eq!(acquire_append_lock(&mut late).await, all);
    commit(
        &mut late,
        vec![new_event(product(1), 2_346, nth_event(2_346))],
    )
    .await;
}
