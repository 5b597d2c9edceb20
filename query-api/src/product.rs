//! `GET /api/product/{productId}`: one product, open or not.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use edge::{Problem, ProductIdPath, ServiceTime};
use serde::Serialize;

use crate::cache::{Counter, Facts};
use crate::consistency::Asked;
use crate::product_status::{ProductFacts, product_status};
use crate::shown::Shown;
use crate::{Api, QueryApi, count_read};

/// Unknown ids are answered `NOT_EXIST_PRODUCT`, which is a state too and carries its token.
pub(crate) async fn one(
    State(api): Api,
    ProductIdPath(product_id): ProductIdPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = api.product_list.asked(&headers)?;
    let shown = show(&api, &asked, product_id.get()).await?;
    let stamp = api.product_list.stamp(&asked, &shown);
    let answer = match shown.rows.first() {
        Some(row) => edge::ok(row.item(api.time)),
        None => Problem::NotExistProduct.into_response(),
    };
    Ok(stamp.on(answer))
}

async fn show(api: &QueryApi, asked: &Asked, product_id: i64) -> Result<Shown<ProductRow>, Problem> {
    if let Some(cache) = &api.cache
        && let Some(shown) = cache.one(asked, product_id).await
    {
        count_read("product", "redis");
        return Ok(shown);
    }
    let select = || sqlx::query(ONE).bind(api.partitions).bind(product_id);
    let shown = api.product_list.show_asked(asked, select).await?;
    count_read("product", "postgres");
    Ok(shown)
}

const ONE: &str = "
    select product.product_id is not null as present,
           1::bigint as total_count,
           array(select coalesce(position, 0)
                 from generate_series(0, $1 - 1) as n
                 left join checkpoints on consumer = 'product_list' and partition = n
                 order by n) as positions,
           product.product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
           statement_timestamp() as now
    from (values (1)) as one
    left join (select * from product_list where product_id = $2) as product on true";

/// A product as the read model has it, and the time it is shown at.
#[derive(sqlx::FromRow)]
pub(crate) struct ProductRow {
    product_id: i64,
    title: String,
    total_amount: i64,
    current_amount: i64,
    invest_users: i64,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    closed: bool,
    now: DateTime<Utc>,
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
    /// A product as the read model had it when its counter was read.
    pub(crate) fn of(facts: &Facts, counter: &Counter, now: DateTime<Utc>) -> Self {
        Self {
            product_id: facts.product_id,
            title: facts.title.clone(),
            total_amount: facts.total_amount,
            current_amount: counter.current_amount,
            invest_users: counter.invest_users,
            started_at: facts.started_at,
            finished_at: facts.finished_at,
            closed: counter.closed,
            now,
        }
    }

    pub(crate) fn item(&self, time: ServiceTime) -> ProductItem<'_> {
        ProductItem {
            product_id: self.product_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            current_investing_amount: self.current_amount,
            investing_cnt: self.invest_users,
            started_at: time.format(self.started_at),
            finished_at: time.format(self.finished_at),
            invest_status: product_status(self.facts(), self.now),
        }
    }

    fn facts(&self) -> ProductFacts {
        ProductFacts {
            closed: self.closed,
            started_at: self.started_at,
            finished_at: self.finished_at,
            total_amount: self.total_amount,
            current_amount: self.current_amount,
        }
    }
}
