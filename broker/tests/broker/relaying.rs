//! The relay: exactly what was committed, in order; repeats, but no holes and nothing else.

use crate::tap::{Tap, once};
use crate::test_broker::*;
use broker::{RELAY, cloud_events};
use event_log::{Acceptance, Log, RawEvent, Writer};
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

/// Appends to both partitions, by two processes, while the relay is at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_published_once_and_in_order() {
    let test = TestBroker::with_partitions(2).await;
    let mut tap = Tap::on(&test).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    let (elsewhere, _following) = test.another_process().await;
    let appending = tokio::spawn(async move {
        let mut writer = Writer::open(elsewhere, 1).await.unwrap();
        append_with(&mut writer, 700, 3).await;
    });
    test.append(0, 900, 7).await;
    appending.await.unwrap();
    let (mut zero, mut one) = (Vec::new(), Vec::new());
    while zero.len() < 900 || one.len() < 700 {
        let batch = tap.batch().await;
        if batch[0].partition == 0 {
            &mut zero
        } else {
            &mut one
        }
        .extend(batch);
    }
    assert_eq!(zero, test.stored(0).await);
    assert_eq!(one, test.stored(1).await);
    test.until_relayed(0, 900).await;
    test.until_relayed(1, 700).await;
    relaying.stop().await;
    tap.close().await;
}

#[tokio::test]
async fn a_long_history_is_published_from_the_beginning() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 5_000, 1_000).await;
    let mut tap = Tap::on(&test).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    assert_eq!(tap.up_to(0, 5_000).await, test.stored(0).await);
    relaying.stop().await;
}

/// A loss is accepted by another process, of which the relay's hears nothing: it must look by itself.
#[tokio::test]
async fn what_follows_a_loss_says_of_which_incarnation_it_is() {
    let test = TestBroker::with_one_partition().await;
    let mut tap = Tap::on(&test).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 3, 3).await;
    let before = tap.next().await;
    let elsewhere = Log::open(test.pool.clone(), 1).await.unwrap();
    assert_eq!(elsewhere.accept(Acceptance::Loss).await.unwrap(), [3]);
    test.append(0, 2, 2).await;
    let after = tap.next().await;
    let said = |message: &lapin::message::Delivery| {
        let batch: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
        (
            batch[0]["position"].clone(),
            batch[0]["incarnation"].clone(),
            batch[0]["forkedat"].clone(),
        )
    };
    assert_eq!(
        said(&before),
        ("1".into(), serde_json::Value::Null, serde_json::Value::Null)
    );
    let incarnation = elsewhere
        .read_forks()
        .await
        .unwrap()
        .incarnation()
        .to_string();
    assert_eq!(
        said(&after),
        ("4".into(), incarnation.as_str().into(), "3".into())
    );
    let id = after.properties.message_id().as_ref().unwrap().to_string();
    assert_eq!(id, format!("0-4-5-{incarnation}"));
    relaying.stop().await;
}

#[tokio::test]
async fn a_message_says_what_is_in_it() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 7, 7).await;
    let mut tap = Tap::on(&test).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    let message = tap.next().await;
    let (properties, stored) = (&message.properties, test.stored(0).await);
    assert_eq!(message.routing_key.as_str(), "0");
    assert_eq!(
        message.exchange.as_str(),
        format!("product.events.{}", test.log_id())
    );
    let short = |text: &Option<lapin::types::ShortString>| text.as_ref().unwrap().to_string();
    assert_eq!(short(properties.content_type()), cloud_events::CONTENT_TYPE);
    assert_eq!(short(properties.app_id()), "moa");
    assert_eq!(short(properties.kind()), "product.events");
    assert_eq!(short(properties.message_id()), "0-1-7");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        *properties.timestamp(),
        Some(stored[6].recorded_at.timestamp() as u64)
    );
    let headers = properties.headers().clone().unwrap();
    let text = |text: String| AMQPValue::LongString(text.into());
    for (name, value) in [
        ("log-id", text(test.log_id().to_string())),
        ("partition", AMQPValue::LongInt(0)),
        ("first-position", AMQPValue::LongLongInt(1)),
        ("last-position", AMQPValue::LongLongInt(7)),
        ("events", AMQPValue::LongInt(7)),
        // The third event is the first that has one.
        (
            "traceparent",
            text("00-0af7651916cd43dd8448eb211c80319c-0000000000000003-01".into()),
        ),
    ] {
        assert_eq!(headers.inner().get(name), Some(&value), "{name}");
    }
    assert_eq!(headers.inner().len(), 6);
    relaying.stop().await;
}

/// Steps: two relays; each 30 events the one that publishes loses its lease to whoever is faster, and does not know it
/// yet. In the end one is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_at_once_repeat_and_leave_nothing_out() {
    let test = TestBroker::with_one_partition().await;
    let mut tap = Tap::on(&test).await;
    let (elsewhere, _following) = test.another_process().await;
    let one = Relaying::start(&test.log, &test.broker);
    let other = Relaying::start(&elsewhere, &broker_of(&elsewhere));
    for _ in 0..10 {
        test.append(0, 30, 4).await;
        test.execute("update leases set until = clock_timestamp()")
            .await;
        let epoch = test.epoch().await;
        until("a relay takes the lease", async || {
            test.epoch().await > epoch
        })
        .await;
    }
    one.kill().await;
    test.append(0, 30, 4).await;
    let got = tap.up_to(0, 330).await;
    assert_eq!(once(got), test.stored(0).await);
    test.until_relayed(0, 330).await;
    other.stop().await;
}

#[tokio::test]
async fn a_relay_that_died_is_replaced_when_its_lease_is_over() {
    let test = TestBroker::with_one_partition().await;
    let mut tap = Tap::on(&test).await;
    let one = Relaying::start(&test.log, &test.broker);
    test.append(0, 10, 5).await;
    test.until_relayed(0, 10).await;
    one.kill().await;
    test.append(0, 10, 5).await;
    let (elsewhere, _following) = test.another_process().await;
    let other = Relaying::start(&elsewhere, &broker_of(&elsewhere));
    test.until_relayed(0, 20).await;
    assert_eq!(once(tap.up_to(0, 20).await), test.stored(0).await);
    assert_eq!(test.epoch().await, 2);
    other.stop().await;
}

#[tokio::test]
async fn a_stopped_relay_stores_its_checkpoint_and_releases_its_leases() {
    let test = TestBroker::with_partitions(2).await;
    let mut tap = Tap::on(&test).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 3, 1).await;
    test.append(1, 3, 1).await;
    tap.up_to(1, 3).await;
    test.until_relayed(0, 3).await;
    test.append(0, 1, 1).await;
    tap.up_to(0, 4).await;
    relaying.stop().await;
    assert_eq!(test.checkpoint(RELAY, 0).await, 4);
    assert_eq!(
        test.execute("delete from leases where until <= clock_timestamp()")
            .await,
        2
    );
}

/// No queue is bound: every message is confirmed, and returned.
#[tokio::test]
async fn returned_messages_do_not_count_as_published() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 10, 5).await;
    let relaying = Relaying::start_for(&test.log, &test.broker, Vec::new());
    // It has tried for as long as makes it not ready, again and again.
    until("it says that it cannot publish", async || {
        test.log.readiness().failed() == ["relay"]
    })
    .await;
    assert_eq!(test.checkpoint(RELAY, 0).await, 0);
    let mut tap = Tap::on(&test).await;
    test.until_relayed(0, 10).await;
    assert_eq!(once(tap.up_to(0, 10).await), test.stored(0).await);
    relaying.stop().await;
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again_and_misses_nothing_from_then_on() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 50, 10).await;
    test.until_relayed(0, 50).await;
    test.delete_the_queue(0).await;
    test.append(0, 50, 10).await;
    test.until_relayed(0, 100).await;
    assert_eq!(
        once(test.read_the_queue(0, 100).await),
        test.stored(0).await[50..]
    );
    relaying.stop().await;
}

/// The queue is there with other arguments, and not bound.
#[tokio::test]
async fn a_queue_that_cannot_be_declared_does_not_block_others() {
    let test = TestBroker::with_one_partition().await;
    let mut tap = Tap::on(&test).await;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    test.amqp
        .queue_declare(test.queue(0).into(), durable, FieldTable::default())
        .await
        .unwrap();
    test.append(0, 10, 10).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    assert_eq!(once(tap.up_to(0, 10).await), test.stored(0).await);
    test.until_relayed(0, 10).await;
    relaying.stop().await;
}

#[tokio::test]
async fn an_exchange_that_was_deleted_is_declared_again_with_its_bindings() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 50, 10).await;
    test.until_relayed(0, 50).await;
    test.delete_the_exchange().await;
    test.append(0, 50, 10).await;
    test.until_relayed(0, 100).await;
    assert_eq!(
        once(test.read_the_queue(0, 100).await),
        test.stored(0).await
    );
    let mut late = Tap::on(&test).await;
    test.append(0, 50, 10).await;
    assert_eq!(once(late.up_to(0, 150).await), test.stored(0).await[100..]);
    relaying.stop().await;
}

/// The exchange is deleted again and again while events are appended. The tap's binding goes with it each time, so the
/// relay's own queue is looked at: what the checkpoint passed is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_out_however_often_the_exchange_is_deleted() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    for round in 1..=6 {
        test.append(0, 40, 2).await;
        test.delete_the_exchange().await;
        test.append(0, 10, 1).await;
        test.until_relayed(0, round * 50).await;
    }
    assert_eq!(
        once(test.read_the_queue(0, 300).await),
        test.stored(0).await
    );
    relaying.stop().await;
}

impl TestBroker {
    async fn epoch(&self) -> i64 {
        sqlx::query_scalar("select epoch from leases where name = 'relay.0'")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Takes what is in the queue, which must go as far as `position`.
    async fn read_the_queue(&self, partition: i32, position: i64) -> Vec<RawEvent> {
        let (consuming, arguments) = (
            BasicConsumeOptions {
                no_ack: true,
                ..Default::default()
            },
            FieldTable::default(),
        );
        let messages = self.amqp.basic_consume(
            self.queue(partition).into(),
            "".into(),
            consuming,
            arguments,
        );
        let (mut messages, mut events) = (messages.await.unwrap(), Vec::<RawEvent>::new());
        while events.last().is_none_or(|last| last.position < position) {
            let message = soon(messages.next()).await.unwrap().unwrap();
            events.extend(cloud_events::decode(self.log_id(), &message.data).unwrap());
        }
        events
    }
}
