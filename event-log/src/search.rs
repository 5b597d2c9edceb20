//! Searches the log: events by any [`Filter`], merged over all partitions, forward or backward, in pages that continue where the last one
//! ended.
//!
//! Selective filters use `event_index`, a read model, or a product's stream. Events that the index does not have yet are read from the log
//! itself, so an answer is complete however far the index lags. Every event is matched by its own content: a wrong row of the index can
//! hide an event, never invent one. In doubt, rebuild it (`moa projection rebuild event_index`), which compares the two.

mod cursor;
mod fetch;
mod filter;
mod key;
mod partition_cursor;
mod statements;

pub use cursor::{Cursor, ForeignCursorError};
pub use filter::{Bound, EVENT_TYPES, Filter, Order};
pub use key::{
    EVENT_INDEX, INDEX_VERSION, correlation_key, invest_key, rare_type, subject, user_key,
};

use crate::log::Log;
use crate::{LogError, RecordedEvent};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::InvestId;
use filter::AccessPath;
use futures::{Stream, stream};
use log_format::{Partition, Position, RawEvent};
use partition_cursor::{PartitionCursor, PositionRange};

/// The most events of one page.
pub const MAX_PAGE_EVENTS: usize = 1_000;
/// Rows that one page scans, give or take one fetch: after them the page is returned as it is.
const MAX_ROWS_SCANNED: i64 = 20_000;

/// Some events of the answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// In order; may be few or none although more follow: the work of one page is bounded.
    pub events: Vec<RawEvent>,
    /// What the next page begins with; `None` when there is nothing more.
    pub next: Option<Cursor>,
}

/// A search and its progress. A forward search ends at the heads as they were when it began.
pub struct Search {
    log: Log,
    pool: Pool,
    filter: Filter,
    order: Order,
    access_path: AccessPath,
    cursors: Vec<PartitionCursor>,
}

impl Log {
    /// Every event about one invest, in order, up to the heads: an index that lags hides none.
    pub async fn invest_events(&self, invest: InvestId) -> Result<Vec<RecordedEvent>, LogError> {
        let filter = Filter {
            invest: Some(invest),
            ..Filter::default()
        };
        let mut search = Search::begin(self, self.reads(), filter, Order::Ascending, None).await?;
        let mut events = Vec::new();
        loop {
            let page = search.page(MAX_PAGE_EVENTS).await?;
            for event in &page.events {
                events.push(RecordedEvent::try_from(event)?);
            }
            if page.next.is_none() {
                return Ok(events);
            }
        }
    }
}

/// The order of events over all partitions.
type EventOrderKey = (DateTime<Utc>, Partition, Position);

impl Search {
    /// Begins where `cursor` ended, or at the beginning. `pool` is of the log's database; each statement takes a fraction of a second.
    pub async fn begin(
        log: &Log,
        pool: &Pool,
        filter: Filter,
        order: Order,
        cursor: Option<&Cursor>,
    ) -> Result<Self, LogError> {
        let access_path = filter.access_path();
        // Read before the heads and before any row: what is indexed stays indexed.
        let indexed = match access_path {
            AccessPath::Key { .. } | AccessPath::RareType(_) => statements::indexed(pool).await?,
            AccessPath::Stream(_) | AccessPath::Range => Vec::new(),
        };
        let mut cursors = Vec::new();
        for (partition, mut left) in ranges(log, pool, &filter).await? {
            let next = cursor.and_then(|cursor| cursor.next.get(usize::try_from(partition).ok()?));
            match (order, next) {
                (Order::Ascending, Some(next)) => left.low = left.low.max(*next),
                (Order::Descending, Some(next)) => left.high = left.high.min(*next),
                (_, None) => {}
            }
            let indexed = indexed
                .iter()
                .find(|(at, _)| *at == partition)
                .map_or(0, |(_, position)| *position);
            cursors.push(PartitionCursor::new(partition, order, left, indexed));
        }
        Ok(Self {
            log: log.clone(),
            pool: pool.clone(),
            filter,
            order,
            access_path,
            cursors,
        })
    }

    /// The next events, at most `limit` of them and [`MAX_PAGE_EVENTS`].
    pub async fn page(&mut self, limit: usize) -> Result<Page, LogError> {
        let (limit, mut left) = (limit.clamp(1, MAX_PAGE_EVENTS), MAX_ROWS_SCANNED);
        let mut events = Vec::with_capacity(limit);
        while events.len() < limit {
            if !self.cursors.iter().any(PartitionCursor::needs_rows) {
                let Some(event) = self.take(None) else { break };
                events.push(event);
            } else if left > 0 {
                left -= self.fetch(limit - events.len()).await?;
            } else {
                let unknown = self.unknown_from().await?;
                events.extend(std::iter::from_fn(|| self.take(unknown)).take(limit - events.len()));
                break;
            }
        }
        Ok(Page {
            events,
            next: self.cursor(),
        })
    }

    /// All that is left, in pages.
    pub fn pages(self) -> impl Stream<Item = Result<Vec<RawEvent>, LogError>> + Send {
        stream::try_unfold(Some(self), async |search| {
            let Some(mut search) = search else {
                return Ok(None);
            };
            let Page { events, next } = search.page(MAX_PAGE_EVENTS).await?;
            Ok(Some((events, next.map(|_| search))))
        })
    }

    /// The next event of those that were found, unless it comes after `unknown`.
    fn take(&mut self, unknown: Option<EventOrderKey>) -> Option<RawEvent> {
        let order = self.order;
        let is_before = |one: &EventOrderKey, other: &EventOrderKey| match order {
            Order::Ascending => one < other,
            Order::Descending => one > other,
        };
        let mut first: Option<(EventOrderKey, &mut PartitionCursor)> = None;
        for cursor in &mut self.cursors {
            let Some(place) = cursor
                .found
                .front()
                .map(|event| (event.recorded_at, event.partition, event.position))
            else {
                continue;
            };
            if first
                .as_ref()
                .is_none_or(|(first, _)| is_before(&place, first))
            {
                first = Some((place, cursor));
            }
        }
        let (place, cursor) = first?;
        if unknown.is_some_and(|unknown| !is_before(&place, &unknown)) {
            return None;
        }
        cursor.found.pop_front()
    }

    /// The order key of the first event that was not scanned: events that were found before it come next.
    async fn unknown_from(&self) -> Result<Option<EventOrderKey>, LogError> {
        let parts: Vec<_> = self
            .cursors
            .iter()
            .filter(|cursor| cursor.needs_rows())
            .map(|cursor| (cursor.partition, cursor.left()))
            .collect();
        let places = statements::begins(&self.pool, &parts, self.order)
            .await?
            .into_iter();
        Ok(match self.order {
            Order::Ascending => places.min(),
            Order::Descending => places.max(),
        })
    }

    fn cursor(&self) -> Option<Cursor> {
        if self.cursors.iter().all(PartitionCursor::is_done) {
            return None;
        }
        let next_of = |partition| {
            self.cursors
                .iter()
                .find(|cursor| cursor.partition == partition)
                .map_or(0, PartitionCursor::next)
        };
        let next = self.log.partitions().map(next_of).collect();
        Some(Cursor::new(
            self.log.identity(),
            &self.filter,
            self.order,
            next,
        ))
    }
}

/// The requested positions of each partition, up to the current heads.
async fn ranges(
    log: &Log,
    pool: &Pool,
    filter: &Filter,
) -> Result<Vec<(Partition, PositionRange)>, LogError> {
    let of_product = filter.product.map(|product| log.partition_of(product));
    let is_asked = |partition: &Partition| {
        filter.partition.is_none_or(|asked| asked == *partition)
            && of_product.is_none_or(|asked| asked == *partition)
    };
    let heads: Vec<_> = log
        .partitions()
        .zip(log.heads().await?)
        .filter(|(partition, _)| is_asked(partition))
        .collect();
    let mut ranges: Vec<_> = heads
        .iter()
        .map(|(at, head)| {
            (
                *at,
                PositionRange {
                    low: 1,
                    high: *head,
                },
            )
        })
        .collect();
    match filter.from {
        Some(Bound::Position(from)) => ranges
            .iter_mut()
            .for_each(|(_, range)| range.low = from.max(1)),
        Some(Bound::Time(time)) => {
            let since = statements::first_since(pool, &heads, time).await?;
            each_by_partition(&mut ranges, &since, |range, since| range.low = since);
        }
        None => {}
    }
    match filter.to {
        Some(Bound::Position(to)) => ranges
            .iter_mut()
            .for_each(|(_, range)| range.high = range.high.min(to)),
        Some(Bound::Time(time)) => {
            let since = statements::first_since(pool, &heads, time).await?;
            each_by_partition(&mut ranges, &since, |range, since| range.high = since - 1);
        }
        None => {}
    }
    Ok(ranges)
}

fn each_by_partition(
    ranges: &mut [(Partition, PositionRange)],
    positions: &[(Partition, Position)],
    set: impl Fn(&mut PositionRange, Position),
) {
    for (partition, range) in ranges {
        let position = positions
            .iter()
            .find(|(at, _)| at == partition)
            .map(|(_, position)| *position);
        position
            .into_iter()
            .for_each(|position| set(range, position));
    }
}
