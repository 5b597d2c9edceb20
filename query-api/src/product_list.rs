//! `GET /api/product`: the products that take invests now, newest first.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{ListData, Paging, Problem};
use std::sync::Arc;

use crate::consistency::{RequiredPosition, Select};
use crate::product_row::ProductRow;
use crate::view_rows::ViewRows;
use crate::{Api, QueryApi, count_read};

/// A page as it is sent.
pub(crate) struct Page {
    body: Bytes,
    positions: Vec<i64>,
    from: &'static str,
}

/// What the readers of one read share.
#[derive(Clone)]
pub(crate) enum Shared {
    Page(Arc<Page>),
    Overloaded,
}

pub(crate) async fn list(State(api): Api, paging: Paging, headers: HeaderMap) -> Result<Response, Problem> {
    let required = api.product_list.required(&headers)?;
    let shared = api.product_pages.get(paging, read_shared(api.clone(), paging)).await;
    let page = match shared {
        Some(Shared::Overloaded) => return Err(Problem::Overloaded),
        Some(Shared::Page(page)) if required.is_reached_by(&page.positions) != Some(false) => page,
        // The position must be waited for, or the shared read failed: this reader gets an answer of its own.
        _ => Arc::new(read(&api, &required, &paging).await?),
    };
    count_read("product_list", page.from);
    let consistency = api.product_list.consistency_headers(&required, &page.positions);
    Ok(consistency.add_to(edge::ok_with(page.body.clone())))
}

async fn read_shared(api: Arc<QueryApi>, paging: Paging) -> Option<Shared> {
    match read(&api, &RequiredPosition::none(), &paging).await {
        Ok(page) => Some(Shared::Page(Arc::new(page))),
        Err(Problem::Overloaded) => Some(Shared::Overloaded),
        Err(_) => None,
    }
}

async fn read(api: &Arc<QueryApi>, required: &RequiredPosition, paging: &Paging) -> Result<Page, Problem> {
    let (found, from) = find(api, required, paging).await?;
    let list = found.rows.iter().map(|row| row.item(api.time)).collect();
    let body = edge::ok_body(ListData { total_count: found.total_count, list })?;
    Ok(Page { body, positions: found.positions, from })
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
