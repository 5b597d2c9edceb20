//! A delivery that does not match the log is parked with its reason, and changes nothing.

use crate::notes::Noting;
use crate::test_broker::*;
use broker::parked::{self, MAX_PARKED_DELIVERIES, MAX_STORED_BODY_BYTES};
use broker::{Deliveries, cloud_events};
use event_log::consume::EventSource as _;
use event_log::{Forks, Log, RawEvent, RecordedEvent};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use std::time::Duration;
use testbed::chain::rehash;
use tokio::time::Instant;
use uuid::Uuid;

fn honest() -> BasicProperties {
    BasicProperties::default().with_content_type(cloud_events::CONTENT_TYPE.into())
}

fn batch(log_id: Uuid, events: &[RawEvent]) -> Vec<u8> {
    cloud_events::encode(log_id, &Forks::default(), events)
        .unwrap()
        .0
}

/// Made by somebody who knows the format: other content, with the hash that is right for it.
fn forged(mut event: RawEvent, previous: &RawEvent) -> RawEvent {
    event.payload = event.payload.replace("\"amount\":1", "\"amount\":9");
    rehash(previous.hash, std::slice::from_mut(&mut event));
    event
}

/// A log of two partitions, ten events in each, of which a consumer has seen the first five of partition 0.
struct Scene {
    test: TestBroker,
    deliveries: Deliveries,
}

impl Scene {
    async fn set() -> Self {
        let test = TestBroker::with_partitions(2).await;
        test.append(0, 10, 5).await;
        test.append(1, 10, 5).await;
        let deliveries =
            Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 0).unwrap();
        test.until_the_queue_is_consumed(0, 1).await;
        Self { test, deliveries }
    }

    /// The reason why a message is parked.
    async fn parks(&mut self, properties: BasicProperties, body: &[u8]) -> String {
        self.test.inject(properties, body).await;
        let mut delivered = Vec::new();
        while self.test.parked().await.is_empty() {
            soon(
                self.deliveries
                    .next_batch(5, Instant::now(), &mut delivered),
            )
            .await;
            assert_eq!(delivered, [], "nothing of it is believed");
        }
        let parked = self.test.parked().await.remove(0);
        assert_eq!(
            (parked.queue, parked.bytes),
            (self.test.queue(0), body.len() as i64)
        );
        assert!(parked::drop_one(&self.test.pool, parked.id).await.unwrap());
        parked.reason
    }
}

#[tokio::test]
async fn a_delivery_that_does_not_match_the_log_is_parked_with_its_reason() {
    let mut scene = Scene::set().await;
    let (log_id, stored) = (scene.test.log_id(), scene.test.stored(0).await);
    let elsewhere = scene.test.stored(1).await;
    let lie = forged(stored[5].clone(), &stored[4]);
    let mut damaged = stored[5].clone();
    damaged.payload.insert(0, ' ');
    let mut beyond = stored[9].clone();
    beyond.position = 11;
    let with_a_hole = [stored[5].clone(), stored[7].clone()];
    let moved = RawEvent {
        partition: 0,
        ..elsewhere[5].clone()
    };
    for (reason, properties, body) in [
        (
            "its content type is not",
            BasicProperties::default(),
            batch(log_id, &stored[5..7]),
        ),
        (
            "its content type is not",
            honest().with_content_type("application/json".into()),
            b"{}".to_vec(),
        ),
        ("it is not a batch", honest(), b"garbage\0\xff".to_vec()),
        ("it is not a batch", honest(), Vec::new()),
        (
            "it is longer than",
            honest(),
            vec![b' '; 4 * 1024 * 1024 + 1],
        ),
        (
            "it is of another log",
            honest(),
            batch(Uuid::now_v7(), &stored[5..7]),
        ),
        (
            "it is of partition 1",
            honest(),
            batch(log_id, &elsewhere[5..7]),
        ),
        (
            "position 6: its hash does not follow",
            honest(),
            batch(log_id, &[moved]),
        ),
        (
            "position 6: its hash does not follow",
            honest(),
            batch(log_id, &[damaged]),
        ),
        (
            "position 6: the log has another event",
            honest(),
            batch(log_id, std::slice::from_ref(&lie)),
        ),
        (
            "position 7: its hash does not follow",
            honest(),
            batch(log_id, &[lie, stored[6].clone()]),
        ),
        (
            "position 11: the log has no such position",
            honest(),
            batch(log_id, &[beyond]),
        ),
        (
            "position 7: there is a hole",
            honest(),
            batch(log_id, &with_a_hole),
        ),
    ] {
        let said = scene.parks(properties, &body).await;
        assert!(said.starts_with(reason), "{said} instead of {reason}");
    }
}

#[tokio::test]
async fn valid_events_are_delivered_from_the_consumers_position() {
    let mut scene = Scene::set().await;
    let (log_id, stored) = (scene.test.log_id(), scene.test.stored(0).await);
    // Applied, then half applied, then a repeat of that, then what follows.
    for range in [0..5, 3..7, 3..7, 7..9] {
        scene
            .test
            .inject(honest(), &batch(log_id, &stored[range]))
            .await;
    }
    let (mut delivered, mut position) = (Vec::new(), 5);
    while position < 9 {
        soon(
            scene
                .deliveries
                .next_batch(position, Instant::now(), &mut delivered),
        )
        .await;
        let expected: Vec<_> = stored
            .iter()
            .filter(|event| event.position > position)
            .collect();
        for (event, expected) in delivered.drain(..).zip(expected) {
            assert_eq!(event, RecordedEvent::try_from(expected).unwrap());
            position = event.position;
        }
    }
    assert_eq!(scene.test.parked().await, []);
}

#[tokio::test]
async fn a_gap_sends_the_consumer_to_the_log_at_once() {
    let mut scene = Scene::set().await;
    let body = batch(scene.test.log_id(), &scene.test.stored(0).await[7..9]);
    scene.test.inject(honest(), &body).await;
    until("it is with the consumer", async || {
        scene.test.in_the_queue(0).await == Some((0, 1))
    })
    .await;
    for _ in 0..3 {
        let mut delivered = Vec::new();
        let woken = scene
            .deliveries
            .next_batch(5, Instant::now(), &mut delivered);
        // Waiting for a late delivery would take a second.
        tokio::time::timeout(Duration::from_millis(800), woken)
            .await
            .expect("the gap is known at once");
        assert_eq!(delivered, []);
    }
}

#[tokio::test]
async fn a_consumer_continues_whatever_is_put_into_its_queue() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.until_the_queue_is_consumed(0, 1).await;
    let foreign = Log::open(testbed::Database::fresh().await.pool().await, 1)
        .await
        .unwrap()
        .identity()
        .log_id;
    for round in 1..=5 {
        test.append(0, 10, 3).await;
        for _ in 0..20 {
            test.inject(honest(), b"[]").await;
            test.inject(honest(), &batch(foreign, &test.stored(0).await))
                .await;
        }
        test.until_noted(0, round * 10).await;
    }
    until("all of it is parked", async || {
        test.parked().await.len() == 200
    })
    .await;
    until("the queue is empty", async || {
        test.in_the_queue(0).await == Some((0, 1))
    })
    .await;
    test.append(0, 10, 3).await;
    test.until_noted(0, 60).await;
    noting.stop().await;
    relaying.stop().await;
}

/// Texts that PostgreSQL cannot store, and more of everything than is stored.
#[tokio::test]
async fn any_message_can_be_parked_and_is_shown() {
    let mut scene = Scene::set().await;
    let mut headers = FieldTable::default();
    headers.insert("nul".into(), AMQPValue::LongString("a\0b".into()));
    headers.insert(
        "bytes".into(),
        AMQPValue::LongString(vec![0xff, 0xfe].into()),
    );
    headers.insert(
        "long".into(),
        AMQPValue::LongString("x".repeat(5_000).into()),
    );
    headers.insert("table".into(), AMQPValue::FieldTable(FieldTable::default()));
    let properties = BasicProperties::default()
        .with_content_type("te\0xt".into())
        .with_headers(headers);
    let body = vec![0xff; MAX_STORED_BODY_BYTES + 1];
    scene.test.inject(properties, &body).await;
    while scene.test.parked().await.is_empty() {
        soon(
            scene
                .deliveries
                .next_batch(5, Instant::now(), &mut Vec::new()),
        )
        .await;
    }
    let listed = scene.test.parked().await.remove(0);
    assert_eq!(listed.body, None);
    let shown = parked::show(&scene.test.pool, listed.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.content_type.as_deref(), Some("te\u{fffd}xt"));
    assert_eq!(shown.headers["nul"], "a\u{fffd}b");
    assert_eq!(shown.headers["long"].len(), 1_000);
    assert_eq!(shown.headers["amqp.routing-key"], scene.test.queue(0));
    assert_eq!(shown.bytes, body.len() as i64);
    assert_eq!(shown.body.unwrap().chars().count(), MAX_STORED_BODY_BYTES);
    assert_eq!(
        parked::show(&scene.test.pool, listed.id + 1).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn the_newest_are_kept_and_dropped_when_asked() {
    let mut scene = Scene::set().await;
    scene
        .test
        .execute(
            "insert into parked_deliveries (queue, reason, headers, body, bytes)
             select 'an old one', n::text, '{}', '', 0 from generate_series(1, 1500) n",
        )
        .await;
    scene.test.inject(honest(), b"the newest").await;
    while scene.test.parked().await.len() as i64 > MAX_PARKED_DELIVERIES
        || scene.test.parked().await[0].queue == "an old one"
    {
        soon(
            scene
                .deliveries
                .next_batch(5, Instant::now(), &mut Vec::new()),
        )
        .await;
    }
    let (count, page) = parked::list(&scene.test.pool, 1, 2).await.unwrap();
    let reasons: Vec<_> = page.iter().map(|parked| parked.reason.as_str()).collect();
    assert_eq!(
        (count, reasons),
        (MAX_PARKED_DELIVERIES, vec!["1500", "1499"])
    );
    assert!(
        parked::drop_one(&scene.test.pool, page[0].id)
            .await
            .unwrap()
    );
    assert!(
        !parked::drop_one(&scene.test.pool, page[0].id)
            .await
            .unwrap()
    );
    assert_eq!(parked::drop_all(&scene.test.pool).await.unwrap(), 999);
    assert_eq!(
        parked::list(&scene.test.pool, 0, 10).await.unwrap(),
        (0, Vec::new())
    );
}

/// Steps: the table is missing, so nothing can be parked; the server keeps the message; the table is back.
#[tokio::test]
async fn a_delivery_that_cannot_be_parked_is_not_acknowledged() {
    let mut scene = Scene::set().await;
    scene
        .test
        .execute("alter table parked_deliveries rename to away")
        .await;
    scene.test.inject(honest(), b"garbage").await;
    until("it is with the consumer", async || {
        scene.test.in_the_queue(0).await == Some((0, 1))
    })
    .await;
    for _ in 0..3 {
        soon(
            scene
                .deliveries
                .next_batch(5, Instant::now(), &mut Vec::new()),
        )
        .await;
    }
    let Scene { test, deliveries } = scene;
    drop(deliveries);
    until("the server has it still", async || {
        test.in_the_queue(0).await == Some((1, 0))
    })
    .await;
    test.execute("alter table away rename to parked_deliveries")
        .await;
    let deliveries = Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 0).unwrap();
    let mut scene = Scene { test, deliveries };
    while scene.test.parked().await.is_empty() {
        soon(
            scene
                .deliveries
                .next_batch(5, Instant::now(), &mut Vec::new()),
        )
        .await;
    }
    assert!(
        scene.test.parked().await[0]
            .reason
            .starts_with("it is not a batch")
    );
}

impl TestBroker {
    /// Puts a message into the consumer's queue, past the exchange, as anybody with access to it can.
    async fn inject(&self, properties: BasicProperties, body: &[u8]) {
        let queue = self.queue(0).into();
        let published = self.amqp.basic_publish(
            "".into(),
            queue,
            BasicPublishOptions::default(),
            body,
            properties,
        );
        published.await.unwrap().await.unwrap();
    }
}
