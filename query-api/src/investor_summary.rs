//! `GET /api/product/my/summary`: the sums of what a user has invested.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{Problem, ServiceTime, Times, UserIdHeader};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::consistency::Select;
use crate::view_rows::ViewRows;

/// A user who never invested gets zeros, and no dates.
pub(crate) async fn one(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let user_id = user_id.as_str();
    let select = || select(api.partitions, user_id);
    let (found, consistency): (ViewRows<SummaryRow>, _) = api
        .investor_summary
        .query(user_id, &headers, select)
        .await?;
    let row = found.rows.into_iter().next().unwrap_or_default();
    Ok(consistency.add_to(edge::ok(row.item(user_id, times.of(api.time)))))
}

pub(crate) fn select(partitions: i32, user_id: &str) -> Select<'_> {
    sqlx::query(ONE).bind(partitions).bind(user_id)
}

const ONE: &str = concat!(
    "
    select count(*) > 0 as present,
           1::bigint as total_count,
           ",
    positions_of!("'investor_summary'"),
    " as positions,
           sum(products)::bigint as products,
           sum(settled_amount)::bigint as settled_amount,
           sum(reserved_amount)::bigint as reserved_amount,
           sum(failed_invests)::bigint as failed_invests,
           min(first_invest_date) as first_invest_date,
           max(last_invest_date) as last_invest_date
    from investor_summary
    where user_id = $2"
);

#[derive(Default, sqlx::FromRow)]
pub(crate) struct SummaryRow {
    products: i64,
    settled_amount: i64,
    reserved_amount: i64,
    failed_invests: i64,
    first_invest_date: Option<DateTime<Utc>>,
    last_invest_date: Option<DateTime<Utc>>,
}

/// The sums of what a user has invested, as the contract shows them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryItem<'a> {
    user_id: &'a str,
    product_count: i64,
    settled_amount: i64,
    reserved_amount: i64,
    failed_count: i64,
    first_invest_date: Option<String>,
    last_invest_date: Option<String>,
}

impl SummaryRow {
    pub(crate) fn item<'a>(&self, user_id: &'a str, time: ServiceTime) -> SummaryItem<'a> {
        SummaryItem {
            user_id,
            product_count: self.products,
            settled_amount: self.settled_amount,
            reserved_amount: self.reserved_amount,
            failed_count: self.failed_invests,
            first_invest_date: self.first_invest_date.map(|date| time.format(date)),
            last_invest_date: self.last_invest_date.map(|date| time.format(date)),
        }
    }
}
