//! `GET /api/product/my/invest`: what a user holds (settled invests), latest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{ListData, Paging, Problem, ServiceTime, Times, UserIdHeader};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::consistency::Select;
use crate::view_rows::ViewRows;

pub(crate) async fn list(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    paging: Paging,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let user_id = user_id.as_str();
    let select = || select(api.partitions, user_id, &paging);
    let (found, consistency): (ViewRows<HoldingRow>, _) = api.holdings.query(&headers, select).await?;
    let list = found.rows.iter().map(|row| row.item(user_id, times.of(api.time))).collect();
    Ok(consistency.add_to(edge::ok(ListData { total_count: found.total_count, list })))
}

pub(crate) fn select<'q>(partitions: i32, user_id: &'q str, paging: &Paging) -> Select<'q> {
    sqlx::query(PAGE).bind(partitions).bind(user_id).bind(paging.offset()).bind(paging.size())
}

const PAGE: &str = concat!(
    "
    select page.product_id is not null as present,
           (select coalesce(sum(holdings), 0)::bigint from holdings_count where user_id = $2) as total_count,
           ",
    positions_of!("'holdings'"),
    " as positions,
           page.product_id, page.amount, page.invest_date, product.title, product.total_amount
    from (values (1)) as one
    left join (select product_id, amount, invest_date
               from holdings
               where user_id = $2
               order by invest_date desc, product_id desc
               offset $3 limit $4) as page on true
    left join holdings_product as product using (product_id)
    order by page.invest_date desc, page.product_id desc"
);

#[derive(sqlx::FromRow)]
pub(crate) struct HoldingRow {
    product_id: i64,
    amount: i64,
    invest_date: DateTime<Utc>,
    title: String,
    total_amount: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HoldingItem<'a> {
    product_id: i64,
    user_id: &'a str,
    title: &'a str,
    total_investing_amount: i64,
    my_investing_amount: i64,
    invest_date: String,
}

impl HoldingRow {
    pub(crate) fn item<'a>(&'a self, user_id: &'a str, time: ServiceTime) -> HoldingItem<'a> {
        HoldingItem {
            product_id: self.product_id,
            user_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            my_investing_amount: self.amount,
            invest_date: time.format(self.invest_date),
        }
    }
}
