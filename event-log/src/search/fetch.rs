//! Fetches rows for every partition that needs them.

use super::Search;
use super::filter::{AccessPath, Order};
use super::partition_cursor::{PartitionCursor, PositionRange};
use super::statements::{self, Part};
use crate::LogError;
use domain::ProductId;
use log_format::{Position, RawEvent};

/// Rows of one fetch at most, in all partitions together.
const ROWS_PER_FETCH: i64 = 8_000;
/// Rows of one fetch in a partition at least.
const MIN_ROWS_PER_FETCH: i64 = 32;

impl Search {
    /// Fetches rows for every partition that needs them, for `wanted` events in all; returns how many rows it scanned.
    pub(super) async fn fetch(&mut self, wanted: usize) -> Result<i64, LogError> {
        // Twice their share: partitions are rarely in step.
        let share = (2 * wanted / self.cursors.len().max(1)) as i64;
        let waiting: Vec<_> = (0..self.cursors.len())
            .filter(|cursor| self.cursors[*cursor].needs_rows())
            .collect();
        let most = (ROWS_PER_FETCH / (waiting.len().max(1) as i64)).max(MIN_ROWS_PER_FETCH);
        let step = waiting
            .iter()
            .map(|cursor| self.cursors[*cursor].step(share.max(MIN_ROWS_PER_FETCH), most))
            .max()
            .unwrap_or(MIN_ROWS_PER_FETCH);
        if let AccessPath::Stream(product) = self.access_path {
            return self.fetch_stream(&waiting, product, step).await;
        }
        let (known, unknown): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|cursor| self.cursors[*cursor].indexed().is_some());
        Ok(self.fetch_indexed(&known, step).await? + self.read(&unknown, step).await?)
    }

    /// From the index: a number of candidates each, and the events there.
    async fn fetch_indexed(&mut self, cursors: &[usize], step: i64) -> Result<i64, LogError> {
        let parts = self.parts(cursors, |cursor| cursor.indexed());
        if parts.is_empty() {
            return Ok(0);
        }
        let places =
            statements::candidates(&self.pool, &self.access_path, &parts, self.order, step).await?;
        let events = self.judged(statements::at(&self.pool, &places).await?);
        for (cursor, (partition, range)) in cursors.iter().zip(&parts) {
            let here = places
                .iter()
                .filter(|(at, _)| at == partition)
                .map(|(_, position)| *position);
            let scanned = here.clone().count() as i64;
            let last = match self.order {
                Order::Ascending => here.max(),
                Order::Descending => here.min(),
            };
            // Fewer than were asked for are all of the range.
            let upto = last
                .filter(|_| scanned >= step)
                .unwrap_or_else(|| self.end_of(range));
            self.cursors[*cursor].take(of_partition(&events, *partition), scanned, upto);
        }
        Ok(places.len() as i64)
    }

    /// From the log: a number of positions each.
    async fn read(&mut self, cursors: &[usize], step: i64) -> Result<i64, LogError> {
        let parts = self.parts(cursors, |cursor| Some(cursor.unindexed(step)));
        if parts.is_empty() {
            return Ok(0);
        }
        let event_type = self.filter.event_type.as_deref();
        let events = self.judged(statements::within(&self.pool, &parts, event_type).await?);
        for (cursor, (partition, range)) in cursors.iter().zip(&parts) {
            let upto = self.end_of(range);
            self.cursors[*cursor].take(of_partition(&events, *partition), range.length(), upto);
        }
        Ok(parts.iter().map(|(_, range)| range.length()).sum())
    }

    /// From the product's stream, which lies in one partition.
    async fn fetch_stream(
        &mut self,
        cursors: &[usize],
        product: ProductId,
        step: i64,
    ) -> Result<i64, LogError> {
        let Some(cursor) = cursors
            .first()
            .and_then(|cursor| self.cursors.get_mut(*cursor))
        else {
            return Ok(0);
        };
        let (left, order) = (cursor.left(), self.order);
        let sequence = match (cursor.sequence, order) {
            (Some(sequence), _) => sequence,
            (None, Order::Ascending) => {
                statements::sequence_since(&self.pool, product, left.low).await?
            }
            (None, Order::Descending) => {
                statements::sequence_since(&self.pool, product, left.high.saturating_add(1)).await?
                    - 1
            }
        };
        let events = statements::stream(&self.pool, product, sequence, order, step).await?;
        let (scanned, last) = (
            events.len() as i64,
            events.last().map(|event| (event.sequence, event.position)),
        );
        let is_here = |event: &RawEvent| {
            event.partition == cursor.partition && (left.low..=left.high).contains(&event.position)
        };
        let good = events
            .into_iter()
            .filter(|event| is_here(event) && self.filter.matches(event))
            .collect();
        match last {
            Some((sequence, upto)) if scanned >= step && (left.low..=left.high).contains(&upto) => {
                cursor.take(good, scanned, upto);
                cursor.sequence = Some(match order {
                    Order::Ascending => sequence + 1,
                    Order::Descending => sequence - 1,
                });
            }
            _ => {
                cursor.take(good, scanned, 0);
                cursor.end();
            }
        }
        Ok(scanned)
    }

    fn parts(
        &self,
        cursors: &[usize],
        of: impl Fn(&PartitionCursor) -> Option<PositionRange>,
    ) -> Vec<Part> {
        let cursors = cursors.iter().map(|cursor| &self.cursors[*cursor]);
        cursors
            .filter_map(|cursor| Some((cursor.partition, of(cursor)?)))
            .collect()
    }

    fn judged(&self, mut events: Vec<RawEvent>) -> Vec<RawEvent> {
        events.retain(|event| self.filter.matches(event));
        events
    }

    /// The last position of a range, in order.
    fn end_of(&self, range: &PositionRange) -> Position {
        match self.order {
            Order::Ascending => range.high,
            Order::Descending => range.low,
        }
    }
}

fn of_partition(events: &[RawEvent], partition: i32) -> Vec<RawEvent> {
    events
        .iter()
        .filter(|event| event.partition == partition)
        .cloned()
        .collect()
}
