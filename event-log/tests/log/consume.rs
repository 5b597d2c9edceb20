//! Apply once, whatever is delivered: twice, late, with gaps, to two at a time or not at all.

use crate::support::*;
use connection_pool::{Connection, Pool};
use event_log::consume::{
    ApplyError, Checkpoint, Consumer, EventSource, Projection, Step, StepError,
};
use event_log::{Log, LogError, Position, RecordedEvent, Writer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_util::sync::CancellationToken;

/// Notes each position it is given; twice the same makes two rows.
#[derive(Default)]
struct Notes {
    /// A position that it cannot take; 0 is none.
    indigestible: AtomicI64,
}

impl Projection for Notes {
    const NAME: &'static str = "notes";

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        for event in events {
            if event.position == self.indigestible.load(Ordering::SeqCst) {
                return Err(ApplyError::Event {
                    position: event.position,
                    reason: "it does not agree with me".into(),
                });
            }
            sqlx::query("insert into notes (position, event) values ($1, $2)")
                .bind(event.position)
                .bind(event.event.name())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(())
    }
}

async fn test_log_with_notes(events: i64) -> TestLog {
    let test = TestLog::with_events(events).await;
    test.execute(
        "create table notes (nr bigserial, position bigint not null, event text not null)",
    )
    .await;
    test
}

fn consumer_of(log: &Log, pool: &Pool) -> Consumer<Notes> {
    Consumer::new(log.clone(), pool.clone(), Arc::new(Notes::default()), 0)
}

fn consumer(test: &TestLog) -> Consumer<Notes> {
    consumer_of(&test.log, &test.pool)
}

async fn notes(test: &TestLog) -> Vec<Position> {
    sqlx::query_scalar("select position from notes order by nr")
        .fetch_all(&test.pool)
        .await
        .unwrap()
}

async fn noted_up_to(test: &TestLog, position: Position) {
    until("all is noted", async || {
        notes(test).await.last() == Some(&position)
    })
    .await;
    assert_eq!(notes(test).await, (1..=position).collect::<Vec<_>>());
}

async fn checkpoint(test: &TestLog) -> Option<Checkpoint> {
    test.log.checkpoints().await.unwrap().pop()
}

#[tokio::test]
async fn everything_in_the_log_is_applied_in_order_and_the_checkpoint_says_so() {
    let test = test_log_with_notes(2_500).await;
    assert_eq!(consumer(&test).catch_up().await.unwrap(), Step::Idle(2_500));
    noted_up_to(&test, 2_500).await;
    let checkpoint = checkpoint(&test).await.unwrap();
    assert_eq!(
        (
            checkpoint.consumer.as_str(),
            checkpoint.partition,
            checkpoint.position
        ),
        ("notes", 0, 2_500)
    );
    assert_eq!(
        checkpoint.hash,
        Some(test.log.verify(0).await.unwrap().hash)
    );
    assert_eq!(checkpoint.stuck, None);
}

#[tokio::test]
async fn an_empty_partition_is_nothing_to_do() {
    let test = test_log_with_notes(0).await;
    assert_eq!(consumer(&test).catch_up().await.unwrap(), Step::Idle(0));
}

#[tokio::test]
async fn what_is_delivered_is_applied_once_and_gaps_are_filled_from_the_log() {
    let test = test_log_with_notes(9).await;
    let (consumer, events) = (consumer(&test), test.events().await);
    for (delivery, step) in [
        (&events[0..2], Step::Moved(2)), // what follows
        (&events[0..2], Step::Moved(9)), // seen: nothing of it, but the log has more
        (&events[0..2], Step::Idle(9)),  // seen again
        (&events[8..9], Step::Idle(9)),
    ] {
        assert_eq!(consumer.step(delivery).await.unwrap(), step);
    }
    noted_up_to(&test, 9).await;
}

#[tokio::test]
async fn of_a_delivery_that_is_partly_seen_only_the_rest_is_applied() {
    let test = test_log_with_notes(5).await;
    let (consumer, events) = (consumer(&test), test.events().await);
    assert_eq!(consumer.step(&events[0..3]).await.unwrap(), Step::Moved(3));
    assert_eq!(consumer.step(&events[1..4]).await.unwrap(), Step::Moved(4));
    noted_up_to(&test, 4).await;
}

#[tokio::test]
async fn a_delivery_behind_or_with_a_gap_changes_nothing_that_the_log_does_not_say() {
    let test = test_log_with_notes(6).await;
    let (consumer, events) = (consumer(&test), test.events().await);
    let with_a_gap = [events[0].clone(), events[1].clone(), events[4].clone()];
    assert_eq!(consumer.step(&with_a_gap).await.unwrap(), Step::Moved(2));
    assert_eq!(consumer.step(&events[4..6]).await.unwrap(), Step::Moved(6));
    noted_up_to(&test, 6).await;
}

/// Two instances of one consumer run side by side, each with the log's word and with stale deliveries, while a third
/// process appends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_racing_consumers_apply_everything_once() {
    let test = test_log_with_notes(50).await;
    let (events, mut race) = (test.events().await, tokio::task::JoinSet::new());
    for start in [0, 20] {
        let pool = test.pool.clone();
        let (consumer, events) = (
            consumer_of(&test.another_process().await, &pool),
            events.clone(),
        );
        race.spawn(async move {
            let mut deliveries = events[start..].chunks(3).cycle();
            while !matches!(
                consumer.step(deliveries.next().unwrap()).await.unwrap(),
                Step::Idle(150)
            ) {}
        });
    }
    let mut writer = test.writer().await;
    for sequence in 51..=150 {
        commit(
            &mut writer,
            vec![new_event(product(1), sequence, nth_event(sequence))],
        )
        .await;
    }
    soon(race.join_all()).await;
    noted_up_to(&test, 150).await;
}

#[tokio::test]
async fn while_one_instance_is_at_it_another_stays_away() {
    let test = test_log_with_notes(3).await;
    let consumer = consumer(&test);
    consumer.step(&test.events().await[..1]).await.unwrap();
    let mut one = test.pool.begin().await.unwrap();
    sqlx::query("select from checkpoints for update")
        .execute(&mut *one)
        .await
        .unwrap();
    assert_eq!(consumer.step(&[]).await.unwrap(), Step::NotOwned);
    one.rollback().await.unwrap();
    assert_eq!(consumer.step(&[]).await.unwrap(), Step::Moved(3));
}

#[tokio::test]
async fn rows_and_checkpoint_change_together_or_not_at_all() {
    let test = test_log_with_notes(3).await;
    let consumer = consumer(&test);
    consumer.step(&test.events().await[..1]).await.unwrap();
    test.execute("alter table notes add constraint too_many check (position < 3)")
        .await;
    let refused = consumer.step(&[]).await;
    assert!(
        matches!(refused, Err(StepError::Apply(ApplyError::Database(_)))),
        "{refused:?}"
    );
    assert_eq!(notes(&test).await, [1]);
    assert_eq!(checkpoint(&test).await.unwrap().position, 1);
}

/// Runs a consumer until it is told to stop, the way a process does.
fn running(consumer: Consumer<Notes>) -> CancellationToken {
    let shutdown = CancellationToken::new();
    tokio::spawn(consumer.run(shutdown.clone()));
    shutdown
}

async fn until_stuck_at(test: &TestLog, position: Position) -> String {
    let stuck = async || {
        checkpoint(test)
            .await
            .and_then(|checkpoint| checkpoint.stuck)
    };
    until("the status names the event", async || {
        stuck().await.is_some_and(|(at, _)| at == position)
    })
    .await;
    stuck().await.unwrap().1
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_stops_the_partition_and_is_named_until_it_can() {
    let test = test_log_with_notes(2).await;
    let projection = Arc::new(Notes {
        indigestible: AtomicI64::new(3),
    });
    let consumer = Consumer::new(test.log.clone(), test.pool.clone(), projection.clone(), 0);
    consumer.catch_up().await.unwrap();
    let stream = (3..=5).map(|sequence| new_event(product(1), sequence, nth_event(sequence)));
    commit(&mut test.writer().await, stream.collect()).await;

    let shutdown = running(consumer);
    let reason = until_stuck_at(&test, 3).await;
    assert!(reason.contains("it does not agree with me"), "{reason}");
    assert_eq!(notes(&test).await, [1, 2], "nothing is skipped");

    projection.indigestible.store(0, Ordering::SeqCst);
    noted_up_to(&test, 5).await;
    assert_eq!(checkpoint(&test).await.unwrap().stuck, None);
    shutdown.cancel();
}

#[tokio::test]
async fn the_very_first_event_is_named_as_well() {
    let test = test_log_with_notes(2).await;
    let projection = Arc::new(Notes {
        indigestible: AtomicI64::new(1),
    });
    let shutdown = running(Consumer::new(
        test.log.clone(),
        test.pool.clone(),
        projection,
        0,
    ));
    until_stuck_at(&test, 1).await;
    assert_eq!(checkpoint(&test).await.unwrap().position, 0);
    shutdown.cancel();
}

async fn append_an_event_of_a_later_release(test: &TestLog) {
    crate::by_hand::ByHand {
        event_type: "ProductRenamed",
        event_version: "1.0.0",
        payload: r#"{"ProductRenamed":{}}"#.into(),
        metadata: r#"{"correlationId":"from a later release"}"#.into(),
    }
    .write(test)
    .await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_the_partition_and_is_named() {
    let test = test_log_with_notes(2).await;
    consumer(&test).catch_up().await.unwrap();
    append_an_event_of_a_later_release(&test).await;
    let shutdown = running(consumer(&test));
    let reason = until_stuck_at(&test, 3).await;
    assert!(reason.contains("ProductRenamed"), "{reason}");
    assert_eq!(notes(&test).await, [1, 2]);
    shutdown.cancel();
}

#[tokio::test]
async fn what_comes_before_a_bad_event_is_applied() {
    let test = test_log_with_notes(5).await;
    let projection = Arc::new(Notes {
        indigestible: AtomicI64::new(4),
    });
    let consumer = Consumer::new(test.log.clone(), test.pool.clone(), projection, 0);
    assert_eq!(
        consumer.step(&[]).await.unwrap(),
        Step::Moved(3),
        "from the log"
    );
    let refused = consumer.step(&test.events().await).await;
    assert!(
        matches!(
            refused,
            Err(StepError::Apply(ApplyError::Event { position: 4, .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(notes(&test).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_comes_before_an_unreadable_event_is_applied() {
    let test = test_log_with_notes(2).await;
    append_an_event_of_a_later_release(&test).await;
    assert_eq!(consumer(&test).step(&[]).await.unwrap(), Step::Moved(2));
    assert!(matches!(
        consumer(&test).step(&[]).await,
        Err(StepError::Log(LogError::Broken { position: 3, .. }))
    ));
    assert_eq!(notes(&test).await, [1, 2]);
}

#[tokio::test]
async fn a_checkpoint_that_is_not_of_this_log_is_refused() {
    let test = test_log_with_notes(3).await;
    let consumer = consumer(&test);
    consumer.step(&test.events().await[..2]).await.unwrap();
    for spoiling in [
        "update checkpoints set hash = sha256('another log')",
        "update checkpoints set hash = null",
        "update checkpoints set position = 1",
        "update checkpoints set position = 99",
    ] {
        test.execute("create table kept as table checkpoints").await;
        test.execute(spoiling).await;
        let refused = consumer.step(&[]).await;
        assert!(
            matches!(refused, Err(StepError::Log(LogError::Broken { .. }))),
            "{spoiling}: {refused:?}"
        );
        test.execute("truncate checkpoints; insert into checkpoints table kept; drop table kept")
            .await;
    }
    assert_eq!(notes(&test).await, [1, 2]);
    assert_eq!(consumer.step(&[]).await.unwrap(), Step::Moved(3));
}

#[tokio::test]
async fn a_hole_in_the_log_is_named_and_not_skipped() {
    let test = test_log_with_notes(4).await;
    let consumer = consumer(&test);
    consumer.step(&test.events().await[..1]).await.unwrap();
    test.tamper("delete from events where position = 3").await;
    let refused = consumer.step(&[]).await;
    assert!(
        matches!(
            refused,
            Err(StepError::Log(LogError::Broken { position: 3, .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(notes(&test).await, [1]);
}

#[tokio::test]
async fn a_running_consumer_is_handed_what_its_own_process_appends() {
    let test = test_log_with_notes(1).await;
    let shutdown = running(consumer(&test));
    let mut writer = test.writer().await;
    for sequence in 2..=20 {
        commit(
            &mut writer,
            vec![new_event(product(1), sequence, nth_event(sequence))],
        )
        .await;
    }
    noted_up_to(&test, 20).await;
    shutdown.cancel();
}

/// Nobody tells this process of the other's appends: following the log finds them.
#[tokio::test]
async fn a_process_that_follows_the_log_sees_what_another_one_appends() {
    let test = test_log_with_notes(1).await;
    let shutdown = running(consumer(&test));
    noted_up_to(&test, 1).await;
    tokio::spawn({
        let (log, shutdown) = (test.log.clone(), shutdown.clone());
        async move { log.poll_heads(shutdown).await }
    });
    let mut elsewhere = Writer::open(test.another_process().await, 0).await.unwrap();
    commit(&mut elsewhere, vec![new_event(product(1), 2, nth_event(2))]).await;
    noted_up_to(&test, 2).await;
    commit(&mut elsewhere, vec![new_event(product(1), 3, nth_event(3))]).await;
    noted_up_to(&test, 3).await;
    shutdown.cancel();
}

#[tokio::test]
async fn rows_of_other_code_are_left_to_who_knows_it() {
    let test = test_log_with_notes(3).await;
    test.execute(
        "insert into checkpoints (consumer, partition, code_version) values ('notes', 0, 2)",
    )
    .await;
    assert_eq!(consumer(&test).step(&[]).await.unwrap(), Step::NotOwned);
    assert!(notes(&test).await.is_empty());
    test.execute("update checkpoints set code_version = 1")
        .await;
    assert_eq!(consumer(&test).catch_up().await.unwrap(), Step::Idle(3));
}

#[tokio::test]
async fn a_paused_consumer_stands_still() {
    let test = test_log_with_notes(3).await;
    test.execute("insert into checkpoints (consumer, partition, paused) values ('notes', 0, true)")
        .await;
    assert_eq!(consumer(&test).step(&[]).await.unwrap(), Step::NotOwned);
    test.execute("update checkpoints set paused = false").await;
    assert_eq!(consumer(&test).catch_up().await.unwrap(), Step::Idle(3));
}

/// Its schema may be gone with its checkpoint, and then the name would find the live tables.
#[tokio::test]
async fn beside_the_live_tables_a_checkpoint_that_is_gone_stays_gone() {
    let test = test_log_with_notes(3).await;
    let beside = || consumer(&test).for_standby("notes_2".into());
    assert_eq!(beside().step(&[]).await.unwrap(), Step::NotOwned);
    assert!(checkpoint(&test).await.is_none() && notes(&test).await.is_empty());
    test.execute("create schema notes_2").await;
    test.execute("create table notes_2.notes (like notes including all)")
        .await;
    test.execute("insert into checkpoints (consumer, partition) values ('notes_2', 0)")
        .await;
    assert_eq!(beside().step_to(2).await.unwrap(), Step::Moved(2));
    assert_eq!(beside().step_to(2).await.unwrap(), Step::Idle(2));
    let told: Vec<Position> = sqlx::query_scalar("select position from notes_2.notes order by nr")
        .fetch_all(&test.pool)
        .await
        .unwrap();
    assert_eq!(told, [1, 2]);
    assert!(
        notes(&test).await.is_empty(),
        "the live tables are another's"
    );
}

/// Hands over what the test sends, a batch at a time; one more waits.
struct Sent(tokio::sync::mpsc::Receiver<Vec<RecordedEvent>>);

impl EventSource for Sent {
    async fn next_batch(
        &mut self,
        _position: Position,
        _paced: tokio::time::Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        match self.0.recv().await {
            Some(events) => delivered.extend(events),
            None => std::future::pending().await,
        }
    }
}

/// 1. A consumer stands at position 2; position 3 is committed and on its way to it; the database is away.
/// 2. It comes back without position 3.
/// 3. What was on its way is not applied. What another wrote at position 3 is.
#[tokio::test]
async fn what_was_handed_over_before_a_fault_is_not_believed_after_it() {
    let test = test_log_with_notes(2).await;
    let (hand_out, sent) = tokio::sync::mpsc::channel(1);
    let (consumer, shutdown) = (consumer(&test), CancellationToken::new());
    let running = tokio::spawn(consumer.run_with(Sent(sent), shutdown.clone()));
    noted_up_to(&test, 2).await;
    test.execute("alter table checkpoints rename to away").await;
    soon(hand_out.send(test.events().await)).await.unwrap();
    let lost = commit(
        &mut test.writer().await,
        vec![new_event(product(1), 3, nth_event(3))],
    )
    .await;
    test.tamper("delete from events where position = 3").await;
    // The consumer has met the fault when there is room for the next.
    soon(hand_out.send(lost)).await.unwrap();
    test.execute("alter table away rename to checkpoints").await;
    // It has come past what was lost when it takes the second of these.
    for _ in 0..3 {
        soon(hand_out.send(Vec::new())).await.unwrap();
    }

    let mut other = Writer::open(test.another_process().await, 0).await.unwrap();
    let in_its_place = commit(&mut other, vec![new_event(product(1), 3, settled(2, 1))]).await;
    soon(hand_out.send(in_its_place.clone())).await.unwrap();
    noted_up_to(&test, 3).await;
    assert_eq!(
        checkpoint(&test).await.unwrap().hash,
        Some(in_its_place[0].hash)
    );
    shutdown.cancel();
    soon(running).await.unwrap();
}

/// A delivery waits in memory while the database loses it, without a fault that the consumer could notice.
#[tokio::test]
async fn what_the_log_has_lost_is_not_applied_from_memory() {
    let test = test_log_with_notes(2).await;
    assert_eq!(consumer(&test).catch_up().await.unwrap(), Step::Idle(2));
    let lost = commit(
        &mut test.writer().await,
        vec![new_event(product(1), 3, nth_event(3))],
    )
    .await;
    test.tamper("delete from events where position = 3").await;
    let error = consumer(&test).step(&lost).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the event at position 3 was lost"),
        "{error}"
    );
    assert_eq!(consumer(&test).step(&[]).await.unwrap(), Step::Idle(2));
    assert_eq!(notes(&test).await.len(), 2);
}
