//! One partition's part of a search: the events that were found and not returned, and the positions still to be scanned.

use super::Order;
use log_format::{Partition, Position, RawEvent};
use std::collections::VecDeque;

/// A range of positions, both ends included; empty when `low` is above `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PositionRange {
    pub(super) low: Position,
    pub(super) high: Position,
}

impl PositionRange {
    pub(super) fn is_empty(&self) -> bool {
        self.low > self.high
    }

    /// How many positions it has.
    pub(super) fn length(&self) -> i64 {
        (self.high - self.low + 1).max(0)
    }

    /// Its first positions in this order, at most so many.
    pub(super) fn first(&self, order: Order, most: i64) -> Self {
        match order {
            Order::Ascending => Self {
                high: self.high.min(self.low.saturating_add(most - 1)),
                ..*self
            },
            Order::Descending => Self {
                low: self.low.max(self.high.saturating_sub(most - 1)),
                ..*self
            },
        }
    }
}

pub(super) struct PartitionCursor {
    pub(super) partition: Partition,
    order: Order,
    /// Not scanned yet.
    left: PositionRange,
    /// The index covers positions up to and including this one.
    indexed: Position,
    /// Found and not returned yet, in order.
    pub(super) found: VecDeque<RawEvent>,
    /// How many rows the next look matches.
    step: i64,
    /// In a product's stream: the next sequence to scan, once it is known.
    pub(super) sequence: Option<i64>,
}

impl PartitionCursor {
    pub(super) fn new(
        partition: Partition,
        order: Order,
        left: PositionRange,
        indexed: Position,
    ) -> Self {
        Self {
            partition,
            order,
            left,
            indexed,
            found: VecDeque::new(),
            step: 0,
            sequence: None,
        }
    }

    /// Whether rows must be fetched to know what comes next.
    pub(super) fn needs_rows(&self) -> bool {
        self.found.is_empty() && !self.left.is_empty()
    }

    /// Whether there is nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.found.is_empty() && self.left.is_empty()
    }

    /// The next position to return or to scan: upward, or downward.
    pub(super) fn next(&self) -> Position {
        let found = self.found.front().map(|event| event.position);
        match self.order {
            Order::Ascending => found.unwrap_or(self.left.low),
            Order::Descending => found.unwrap_or(self.left.high.max(0)),
        }
    }

    /// What is not scanned yet.
    pub(super) fn left(&self) -> PositionRange {
        self.left
    }

    /// The next range that the index covers; `None` when the index does not cover what comes next.
    pub(super) fn indexed(&self) -> Option<PositionRange> {
        let known = PositionRange {
            high: self.left.high.min(self.indexed),
            ..self.left
        };
        let comes_next = match self.order {
            Order::Ascending => !known.is_empty(),
            Order::Descending => known == self.left,
        };
        comes_next.then_some(known)
    }

    /// The next range that the index does not cover, at most so many positions.
    pub(super) fn unindexed(&self, most: i64) -> PositionRange {
        let low = self.left.low.max(self.indexed.saturating_add(1));
        PositionRange { low, ..self.left }.first(self.order, most)
    }

    /// Rows to scan next: at first `wanted`, then ever more while few match, up to `most`.
    pub(super) fn step(&self, wanted: i64, most: i64) -> i64 {
        self.step.max(wanted).clamp(1, most)
    }

    /// Adds the result of scanning `scanned` rows: `events`; everything up to `upto`, or down to it, is done.
    pub(super) fn take(&mut self, mut events: Vec<RawEvent>, scanned: i64, upto: Position) {
        let is_little = (events.len() as i64) < scanned / 4;
        self.step = if is_little {
            scanned.saturating_mul(4)
        } else {
            scanned
        };
        events.sort_unstable_by_key(|event| event.position);
        match self.order {
            Order::Ascending => {
                self.left.low = self.left.low.max(upto.saturating_add(1));
                self.found.extend(events);
            }
            Order::Descending => {
                self.left.high = self.left.high.min(upto.saturating_sub(1));
                self.found.extend(events.into_iter().rev());
            }
        }
    }

    /// Marks the rest as done.
    pub(super) fn end(&mut self) {
        match self.order {
            Order::Ascending => self.left.low = self.left.low.max(self.left.high.saturating_add(1)),
            Order::Descending => self.left.high = self.left.high.min(self.left.low - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(order: Order, low: Position, high: Position, indexed: Position) -> PartitionCursor {
        PartitionCursor::new(0, order, PositionRange { low, high }, indexed)
    }

    #[test]
    fn upward_the_index_comes_first_and_then_the_log() {
        let mut cursor = cursor(Order::Ascending, 3, 10, 6);
        assert_eq!(cursor.indexed(), Some(PositionRange { low: 3, high: 6 }));
        cursor.take(Vec::new(), 4, 6);
        assert_eq!((cursor.indexed(), cursor.next()), (None, 7));
        assert_eq!(cursor.unindexed(2), PositionRange { low: 7, high: 8 });
        cursor.take(Vec::new(), 4, 10);
        assert!(cursor.is_done());
        assert_eq!(cursor.next(), 11);
    }

    #[test]
    fn downward_the_log_comes_first_and_then_the_index() {
        let mut cursor = cursor(Order::Descending, 3, 10, 6);
        assert_eq!(cursor.indexed(), None);
        assert_eq!(cursor.unindexed(3), PositionRange { low: 8, high: 10 });
        cursor.take(Vec::new(), 3, 8);
        assert_eq!(cursor.unindexed(3), PositionRange { low: 7, high: 7 });
        cursor.take(Vec::new(), 1, 7);
        assert_eq!(
            (cursor.indexed(), cursor.next()),
            (Some(PositionRange { low: 3, high: 6 }), 6)
        );
        cursor.end();
        assert!(cursor.is_done());
        assert_eq!(cursor.next(), 2);
    }

    #[test]
    fn a_fruitless_look_is_followed_by_a_longer_one() {
        let mut cursor = cursor(Order::Ascending, 1, 1_000, 0);
        assert_eq!(cursor.step(20, 500), 20);
        cursor.take(Vec::new(), 20, 20);
        assert_eq!(cursor.step(20, 500), 80);
        assert_eq!(cursor.step(20, 50), 50);
    }
}
