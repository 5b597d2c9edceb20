//! `GET /admin/product`: all products, open or not, newest first; or one.

use super::database;
use axum::extract::State;
use axum::response::Response;
use connection_pool::Pool;
use domain::ProductId;
use edge::{ListData, Params, Problem, ServiceTime};
use query_api::{PRODUCT_COLUMNS, ProductRow, TermsItem};
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

pub(super) async fn list(
    State((pool, time)): State<(Pool, ServiceTime)>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (paging, product) = (params.paging(), params.product_id());
    let (Some(paging), Some(product)) = (paging, product) else {
        return Err(params.refuse());
    };
    let product = product.map(ProductId::get);
    let select = format!(
        "select {PRODUCT_COLUMNS}, clock_timestamp() as now
           from product_list where $3::bigint is null or product_id = $3 order by product_id desc limit $1 offset $2"
    );
    let rows: Vec<ProductRow> = sqlx::query_as(&select)
        .bind(paging.size())
        .bind(paging.offset())
        .bind(product)
        .fetch_all(&pool)
        .await
        .map_err(database::problem)?;
    let counted = "select count(*) from product_list where $1::bigint is null or product_id = $1";
    let total_count: i64 = sqlx::query_scalar(counted)
        .bind(product)
        .fetch_one(&pool)
        .await
        .map_err(database::problem)?;
    Ok(edge::ok(ListData {
        total_count,
        list: rows.into_iter().map(|row| item(row, &time)).collect(),
    }))
}

fn item(row: ProductRow, time: &ServiceTime) -> Item {
    Item {
        product_id: row.product_id,
        state: row.status(),
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
