//! `GET /api/product/{productId}`: one product, open or not.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use edge::{Problem, ProductIdPath, ServiceTime};
use serde::Serialize;

use crate::Api;
use crate::shown::Shown;

/// Unknown ids are answered `NOT_EXIST_PRODUCT`, which is a state too and carries its token.
pub(crate) async fn one(
    State(api): Api,
    ProductIdPath(product_id): ProductIdPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let select = || sqlx::query(ONE).bind(api.partitions).bind(product_id.get());
    let (shown, stamp): (Shown<ProductRow>, _) = api.product_list.show(&headers, select).await?;
    let answer = match shown.rows.first() {
        Some(row) => edge::ok(row.item(api.time)),
        None => Problem::NotExistProduct.into_response(),
    };
    Ok(stamp.on(answer))
}

const ONE: &str = "
    select product.product_id is not null as present,
           1::bigint as total_count,
           array(select coalesce(position, 0)
                 from generate_series(0, $1 - 1) as n
                 left join checkpoints on consumer = 'product_list' and partition = n
                 order by n) as positions,
           product.product_id, title, total_amount, current_amount, invest_users, started_at, finished_at
    from (values (1)) as one
    left join (select * from product_list where product_id = $2) as product on true";

/// A product as the read model has it.
#[derive(sqlx::FromRow)]
pub(crate) struct ProductRow {
    product_id: i64,
    title: String,
    total_amount: i64,
    current_amount: i64,
    invest_users: i64,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

/// A product as the contract shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProductItem<'a> {
    product_id: i64,
    title: &'a str,
    total_investing_amount: i64,
    current_investing_amount: i64,
    investing_cnt: i64,
    started_at: String,
    finished_at: String,
    invest_status: &'static str,
}

impl ProductRow {
    pub(crate) fn item(&self, time: ServiceTime) -> ProductItem<'_> {
        ProductItem {
            product_id: self.product_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            current_investing_amount: self.current_amount,
            investing_cnt: self.invest_users,
            started_at: time.format(self.started_at),
            finished_at: time.format(self.finished_at),
            invest_status: if self.current_amount >= self.total_amount { "COMPLETE" } else { "ONGOING" },
        }
    }
}
