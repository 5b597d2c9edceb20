//! One look further, in every partition of which nothing is known.

use super::filter::{Driver, Order};
use super::lane::{Lane, Stretch};
use super::statements::{self, Part};
use super::{Search, StoredEvent};
use crate::LogError;
use crate::log::Position;
use domain::ProductId;

/// Rows of one look at most, in all partitions together.
const LOOK: i64 = 8_000;
/// Rows of one look in a partition at least.
const LEAST: i64 = 32;

impl Search {
    /// Looks further in every hungry lane, for `wanted` events in all; says how many rows it looked at.
    pub(super) async fn look(&mut self, wanted: usize) -> Result<i64, LogError> {
        // Twice their share: partitions are rarely in step.
        let share = (2 * wanted / self.lanes.len().max(1)) as i64;
        let hungry: Vec<_> = (0..self.lanes.len()).filter(|lane| self.lanes[*lane].is_hungry()).collect();
        let most = (LOOK / (hungry.len().max(1) as i64)).max(LEAST);
        let step = hungry.iter().map(|lane| self.lanes[*lane].step(share.max(LEAST), most)).max().unwrap_or(LEAST);
        if let Driver::Stream(product) = self.driver {
            return self.follow_stream(&hungry, product, step).await;
        }
        let (known, unknown): (Vec<_>, Vec<_>) =
            hungry.into_iter().partition(|lane| self.lanes[*lane].indexed().is_some());
        Ok(self.look_up(&known, step).await? + self.read(&unknown, step).await?)
    }

    /// In the index: a number of places each, and the events there.
    async fn look_up(&mut self, lanes: &[usize], step: i64) -> Result<i64, LogError> {
        let parts = self.parts(lanes, |lane| lane.indexed());
        if parts.is_empty() {
            return Ok(0);
        }
        let places = statements::candidates(&self.pool, &self.driver, &parts, self.order, step).await?;
        let events = self.judged(statements::at(&self.pool, &places).await?);
        for (lane, (partition, stretch)) in lanes.iter().zip(&parts) {
            let here = places.iter().filter(|(at, _)| at == partition).map(|(_, position)| *position);
            let looked = here.clone().count() as i64;
            let last = match self.order {
                Order::Ascending => here.max(),
                Order::Descending => here.min(),
            };
            // Fewer than were asked for are all of the stretch.
            let upto = last.filter(|_| looked >= step).unwrap_or_else(|| self.end_of(stretch));
            self.lanes[*lane].take(of_partition(&events, *partition), looked, upto);
        }
        Ok(places.len() as i64)
    }

    /// In the log: a number of positions each.
    async fn read(&mut self, lanes: &[usize], step: i64) -> Result<i64, LogError> {
        let parts = self.parts(lanes, |lane| Some(lane.unindexed(step)));
        if parts.is_empty() {
            return Ok(0);
        }
        let event_type = self.filter.event_type.as_deref();
        let events = self.judged(statements::within(&self.pool, &parts, event_type).await?);
        for (lane, (partition, stretch)) in lanes.iter().zip(&parts) {
            let upto = self.end_of(stretch);
            self.lanes[*lane].take(of_partition(&events, *partition), stretch.length(), upto);
        }
        Ok(parts.iter().map(|(_, stretch)| stretch.length()).sum())
    }

    /// In the product's stream, which lies in one partition.
    async fn follow_stream(&mut self, lanes: &[usize], product: ProductId, step: i64) -> Result<i64, LogError> {
        let Some(lane) = lanes.first().and_then(|lane| self.lanes.get_mut(*lane)) else { return Ok(0) };
        let (left, order) = (lane.left(), self.order);
        let sequence = match (lane.sequence, order) {
            (Some(sequence), _) => sequence,
            (None, Order::Ascending) => statements::sequence_since(&self.pool, product, left.low).await?,
            (None, Order::Descending) => {
                statements::sequence_since(&self.pool, product, left.high.saturating_add(1)).await? - 1
            }
        };
        let events = statements::stream(&self.pool, product, sequence, order, step).await?;
        let (looked, last) = (events.len() as i64, events.last().map(|event| (event.sequence, event.position)));
        let is_here =
            |event: &StoredEvent| event.partition == lane.partition && (left.low..=left.high).contains(&event.position);
        let good = events.into_iter().filter(|event| is_here(event) && self.filter.takes(event)).collect();
        match last {
            Some((sequence, upto)) if looked >= step && (left.low..=left.high).contains(&upto) => {
                lane.take(good, looked, upto);
                lane.sequence = Some(match order {
                    Order::Ascending => sequence + 1,
                    Order::Descending => sequence - 1,
                });
            }
            _ => {
                lane.take(good, looked, 0);
                lane.end();
            }
        }
        Ok(looked)
    }

    fn parts(&self, lanes: &[usize], of: impl Fn(&Lane) -> Option<Stretch>) -> Vec<Part> {
        let lanes = lanes.iter().map(|lane| &self.lanes[*lane]);
        lanes.filter_map(|lane| Some((lane.partition, of(lane)?))).collect()
    }

    fn judged(&self, mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
        events.retain(|event| self.filter.takes(event));
        events
    }

    /// The last position of a stretch, in order.
    fn end_of(&self, stretch: &Stretch) -> Position {
        match self.order {
            Order::Ascending => stretch.high,
            Order::Descending => stretch.low,
        }
    }
}

fn of_partition(events: &[StoredEvent], partition: i32) -> Vec<StoredEvent> {
    events.iter().filter(|event| event.partition == partition).cloned().collect()
}
