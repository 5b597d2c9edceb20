//! The subscription within a process: events that this process appends arrive in memory, and the polled heads announce the rest.

use super::source::{EventSource, MAX_EVENTS_PER_STEP};
use crate::RecordedEvent;
use crate::feed::PartitionFeed;
use crate::log::Log;
use log_format::{Partition, Position};
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
    /// Whether a backlog is read for all consumers together; not after a fault, until it is gone.
    shares_backlog: bool,
}

impl Log {
    /// A subscription to what this process appends to `partition`, and to news of what others append; `None` when there is no
    /// such partition. Needs [`Log::poll_heads`] to run.
    pub fn subscribe(&self, partition: Partition) -> Option<LocalSubscription> {
        let feed = self.feed(partition)?;
        let (head, numbers) = (feed.heads(), feed.numbers());
        let known = *numbers.borrow();
        Some(LocalSubscription {
            log: self.clone(),
            partition,
            head,
            numbers,
            known,
            shares_backlog: true,
        })
    }

    /// Up to a step of events that follow `position`, in order, maybe read for another consumer; none when they cannot be read. Like what
    /// is delivered in memory they may be lost meanwhile: a step looks for its last event.
    async fn backlog_after(
        &self,
        partition: Partition,
        position: Position,
    ) -> Option<Arc<[RecordedEvent]>> {
        let reads = self.backlog_reads();
        let _reading = reads
            .reading
            .get(usize::try_from(partition).ok()?)?
            .lock()
            .await;
        let kept = reads.kept().find(partition, position);
        if kept.is_some() {
            return kept;
        }
        let read: Arc<[_]> = self
            .read_after(partition, position, MAX_EVENTS_PER_STEP as i64)
            .await
            .ok()?
            .into();
        reads.kept().keep(read.clone(), Instant::now());
        Some(read)
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
        if self
            .numbers
            .wait_for(|number| *number > known)
            .await
            .is_err()
        {
            std::future::pending().await
        }
        let (batches, number) = self
            .feed()
            .map_or_else(Default::default, |feed| feed.sent_after(known));
        self.known = number;
        batches
    }

    /// Where the log is a step or more ahead of `position`, appends the events that follow to `delivered`: they are read once for all
    /// consumers of this process.
    pub async fn take_backlog(&mut self, position: Position, delivered: &mut Vec<RecordedEvent>) {
        let is_far_behind = *self.head.borrow() - position >= MAX_EVENTS_PER_STEP as Position;
        self.shares_backlog |= !is_far_behind;
        if is_far_behind && self.shares_backlog {
            let backlog = self.log.backlog_after(self.partition, position).await;
            let events = backlog.iter().flat_map(|events| events.iter());
            delivered.extend(events.filter(|event| event.position > position).cloned());
        }
    }

    fn feed(&self) -> Option<&PartitionFeed> {
        self.log.feed(self.partition)
    }
}

impl EventSource for LocalSubscription {
    async fn next_batch(
        &mut self,
        position: Position,
        not_before: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        self.head_past(position).await;
        tokio::select! {
            () = tokio::time::sleep_until(not_before) => {}
            () = self.head_past(position + MAX_EVENTS_PER_STEP as Position) => {}
        }
        // A batch is sent before its head, so it is here when the head is.
        let Some(feed) = self.log.feed(self.partition) else {
            return;
        };
        for batch in feed.following(position, self.known, MAX_EVENTS_PER_STEP) {
            delivered.extend(
                batch
                    .iter()
                    .filter(|event| event.position > position)
                    .cloned(),
            );
        }
        if delivered.is_empty() {
            self.take_backlog(position, delivered).await;
        }
    }

    fn distrust(&mut self) {
        self.known = *self.numbers.borrow();
        self.shares_backlog = false;
        self.log.backlog_reads().forget(self.partition);
    }
}
