//! Published marks: a database that has not what was published of it is found at the next start.

use crate::test_broker::*;
use broker::{Broker, stop_writes_behind_published, topology};
use event_log::{Acceptance, Log, WriteStop};

/// More than a server would deliver a message by its default.
const STARTS: usize = 30;

/// What a process that starts now finds of partition 0.
async fn found_at_start(test: &TestBroker) -> Option<WriteStop> {
    let log = Log::open(test.pool.clone(), 1).await.unwrap();
    stop_writes_behind_published(&log, &broker_of(&log))
        .await
        .unwrap();
    log.write_stop(0)
}

async fn is_relayed(test: &TestBroker, position: i64) {
    let relaying = Relaying::start(&test.log, &test.broker);
    test.until_relayed(0, position).await;
    relaying.stop().await;
}

const BEHIND: Option<WriteStop> = Some(WriteStop::BehindPublished {
    partition: 0,
    published: 5,
});

/// 1. Five events are published; every start finds them.
/// 2. The database loses one; every start finds that, also after the relay has published what is left again.
/// 3. An operator accepts it; a start finds nothing wrong, and what follows is marked.
/// 4. The database is changed: the position is there, and another event is at it.
#[tokio::test]
async fn a_start_behind_what_was_published_takes_no_writes_until_an_operator_accepts_it() {
    let test = TestBroker::with_one_partition().await;
    assert_eq!(found_at_start(&test).await, None);
    test.append(0, 5, 5).await;
    is_relayed(&test, 5).await;
    for _ in 0..STARTS {
        assert_eq!(found_at_start(&test).await, None);
    }

    test.tamper("delete from events where position = 5; update checkpoints set position = 2 where consumer = 'relay'")
        .await;
    assert_eq!(found_at_start(&test).await, BEHIND);
    is_relayed(&test, 4).await;
    assert_eq!(found_at_start(&test).await, BEHIND);

    // The process that was running finds it too, by its own poll, and learns in the same way that it is accepted.
    until("the loss is seen", async || {
        test.log.write_stop(0).is_some()
    })
    .await;
    test.log.accept(Acceptance::Loss).await.unwrap();
    assert_eq!(found_at_start(&test).await, None);
    until("the acceptance is seen", async || {
        test.log.write_stop(0).is_none()
    })
    .await;
    test.append(0, 1, 1).await;
    is_relayed(&test, 5).await;
    assert_eq!(found_at_start(&test).await, None);

    test.tamper("update events set hash = sha256('another') where position = 5")
        .await;
    assert_eq!(found_at_start(&test).await, BEHIND);
}

/// A broker that is away stops nothing: invests are taken without it.
#[tokio::test]
async fn a_broker_that_is_away_says_nothing_of_the_log() {
    let test = TestBroker::with_one_partition().await;
    let away = Broker::new("amqp://guest:guest@127.0.0.1:1/%2f", test.log_id()).unwrap();
    stop_writes_behind_published(&test.log, &away)
        .await
        .unwrap();
    assert_eq!(test.log.write_stop(0), None);
}

/// 1. Somebody deletes the queue of marks under a relay; it is declared again, and the next events are marked.
/// 2. It has something else than a mark; that is replaced.
/// 3. It has a mark that cannot be: a start takes no writes, and does not break.
/// 4. It has other arguments: nothing is marked, and events are published.
#[tokio::test]
async fn a_queue_of_marks_that_was_deleted_or_filled_by_others_holds_nothing_up() {
    let test = TestBroker::with_one_partition().await;
    let marks = topology::marks_queue(test.log_id(), 0);
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 1, 1).await;
    let is_marked = async || in_queue(&marks).await == Some((1, 0));
    until("there is a mark", is_marked).await;
    test.amqp
        .queue_delete(
            marks.as_str().into(),
            lapin::options::QueueDeleteOptions::default(),
        )
        .await
        .unwrap();
    test.append(0, 1, 1).await;
    until("there is a mark again", is_marked).await;
    test.until_relayed(0, 2).await;
    relaying.stop().await;

    let publish = lapin::options::BasicPublishOptions::default();
    test.amqp
        .basic_publish(
            "".into(),
            marks.as_str().into(),
            publish,
            b"no mark",
            Default::default(),
        )
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(found_at_start(&test).await, None);
    test.append(0, 1, 1).await;
    is_relayed(&test, 3).await;
    test.tamper("delete from events where position = 3").await;
    assert_eq!(
        found_at_start(&test).await,
        Some(WriteStop::BehindPublished {
            partition: 0,
            published: 3
        })
    );

    let forged = format!(
        r#"{{"incarnation":1,"position":{},"hash":"{}"}}"#,
        i64::MIN,
        "00".repeat(32)
    );
    let published = test.amqp.basic_publish(
        "".into(),
        marks.as_str().into(),
        publish,
        forged.as_bytes(),
        Default::default(),
    );
    published.await.unwrap().await.unwrap();
    assert_eq!(
        found_at_start(&test).await,
        Some(WriteStop::BehindPublished {
            partition: 0,
            published: i64::MIN
        })
    );

    test.amqp
        .queue_delete(
            marks.as_str().into(),
            lapin::options::QueueDeleteOptions::default(),
        )
        .await
        .unwrap();
    let durable = lapin::options::QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    test.amqp
        .queue_declare(marks.as_str().into(), durable, Default::default())
        .await
        .unwrap();
    test.tamper("update checkpoints set position = 1 where consumer = 'relay'")
        .await;
    is_relayed(&test, 2).await;
    assert_eq!(in_queue(&marks).await, Some((0, 0)));
}
