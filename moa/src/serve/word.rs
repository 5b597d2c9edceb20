//! Where consumers hear of events: within the process, or through RabbitMQ.

use broker::{Broker, Deliveries};
use connection_pool::Pool;
use event_log::consume::Source;
use event_log::{Listener, Log, Partition, Position, RecordedEvent};
use tokio::time::Instant;

/// Makes a consumer's source.
#[derive(Clone)]
pub(super) struct Words {
    pub(super) log: Log,
    pub(super) pool: Pool,
    pub(super) broker: Option<Broker>,
}

impl Words {
    /// The source of one consumer at one partition; `None` when there is no such partition.
    pub(super) fn of(&self, consumer: &'static str, partition: Partition) -> Option<Word> {
        match &self.broker {
            Some(broker) => {
                let deliveries = Deliveries::new(&self.log, broker, self.pool.clone(), consumer, partition);
                deliveries.map(Box::new).map(Word::Delivered)
            }
            None => self.log.listen(partition).map(Word::Here),
        }
    }
}

/// A consumer's source.
pub(super) enum Word {
    /// What this process appends, and a poll for the rest.
    Here(Listener),
    /// What RabbitMQ delivers.
    Delivered(Box<Deliveries>),
}

impl Source for Word {
    async fn news(&mut self, position: Position, paced: Instant, delivered: &mut Vec<RecordedEvent>) {
        match self {
            Self::Here(listener) => listener.news(position, paced, delivered).await,
            Self::Delivered(deliveries) => deliveries.news(position, paced, delivered).await,
        }
    }
}
