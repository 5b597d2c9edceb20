//! A queue of an outsider's own: it gets all that is published from its binding on.

use crate::test_broker::{TestBroker, soon};
use broker::{cloud_events, topology};
use event_log::{Partition, Position, RawEvent};
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, Consumer, ExchangeKind};

pub struct Tap {
    connection: Connection,
    messages: Consumer,
    log_id: uuid::Uuid,
}

impl Tap {
    /// Bound to every partition.
    pub async fn on(test: &TestBroker) -> Self {
        let connection = crate::test_broker::amqp().await;
        let channel = connection.create_channel().await.unwrap();
        let exchange = topology::exchange(test.log_id());
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = channel.exchange_declare(
            exchange.as_str().into(),
            ExchangeKind::Topic,
            durable,
            FieldTable::default(),
        );
        declared.await.unwrap();
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare("".into(), exclusive, FieldTable::default())
            .await
            .unwrap();
        let name = queue.name().clone();
        let binding = channel.queue_bind(
            name.clone(),
            exchange.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        binding.await.unwrap();
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let messages = channel
            .basic_consume(name, "".into(), no_ack, FieldTable::default())
            .await
            .unwrap();
        Self {
            connection,
            messages,
            log_id: test.log_id(),
        }
    }

    pub async fn next(&mut self) -> Delivery {
        soon(self.messages.next()).await.unwrap().unwrap()
    }

    /// The events of the next message.
    pub async fn batch(&mut self) -> Vec<RawEvent> {
        let message = self.next().await;
        let events = cloud_events::decode(self.log_id, &message.data).unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.partition.to_string() == message.routing_key.as_str())
        );
        events
    }

    /// All events of `partition` up to `position`, repeats included, in the order they came.
    pub async fn up_to(&mut self, partition: Partition, position: Position) -> Vec<RawEvent> {
        let mut events: Vec<RawEvent> = Vec::new();
        while events.last().is_none_or(|last| last.position < position) {
            events.extend(
                self.batch()
                    .await
                    .into_iter()
                    .filter(|event| event.partition == partition),
            );
        }
        events
    }

    pub async fn close(self) {
        self.connection.close(200, "OK".into()).await.unwrap();
    }
}

/// Without repeats, refusing gaps, as every consumer does.
pub fn once(events: Vec<RawEvent>) -> Vec<RawEvent> {
    let mut seen: Vec<RawEvent> = Vec::new();
    for event in events {
        let expected = seen.last().map_or(event.position, |last| last.position + 1);
        assert!(
            event.position <= expected,
            "position {} came where {expected} was due",
            event.position
        );
        if event.position == expected {
            seen.push(event);
        } else {
            assert_eq!(
                seen[(event.position - seen[0].position) as usize],
                event,
                "a repeat is the same event"
            );
        }
    }
    seen
}
