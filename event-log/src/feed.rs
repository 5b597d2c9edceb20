//! Signals of one partition within the process: its head, and the events that this process has just appended.

use crate::RecordedEvent;
use log_format::Position;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events that a feed keeps; a consumer that is further behind reads the log.
const MAX_RECENT_EVENTS: usize = 16_384;

/// What one append has committed.
pub(crate) type AppendedBatch = Arc<[RecordedEvent]>;

/// The head of a partition, and its recent events. [`crate::LocalSubscription`] reads it.
#[derive(Default)]
pub(crate) struct PartitionFeed {
    head: watch::Sender<Position>,
    /// How many batches were sent.
    sent: watch::Sender<u64>,
    recent: Mutex<RecentBatches>,
}

#[derive(Default)]
struct RecentBatches {
    /// Each with its number, from 1; the newest last, positions rising.
    batches: VecDeque<(u64, AppendedBatch)>,
    events: usize,
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

    /// The head is here, also if that is further back: events after it are lost.
    pub(crate) fn reset_head(&self, head: Position) {
        self.forget();
        self.head.send_replace(head);
    }

    /// Keeps no events: the log may have lost them.
    pub(crate) fn forget(&self) {
        *self.recent() = RecentBatches::default();
    }

    /// Sends committed events, and then their head: who knows the head finds the events.
    pub(crate) fn send(&self, events: AppendedBatch) {
        let Some(last) = events.last().map(|event| event.position) else {
            return;
        };
        let mut recent = self.recent();
        let number = *self.sent.borrow() + 1;
        recent.push(number, events);
        self.sent.send_replace(number);
        drop(recent);
        self.advance_head(last);
    }

    /// The recent events that continue directly after `position`, of batches after number `known`, in order: `most` of them, and
    /// what else is in the batch of the last.
    pub(crate) fn following(
        &self,
        position: Position,
        known: u64,
        most: usize,
    ) -> Vec<AppendedBatch> {
        self.recent().following(position, known, most)
    }

    /// The recent batches after number `known`, in order, and the number of the last.
    pub(crate) fn sent_after(&self, known: u64) -> (Vec<AppendedBatch>, u64) {
        let recent = self.recent();
        let new = recent.batches.iter().filter(|(number, _)| *number > known);
        (
            new.map(|(_, batch)| batch.clone()).collect(),
            *self.sent.borrow(),
        )
    }

    pub(crate) fn heads(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The number of the last batch that was sent, as it rises.
    pub(crate) fn numbers(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }

    fn recent(&self) -> MutexGuard<'_, RecentBatches> {
        // A panic while it was locked left whole batches.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentBatches {
    fn push(&mut self, number: u64, batch: AppendedBatch) {
        // Whatever was at these positions before is lost.
        let first = batch.first().map_or(0, |event| event.position);
        while let Some((_, lost)) = self
            .batches
            .pop_back_if(|(_, kept)| kept.last().is_some_and(|at| at.position >= first))
        {
            self.events -= lost.len();
        }
        self.events += batch.len();
        self.batches.push_back((number, batch));
        while self.events > MAX_RECENT_EVENTS
            && let Some((_, oldest)) = self.batches.pop_front()
        {
            self.events -= oldest.len();
        }
    }

    fn following(&self, position: Position, known: u64, most: usize) -> Vec<AppendedBatch> {
        let is_done =
            |batch: &AppendedBatch| batch.last().is_none_or(|last| last.position <= position);
        let from = self
            .batches
            .partition_point(|(number, batch)| *number <= known || is_done(batch));
        let (mut following, mut next, mut events) = (Vec::new(), position + 1, 0);
        for (_, batch) in self.batches.range(from..) {
            let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
                continue;
            };
            if first.position > next || events >= most {
                break;
            }
            (next, events) = (last.position + 1, events + batch.len());
            following.push(batch.clone());
        }
        following
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use crate::Metadata;
    use chrono::DateTime;
    use domain::ProductEvent;
    use uuid::Uuid;

    fn batch(positions: std::ops::RangeInclusive<Position>, sequence: i64) -> AppendedBatch {
        let event = |position| RecordedEvent {
            partition: 0,
            position,
            event_id: Uuid::nil(),
            product_id: 1.try_into().unwrap(),
            sequence,
            event: ProductEvent::ProductClosed {},
            metadata: Metadata::default(),
            recorded_at: DateTime::UNIX_EPOCH,
            hash: [0; 32],
        };
        positions.map(event).collect()
    }

    fn found(
        feed: &PartitionFeed,
        position: Position,
        known: u64,
        most: usize,
    ) -> Vec<(Position, i64)> {
        let batches = feed.following(position, known, most);
        batches
            .iter()
            .flat_map(|batch| batch.iter())
            .map(|event| (event.position, event.sequence))
            .collect()
    }

    #[test]
    fn whatever_continues_after_a_position_is_found() {
        let feed = PartitionFeed::default();
        [batch(3..=4, 1), batch(5..=5, 1), batch(9..=9, 1)]
            .into_iter()
            .for_each(|batch| feed.send(batch));
        assert_eq!(feed.head(), 9);
        assert_eq!(found(&feed, 2, 0, 10), [(3, 1), (4, 1), (5, 1)]);
        assert_eq!(
            found(&feed, 3, 0, 10),
            [(3, 1), (4, 1), (5, 1)],
            "a batch stays whole"
        );
        assert_eq!(found(&feed, 2, 0, 1), [(3, 1), (4, 1)]);
        assert_eq!(
            found(&feed, 2, 1, 10),
            [],
            "the batch with position 3 is known, and not trusted"
        );
        assert_eq!(found(&feed, 1, 0, 10), [], "there is a gap");
        assert_eq!(found(&feed, 9, 0, 10), []);
    }

    #[test]
    fn what_is_appended_again_replaces_what_was_lost() {
        let feed = PartitionFeed::default();
        [batch(1..=2, 1), batch(3..=4, 1), batch(4..=4, 2)]
            .into_iter()
            .for_each(|batch| feed.send(batch));
        assert_eq!(
            found(&feed, 0, 0, 10),
            [(1, 1), (2, 1)],
            "position 3 has gone with its batch"
        );
        assert_eq!(found(&feed, 3, 0, 10), [(4, 2)]);
        assert_eq!(feed.sent_after(1).1, 3);
        feed.reset_head(1);
        assert_eq!((found(&feed, 0, 0, 10), feed.head()), (Vec::new(), 1));
    }

    #[test]
    fn a_feed_keeps_a_bounded_number_of_events() {
        let feed = PartitionFeed::default();
        for first in 0..40 {
            feed.send(batch(first * 1_000 + 1..=(first + 1) * 1_000, 1));
        }
        assert_eq!(found(&feed, 20_000, 0, 10), [], "it is too old");
        assert_eq!(found(&feed, 24_000, 0, usize::MAX).len(), 16_000);
    }
}
