//! `GET /admin/mass-refund`: the products that ended and are given back, and how far each is.

use super::database;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use edge::{ListData, Problem, ServiceTime};
use serde::Serialize;
use utoipa::ToSchema;

/// Rows that are counted at most, of a product: more is no news, and counting has a cost.
const MAX_COUNTED_ROWS: i64 = 10_000;

/// A product that is given back.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MassRefund)]
pub(super) struct Item {
    product_id: i64,
    began_at: String,
    /// How much of the product's stream is read.
    read_percent: i64,
    /// At the rate since it began; null when nothing is known yet.
    seconds_left: Option<i64>,
    queued_refunds: i64,
    open_reservations: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    product_id: i64,
    last_sequence: i64,
    read_sequence: i64,
    began_at: DateTime<Utc>,
    queued_refunds: i64,
    open_reservations: i64,
    now: DateTime<Utc>,
}

pub(super) async fn list(
    State((pool, time)): State<(Pool, ServiceTime)>,
) -> Result<Response, Problem> {
    let rows: Vec<Row> = sqlx::query_as(
        "select product_id, last_sequence, read_sequence, began_at, clock_timestamp() as now,
                (select count(*) from (select from open_invest o where o.product_id = m.product_id
                                          and given_back is not null limit $1) counted) as queued_refunds,
                (select count(*) from (select from open_invest o where o.product_id = m.product_id
                                          and given_back is null limit $1) counted) as open_reservations
           from mass_refunds m order by product_id",
    )
    .bind(MAX_COUNTED_ROWS)
    .fetch_all(&pool)
    .await
    .map_err(database::problem)?;
    let list: Vec<_> = rows.into_iter().map(|row| item(&row, time)).collect();
    Ok(edge::ok(ListData {
        total_count: list.len() as i64,
        list,
    }))
}

fn item(row: &Row, time: ServiceTime) -> Item {
    let read = row.read_sequence.min(row.last_sequence);
    Item {
        product_id: row.product_id,
        began_at: time.format(row.began_at),
        read_percent: read * 100 / row.last_sequence.max(1),
        seconds_left: seconds_left(row, read),
        queued_refunds: row.queued_refunds,
        open_reservations: row.open_reservations,
    }
}

/// What is left of the stream, at the rate since the refunds began.
fn seconds_left(row: &Row, read: i64) -> Option<i64> {
    let taken = (row.now - row.began_at).as_seconds_f64();
    (read > 0).then(|| ((row.last_sequence - read) as f64 * taken / read as f64).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use rstest::rstest;

    #[rstest]
    #[case::not_begun(0, 0, None)]
    #[case::a_quarter(500, 25, Some(30))]
    #[case::read(2_000, 100, Some(0))]
    #[case::read_beyond_its_end(2_500, 100, Some(0))]
    fn what_is_left_is_told(
        #[case] read_sequence: i64,
        #[case] percent: i64,
        #[case] left: Option<i64>,
    ) {
        let began_at = DateTime::UNIX_EPOCH;
        let row = Row {
            product_id: 1,
            last_sequence: 2_000,
            read_sequence,
            began_at,
            queued_refunds: 0,
            open_reservations: 0,
            now: began_at + TimeDelta::seconds(10),
        };
        let item = item(&row, "UTC".parse().unwrap());
        assert_eq!((item.read_percent, item.seconds_left), (percent, left));
    }
}
