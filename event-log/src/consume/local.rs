//! The subscription within a process: events that this process appends arrive in memory, and the polled heads announce the rest.

use super::source::{EventSource, MAX_EVENTS_PER_STEP};
use crate::RecordedEvent;
use crate::ids::{Partition, Position};
use crate::log::Log;
use std::sync::Arc;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// One consumer's subscription to a partition, within this process.
#[derive(Debug)]
pub struct LocalSubscription {
    head: watch::Receiver<Position>,
    batches: broadcast::Receiver<Arc<[RecordedEvent]>>,
}

impl Log {
    /// A subscription to what this process appends to `partition`, and to news of what others append; `None` when there is no
    /// such partition. Needs [`Log::poll_heads`] to run.
    pub fn subscribe(&self, partition: Partition) -> Option<LocalSubscription> {
        let (head, batches) = self.feed(partition)?.subscribe();
        Some(LocalSubscription { head, batches })
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

    fn drain(&mut self, position: Position, delivered: &mut Vec<RecordedEvent>) {
        while delivered.len() < MAX_EVENTS_PER_STEP {
            match self.batches.try_recv() {
                Ok(events) => delivered.extend(events.iter().filter(|event| event.position > position).cloned()),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl EventSource for LocalSubscription {
    async fn next_batch(&mut self, position: Position, not_before: Instant, delivered: &mut Vec<RecordedEvent>) {
        // A batch is sent before its head, so it is here when the head is.
        self.head_past(position).await;
        if *self.head.borrow() - position < MAX_EVENTS_PER_STEP as Position {
            tokio::time::sleep_until(not_before).await;
        }
        self.drain(position, delivered);
    }
}
