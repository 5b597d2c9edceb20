//! What a consumer that is far behind reads from the log, the others of its partition need next: it is read and decoded once for all of
//! them. After a rush every read model has the same backlog.

use crate::RecordedEvent;
use log_format::{Partition, Position};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Events that are kept for the other consumers, of all partitions together: some 30 MB. Who is further behind than that reads for itself.
const MAX_KEPT_EVENTS: usize = 65_536;
/// How long a chunk is kept: longer than the others take to come to it.
const KEEP_DURATION: Duration = Duration::from_secs(5);

/// The chunks of the log that were read last.
pub(crate) struct BacklogReads {
    kept: Mutex<Chunks>,
    /// By partition: who reads holds it, and who needs the same waits.
    pub(crate) reading: Vec<tokio::sync::Mutex<()>>,
}

/// What is kept of them.
#[derive(Default)]
pub(crate) struct Chunks {
    /// Each with the time at which it was read, the oldest first.
    chunks: VecDeque<(Instant, Arc<[RecordedEvent]>)>,
    events: usize,
}

impl BacklogReads {
    pub(crate) fn new(partitions: Partition) -> Self {
        Self {
            kept: Mutex::default(),
            reading: (0..partitions)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
        }
    }

    /// Forgets what the others have come to, or will not come to.
    pub(crate) fn forget_old(&self, now: Instant) {
        self.kept()
            .forget(|read_at, _| now.duration_since(read_at) > KEEP_DURATION);
    }

    /// Forgets what was read of a partition: the log may have lost it.
    pub(crate) fn forget(&self, partition: Partition) {
        self.kept().forget(|_, of| of == partition);
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Chunks> {
        // A panic while it was locked left whole chunks.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunks {
    /// A chunk with the event after `position`.
    pub(crate) fn find(
        &self,
        partition: Partition,
        position: Position,
    ) -> Option<Arc<[RecordedEvent]>> {
        let follows =
            |chunk: &&(Instant, Arc<[RecordedEvent]>)| match (chunk.1.first(), chunk.1.last()) {
                (Some(first), Some(last)) => {
                    first.partition == partition
                        && (first.position..=last.position).contains(&(position + 1))
                }
                _ => false,
            };
        self.chunks
            .iter()
            .find(follows)
            .map(|(_, events)| events.clone())
    }

    pub(crate) fn keep(&mut self, events: Arc<[RecordedEvent]>, now: Instant) {
        self.events += events.len();
        self.chunks.push_back((now, events));
        while self.events > MAX_KEPT_EVENTS
            && let Some((_, oldest)) = self.chunks.pop_front()
        {
            self.events -= oldest.len();
        }
    }

    fn forget(&mut self, is_gone: impl Fn(Instant, Partition) -> bool) {
        self.chunks.retain(|(read_at, events)| {
            events
                .first()
                .is_some_and(|it| !is_gone(*read_at, it.partition))
        });
        self.events = self.chunks.iter().map(|(_, events)| events.len()).sum();
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

    const CHUNK_EVENTS: usize = 4_000;

    fn chunk(
        partition: Partition,
        positions: std::ops::RangeInclusive<Position>,
    ) -> Arc<[RecordedEvent]> {
        let event = |position| RecordedEvent {
            partition,
            position,
            event_id: Uuid::nil(),
            product_id: 1.try_into().unwrap(),
            sequence: position,
            event: ProductEvent::ProductClosed {},
            metadata: Metadata::default(),
            recorded_at: DateTime::UNIX_EPOCH,
            hash: [0; 32],
        };
        positions.map(event).collect()
    }

    fn first_found(chunks: &Chunks, partition: Partition, position: Position) -> Option<Position> {
        chunks
            .find(partition, position)
            .and_then(|events| Some(events.first()?.position))
    }

    #[test]
    fn a_chunk_is_found_by_every_position_whose_next_event_it_has() {
        let (mut chunks, now) = (Chunks::default(), Instant::now());
        chunks.keep(chunk(0, 1..=10), now);
        chunks.keep(chunk(0, 11..=20), now);
        chunks.keep(chunk(1, 1..=5), now);
        assert_eq!(
            [0, 9, 10, 19, 20].map(|at| first_found(&chunks, 0, at)),
            [Some(1), Some(1), Some(11), Some(11), None]
        );
        assert_eq!(
            [4, 5].map(|at| first_found(&chunks, 1, at)),
            [Some(1), None]
        );
        assert_eq!(first_found(&chunks, 2, 0), None);
    }

    #[test]
    fn the_oldest_chunks_are_dropped_and_those_of_a_lost_partition() {
        let (mut chunks, now) = (Chunks::default(), Instant::now());
        let step = CHUNK_EVENTS as Position;
        for n in 0..20 {
            chunks.keep(chunk(0, n * step + 1..=(n + 1) * step), now);
        }
        assert!(chunks.events <= MAX_KEPT_EVENTS && chunks.events > MAX_KEPT_EVENTS - CHUNK_EVENTS);
        assert_eq!(
            (
                first_found(&chunks, 0, 0),
                first_found(&chunks, 0, 19 * step)
            ),
            (None, Some(19 * step + 1))
        );
        chunks.keep(chunk(1, 1..=5), now + KEEP_DURATION);
        let reads = BacklogReads {
            kept: chunks.into(),
            reading: Vec::new(),
        };
        reads.forget_old(now + KEEP_DURATION);
        let found = |partition, position| first_found(&reads.kept(), partition, position);
        assert_eq!(
            found(0, 19 * step),
            Some(19 * step + 1),
            "it is not too old yet"
        );
        reads.forget_old(now + KEEP_DURATION * 2);
        assert_eq!([found(0, 19 * step), found(1, 0)], [None, Some(1)]);
        reads.forget(1);
        assert_eq!(found(1, 0), None);
        assert_eq!(reads.kept().events, 0);
    }
}
