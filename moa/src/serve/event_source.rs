//! The source of a consumer's events: a subscription within the process, or deliveries of RabbitMQ.

use broker::{Broker, Deliveries};
use connection_pool::Pool;
use event_log::consume::EventSource;
use event_log::{LocalSubscription, Log, Partition, Position, RecordedEvent};
use tokio::time::Instant;

/// Makes the source of each consumer.
#[derive(Clone)]
pub(super) struct SourceFactory {
    pub(super) log: Log,
    pub(super) pool: Pool,
    pub(super) broker: Option<Broker>,
}

impl SourceFactory {
    /// The source of one consumer at one partition; `None` when there is no such partition.
    pub(super) fn of(
        &self,
        consumer: &'static str,
        partition: Partition,
    ) -> Option<ConsumerSource> {
        match &self.broker {
            Some(broker) => {
                let deliveries =
                    Deliveries::new(&self.log, broker, self.pool.clone(), consumer, partition);
                deliveries.map(Box::new).map(ConsumerSource::Delivered)
            }
            None => self.log.subscribe(partition).map(ConsumerSource::Local),
        }
    }
}

/// A consumer's source.
pub(super) enum ConsumerSource {
    /// The events that this process appends, and a poll for the others.
    Local(LocalSubscription),
    /// What RabbitMQ delivers.
    Delivered(Box<Deliveries>),
}

impl EventSource for ConsumerSource {
    async fn next_batch(
        &mut self,
        position: Position,
        not_before: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        match self {
            Self::Local(listener) => listener.next_batch(position, not_before, delivered).await,
            Self::Delivered(deliveries) => {
                deliveries.next_batch(position, not_before, delivered).await
            }
        }
    }

    fn queue(&self) -> Option<&str> {
        match self {
            Self::Local(listener) => listener.queue(),
            Self::Delivered(deliveries) => deliveries.queue(),
        }
    }

    fn distrust(&mut self) {
        match self {
            Self::Local(listener) => listener.distrust(),
            Self::Delivered(deliveries) => deliveries.distrust(),
        }
    }
}
