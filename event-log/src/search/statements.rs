//! The statements of a search. Each scans a bounded number of rows, along an index.

use super::filter::{AccessPath, Order};
use super::key::{EVENT_INDEX, INDEX_VERSION};
use super::partition_cursor::PositionRange;
use crate::read::raw_event;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductId;
use log_format::{Partition, Position, RawEvent};

/// A range of a partition.
pub(super) type Part = (Partition, PositionRange);

const COLUMNS: &str = "e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, \
                       e.payload::text as payload, e.metadata::text as metadata, e.partition, e.position, e.event_id, \
                       e.recorded_at, e.hash";

impl Order {
    fn sql(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// Three columns of `parts`, as `unnest` matches them.
fn columns(parts: &[Part]) -> (Vec<Partition>, Vec<Position>, Vec<Position>) {
    let (mut partitions, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, PositionRange { low, high }) in parts {
        partitions.push(*partition);
        lows.push(*low);
        highs.push(*high);
    }
    (partitions, lows, highs)
}

/// Up to where the index has rows that this code can use, by partition; where it has none it is absent.
pub(super) async fn indexed(pool: &Pool) -> sqlx::Result<Vec<(Partition, Position)>> {
    sqlx::query_as(
        "select partition, position from checkpoints where consumer = $1 and code_version = $2",
    )
    .bind(EVENT_INDEX)
    .bind(INDEX_VERSION)
    .fetch_all(pool)
    .await
}

/// At most so many places of each part that the index has for `access_path`, in order.
pub(super) async fn candidates(
    pool: &Pool,
    access_path: &AccessPath,
    parts: &[Part],
    order: Order,
    most: i64,
) -> sqlx::Result<Vec<(Partition, Position)>> {
    let column = match access_path {
        AccessPath::Key { column, .. } => column,
        AccessPath::RareType(_) => "rare_type",
        AccessPath::Stream(_) | AccessPath::Range => return Ok(Vec::new()),
    };
    let statement = format!(
        "select found.partition, found.position
           from unnest($1::integer[], $2::bigint[], $3::bigint[]) as part (partition, low, high)
          cross join lateral (
                select i.partition, i.position from {EVENT_INDEX} i
                 where i.{column} = $4 and i.partition = part.partition
                   and i.position >= part.low and i.position <= part.high
                 order by i.position {} limit $5) as found",
        order.sql()
    );
    let (partitions, lows, highs) = columns(parts);
    let asked = sqlx::query_as(&statement)
        .bind(partitions)
        .bind(lows)
        .bind(highs);
    let asked = match access_path {
        AccessPath::Key { key, .. } => asked.bind(*key),
        AccessPath::RareType(name) => asked.bind(name.as_str()),
        AccessPath::Stream(_) | AccessPath::Range => return Ok(Vec::new()),
    };
    asked.bind(most).fetch_all(pool).await
}

/// The events at these places; those that are there.
pub(super) async fn at(
    pool: &Pool,
    places: &[(Partition, Position)],
) -> sqlx::Result<Vec<RawEvent>> {
    let (partitions, positions): (Vec<_>, Vec<_>) = places.iter().copied().unzip();
    let statement = format!(
        "select {COLUMNS}
           from unnest($1::integer[], $2::bigint[]) as place (partition, position)
           join events e on e.partition = place.partition and e.position = place.position"
    );
    sqlx::query(&statement)
        .bind(partitions)
        .bind(positions)
        .try_map(raw_event)
        .fetch_all(pool)
        .await
}

/// All events of these parts, of one type where it is given.
pub(super) async fn within(
    pool: &Pool,
    parts: &[Part],
    event_type: Option<&str>,
) -> sqlx::Result<Vec<RawEvent>> {
    // Limited, so that it goes along the key whatever statistics say of it.
    let statement = format!(
        "select {COLUMNS}
           from unnest($1::integer[], $2::bigint[], $3::bigint[]) as part (partition, low, high)
          cross join lateral (
                select * from events
                 where partition = part.partition and position >= part.low and position <= part.high
                   and ($4::text is null or event_type = $4)
                 order by position limit $5) as e"
    );
    let (partitions, lows, highs) = columns(parts);
    let most = parts
        .iter()
        .map(|(_, range)| range.length())
        .max()
        .unwrap_or(0);
    let asked = sqlx::query(&statement)
        .bind(partitions)
        .bind(lows)
        .bind(highs);
    asked
        .bind(event_type)
        .bind(most)
        .try_map(raw_event)
        .fetch_all(pool)
        .await
}

/// When the first event of each part is from; nothing for one without events.
pub(super) async fn begins(
    pool: &Pool,
    parts: &[Part],
    order: Order,
) -> sqlx::Result<Vec<(DateTime<Utc>, Partition, Position)>> {
    let statement = format!(
        "select e.recorded_at, e.partition, e.position
           from unnest($1::integer[], $2::bigint[], $3::bigint[]) as part (partition, low, high)
          cross join lateral (
                select recorded_at, partition, position from events
                 where partition = part.partition and position >= part.low and position <= part.high
                 order by position {} limit 1) as e",
        order.sql()
    );
    let (partitions, lows, highs) = columns(parts);
    sqlx::query_as(&statement)
        .bind(partitions)
        .bind(lows)
        .bind(highs)
        .fetch_all(pool)
        .await
}

/// Of each partition, whose head is given: the first position that is from `time` or later; the one after the head when
/// there is none. Times never fall within a partition, so it is found by bisection, all within one statement; should they
/// fall, in a log that somebody changed, it ends all the same.
pub(super) async fn first_since(
    pool: &Pool,
    heads: &[(Partition, Position)],
    time: DateTime<Utc>,
) -> sqlx::Result<Vec<(Partition, Position)>> {
    let (partitions, positions): (Vec<_>, Vec<_>) = heads.iter().copied().unzip();
    sqlx::query_as(
        "with recursive narrowed (partition, low, high) as (
             select partition, 1::bigint, head + 1 from unnest($1::integer[], $2::bigint[]) as known (partition, head)
              union all
             select partition, case when is_since then low else middle + 1 end,
                    case when is_since then middle else high end
               from narrowed
              cross join lateral (select low + (high - low) / 2 as middle) as halved
              cross join lateral (
                    select coalesce((select e.recorded_at >= $3 from events e
                                      where e.partition = narrowed.partition and e.position >= middle
                                      order by e.position limit 1), true) as is_since) as told
              where low < high
         )
         select partition, low from narrowed where low = high",
    )
    .bind(partitions)
    .bind(positions)
    .bind(time)
    .fetch_all(pool)
    .await
}

/// The first sequence of a product's stream that stands at `position` or later; the one after its last when there is none.
/// By bisection, too.
pub(super) async fn sequence_since(
    pool: &Pool,
    product: ProductId,
    position: Position,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "with recursive narrowed (low, high) as (
             select 1::bigint, coalesce(max(sequence), 0) + 1 from events
              where aggregate_type = 'product' and aggregate_id = $1
              union all
             select case when is_since then low else middle + 1 end, case when is_since then middle else high end
               from narrowed
              cross join lateral (select low + (high - low) / 2 as middle) as halved
              cross join lateral (
                    select coalesce((select e.position >= $2 from events e
                                      where e.aggregate_type = 'product' and e.aggregate_id = $1 and e.sequence >= middle
                                      order by e.sequence limit 1), true) as is_since) as told
              where low < high
         )
         select low from narrowed where low = high",
    )
    .bind(product.to_string())
    .bind(position)
    .fetch_one(pool)
    .await
}

/// At most so many events of a product's stream from `sequence` on, or down, in order.
pub(super) async fn stream(
    pool: &Pool,
    product: ProductId,
    sequence: i64,
    order: Order,
    most: i64,
) -> sqlx::Result<Vec<RawEvent>> {
    let side = match order {
        Order::Ascending => ">=",
        Order::Descending => "<=",
    };
    let statement = format!(
        "select {COLUMNS} from events e
          where e.aggregate_type = 'product' and e.aggregate_id = $1 and e.sequence {side} $2
          order by e.sequence {} limit $3",
        order.sql()
    );
    sqlx::query(&statement)
        .bind(product.to_string())
        .bind(sequence)
        .bind(most)
        .try_map(raw_event)
        .fetch_all(pool)
        .await
}
