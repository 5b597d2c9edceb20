//! What becomes of each message: its events are handed over, it is passed over, or it is put aside. It is acknowledged
//! only then.

use super::{Deliveries, GATHERED};
use crate::{cloud_events, parked};
use event_log::{LogError, Position, RecordedEvent, StoredEvent};
use futures::FutureExt as _;
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;

/// A longer message is not looked into, in bytes; the relay's are about 256 KiB.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A message whose events are true, and not yet known to be applied.
pub(super) struct Pending {
    acker: Acker,
    last: Position,
}

impl Deliveries {
    /// Acknowledges what is applied up to `position`.
    pub(super) fn acknowledge(&mut self, position: Position) {
        let done = self.pending.extract_if(.., |message| message.last <= position);
        done.for_each(|message| acknowledge(&message.acker));
    }

    /// Whether messages are held whose events go further: the log has these as well, and nobody will deliver them again.
    pub(super) fn holds_more_than(&self, position: Position) -> bool {
        self.pending.iter().any(|message| message.last > position)
    }

    /// Looks at what arrived, message by message: puts what goes on from `position` in `delivered`. A message leaves
    /// `arrived` once it is known what becomes of it.
    pub(super) async fn look_at(
        &mut self,
        position: Position,
        delivered: &mut Vec<RecordedEvent>,
    ) -> Result<(), LogError> {
        let mut reached = position;
        while let Some(delivery) = self.arrived.front().filter(|_| delivered.len() < GATHERED) {
            let looked = match self.read(delivery, reached) {
                Ok(new) => self.log.vouch(self.partition, &new).await?.map_err(|not_ours| not_ours.to_string()),
                Err(reason) => Err(reason),
            };
            let Some(delivery) = self.arrived.pop_front() else { return Ok(()) };
            metrics::counter!("moa_deliveries_total", "consumer" => self.consumer).increment(1);
            match looked {
                Ok(events) => self.believe(&delivery.acker, events, &mut reached, delivered),
                Err(reason) => self.bad.push_back((delivery, reason)),
            }
        }
        Ok(())
    }

    /// The events of a message after `reached`, or why it is none of ours.
    fn read(&self, delivery: &Delivery, reached: Position) -> Result<Vec<StoredEvent>, String> {
        let content_type = delivery.properties.content_type().as_ref().map(|kind| kind.as_str());
        if content_type != Some(cloud_events::CONTENT_TYPE) {
            return Err(format!("its content type is not {}", cloud_events::CONTENT_TYPE));
        }
        if delivery.data.len() > MAX_BODY {
            return Err(format!("it is longer than {MAX_BODY} bytes"));
        }
        let mut events = cloud_events::decode(self.log.identity().log_id, &delivery.data)?;
        if let Some(event) = events.iter().find(|event| event.partition != self.partition) {
            return Err(format!("it is of partition {}", event.partition));
        }
        events.retain(|event| event.position > reached);
        Ok(events)
    }

    /// What is the log's is handed over when it goes on from where we are; after a gap the log is read instead.
    fn believe(
        &mut self,
        acker: &Acker,
        events: Vec<RecordedEvent>,
        reached: &mut Position,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        let (Some(first), Some(last)) = (events.first(), events.last().map(|event| event.position)) else {
            // All of it was seen before, or cannot be read: the consumer meets that in the log, and names it.
            return acknowledge(acker);
        };
        if first.position == *reached + 1 {
            *reached = last;
            delivered.extend(events);
        }
        self.pending.push(Pending { acker: acker.clone(), last });
    }

    /// Parks what is bad, then acknowledges it. What cannot be parked stays, and the server keeps it.
    pub(super) async fn park(&mut self) {
        while let Some((delivery, reason)) = self.bad.front() {
            // When its channel is gone it comes again.
            if delivery.acker.usable() {
                if let Err(error) = parked::park(&self.pool, &self.queue, reason, delivery).await {
                    if !std::mem::replace(&mut self.complained, true) {
                        tracing::warn!(queue = self.queue, %error, "a bad delivery cannot be parked; it is tried again");
                    }
                    return;
                }
                tracing::warn!(queue = self.queue, reason, "a delivery was parked; see `moa parked list`");
                metrics::counter!("moa_deliveries_parked_total", "consumer" => self.consumer).increment(1);
                acknowledge(&delivery.acker);
            }
            self.complained = false;
            self.bad.pop_front();
        }
    }
}

/// The frame is queued at the first poll, in order, and nobody need wait until it is written: a message whose channel is
/// gone by then comes again, and is passed over.
fn acknowledge(acker: &Acker) {
    if let Some(Err(error)) = acker.ack(BasicAckOptions::default()).now_or_never() {
        tracing::debug!(%error, "a message could not be acknowledged; it comes again");
    }
}
