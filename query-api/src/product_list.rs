//! `GET /api/product`: the products that take invests now, newest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{ListData, Paging, Problem};
use std::sync::Arc;

use crate::consistency::{RequiredPosition, Select};
use crate::product_row::ProductRow;
use crate::shared_answer::{self, Answer};
use crate::view_rows::ViewRows;
use crate::{Api, QueryApi};

pub(crate) async fn list(State(api): Api, paging: Paging, headers: HeaderMap) -> Result<Response, Problem> {
    let (flights, model) = (&api.product_pages, &api.product_list);
    let read = |required| read(api.clone(), required, paging);
    shared_answer::respond(flights, paging, model, &headers, "product_list", read).await
}

async fn read(api: Arc<QueryApi>, required: RequiredPosition, paging: Paging) -> Result<Answer, Problem> {
    let (found, from) = find(&api, &required, &paging).await?;
    let list = found.rows.iter().map(|row| row.item(api.time)).collect();
    let body = edge::ok_body(ListData { total_count: found.total_count, list })?;
    Ok(Answer { body: Some(body), positions: found.positions, from })
}

async fn find(
    api: &QueryApi,
    required: &RequiredPosition,
    paging: &Paging,
) -> Result<(ViewRows<ProductRow>, &'static str), Problem> {
    if let Some(cache) = &api.cache
        && let Some(found) = cache.page(required, paging).await
    {
        return Ok((found, "redis"));
    }
    let select = || sqlx::query(PAGE).bind(api.partitions).bind(paging.offset()).bind(paging.size());
    Ok((api.product_list.query_at_least(required, select).await?, "postgres"))
}

/// The same at the caller's time.
pub(crate) fn select_at<'q>(partitions: i32, paging: &Paging, at: DateTime<Utc>) -> Select<'q> {
    sqlx::query(PAGE_AT).bind(partitions).bind(paging.offset()).bind(paging.size()).bind(at)
}

/// The statement, with the clock as an SQL expression.
macro_rules! page {
    ($now:literal) => {
        concat!(
            "
    with open as materialized (
        select product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
               ",
            $now,
            " as now
        from product_list
        where not closed and finished_at > ",
            $now,
            " and started_at <= ",
            $now,
            "
    )
    select page.product_id is not null as present,
           (select count(*) from open) as total_count,
           ",
            positions_of!("'product_list'"),
            " as positions,
           page.*
    from (values (1)) as one
    left join (select * from open order by product_id desc offset $2 limit $3) as page on true
    order by page.product_id desc"
        )
    };
}

// The database's clock at the start of the statement. Not clock_timestamp(), which may change from row to row: no index can be
// used for it, and all finished products would be read every time.
const PAGE: &str = page!("statement_timestamp()");
const PAGE_AT: &str = page!("$4");
