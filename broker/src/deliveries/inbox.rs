//! What happens to each message: its events are delivered, it is skipped, or it is parked. Only then is it acknowledged.

use super::Deliveries;
use crate::validated_messages::ValidEvents;
use crate::{cloud_events, parked};
use event_log::consume::MAX_EVENTS_PER_STEP;
use event_log::{LogError, Position, RecordedEvent};
use futures::FutureExt as _;
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;

/// A longer message is parked unread; the relay's have about 256 KiB.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// A valid message whose events are not yet known to be applied.
pub(super) struct Unacknowledged {
    acker: Acker,
    last: Position,
}

/// Why a message is not believed.
enum Invalid {
    /// For good; the reason is for the operator.
    Message(String),
    /// The log could not be asked.
    Unknown(LogError),
}

impl Deliveries {
    /// Acknowledges the messages whose events are applied, up to `position`.
    pub(super) fn acknowledge(&mut self, position: Position) {
        let done = self
            .unacknowledged
            .extract_if(.., |message| message.last <= position);
        done.for_each(|message| acknowledge(&message.acker));
    }

    /// Whether messages with events after `position` are unacknowledged: they will not be delivered again, and the log has
    /// their events.
    pub(super) fn holds_events_after(&self, position: Position) -> bool {
        self.unacknowledged
            .iter()
            .any(|message| message.last > position)
    }

    /// Validates the received messages in order, and puts the events that continue from `position` into `delivered`. A
    /// message leaves `received` once it is decided what happens to it; one that a step would take a part of stays for the next.
    pub(super) async fn validate_received(
        &mut self,
        position: Position,
        delivered: &mut Vec<RecordedEvent>,
    ) -> Result<(), LogError> {
        let mut reached = position;
        while let Some(delivery) = self
            .received
            .front()
            .filter(|_| delivered.len() < MAX_EVENTS_PER_STEP)
        {
            let validated = match self.validate(delivery).await {
                Ok(events) => Ok(events),
                Err(Invalid::Message(reason)) => Err(reason),
                Err(Invalid::Unknown(error)) => return Err(error),
            };
            let events = validated.as_ref().map_or(0, |events| events.len());
            if !delivered.is_empty() && delivered.len() + events > MAX_EVENTS_PER_STEP {
                return Ok(());
            }
            let Some(delivery) = self.received.pop_front() else {
                return Ok(());
            };
            metrics::counter!("moa_deliveries_total", "consumer" => self.consumer).increment(1);
            match validated {
                Ok(events) => self.accept(&delivery.acker, &events, &mut reached, delivered),
                Err(reason) => self.invalid.push_back((delivery, reason)),
            }
        }
        Ok(())
    }

    /// The events of a message.
    async fn validate(&self, delivery: &Delivery) -> Result<ValidEvents, Invalid> {
        let content_type = delivery
            .properties
            .content_type()
            .as_ref()
            .map(|kind| kind.as_str());
        if content_type != Some(cloud_events::CONTENT_TYPE) {
            return Err(Invalid::Message(format!(
                "its content type is not {}",
                cloud_events::CONTENT_TYPE
            )));
        }
        if delivery.data.len() > MAX_MESSAGE_BYTES {
            return Err(Invalid::Message(format!(
                "it is longer than {MAX_MESSAGE_BYTES} bytes"
            )));
        }
        let validating = async {
            let events = cloud_events::decode(self.log.identity().log_id, &delivery.data)
                .map_err(Invalid::Message)?;
            if let Some(event) = events
                .iter()
                .find(|event| event.partition != self.partition)
            {
                return Err(Invalid::Message(format!(
                    "it is of partition {}",
                    event.partition
                )));
            }
            match self.log.verify_delivery(self.partition, &events).await {
                Ok(Ok(events)) => Ok(events.into()),
                Ok(Err(mismatch)) => Err(Invalid::Message(mismatch.to_string())),
                Err(error) => Err(Invalid::Unknown(error)),
            }
        };
        self.validated
            .get_or_validate(self.partition, &delivery.data, validating)
            .await
    }

    /// Delivers events that continue from `reached`. After a gap the consumer reads the log instead.
    fn accept(
        &mut self,
        acker: &Acker,
        events: &[RecordedEvent],
        reached: &mut Position,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        let new = &events[events.partition_point(|event| event.position <= *reached)..];
        let (Some(first), Some(last)) = (new.first(), new.last().map(|event| event.position))
        else {
            // All its events are applied already, or cannot be read: the consumer meets those in the log and names them.
            return acknowledge(acker);
        };
        if first.position == *reached + 1 {
            *reached = last;
            delivered.extend_from_slice(new);
        }
        self.unacknowledged.push(Unacknowledged {
            acker: acker.clone(),
            last,
        });
    }

    /// Parks the invalid messages, and then acknowledges them. A message that cannot be parked stays with the server.
    pub(super) async fn park_invalid(&mut self) {
        while let Some((delivery, reason)) = self.invalid.front() {
            // When its channel is gone the server delivers it again.
            if delivery.acker.usable() {
                if let Err(error) = parked::park(&self.pool, &self.queue, reason, delivery).await {
                    return self.parking_fault.failed(&error);
                }
                self.parking_fault.recovered();
                tracing::warn!(
                    queue = self.queue,
                    reason,
                    "a delivery was parked; see `moa parked list`"
                );
                metrics::counter!("moa_deliveries_parked_total", "consumer" => self.consumer)
                    .increment(1);
                acknowledge(&delivery.acker);
            }
            self.invalid.pop_front();
        }
    }
}

/// Queues the frame at the first poll, in order; nobody waits until it is written. A message whose channel is gone is
/// delivered again, and skipped.
fn acknowledge(acker: &Acker) {
    if let Some(Err(error)) = acker.ack(BasicAckOptions::default()).now_or_never() {
        tracing::debug!(%error, "a message could not be acknowledged; the server delivers it again");
    }
}
