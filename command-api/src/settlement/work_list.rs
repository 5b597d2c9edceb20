//! Taking work from `open_invest`, so that several instances never take the same at once.

use super::{Due, TAKEN_FOR};
use chrono::{DateTime, Utc};
use domain::{InvestId, ProductId};
use event_log::DatabaseClock;
use sqlx::PgPool;
use std::time::Instant;
use uuid::Uuid;

type Columns = (Uuid, i64, DateTime<Utc>, Uuid, String, Option<String>);

/// Takes up to `limit` that are due, the longest due first; the database's clock comes with them.
pub(super) async fn take(pool: &PgPool, limit: i64) -> sqlx::Result<(DatabaseClock, Vec<Due>)> {
    let asked = Instant::now();
    let (received, said) = sqlx::query_as("select statement_timestamp(), clock_timestamp()").fetch_one(pool).await?;
    let clock = DatabaseClock::heard(received, said, asked);
    let rows: Vec<Columns> = sqlx::query_as(
        "update open_invest
            set due_at = $1 + make_interval(secs => $2), attempts = attempts + 1
          where invest_id in (select invest_id from open_invest
                               where due_at <= $1 order by due_at limit $3 for update skip locked)
      returning invest_id, product_id, expires_at, event_id, correlation_id, traceparent",
    )
    .bind(said)
    .bind(TAKEN_FOR.as_seconds_f64())
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok((clock, rows.into_iter().filter_map(due).collect()))
}

fn due((invest_id, product_id, expires_at, event_id, correlation_id, traceparent): Columns) -> Option<Due> {
    let product_id = ProductId::try_from(product_id).ok()?;
    Some(Due { invest_id: InvestId(invest_id), product_id, expires_at, event_id, correlation_id, traceparent })
}
