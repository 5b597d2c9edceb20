//! The subscription within a process: events that this process appends arrive in memory, and the polled heads announce the rest.

use super::source::{EventSource, MAX_EVENTS_PER_STEP};
use crate::RecordedEvent;
use crate::feed::PartitionFeed;
use crate::ids::{Partition, Position};
use crate::log::Log;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// One consumer's subscription to a partition, within this process.
pub struct LocalSubscription {
    log: Log,
    partition: Partition,
    head: watch::Receiver<Position>,
    numbers: watch::Receiver<u64>,
    /// Batches up to this number are not used.
    known: u64,
}

impl Log {
    /// A subscription to what this process appends to `partition`, and to news of what others append; `None` when there is no
    /// such partition. Needs [`Log::poll_heads`] to run.
    pub fn subscribe(&self, partition: Partition) -> Option<LocalSubscription> {
        let feed = self.feed(partition)?;
        let (head, numbers) = (feed.heads(), feed.numbers());
        let known = *numbers.borrow();
        Some(LocalSubscription { log: self.clone(), partition, head, numbers, known })
    }
}

impl LocalSubscription {
    /// Waits until the log has something after `position`, as far as this process knows.
    pub async fn head_past(&mut self, position: Position) {
        // The sender lives as long as the log's handle: without it there is nothing to wait for.
        if self.head.wait_for(|head| *head > position).await.is_err() {
            std::future::pending().await
        }
    }

    /// What this process has appended since the last call, in order, at least one append. What this subscription was too slow for is
    /// left out.
    pub async fn appended(&mut self) -> Vec<Arc<[RecordedEvent]>> {
        let known = self.known;
        if self.numbers.wait_for(|number| *number > known).await.is_err() {
            std::future::pending().await
        }
        let (batches, number) = self.feed().map_or_else(Default::default, |feed| feed.sent_after(known));
        self.known = number;
        batches
    }

    fn feed(&self) -> Option<&PartitionFeed> {
        self.log.feed(self.partition)
    }
}

impl EventSource for LocalSubscription {
    async fn next_batch(&mut self, position: Position, not_before: Instant, delivered: &mut Vec<RecordedEvent>) {
        self.head_past(position).await;
        tokio::select! {
            () = tokio::time::sleep_until(not_before) => {}
            () = self.head_past(position + MAX_EVENTS_PER_STEP as Position) => {}
        }
        // A batch is sent before its head, so it is here when the head is.
        let Some(feed) = self.log.feed(self.partition) else { return };
        for batch in feed.following(position, self.known, MAX_EVENTS_PER_STEP) {
            delivered.extend(batch.iter().filter(|event| event.position > position).cloned());
        }
    }

    fn distrust(&mut self) {
        self.known = *self.numbers.borrow();
    }
}
