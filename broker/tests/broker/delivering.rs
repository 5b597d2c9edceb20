//! A consumer with a queue applies every event once and in order, whatever happens to the queue.

use crate::notes::Noting;
use crate::test_broker::*;
use broker::{Deliveries, RELAY};
use event_log::consume::EventSource as _;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use std::time::Duration;
use tokio::time::Instant;

/// A gap fill takes a second; a busy machine takes another.
const GAP_FILL_TIMEOUT: Duration = Duration::from_secs(3);
/// More checks of a silent queue, one a second, than it takes to subscribe again.
const CHECKS: u32 = 13;

#[tokio::test]
async fn what_is_delivered_is_applied_once_in_order_and_acknowledged() {
    let test = TestBroker::with_partitions(2).await;
    let (one, other) = (Noting::start(&test, 0).await, Noting::start(&test, 1).await);
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 1_500, 9).await;
    test.append(1, 300, 2).await;
    test.until_noted(0, 1_500).await;
    test.until_noted(1, 300).await;
    assert_eq!(test.parked().await, []);
    relaying.stop().await;
    test.has_acknowledged(one, 0).await;
    test.has_acknowledged(other, 1).await;
}

#[tokio::test]
async fn repeated_deliveries_are_skipped() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    for appended in 1..=3 {
        test.append(0, 100, 10).await;
        let relaying = Relaying::start(&test.log, &test.broker);
        test.until_relayed(0, appended * 100).await;
        relaying.stop().await;
        test.execute("delete from checkpoints where consumer = 'relay'")
            .await;
    }
    test.until_noted(0, 300).await;
    test.has_acknowledged(noting, 0).await;
}

/// No relay runs, as if every message were lost.
#[tokio::test]
async fn what_is_not_delivered_is_read_from_the_log() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    test.until_the_queue_is_consumed(0, 1).await;
    test.append(0, 10, 10).await;
    test.noted_within(GAP_FILL_TIMEOUT, 0, 10).await;
    noting.stop().await;
}

/// As after a rebuild: the queue is empty, and the log is long. It waits a second at each of the last five steps, not at all fifteen.
#[tokio::test]
async fn a_consumer_that_is_far_behind_is_not_held_up() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    test.until_the_queue_is_consumed(0, 1).await;
    noting.hold_up(true);
    let began = Instant::now();
    test.append(0, 60_000, 2_000).await;
    // Reading takes about as long as writing did, on whatever machine.
    let work = began.elapsed();
    noting.hold_up(false);
    test.noted_within(Duration::from_secs(10) + work, 0, 60_000)
        .await;
    noting.stop().await;
}

/// 1. A queue has several steps of events, of messages that do not fill a step exactly. 2. A consumer whose steps are far apart under
/// load does not wait between them: the server sends no more before some are acknowledged.
#[tokio::test]
async fn a_consumer_does_not_linger_over_a_full_queue() {
    let test = TestBroker::with_one_partition().await;
    Noting::start(&test, 0).await.stop().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 60_000, 150).await;
    test.until_relayed(0, 60_000).await;
    let linger = Duration::from_secs(6);
    let noting = Noting::start_lingering(&test, (&test.log, &test.broker), 0, linger).await;
    test.noted_within(linger * 4, 0, 60_000).await;
    noting.stop().await;
    relaying.stop().await;
}

/// Steps: 10 events are delivered; then 10 more of which the relay, its checkpoint moved ahead, leaves out the first 5.
#[tokio::test]
async fn a_gap_is_filled_from_the_log() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 10, 10).await;
    test.until_noted(0, 10).await;
    test.until_relayed(0, 10).await;
    relaying.stop().await;
    noting.hold_up(true);
    test.append(0, 10, 10).await;
    test.execute("update checkpoints set position = 15 where consumer = 'relay'")
        .await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.until_relayed(0, 20).await;
    noting.hold_up(false);
    test.noted_within(GAP_FILL_TIMEOUT, 0, 20).await;
    relaying.stop().await;
    test.has_acknowledged(noting, 0).await;
}

#[tokio::test]
async fn messages_that_were_purged_are_read_from_the_log() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 50, 10).await;
    test.until_relayed(0, 50).await;
    assert!(test.purge_the_queue(0).await > 0);
    test.append(0, 50, 10).await;
    let noting = Noting::start(&test, 0).await;
    test.noted_within(GAP_FILL_TIMEOUT, 0, 100).await;
    relaying.stop().await;
    test.has_acknowledged(noting, 0).await;
}

/// Steps: one instance receives messages and cannot apply them; it dies, and the server still has them.
#[tokio::test]
async fn a_message_is_acknowledged_only_after_its_events_are_applied() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    test.until_the_queue_is_consumed(0, 1).await;
    noting.hold_up(true);
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 20, 20).await;
    test.until_relayed(0, 20).await;
    until("the consumer has every message", async || {
        test.in_the_queue(0).await == Some((0, 1))
    })
    .await;
    noting.kill().await;
    until("the server has them back", async || {
        test.in_the_queue(0)
            .await
            .is_some_and(|(ready, _)| ready > 0)
    })
    .await;
    let noting = Noting::start(&test, 0).await;
    test.until_noted(0, 20).await;
    relaying.stop().await;
    test.has_acknowledged(noting, 0).await;
}

#[tokio::test]
async fn of_two_instances_one_goes_on_when_the_other_dies() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    let (elsewhere, _following) = test.another_process().await;
    let one = Noting::start(&test, 0).await;
    test.until_the_queue_is_consumed(0, 1).await;
    let other = Noting::start_with(&test, &elsewhere, &broker_of(&elsewhere), 0).await;
    test.append(0, 200, 3).await;
    test.until_noted(0, 200).await;
    one.kill().await;
    test.append(0, 200, 3).await;
    test.until_noted(0, 400).await;
    test.until_the_queue_is_consumed(0, 1).await;
    relaying.stop().await;
    test.has_acknowledged(other, 0).await;
}

/// The test acts as the other instance: it moves the checkpoint, and this instance has nothing to do.
#[tokio::test]
async fn an_idle_instance_is_not_woken_while_another_moves_the_checkpoint() {
    let test = TestBroker::with_one_partition().await;
    test.append(0, 10, 10).await;
    test.execute(
        "insert into checkpoints (consumer, partition, position, hash)
             select 'notes', 0, position, hash from events where position = 10",
    )
    .await;
    let mut deliveries =
        Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 0).unwrap();
    test.until_the_queue_is_consumed(0, 1).await;
    let mut delivered = Vec::new();
    let woken = tokio::time::timeout(
        GAP_FILL_TIMEOUT,
        deliveries.next_batch(0, Instant::now(), &mut delivered),
    )
    .await;
    assert!(woken.is_err(), "the other instance has applied every event");
    test.append(0, 1, 1).await;
    soon(deliveries.next_batch(0, Instant::now(), &mut delivered)).await;
    assert!(delivered.is_empty(), "woken to read the log");
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again() {
    let test = TestBroker::with_one_partition().await;
    let noting = Noting::start(&test, 0).await;
    let relaying = Relaying::start(&test.log, &test.broker);
    for round in 1..=3 {
        test.append(0, 30, 3).await;
        test.until_the_queue_is_consumed(0, 1).await;
        test.delete_the_queue(0).await;
        test.append(0, 30, 3).await;
        test.until_noted(0, round * 60).await;
    }
    test.until_the_queue_is_consumed(0, 1).await;
    noting.stop().await;
    relaying.stop().await;
}

/// Another queue is bound, so the relay gets no message back. At first the consumer fills gaps from the log, then deliveries
/// arrive.
#[tokio::test]
async fn a_queue_that_was_unbound_is_bound_again() {
    let test = TestBroker::with_one_partition().await;
    let tap = crate::tap::Tap::on(&test).await;
    let mut deliveries =
        Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 0).unwrap();
    let relaying = Relaying::start(&test.log, &test.broker);
    test.until_the_queue_is_consumed(0, 1).await;
    // Both have declared the queue, and will not do so again by themselves.
    test.append(0, 1, 1).await;
    test.until_relayed(0, 1).await;
    test.unbind_the_queue(0).await;
    let (mut delivered, mut gaps) = (Vec::new(), 0);
    soon(async {
        loop {
            let position = test.append(0, 1, 1).await[0].position;
            deliveries
                .next_batch(position - 1, Instant::now(), &mut delivered)
                .await;
            if !delivered.is_empty() {
                return;
            }
            gaps += 1;
        }
    })
    .await;
    assert!(gaps > 0, "the first event was delivered");
    relaying.stop().await;
    tap.close().await;
}

/// Steps: another consumer is active, so ours receives nothing and waits in line, with a third behind it. After some silent
/// checks ours has subscribed again, and so is last: when the first leaves, the third becomes active.
#[tokio::test]
async fn a_queue_that_stays_silent_is_subscribed_to_again() {
    let test = TestBroker::with_one_partition().await;
    let relaying = Relaying::start(&test.log, &test.broker);
    test.append(0, 1, 1).await;
    test.until_relayed(0, 1).await;
    let (first, _consumer) = consume(&test).await;
    let mut deliveries =
        Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 0).unwrap();
    // Without a queue to wait for, it reads the log at once.
    while !waits_in_vain(&test, &mut deliveries).await {}
    let (_third, mut served) = consume(&test).await;
    for _ in 0..CHECKS {
        waits_in_vain(&test, &mut deliveries).await;
    }
    while !waits_in_vain(&test, &mut deliveries).await {}
    first.close(200, "OK".into()).await.unwrap();
    soon(served.next()).await.unwrap().unwrap();
    relaying.stop().await;
}

/// Whether it waited for the queue before it was woken to read the log.
async fn waits_in_vain(test: &TestBroker, deliveries: &mut Deliveries) -> bool {
    let position = test.append(0, 1, 1).await[0].position;
    let (mut delivered, asked) = (Vec::new(), Instant::now());
    soon(deliveries.next_batch(position - 1, asked, &mut delivered)).await;
    assert_eq!(delivered, []);
    asked.elapsed() > Duration::from_millis(900)
}

/// Consumes at most one message of the queue.
async fn consume(test: &TestBroker) -> (Channel, Consumer) {
    let channel = amqp().await.create_channel().await.unwrap();
    channel
        .basic_qos(1, BasicQosOptions::default())
        .await
        .unwrap();
    let (queue, options) = (test.queue(0).into(), BasicConsumeOptions::default());
    let consumer = channel
        .basic_consume(queue, "".into(), options, FieldTable::default())
        .await
        .unwrap();
    (channel, consumer)
}

#[tokio::test]
async fn a_consumer_whose_queue_has_other_arguments_reads_the_log_until_it_is_deleted() {
    let test = TestBroker::with_one_partition().await;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    test.amqp
        .queue_declare(test.queue(0).into(), durable, FieldTable::default())
        .await
        .unwrap();
    let noting = Noting::start(&test, 0).await;
    for appended in 1..=3 {
        test.append(0, 10, 10).await;
        test.noted_within(GAP_FILL_TIMEOUT, 0, appended * 10).await;
    }
    assert_eq!(test.in_the_queue(0).await, Some((0, 0)));
    test.delete_the_queue(0).await;
    test.until_the_queue_is_consumed(0, 1).await;
    noting.stop().await;
}

#[tokio::test]
async fn an_unknown_partition_has_no_deliveries() {
    let test = TestBroker::with_one_partition().await;
    assert!(Deliveries::new(&test.log, &test.broker, test.pool.clone(), NOTES, 1).is_none());
    assert_eq!(test.checkpoint(RELAY, 0).await, 0);
}

impl TestBroker {
    /// Every delivered message is acknowledged once it is applied: when the consumer ends, only the message in flight
    /// returns to the queue.
    async fn has_acknowledged(&self, noting: Noting, partition: i32) {
        until("nothing waits in the queue", async || {
            self.in_the_queue(partition).await == Some((0, 1))
        })
        .await;
        // Once this one is applied, all before it are acknowledged.
        let position = self.append(partition, 1, 1).await[0].position;
        self.until_noted(partition, position).await;
        noting.stop().await;
        self.until_the_queue_is_consumed(partition, 0).await;
        let (back, _) = self.in_the_queue(partition).await.unwrap();
        assert!(back <= 1, "{back} messages came back");
    }
}
