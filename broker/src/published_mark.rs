//! Published marks: how far the relay has published each partition, kept by RabbitMQ. They are a witness outside the database: if
//! it lacks an event that a mark names, it was restored to an earlier state. Seals say the same of a log that is sealed, up to two seconds later.

use crate::supervised_connection::within_timeout;
use crate::{Broker, topology};
use event_log::{Hash, Incarnation, Log, LogError, Partition, Position, RawEvent, WriteStop};
use hex::FromHex as _;
use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, ErrorKind, PublisherConfirm};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;
use tokio::time::timeout;

/// How long a start waits for RabbitMQ: while that is away, invests are taken all the same.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// AMQP's mode for a message that is on disk when it is confirmed.
const PERSISTENT_DELIVERY_MODE: u8 = 2;

/// The last event of a partition that was published.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PublishedMark {
    /// The incarnation that was written to when it was published.
    incarnation: Incarnation,
    position: Position,
    /// The event's hash, in hexadecimal digits.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    hash: Hash,
}

fn write_hash<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(hash))
}

fn read_hash<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
    Hash::from_hex(String::deserialize(from)?).map_err(D::Error::custom)
}

/// Why a mark could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Broker(#[from] lapin::Error),
    #[error("what is in the queue is no mark: {0}")]
    Json(#[from] serde_json::Error),
}

/// The mark of one partition, as a relay moves it.
pub(crate) struct Marker {
    /// What the queue had when this relay came to it. In a database that was set back, the relay publishes again what was published
    /// before, and must not take away the only trace of what followed.
    found: Option<PublishedMark>,
    has_queue: bool,
}

impl Marker {
    /// The marker of `partition`, whose queue is declared. One that has other arguments holds no event up: nothing is marked then.
    pub(crate) async fn open(
        channel: &Channel,
        broker: &Broker,
        partition: Partition,
    ) -> lapin::Result<Self> {
        if !is_declared(broker, partition).await? {
            return Ok(Self {
                found: None,
                has_queue: false,
            });
        }
        let found = match read(channel, broker, partition).await {
            Ok(found) => found,
            Err(ReadError::Broker(error)) => return Err(error),
            Err(ReadError::Json(error)) => {
                tracing::warn!(partition, %error, "what is in the queue of published marks is no mark, and is replaced");
                None
            }
        };
        Ok(Self {
            found,
            has_queue: true,
        })
    }

    /// Whether the queue had none.
    pub(crate) fn is_missing(&self) -> bool {
        self.has_queue && self.found.is_none()
    }

    /// Puts the mark of `last` in the place of the one before, unless that is further in this incarnation or a later one. The channel
    /// confirms; a queue that is gone returns the message.
    pub(crate) async fn publish(
        &self,
        channel: &Channel,
        broker: &Broker,
        incarnation: Incarnation,
        last: &RawEvent,
    ) -> lapin::Result<Option<PublisherConfirm>> {
        let is_behind = |found: &PublishedMark| {
            (found.incarnation, found.position) >= (incarnation, last.position)
        };
        if !self.has_queue || self.found.as_ref().is_some_and(is_behind) {
            return Ok(None);
        }
        let mark = PublishedMark {
            incarnation,
            position: last.position,
            hash: last.hash,
        };
        let body = serde_json::to_vec(&mark).unwrap_or_default();
        let queue = topology::marks_queue(broker.log_id(), last.partition);
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT_DELIVERY_MODE)
            .with_content_type("application/json".into());
        let published = channel.basic_publish(
            ShortString::default(),
            queue.into(),
            options,
            &body,
            properties,
        );
        within_timeout(published).await.map(Some)
    }
}

async fn is_declared(broker: &Broker, partition: Partition) -> lapin::Result<bool> {
    // A refusal closes the channel, so the declaration has one of its own.
    let channel = broker.channel_to_publish().await?;
    match topology::declare_marks_queue(&channel, broker.log_id(), partition).await {
        Err(error) if topology::is_precondition_failed(&error) => {
            tracing::warn!(partition, %error, "the queue of published marks has other arguments: delete it, and it is declared again");
            Ok(false)
        }
        declared => declared.map(|()| true),
    }
}

/// Stops writes into each partition whose last published event is not in the database as it was published, unless an operator has
/// accepted a loss since. Call it before anything is decided. A RabbitMQ that is away, or knows nothing, stops nothing: that is logged.
///
/// # Errors
/// The log cannot be read.
pub async fn stop_writes_behind_published(log: &Log, broker: &Broker) -> Result<(), LogError> {
    let read = timeout(COMPARE_TIMEOUT, read_all(log, broker)).await;
    let marks = match read {
        Ok(Ok(marks)) => Ok(marks),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("RabbitMQ did not answer in time".into()),
    };
    let marks = marks.unwrap_or_else(|why| {
        tracing::warn!(
            why,
            "the log was not compared with what was published of it"
        );
        Vec::new()
    });
    let incarnation = log.read_forks().await?.incarnation();
    for (partition, mark) in marks {
        // An older one is of a history that an operator gave up.
        if mark.incarnation >= incarnation
            && !log.has_event(partition, mark.position, &mark.hash).await?
        {
            log.stop_writes(
                partition,
                WriteStop::BehindPublished {
                    partition,
                    published: mark.position,
                },
            );
        }
    }
    Ok(())
}

async fn read_all(
    log: &Log,
    broker: &Broker,
) -> Result<Vec<(Partition, PublishedMark)>, ReadError> {
    let mut marks = Vec::new();
    for partition in log.partitions() {
        let channel = broker.channel_to_consume().await?;
        marks.extend(
            read(&channel, broker, partition)
                .await?
                .map(|mark| (partition, mark)),
        );
        // A queue that is not there has closed it.
        within_timeout(channel.close(200, "OK".into())).await.ok();
    }
    Ok(marks)
}

/// The mark, which goes back where it was; `None` where nothing was published yet.
async fn read(
    channel: &Channel,
    broker: &Broker,
    partition: Partition,
) -> Result<Option<PublishedMark>, ReadError> {
    let queue = topology::marks_queue(broker.log_id(), partition);
    let found =
        match within_timeout(channel.basic_get(queue.into(), BasicGetOptions::default())).await {
            Err(error) if is_not_found(&error) => return Ok(None),
            found => found?,
        };
    let Some(message) = found else {
        return Ok(None);
    };
    let mark = serde_json::from_slice(&message.delivery.data);
    let back = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    within_timeout(message.delivery.acker.nack(back)).await?;
    Ok(Some(mark?))
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
