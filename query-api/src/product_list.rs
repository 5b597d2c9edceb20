//! `GET /api/product`: the products that take invests now, or those of some statuses, newest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{ListData, Paging, Params, Problem, Times};
use std::sync::Arc;

use crate::consistency::{RequiredPosition, Select};
use crate::product_row::{ProductRow, product_columns};
use crate::product_status::StatusFilter;
use crate::shared_answer::{self, Answer};
use crate::view_rows::ViewRows;
use crate::{Api, QueryApi};

/// A page of products, of those that take invests now unless a filter says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProductPage {
    paging: Paging,
    filter: Option<StatusFilter>,
    times: Times,
}

pub(crate) async fn list(
    State(api): Api,
    times: Times,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (paging, filter) = (params.paging(), params.text("status", StatusFilter::parse));
    let (Some(paging), Some(filter)) = (paging, filter) else {
        return Err(params.refuse());
    };
    let (flights, model, page) = (
        &api.product_pages,
        &api.product_list,
        ProductPage {
            paging,
            filter,
            times,
        },
    );
    let read = |required| read(api.clone(), required, page.clone());
    shared_answer::respond(flights, page.clone(), model, &headers, "product_list", read).await
}

async fn read(
    api: Arc<QueryApi>,
    required: RequiredPosition,
    page: ProductPage,
) -> Result<Answer, Problem> {
    let (found, from) = find(&api, &required, &page).await?;
    let list = found
        .rows
        .iter()
        .map(|row| row.item(page.times.of(api.time)))
        .collect();
    let body = edge::ok_body(ListData {
        total_count: found.total_count,
        list,
    })?;
    Ok(Answer::new(Some(body), found.positions, from))
}

async fn find(
    api: &QueryApi,
    required: &RequiredPosition,
    page: &ProductPage,
) -> Result<(ViewRows<ProductRow>, &'static str), Problem> {
    let ProductPage { paging, filter, .. } = page;
    if filter.is_none()
        && let Some(cache) = &api.cache
        && let Some(found) = cache.page(required, paging).await
    {
        return Ok((found, "redis"));
    }
    let of = |statement| {
        sqlx::query(statement)
            .bind(api.partitions)
            .bind(paging.offset())
            .bind(paging.size())
    };
    let select = || match filter {
        None => of(PAGE),
        Some(filter) if filter.is_live() => of(PAGE_OF_LIVE).bind(filter.words()),
        Some(filter) => of(PAGE_OF_ALL).bind(filter.words()),
    };
    Ok((
        api.product_list.query_at_least(required, select).await?,
        "postgres",
    ))
}

/// The same at the caller's time.
pub(crate) fn select_at<'q>(partitions: i32, paging: &Paging, at: DateTime<Utc>) -> Select<'q> {
    sqlx::query(PAGE_AT)
        .bind(partitions)
        .bind(paging.offset())
        .bind(paging.size())
        .bind(at)
}

/// The statement, with the clock as an SQL expression.
macro_rules! page {
    ($now:literal) => {
        concat!(
            "
    with open as materialized (
        select ",
            product_columns!(),
            ", ",
            $now,
            " as now
        from product_list
        where not closed and cancel_reason is null and not failed and finished_at > ",
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

macro_rules! status_is_wanted {
    ($among:literal) => {
        concat!(
            $among,
            " and case when cancel_reason is not null then 'CANCELLED'
                       when failed then 'FAILED'
                       when closed then 'CLOSED'
                       when started_at > statement_timestamp() then 'UPCOMING'
                       when finished_at <= statement_timestamp() then 'FINISHED'
                       when current_amount >= total_amount then 'COMPLETE'
                       else 'ONGOING' end = any($4)"
        )
    };
}

/// Products by their status. It is decided as [`crate::product_status::product_status`] decides it.
macro_rules! page_of_status {
    ($among:literal) => {
        concat!(
            "
    select page.product_id is not null as present,
           (select count(*) from product_list where ",
            status_is_wanted!($among),
            ") as total_count,
           ",
            positions_of!("'product_list'"),
            " as positions,
           page.*
    from (values (1)) as one
    left join (
        select ",
            product_columns!(),
            ", statement_timestamp() as now
        from product_list where ",
            status_is_wanted!($among),
            "
        order by product_id desc offset $2 limit $3) as page on true
    order by page.product_id desc"
        )
    };
}

const PAGE_OF_LIVE: &str = page_of_status!("not closed and finished_at > statement_timestamp()");
const PAGE_OF_ALL: &str = page_of_status!("true");
