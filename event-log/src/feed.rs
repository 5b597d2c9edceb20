//! Signals of one partition within the process: its head, and the events that this process has just appended.

use crate::RecordedEvent;
use crate::ids::Position;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Batches that a slow consumer may be behind before it reads the log instead.
const FEED_CAPACITY: usize = 64;

/// The sending half. [`crate::LocalSubscription`] is the receiving one.
pub(crate) struct PartitionFeed {
    head: watch::Sender<Position>,
    batches: broadcast::Sender<Arc<[RecordedEvent]>>,
}

impl Default for PartitionFeed {
    fn default() -> Self {
        Self { head: watch::Sender::new(0), batches: broadcast::Sender::new(FEED_CAPACITY) }
    }
}

impl PartitionFeed {
    pub(crate) fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// The head is here or further on.
    pub(crate) fn advance_head(&self, head: Position) {
        self.head.send_if_modified(|known| {
            let is_new = head > *known;
            *known = head.max(*known);
            is_new
        });
    }

    /// The head is here, also if that is further back.
    pub(crate) fn reset_head(&self, head: Position) {
        self.head.send_replace(head);
    }

    /// Sends committed events, and then their head: a receiver that knows the head has the events.
    pub(crate) fn send(&self, events: Arc<[RecordedEvent]>) {
        let Some(last) = events.last().map(|event| event.position) else { return };
        // Without a receiver nobody in this process consumes the partition.
        self.batches.send(events).ok();
        self.advance_head(last);
    }

    pub(crate) fn subscribe(&self) -> (watch::Receiver<Position>, broadcast::Receiver<Arc<[RecordedEvent]>>) {
        (self.head.subscribe(), self.batches.subscribe())
    }
}
