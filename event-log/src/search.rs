//! Asking the log: events by any [`Filter`], merged over all partitions, forward or backward, in pages that go on where
//! the last one ended.
//!
//! What is looked up, and not read along the log, is looked up in `event_index`, a read model; and a product in its stream.
//! What the index does not have yet is read in the log itself, so an answer is complete wherever the index stands. Every
//! event is judged by what it says itself: a wrong row of the index can hide an event, never invent one. Who doubts it has
//! it made anew (`moa projection rebuild event_index`), which compares the two.

mod cursor;
mod filter;
mod key;
mod lane;
mod looking;
mod statements;

pub use cursor::{Cursor, ForeignCursor};
pub use filter::{Bound, EVENT_TYPES, Filter, Order};
pub use key::{EVENT_INDEX, INDEX_VERSION, correlation_key, invest_key, rare_type, subject, user_key};

use crate::LogError;
use crate::event::StoredEvent;
use crate::log::{Log, Partition, Position};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use filter::Driver;
use futures::{Stream, stream};
use lane::{Lane, Stretch};

/// The most events of one page.
pub const MAX_PAGE: usize = 1_000;
/// How many rows are looked at for one page, give or take one look: after them it is given as far as it is.
const LOOKED_AT: i64 = 20_000;

/// Some events of the answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// In order; may be few or none though more follow: the work of one page is bounded.
    pub events: Vec<StoredEvent>,
    /// What the next page begins with; `None` when there is nothing more.
    pub next: Option<Cursor>,
}

/// A question to the log, and how far it is answered. What is asked forward ends at the heads as they were when it began.
pub struct Search {
    log: Log,
    pool: Pool,
    filter: Filter,
    order: Order,
    driver: Driver,
    lanes: Vec<Lane>,
}

/// Where an event stands among those of all partitions.
type Place = (DateTime<Utc>, Partition, Position);

impl Search {
    /// Begins where `cursor` ended, or at the beginning. `pool` is of the log's database; each statement takes a small part
    /// of a second.
    pub async fn begin(
        log: &Log,
        pool: &Pool,
        filter: Filter,
        order: Order,
        cursor: Option<&Cursor>,
    ) -> Result<Self, LogError> {
        let driver = filter.driver();
        // Before the heads, and before any row: what it says is there stays there.
        let indexed = match driver {
            Driver::Key { .. } | Driver::RareType(_) => statements::indexed(pool).await?,
            Driver::Stream(_) | Driver::Range => Vec::new(),
        };
        let mut lanes = Vec::new();
        for (partition, mut left) in stretches(log, pool, &filter).await? {
            let next = cursor.and_then(|cursor| cursor.next.get(usize::try_from(partition).ok()?));
            match (order, next) {
                (Order::Ascending, Some(next)) => left.low = left.low.max(*next),
                (Order::Descending, Some(next)) => left.high = left.high.min(*next),
                (_, None) => {}
            }
            let indexed = indexed.iter().find(|(at, _)| *at == partition).map_or(0, |(_, position)| *position);
            lanes.push(Lane::new(partition, order, left, indexed));
        }
        Ok(Self { log: log.clone(), pool: pool.clone(), filter, order, driver, lanes })
    }

    /// The next events, at most `limit` of them and [`MAX_PAGE`].
    pub async fn page(&mut self, limit: usize) -> Result<Page, LogError> {
        let (limit, mut left) = (limit.clamp(1, MAX_PAGE), LOOKED_AT);
        let mut events = Vec::with_capacity(limit);
        while events.len() < limit {
            if !self.lanes.iter().any(Lane::is_hungry) {
                let Some(event) = self.take(None) else { break };
                events.push(event);
            } else if left > 0 {
                left -= self.look(limit - events.len()).await?;
            } else {
                let unknown = self.unknown_from().await?;
                events.extend(std::iter::from_fn(|| self.take(unknown)).take(limit - events.len()));
                break;
            }
        }
        Ok(Page { events, next: self.cursor() })
    }

    /// All that is left, in pages.
    pub fn pages(self) -> impl Stream<Item = Result<Vec<StoredEvent>, LogError>> + Send {
        stream::try_unfold(Some(self), async |search| {
            let Some(mut search) = search else { return Ok(None) };
            let Page { events, next } = search.page(MAX_PAGE).await?;
            Ok(Some((events, next.map(|_| search))))
        })
    }

    /// The next event of those that were found, unless it stands behind `unknown`.
    fn take(&mut self, unknown: Option<Place>) -> Option<StoredEvent> {
        let order = self.order;
        let is_before = |one: &Place, other: &Place| match order {
            Order::Ascending => one < other,
            Order::Descending => one > other,
        };
        let mut first: Option<(Place, &mut Lane)> = None;
        for lane in &mut self.lanes {
            let Some(place) = lane.found.front().map(|event| (event.recorded_at, event.partition, event.position))
            else {
                continue;
            };
            if first.as_ref().is_none_or(|(first, _)| is_before(&place, first)) {
                first = Some((place, lane));
            }
        }
        let (place, lane) = first?;
        if unknown.is_some_and(|unknown| !is_before(&place, &unknown)) {
            return None;
        }
        lane.found.pop_front()
    }

    /// Where the first event stands that was not looked at, in the order of the answer: what is found before it is next.
    async fn unknown_from(&self) -> Result<Option<Place>, LogError> {
        let parts: Vec<_> =
            self.lanes.iter().filter(|lane| lane.is_hungry()).map(|lane| (lane.partition, lane.left())).collect();
        let places = statements::begins(&self.pool, &parts, self.order).await?.into_iter();
        Ok(match self.order {
            Order::Ascending => places.min(),
            Order::Descending => places.max(),
        })
    }

    fn cursor(&self) -> Option<Cursor> {
        if self.lanes.iter().all(Lane::is_done) {
            return None;
        }
        let next_of = |partition| self.lanes.iter().find(|lane| lane.partition == partition).map_or(0, Lane::next);
        let next = self.log.partitions().map(next_of).collect();
        Some(Cursor::new(self.log.identity(), &self.filter, self.order, next))
    }
}

/// What of each partition is asked for, as it stands now.
async fn stretches(log: &Log, pool: &Pool, filter: &Filter) -> Result<Vec<(Partition, Stretch)>, LogError> {
    let of_product = filter.product.map(|product| log.partition_of(product));
    let is_asked = |partition: &Partition| {
        filter.partition.is_none_or(|asked| asked == *partition) && of_product.is_none_or(|asked| asked == *partition)
    };
    let heads: Vec<_> = log.partitions().zip(log.heads().await?).filter(|(partition, _)| is_asked(partition)).collect();
    let mut stretches: Vec<_> = heads.iter().map(|(at, head)| (*at, Stretch { low: 1, high: *head })).collect();
    match filter.from {
        Some(Bound::Position(from)) => stretches.iter_mut().for_each(|(_, stretch)| stretch.low = from.max(1)),
        Some(Bound::Time(time)) => {
            let since = statements::first_since(pool, &heads, time).await?;
            each_by_partition(&mut stretches, &since, |stretch, since| stretch.low = since);
        }
        None => {}
    }
    match filter.to {
        Some(Bound::Position(to)) => stretches.iter_mut().for_each(|(_, stretch)| stretch.high = stretch.high.min(to)),
        Some(Bound::Time(time)) => {
            let since = statements::first_since(pool, &heads, time).await?;
            each_by_partition(&mut stretches, &since, |stretch, since| stretch.high = since - 1);
        }
        None => {}
    }
    Ok(stretches)
}

fn each_by_partition(
    stretches: &mut [(Partition, Stretch)],
    positions: &[(Partition, Position)],
    set: impl Fn(&mut Stretch, Position),
) {
    for (partition, stretch) in stretches {
        let position = positions.iter().find(|(at, _)| at == partition).map(|(_, position)| *position);
        position.into_iter().for_each(|position| set(stretch, position));
    }
}
