//! Filtered bulk reads: the database filters, so that a long log is scanned without being sent. Each statement covers one range of
//! positions, and is short.

use super::{BulkReader, connection, copy_rows, range};
use crate::read::raw_event;
use crate::search::subject;
use crate::{LogError, RecordedEvent};
use connection_pool::Connection;
use domain::ProductId;
use futures::TryStreamExt as _;
use log_format::{Partition, Position};
use sqlx::Postgres;
use uuid::Uuid;

impl BulkReader {
    /// Positions that one filtered read should cover at most: its statement then takes a fraction of a second.
    pub const MAX_POSITIONS_PER_READ: Position = 50_000;

    /// The events of these products' streams among those of `partition` after `after` up to and with `upto`, in order.
    /// Whether a stream is complete shows in its sequences, which the caller compares.
    pub async fn streams(
        &mut self,
        partition: Partition,
        (after, upto): (Position, Position),
        products: &[ProductId],
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connection(&self.pool).await?,
        };
        let events = copy(&mut connection, partition, (after, upto), products).await?;
        self.connection = Some(connection);
        Ok(events)
    }

    /// The first event of every stream that begins in the range.
    pub async fn beginnings(
        &mut self,
        partition: Partition,
        (after, upto): (Position, Position),
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let select = selected("aggregate_type = 'product' and sequence = 1");
        self.all(sqlx::query(&select).bind(partition).bind(after).bind(upto))
            .await
    }

    /// The events of the range that are about this invest.
    pub async fn of_invest(
        &mut self,
        partition: Partition,
        (after, upto): (Position, Position),
        invest_id: Uuid,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let select = selected(&format!(
            "aggregate_type = 'product' and ({})",
            may_hold("$4")
        ));
        let select = sqlx::query(&select)
            .bind(partition)
            .bind(after)
            .bind(upto)
            .bind(quoted(&invest_id.to_string()));
        let mut found = self.all(select).await?;
        found
            .retain(|event| subject(&event.event).is_some_and(|(_, invest)| invest.0 == invest_id));
        Ok(found)
    }

    /// The products in which something happens to `user` in the range; maybe more, never fewer.
    pub async fn products_of(
        &mut self,
        partition: Partition,
        (after, upto): (Position, Position),
        user: &str,
    ) -> Result<Vec<ProductId>, LogError> {
        let statement = format!(
            "select distinct aggregate_id from events
              where partition = $1 and position > $2 and position <= $3 and aggregate_type = 'product' and ({})",
            may_hold("$4")
        );
        let select = sqlx::query_scalar(&statement)
            .bind(partition)
            .bind(after)
            .bind(upto)
            .bind(quoted(user));
        let ids: Vec<String> = select.fetch_all(self.connection().await?).await?;
        // An invalid id is no product's stream; verification reports it.
        Ok(ids
            .iter()
            .filter_map(|id| ProductId::try_from(id.parse::<i64>().ok()?).ok())
            .collect())
    }

    async fn all(&mut self, select: Select<'_>) -> Result<Vec<RecordedEvent>, LogError> {
        let (connection, mut events) = (self.connection().await?, Vec::new());
        let mut rows = select.try_map(raw_event).fetch(connection);
        while let Some(row) = rows.try_next().await? {
            events.push(RecordedEvent::try_from(&row)?);
        }
        Ok(events)
    }

    async fn connection(&mut self) -> sqlx::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(connection(&self.pool).await?);
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

async fn copy(
    connection: &mut Connection,
    partition: Partition,
    (after, upto): (Position, Position),
    products: &[ProductId],
) -> Result<Vec<RecordedEvent>, LogError> {
    let wanted = products
        .iter()
        .map(ProductId::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let condition = format!(
        "{} and aggregate_type = 'product' and aggregate_id = any('{{{wanted}}}')",
        range(partition, after, upto)
    );
    let mut events = Vec::new();
    copy_rows(connection, &condition, |row| {
        events.push(RecordedEvent::try_from(&row)?);
        Ok(())
    })
    .await?;
    Ok(events)
}

type Select<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

fn selected(which: &str) -> String {
    format!(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
                partition, position, event_id, recorded_at, hash
           from events
          where partition = $1 and position > $2 and position <= $3 and {which}
          order by position"
    )
}

/// As JSON writes a text in which nothing needs an escape.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Whether a payload may hold this quoted text as a value. Text that JSON escapes may be it, too.
fn may_hold(text: &str) -> String {
    format!(r"strpos(payload::text, {text}) > 0 or strpos(payload::text, '\u') > 0")
}
