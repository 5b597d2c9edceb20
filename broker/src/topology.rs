//! What is declared on the server. All names carry the log's id, so that several logs can share a server, and all
//! arguments are explicit, so that no policy or default of a release decides what becomes of events.

use crate::link::answered;
use event_log::Partition;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};
use uuid::Uuid;

/// Messages in a queue at most: the oldest go first, and who misses them reads the log.
const MAX_LENGTH: i32 = 1_000;
/// Bytes in a queue at most.
const MAX_LENGTH_BYTES: i32 = 64 * 1024 * 1024;
/// How often a message is delivered before the server drops it. 3.10 has no limit by itself, 4.x has this one.
const DELIVERY_LIMIT: i32 = 20;
/// Copies of a queue, where the cluster has that many nodes.
const COPIES: i32 = 3;

/// The exchange that a log is published to: topic, durable. The routing key is the partition in decimal.
pub fn exchange(log_id: Uuid) -> String {
    format!("product.events.{}", log_id.hyphenated())
}

/// The queue of one of our consumers at one partition.
pub fn queue(log_id: Uuid, consumer: &str, partition: Partition) -> String {
    format!("moa.{}.{consumer}.{partition}", log_id.hyphenated())
}

pub(crate) fn routing_key(partition: Partition) -> ShortString {
    partition.to_string().into()
}

/// Declares the exchange; nothing happens when it is there.
pub(crate) async fn declare_exchange(channel: &Channel, log_id: Uuid) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let name = exchange(log_id).into();
    answered(channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default())).await
}

/// Declares a consumer's queue and binds it to the exchange, which must be there; nothing happens when it is so. Says how
/// many consume from it. The server refuses, and closes the channel, when there is a queue of this name with other
/// arguments.
pub(crate) async fn declare_queue(
    channel: &Channel,
    log_id: Uuid,
    consumer: &str,
    partition: Partition,
) -> lapin::Result<u32> {
    let queue = ShortString::from(queue(log_id, consumer, partition));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = answered(channel.queue_declare(queue.clone(), options, arguments())).await?;
    let (exchange, key) = (exchange(log_id).into(), routing_key(partition));
    answered(channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())).await?;
    Ok(declared.consumer_count())
}

/// Replicated, one consumer at a time so that order holds, and bounded without ever refusing the relay a message.
fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    let mut set = |name: &str, value: AMQPValue| {
        arguments.insert(name.into(), value);
    };
    let text = |value: &str| AMQPValue::LongString(value.into());
    set("x-queue-type", text("quorum"));
    set("x-single-active-consumer", AMQPValue::Boolean(true));
    set("x-max-length", AMQPValue::LongInt(MAX_LENGTH));
    set("x-max-length-bytes", AMQPValue::LongInt(MAX_LENGTH_BYTES));
    set("x-overflow", text("drop-head"));
    set("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT));
    set("x-queue-leader-locator", text("balanced"));
    set("x-quorum-initial-group-size", AMQPValue::LongInt(COPIES));
    arguments
}

/// Whether the server refused because what is there has other arguments.
pub(crate) fn is_precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}
