//! Idempotency keys: one user and key, one answer, over the whole log.

use crate::support::*;
use event_log::{Appended, Batch, IdempotencyRecord, Log, Writer};
use std::collections::BTreeSet;

/// Product `id` is opened, on behalf of these keys.
fn opening(id: i64, keys: Vec<IdempotencyRecord>) -> Batch {
    Batch {
        events: vec![new_event(product(id), 1, opened(id))],
        keys,
    }
}

fn stored(key: &str, answer: &str) -> IdempotencyRecord {
    let IdempotencyRecord {
        user_id,
        key,
        fingerprint,
        answer,
    } = record("user1", key, answer);
    IdempotencyRecord {
        user_id,
        key,
        fingerprint,
        answer,
    }
}

fn of_user1(keys: &[&str]) -> Vec<(String, String)> {
    keys.iter()
        .map(|key| ("user1".to_owned(), (*key).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_key_is_claimed_with_the_events_it_stands_for_and_only_once() {
    let (test, mut writer) = with_writer(0).await;
    committed(
        writer
            .append(
                opening(1, vec![record("user1", "key1", r#"{"invest": 1}"#)]),
                writer.now(),
            )
            .await,
    );
    assert_eq!(
        test.log
            .idempotency_records(&of_user1(&["key1", "never used"]))
            .await
            .unwrap(),
        [stored("key1", r#"{"invest": 1}"#)]
    );

    let again = opening(
        2,
        vec![record("user1", "key2", "2"), record("user1", "key1", "3")],
    );
    let taken = writer.append(again, writer.now()).await.unwrap();
    assert_eq!(
        taken,
        Appended::KeysTaken(vec![stored("key1", r#"{"invest": 1}"#)])
    );
    assert_eq!(
        (
            test.count("events").await,
            test.count("idempotency_keys").await
        ),
        (1, 1)
    );

    let the_rest = opening(2, vec![record("user1", "key2", "2")]);
    assert_eq!(
        positions(&committed(writer.append(the_rest, writer.now()).await)),
        [2]
    );
}

#[tokio::test]
async fn users_do_not_see_each_others_keys() {
    let (test, mut writer) = with_writer(0).await;
    let batch = opening(
        1,
        vec![record("user1", "same", "1"), record("user2", "same", "2")],
    );
    committed(writer.append(batch, writer.now()).await);
    assert_eq!(
        test.log
            .idempotency_records(&of_user1(&["same"]))
            .await
            .unwrap(),
        [stored("same", "1")]
    );
}

/// The same request reaches two processors at once, for products of different partitions, so that no append lock orders them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twins_on_two_partitions_exactly_one_is_carried_out() {
    let test = TestLog::with_partitions(2).await;
    let (mut even, mut odd) = (test.writer_of(0).await, test.writer_of(1).await);
    for round in 1..=20_i64 {
        let key = format!("key{round}");
        let twin = |id, answer: &str| {
            opening(
                id,
                vec![
                    record("user1", &key, answer),
                    record("user1", &format!("own key of {id}"), "0"),
                ],
            )
        };
        let (now, (to_even, to_odd)) =
            (even.now(), (twin(2 * round, "2"), twin(2 * round + 1, "1")));
        let outcome = tokio::join!(even.append(to_even, now), odd.append(to_odd, now));
        let (id, answers, answer) = match outcome {
            (Ok(Appended::Committed(_)), Ok(Appended::KeysTaken(answers))) => {
                (2 * round + 1, answers, "2")
            }
            (Ok(Appended::KeysTaken(answers)), Ok(Appended::Committed(_))) => {
                (2 * round, answers, "1")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(answers, [stored(&key, answer)]);
        assert_eq!(
            test.log.read_stream(product(id), 0, 9).await.unwrap(),
            [],
            "the loser wrote an event"
        );
        assert_eq!(
            test.log
                .idempotency_records(&of_user1(&[&format!("own key of {id}")]))
                .await
                .unwrap(),
            []
        );
        assert_eq!(test.count("events").await, round);
    }
}

#[tokio::test]
async fn a_batch_of_refusals_stores_its_keys() {
    let (_test, mut writer) = with_writer(1).await;
    let refusals = |answer| Batch {
        events: vec![],
        keys: vec![record("user1", "key1", answer)],
    };
    assert_eq!(
        committed(writer.append(refusals(r#""SOLD_OUT""#), writer.now()).await),
        []
    );
    let taken = writer.append(refusals("1"), writer.now()).await.unwrap();
    assert_eq!(
        taken,
        Appended::KeysTaken(vec![stored("key1", r#""SOLD_OUT""#)])
    );
}

#[tokio::test]
async fn a_refusal_decided_on_an_old_head_is_lost_and_stores_no_key() {
    let test = TestLog::with_events(1).await;
    let mut late = test.writer().await;
    commit(
        &mut test.writer().await,
        vec![new_event(product(1), 2, nth_event(2))],
    )
    .await;
    let refusal = Batch {
        events: vec![],
        keys: vec![record("user1", "key1", "1")],
    };
    assert_eq!(
        late.append(refusal, late.now()).await.unwrap(),
        Appended::Conflict
    );
    assert_eq!(test.count("idempotency_keys").await, 0);
}

/// 1. Somebody is about to record the key `m`, and has not committed.
/// 2. Two writers of different partitions want `a`, `b` and `m`, named in opposite orders; one of them waits for `m`, the
///    other for `m` or for the first.
/// 3. The somebody gives up. Had each writer claimed in its own order, both would now wait for the other's first key.
/// 4. One gets all the keys, the other learns that they are taken.
#[tokio::test]
async fn writers_that_want_the_same_keys_in_opposite_orders_do_not_deadlock() {
    let test = TestLog::with_partitions(2).await;
    let mut somebody = test.pool.begin().await.unwrap();
    sqlx::query("insert into idempotency_keys values ('user1', 'm', '', '0')")
        .execute(&mut *somebody)
        .await
        .unwrap();

    let (mut even, mut odd) = (test.writer_of(0).await, test.writer_of(1).await);
    let wants =
        |id, keys: [&str; 3]| opening(id, keys.map(|key| record("user1", key, "1")).to_vec());
    let (to_even, to_odd) = (wants(2, ["b", "m", "a"]), wants(1, ["a", "m", "b"]));
    let now = even.now();
    let both =
        tokio::spawn(
            async move { tokio::join!(even.append(to_even, now), odd.append(to_odd, now)) },
        );
    until("both wait for a key", async || {
        test.count(
            "pg_stat_activity where datname = current_database() and wait_event = 'transactionid'",
        )
        .await
            == 2
    })
    .await;
    somebody.rollback().await.unwrap();
    match soon(both).await.unwrap() {
        (Ok(Appended::Committed(_)), Ok(Appended::KeysTaken(taken)))
        | (Ok(Appended::KeysTaken(taken)), Ok(Appended::Committed(_))) => {
            assert_eq!(taken.len(), 3)
        }
        other => panic!("{other:?}"),
    }
}

/// Appends product after product of its partition, each on behalf of all the keys of a round that are still free.
async fn claim_what_is_free(log: Log, partition: i32, rounds: i64, backwards: bool) -> usize {
    let partitions = i64::from(log.identity().partitions);
    let mut writer = Writer::open(log, partition).await.unwrap();
    let mut claimed = 0;
    for round in 1..=rounds {
        let mut keys: Vec<_> = (0..8)
            .map(|key| format!("round {round} key {key}"))
            .collect();
        keys.rotate_left(partition as usize);
        if backwards {
            keys.reverse();
        }
        while !keys.is_empty() {
            let records = keys.iter().map(|key| record("user1", key, "1")).collect();
            let batch = opening(round * partitions + i64::from(partition), records);
            match writer.append(batch, writer.now()).await.unwrap() {
                Appended::Committed(_) => claimed += std::mem::take(&mut keys).len(),
                Appended::KeysTaken(taken) => {
                    keys.retain(|key| taken.iter().all(|answer| answer.key != *key))
                }
                Appended::Conflict => panic!("each partition has one writer"),
            }
        }
    }
    claimed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_keys_that_many_writers_want_is_claimed_once() {
    const ROUNDS: i64 = 12;
    let test = TestLog::with_partitions(4).await;
    let mut writers = tokio::task::JoinSet::new();
    for partition in 0..4 {
        let log = test.another_process().await;
        writers.spawn(claim_what_is_free(
            log,
            partition,
            ROUNDS,
            partition % 2 == 1,
        ));
    }
    let claimed = soon(writers.join_all()).await;
    assert_eq!(claimed.iter().sum::<usize>(), ROUNDS as usize * 8);
    let all: Vec<String> = sqlx::query_scalar("select key from idempotency_keys")
        .fetch_all(&test.pool)
        .await
        .unwrap();
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        ROUNDS as usize * 8
    );
}

#[tokio::test]
async fn keys_are_purged_after_a_day_in_bounded_batches() {
    let test = TestLog::with_one_partition().await;
    test.execute(
        "insert into idempotency_keys (user_id, key, fingerprint, answer, recorded_at)
             select 'user1', 'old ' || n, '', '1', clock_timestamp() - interval '24 hours 1 minute'
               from generate_series(1, 5001) n;
             insert into idempotency_keys (user_id, key, fingerprint, answer, recorded_at)
             values ('user1', 'not yet', '', '1', clock_timestamp() - interval '23 hours 59 minutes')",
    )
    .await;
    for expected in [5_000, 1, 0] {
        assert_eq!(test.log.purge_idempotency_keys().await.unwrap(), expected);
    }
    assert_eq!(
        test.log
            .idempotency_records(&of_user1(&["not yet"]))
            .await
            .unwrap()
            .len(),
        1
    );
}

/// A pool may be as small as the number of its writers: to read the answers of taken keys none needs another connection.
#[tokio::test]
async fn a_writer_needs_one_connection_and_no_more() {
    let test = TestLog::with_one_partition().await;
    let only_one = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(std::time::Duration::from_secs(1))
        .connect_with(test.options())
        .await
        .unwrap();
    let mut writer = Writer::open(Log::open(only_one, 1).await.unwrap(), 0)
        .await
        .unwrap();
    let batch = |id| opening(id, vec![record("user1", "key1", "1")]);
    committed(writer.append(batch(1), writer.now()).await);
    let taken = writer.append(batch(2), writer.now()).await.unwrap();
    assert_eq!(taken, Appended::KeysTaken(vec![stored("key1", "1")]));
    acquire_append_lock(&mut writer).await;
    commit(&mut writer, vec![new_event(product(2), 1, opened(2))]).await;
}
