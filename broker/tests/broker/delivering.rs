//! A consumer that hears through its queue applies everything once and in order, whatever becomes of the queue.

use crate::house::*;
use crate::notes::Noting;
use broker::{Deliveries, RELAY};
use event_log::consume::Source as _;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use std::time::Duration;
use tokio::time::Instant;

/// Healing from the log takes a second; a machine that is busy takes another.
const HEALED: Duration = Duration::from_secs(3);
/// More looks at a queue, one a second, than are made in vain.
const LOOKS: u32 = 13;

#[tokio::test]
async fn what_is_delivered_is_applied_once_in_order_and_acknowledged() {
    let house = House::with_partitions(2).await;
    let (one, other) = (Noting::start(&house, 0).await, Noting::start(&house, 1).await);
    let relaying = Relaying::start(&house.log, &house.broker);
    house.append(0, 1_500, 9).await;
    house.append(1, 300, 2).await;
    house.until_noted(0, 1_500).await;
    house.until_noted(1, 300).await;
    assert_eq!(house.parked().await, []);
    relaying.stop().await;
    house.has_acknowledged(one, 0).await;
    house.has_acknowledged(other, 1).await;
}

#[tokio::test]
async fn repeats_are_passed_over() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    for appended in 1..=3 {
        house.append(0, 100, 10).await;
        let relaying = Relaying::start(&house.log, &house.broker);
        house.until_relayed(0, appended * 100).await;
        relaying.stop().await;
        house.execute("delete from checkpoints where consumer = 'relay'").await;
    }
    house.until_noted(0, 300).await;
    house.has_acknowledged(noting, 0).await;
}

/// Nobody relays, as if every message were lost.
#[tokio::test]
async fn what_is_not_delivered_is_read_from_the_log() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    house.until_the_queue_is_consumed(0, 1).await;
    house.append(0, 10, 10).await;
    house.noted_within(HEALED, 0, 10).await;
    noting.stop().await;
}

/// As after a rebuild: the queue is empty, and the log is long.
#[tokio::test]
async fn a_consumer_that_is_far_behind_is_not_held_up() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    house.until_the_queue_is_consumed(0, 1).await;
    noting.hold_up(true);
    house.append(0, 20_000, 2_000).await;
    noting.hold_up(false);
    house.noted_within(Duration::from_secs(8), 0, 20_000).await;
    noting.stop().await;
}

/// Steps: 10 events are delivered; then 10 more of which the relay, its checkpoint moved ahead, leaves out the first 5.
#[tokio::test]
async fn a_gap_is_filled_from_the_log() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    let relaying = Relaying::start(&house.log, &house.broker);
    house.append(0, 10, 10).await;
    house.until_noted(0, 10).await;
    house.until_relayed(0, 10).await;
    relaying.stop().await;
    noting.hold_up(true);
    house.append(0, 10, 10).await;
    house.execute("update checkpoints set position = 15 where consumer = 'relay'").await;
    let relaying = Relaying::start(&house.log, &house.broker);
    house.until_relayed(0, 20).await;
    noting.hold_up(false);
    house.noted_within(HEALED, 0, 20).await;
    relaying.stop().await;
    house.has_acknowledged(noting, 0).await;
}

#[tokio::test]
async fn messages_that_were_purged_are_read_from_the_log() {
    let house = House::with_one_partition().await;
    let relaying = Relaying::start(&house.log, &house.broker);
    house.append(0, 50, 10).await;
    house.until_relayed(0, 50).await;
    assert!(house.purge_the_queue(0).await > 0);
    house.append(0, 50, 10).await;
    let noting = Noting::start(&house, 0).await;
    house.noted_within(HEALED, 0, 100).await;
    relaying.stop().await;
    house.has_acknowledged(noting, 0).await;
}

/// Steps: one instance is given messages and cannot apply them; it dies, and the server has them still.
#[tokio::test]
async fn a_message_is_acknowledged_only_after_its_events_are_applied() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    house.until_the_queue_is_consumed(0, 1).await;
    noting.hold_up(true);
    let relaying = Relaying::start(&house.log, &house.broker);
    house.append(0, 20, 20).await;
    house.until_relayed(0, 20).await;
    until("all is with the consumer", async || house.in_the_queue(0).await == Some((0, 1))).await;
    noting.kill().await;
    until("the server has them back", async || house.in_the_queue(0).await.is_some_and(|(ready, _)| ready > 0)).await;
    let noting = Noting::start(&house, 0).await;
    house.until_noted(0, 20).await;
    relaying.stop().await;
    house.has_acknowledged(noting, 0).await;
}

#[tokio::test]
async fn of_two_instances_one_goes_on_when_the_other_dies() {
    let house = House::with_one_partition().await;
    let relaying = Relaying::start(&house.log, &house.broker);
    let (elsewhere, _following) = house.another_process().await;
    let one = Noting::start(&house, 0).await;
    house.until_the_queue_is_consumed(0, 1).await;
    let other = Noting::start_with(&house, &elsewhere, &broker_of(&elsewhere), 0).await;
    house.append(0, 200, 3).await;
    house.until_noted(0, 200).await;
    one.kill().await;
    house.append(0, 200, 3).await;
    house.until_noted(0, 400).await;
    house.until_the_queue_is_consumed(0, 1).await;
    relaying.stop().await;
    house.has_acknowledged(other, 0).await;
}

/// The other instance is played by hand: it moves the checkpoint, and this one has nothing to do.
#[tokio::test]
async fn an_instance_that_stands_by_is_not_woken_while_the_other_keeps_up() {
    let house = House::with_one_partition().await;
    house.append(0, 10, 10).await;
    house
        .execute(
            "insert into checkpoints (consumer, partition, position, hash)
             select 'notes', 0, position, hash from events where position = 10",
        )
        .await;
    let mut deliveries = Deliveries::new(&house.log, &house.broker, house.pool.clone(), NOTES, 0).unwrap();
    house.until_the_queue_is_consumed(0, 1).await;
    let mut delivered = Vec::new();
    let word = tokio::time::timeout(HEALED, deliveries.news(0, Instant::now(), &mut delivered)).await;
    assert!(word.is_err(), "the other instance has applied all there is");
    house.append(0, 1, 1).await;
    soon(deliveries.news(0, Instant::now(), &mut delivered)).await;
    assert!(delivered.is_empty(), "woken to read the log");
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again() {
    let house = House::with_one_partition().await;
    let noting = Noting::start(&house, 0).await;
    let relaying = Relaying::start(&house.log, &house.broker);
    for round in 1..=3 {
        house.append(0, 30, 3).await;
        house.until_the_queue_is_consumed(0, 1).await;
        house.delete_the_queue(0).await;
        house.append(0, 30, 3).await;
        house.until_noted(0, round * 60).await;
    }
    house.until_the_queue_is_consumed(0, 1).await;
    noting.stop().await;
    relaying.stop().await;
}

/// Another queue is bound, so the relay is told nothing. At first the consumer is sent to the log, then events come.
#[tokio::test]
async fn a_queue_that_was_unbound_is_bound_again() {
    let house = House::with_one_partition().await;
    let tap = crate::tap::Tap::on(&house).await;
    let mut deliveries = Deliveries::new(&house.log, &house.broker, house.pool.clone(), NOTES, 0).unwrap();
    let relaying = Relaying::start(&house.log, &house.broker);
    house.until_the_queue_is_consumed(0, 1).await;
    // Both have declared the queue, and do not again unasked.
    house.append(0, 1, 1).await;
    house.until_relayed(0, 1).await;
    house.unbind_the_queue(0).await;
    let (mut delivered, mut in_vain) = (Vec::new(), 0);
    soon(async {
        loop {
            let position = house.append(0, 1, 1).await[0].position;
            deliveries.news(position - 1, Instant::now(), &mut delivered).await;
            if !delivered.is_empty() {
                return;
            }
            in_vain += 1;
        }
    })
    .await;
    assert!(in_vain > 0, "the first came");
    relaying.stop().await;
    tap.close().await;
}

/// Steps: somebody else consumes first, so that nothing is brought; ours waits in line, and a third behind it. After some
/// looks in vain ours has consumed anew, and so is the last: when the first leaves, the third is served.
#[tokio::test]
async fn a_queue_that_brings_nothing_for_long_is_consumed_from_anew() {
    let house = House::with_one_partition().await;
    let relaying = Relaying::start(&house.log, &house.broker);
    house.append(0, 1, 1).await;
    house.until_relayed(0, 1).await;
    let (first, _kept) = consume(&house).await;
    let mut deliveries = Deliveries::new(&house.log, &house.broker, house.pool.clone(), NOTES, 0).unwrap();
    // Without a queue to wait for it is sent to the log at once.
    while !looks_in_vain(&house, &mut deliveries).await {}
    let (_third, mut served) = consume(&house).await;
    for _ in 0..LOOKS {
        looks_in_vain(&house, &mut deliveries).await;
    }
    while !looks_in_vain(&house, &mut deliveries).await {}
    first.close(200, "OK".into()).await.unwrap();
    soon(served.next()).await.unwrap().unwrap();
    relaying.stop().await;
}

/// Whether it waited for the queue before it was sent to the log.
async fn looks_in_vain(house: &House, deliveries: &mut Deliveries) -> bool {
    let position = house.append(0, 1, 1).await[0].position;
    let (mut delivered, asked) = (Vec::new(), Instant::now());
    soon(deliveries.news(position - 1, asked, &mut delivered)).await;
    assert_eq!(delivered, []);
    asked.elapsed() > Duration::from_millis(900)
}

/// Takes one message of the queue at most.
async fn consume(house: &House) -> (Channel, Consumer) {
    let channel = amqp().await.create_channel().await.unwrap();
    channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let (queue, options) = (house.queue(0).into(), BasicConsumeOptions::default());
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    (channel, consumer)
}

#[tokio::test]
async fn where_the_queue_is_another_the_log_is_followed_until_it_is_deleted() {
    let house = House::with_one_partition().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    house.amqp.queue_declare(house.queue(0).into(), durable, FieldTable::default()).await.unwrap();
    let noting = Noting::start(&house, 0).await;
    for appended in 1..=3 {
        house.append(0, 10, 10).await;
        house.noted_within(HEALED, 0, appended * 10).await;
    }
    assert_eq!(house.in_the_queue(0).await, Some((0, 0)));
    house.delete_the_queue(0).await;
    house.until_the_queue_is_consumed(0, 1).await;
    noting.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_none_has_no_deliveries() {
    let house = House::with_one_partition().await;
    assert!(Deliveries::new(&house.log, &house.broker, house.pool.clone(), NOTES, 1).is_none());
    assert_eq!(house.checkpoint(RELAY, 0).await, 0);
}

impl House {
    /// Whatever was delivered is acknowledged once it is applied: when the consumer goes, nothing comes back to the
    /// queue but the message it was at.
    async fn has_acknowledged(&self, noting: Noting, partition: i32) {
        until("nothing waits in the queue", async || self.in_the_queue(partition).await == Some((0, 1))).await;
        // Once this one is applied, all before it are told to the server.
        let position = self.append(partition, 1, 1).await[0].position;
        self.until_noted(partition, position).await;
        noting.stop().await;
        self.until_the_queue_is_consumed(partition, 0).await;
        let (back, _) = self.in_the_queue(partition).await.unwrap();
        assert!(back <= 1, "{back} messages came back");
    }
}
