//! The exchange and the queues on the server. All names contain the log's id, so that several logs can share a server. All
//! arguments are explicit, so that no policy and no default of a release decides what happens to events.

use crate::supervised_connection::within_timeout;
use event_log::Partition;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};
use uuid::Uuid;

/// The most messages in a queue: the oldest are dropped, and the consumer reads them from the log.
const MAX_QUEUE_MESSAGES: i32 = 1_000;
/// The most bytes in a queue.
const MAX_QUEUE_BYTES: i32 = 64 * 1024 * 1024;
/// How often a message is delivered before the server drops it. RabbitMQ 3.10 has no default, 4.x has this one.
const MAX_DELIVERY_ATTEMPTS: i32 = 20;
/// How often a mark is read, once at each start, before the server drops it; the next event brings another.
const MAX_MARK_READS: i32 = 1_000_000;
/// Replicas of a queue, where the cluster has that many nodes.
const MAX_REPLICAS: i32 = 3;

/// The exchange of a log: topic, durable. The routing key is the partition in decimal.
pub fn exchange(log_id: Uuid) -> String {
    format!("product.events.{}", log_id.hyphenated())
}

/// The queue of one of our consumers at one partition.
pub fn queue(log_id: Uuid, consumer: &str, partition: Partition) -> String {
    format!("moa.{}.{consumer}.{partition}", log_id.hyphenated())
}

/// The queue that keeps one message: how far the relay has published this partition.
pub fn marks_queue(log_id: Uuid, partition: Partition) -> String {
    format!("moa.{}.published.{partition}", log_id.hyphenated())
}

pub(crate) fn routing_key(partition: Partition) -> ShortString {
    partition.to_string().into()
}

/// Declares the exchange, unless it exists.
pub(crate) async fn declare_exchange(channel: &Channel, log_id: Uuid) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let name = exchange(log_id).into();
    within_timeout(channel.exchange_declare(
        name,
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    ))
    .await
}

/// Declares a consumer's queue and binds it to the exchange, which must exist; changes nothing where that is done. Returns
/// how many consumers the queue has. The server refuses, and closes the channel, when a queue of this name has other
/// arguments.
pub(crate) async fn declare_queue(
    channel: &Channel,
    log_id: Uuid,
    consumer: &str,
    partition: Partition,
) -> lapin::Result<u32> {
    let queue = ShortString::from(queue(log_id, consumer, partition));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared =
        within_timeout(channel.queue_declare(queue.clone(), options, arguments())).await?;
    let (exchange, key) = (exchange(log_id).into(), routing_key(partition));
    within_timeout(channel.queue_bind(
        queue,
        exchange,
        key,
        QueueBindOptions::default(),
        FieldTable::default(),
    ))
    .await?;
    Ok(declared.consumer_count())
}

/// Declares the queue of a partition's mark; changes nothing where it is there.
pub(crate) async fn declare_marks_queue(
    channel: &Channel,
    log_id: Uuid,
    partition: Partition,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    within_timeout(channel.queue_declare(
        marks_queue(log_id, partition).into(),
        options,
        marks_arguments(),
    ))
    .await?;
    Ok(())
}

/// One message, the last.
pub(crate) fn marks_arguments() -> FieldTable {
    bounded(1, MAX_MARK_READS)
}

/// A consumer's queue has a single active consumer, which keeps the order.
pub(crate) fn arguments() -> FieldTable {
    let mut arguments = bounded(MAX_QUEUE_MESSAGES, MAX_DELIVERY_ATTEMPTS);
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert(
        "x-max-length-bytes".into(),
        AMQPValue::LongInt(MAX_QUEUE_BYTES),
    );
    arguments
}

/// A replicated queue, bounded by dropping, never by refusing the relay.
fn bounded(max_messages: i32, max_deliveries: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    let mut set = |name: &str, value: AMQPValue| {
        arguments.insert(name.into(), value);
    };
    let text = |value: &str| AMQPValue::LongString(value.into());
    set("x-queue-type", text("quorum"));
    set("x-max-length", AMQPValue::LongInt(max_messages));
    set("x-overflow", text("drop-head"));
    set("x-delivery-limit", AMQPValue::LongInt(max_deliveries));
    set("x-queue-leader-locator", text("balanced"));
    set(
        "x-quorum-initial-group-size",
        AMQPValue::LongInt(MAX_REPLICAS),
    );
    arguments
}

/// Whether the server refused because the queue or exchange exists with other arguments.
pub(crate) fn is_precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}
