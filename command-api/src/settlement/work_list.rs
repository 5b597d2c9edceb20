//! Taking work from `open_invest`, so that several instances never take the same at once.

use chrono::{DateTime, Utc};
use domain::{InvestId, ProductId};
use sqlx::PgPool;
use uuid::Uuid;

/// How long whoever took an open invest has, before another may take it, in seconds. Above the longest time that a
/// desk may need for a verdict.
const TAKEN_FOR: f64 = 10.0;

/// An open invest that is due.
pub(super) struct Due {
    pub(super) invest_id: InvestId,
    pub(super) product_id: ProductId,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) event_id: Uuid,
    pub(super) correlation_id: String,
}

type Columns = (DateTime<Utc>, Uuid, i64, DateTime<Utc>, Uuid, String);

/// Takes up to `limit` that are due, the longest due first; the database's time comes with them.
pub(super) async fn take(pool: &PgPool, limit: i64) -> sqlx::Result<(DateTime<Utc>, Vec<Due>)> {
    let rows: Vec<Columns> = sqlx::query_as(
        "update open_invest
            set due_at = clock_timestamp() + make_interval(secs => $1), attempts = attempts + 1
          where invest_id in (select invest_id from open_invest
                               where due_at <= clock_timestamp() order by due_at limit $2 for update skip locked)
      returning clock_timestamp(), invest_id, product_id, expires_at, event_id, correlation_id",
    )
    .bind(TAKEN_FOR)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let now = rows.first().map_or(DateTime::UNIX_EPOCH, |row| row.0);
    Ok((now, rows.into_iter().filter_map(due).collect()))
}

fn due((_, invest_id, product_id, expires_at, event_id, correlation_id): Columns) -> Option<Due> {
    let product_id = ProductId::try_from(product_id).ok()?;
    Some(Due { invest_id: InvestId(invest_id), product_id, expires_at, event_id, correlation_id })
}
