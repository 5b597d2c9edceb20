//! `GET /admin/product`: all products, open or not, newest first; or one.

use super::database;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductId;
use edge::{ListData, Params, Problem, ServiceTime};
use query_api::{ProductState, Terms, TermsItem, product_status};
use serde::Serialize;
use utoipa::ToSchema;

/// A product as operators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OperatedProduct)]
pub(super) struct Item {
    product_id: i64,
    title: String,
    total_investing_amount: i64,
    current_investing_amount: i64,
    investing_cnt: i64,
    started_at: String,
    finished_at: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<TermsItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    product_id: i64,
    title: String,
    total_amount: i64,
    current_amount: i64,
    invest_users: i64,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    closed: bool,
    cancel_reason: Option<String>,
    failed: bool,
    #[sqlx(flatten)]
    terms: Terms,
    now: DateTime<Utc>,
}

pub(super) async fn list(
    State((pool, time)): State<(Pool, ServiceTime)>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (paging, product) = (params.paging(), params.product_id());
    let (Some(paging), Some(product)) = (paging, product) else { return Err(params.refuse()) };
    let product = product.map(ProductId::get);
    let rows: Vec<Row> = sqlx::query_as(
        "select product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
                min_invest_amount, invest_amount_unit, max_amount_per_user, target_amount, withdrawable_until, cancel_reason,
                failed, clock_timestamp() as now
           from product_list where $3::bigint is null or product_id = $3 order by product_id desc limit $1 offset $2",
    )
    .bind(paging.size())
    .bind(paging.offset())
    .bind(product)
    .fetch_all(&pool)
    .await
    .map_err(database::problem)?;
    let counted = "select count(*) from product_list where $1::bigint is null or product_id = $1";
    let total_count: i64 =
        sqlx::query_scalar(counted).bind(product).fetch_one(&pool).await.map_err(database::problem)?;
    Ok(edge::ok(ListData { total_count, list: rows.into_iter().map(|row| item(row, &time)).collect() }))
}

fn item(row: Row, time: &ServiceTime) -> Item {
    Item {
        product_id: row.product_id,
        state: state(&row),
        title: row.title,
        total_investing_amount: row.total_amount,
        current_investing_amount: row.current_amount,
        investing_cnt: row.invest_users,
        started_at: time.format(row.started_at),
        finished_at: time.format(row.finished_at),
        terms: row.terms.item(*time),
        cancel_reason: row.cancel_reason,
    }
}

fn state(row: &Row) -> &'static str {
    let product = ProductState {
        cancelled: row.cancel_reason.is_some(),
        failed: row.failed,
        closed: row.closed,
        started_at: row.started_at,
        finished_at: row.finished_at,
        total_amount: row.total_amount,
        current_amount: row.current_amount,
    };
    product_status(product, row.now)
}
