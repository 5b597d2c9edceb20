//! Reads the log by position in a partition, or by sequence in a product's stream. Always in ranges: the log is immutable, so no read
//! needs a long transaction.

use crate::log::Log;
use crate::{LogError, RecordedEvent};
use connection_pool::Pool;
use domain::ProductId;
use log_format::{Hash, Partition, Position, RawEvent};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::collections::HashMap;

/// An event as far as it says which product it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedProduct {
    /// The event's place in its partition.
    pub position: Position,
    /// Whose stream it is in.
    pub product_id: ProductId,
    /// Its name.
    pub event_type: String,
}

impl Log {
    /// Up to `limit` events of `partition` that follow `after`, in order.
    pub async fn read_after(
        &self,
        partition: Partition,
        after: Position,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        self.raw_after(partition, after, limit)
            .await?
            .iter()
            .map(RecordedEvent::try_from)
            .collect()
    }

    /// Up to `limit` events of one product's stream that follow `after`, in order.
    pub async fn read_stream(
        &self,
        product: ProductId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        stream_page(self.reads(), product, after, limit).await
    }

    /// Whether the event with this hash is at this position. If not, the log was set back or changed since somebody saw it there.
    pub async fn has_event(
        &self,
        partition: Partition,
        position: Position,
        hash: &Hash,
    ) -> Result<bool, LogError> {
        let found = self
            .raw_after(partition, position.saturating_sub(1), 1)
            .await?;
        Ok(found
            .first()
            .is_some_and(|event| event.position == position && event.hash == *hash))
    }

    /// Up to `limit` events of `partition` that follow `after`, in order, as they are stored.
    pub async fn raw_after(
        &self,
        partition: Partition,
        after: Position,
        limit: i64,
    ) -> Result<Vec<RawEvent>, LogError> {
        Ok(rows_after(self.reads(), partition, after, limit).await?)
    }

    /// Which products the events of `partition` after `after` up to `upto` changed, in order, at most `limit`; ends before a row that cannot be
    /// read.
    pub async fn changes_after(
        &self,
        partition: Partition,
        after: Position,
        upto: Position,
        limit: i64,
    ) -> Result<Vec<ChangedProduct>, LogError> {
        let rows: Vec<(Position, String, String)> = sqlx::query_as(
            "select position, aggregate_id, event_type
               from events
              where partition = $1 and position > $2 and position <= $3
              order by position limit $4",
        )
        .bind(partition)
        .bind(after)
        .bind(upto)
        .bind(limit)
        .fetch_all(self.reads())
        .await?;
        let change = |(position, id, event_type): (_, String, _)| {
            let product_id = ProductId::try_from(id.parse::<i64>().ok()?).ok()?;
            Some(ChangedProduct {
                position,
                product_id,
                event_type,
            })
        };
        Ok(rows.into_iter().map_while(change).collect())
    }

    /// The database and the server that the log is in: a copy of the log has the log's id, but another database. A copy of the server's
    /// files cannot be told apart.
    pub async fn database_id(&self) -> Result<String, LogError> {
        Ok(sqlx::query_scalar("select moa_database_id()")
            .fetch_one(self.pool())
            .await?)
    }
}

pub(crate) async fn rows_after(
    database: impl sqlx::PgExecutor<'_>,
    partition: Partition,
    after: Position,
    limit: i64,
) -> sqlx::Result<Vec<RawEvent>> {
    sqlx::query(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
                partition, position, event_id, recorded_at, hash
           from events
          where partition = $1 and position > $2
          order by position limit $3",
    )
    .bind(partition)
    .bind(after)
    .bind(limit)
    .try_map(raw_event)
    .fetch_all(database)
    .await
}

/// Up to `limit` events of each product's stream that follow its sequence, in order.
pub(crate) async fn stream_pages(
    pool: &Pool,
    after: &[(ProductId, i64)],
    limit: i64,
) -> Result<HashMap<ProductId, Vec<RecordedEvent>>, LogError> {
    let rows: Vec<RawEvent> = sqlx::query(
        "select e.*
           from unnest($1::text[], $2::bigint[]) as wanted (id, after)
          cross join lateral (
                select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text,
                       metadata::text, partition, position, event_id, recorded_at, hash
                  from events
                 where aggregate_type = 'product' and aggregate_id = wanted.id and sequence > wanted.after
                 order by sequence limit $3) as e
          order by e.aggregate_id, e.sequence",
    )
    .bind(after.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>())
    .bind(after.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>())
    .bind(limit)
    .try_map(raw_event)
    .fetch_all(pool)
    .await?;
    let mut pages: HashMap<_, Vec<_>> = HashMap::new();
    for row in &rows {
        let event = RecordedEvent::try_from(row)?;
        pages.entry(event.product_id).or_default().push(event);
    }
    Ok(pages)
}

pub(crate) async fn stream_page(
    pool: &Pool,
    product: ProductId,
    after: i64,
    limit: i64,
) -> Result<Vec<RecordedEvent>, LogError> {
    let rows: Vec<RawEvent> = sqlx::query(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
                partition, position, event_id, recorded_at, hash
           from events
          where aggregate_type = 'product' and aggregate_id = $1 and sequence > $2
          order by sequence limit $3",
    )
    .bind(product.to_string())
    .bind(after)
    .bind(limit)
    .try_map(raw_event)
    .fetch_all(pool)
    .await?;
    rows.iter().map(RecordedEvent::try_from).collect()
}

/// The event of a row that has the columns of `events`, payload and metadata as text.
pub(crate) fn raw_event(row: PgRow) -> sqlx::Result<RawEvent> {
    let hash: &[u8] = row.try_get("hash")?;
    Ok(RawEvent {
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get("payload")?,
        metadata: row.try_get("metadata")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
        event_id: row.try_get("event_id")?,
        recorded_at: row.try_get("recorded_at")?,
        hash: hash
            .try_into()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    })
}
