//! `GET /api/product`: the products that take invests now, newest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{ListData, Paging, Problem};

use crate::consistency::{Asked, Select};
use crate::product::ProductRow;
use crate::shown::Shown;
use crate::{Api, QueryApi, count_read};

pub(crate) async fn list(State(api): Api, paging: Paging, headers: HeaderMap) -> Result<Response, Problem> {
    let asked = api.product_list.asked(&headers)?;
    let shown = show(&api, &asked, &paging).await?;
    let stamp = api.product_list.stamp(&asked, &shown);
    let list = shown.rows.iter().map(|row| row.item(api.time)).collect();
    Ok(stamp.on(edge::ok(ListData { total_count: shown.total_count, list })))
}

async fn show(api: &QueryApi, asked: &Asked, paging: &Paging) -> Result<Shown<ProductRow>, Problem> {
    if let Some(cache) = &api.cache
        && let Some(shown) = cache.page(asked, paging).await
    {
        count_read("product_list", "redis");
        return Ok(shown);
    }
    let select = || sqlx::query(PAGE).bind(api.partitions).bind(paging.offset()).bind(paging.size());
    let shown = api.product_list.show_asked(asked, select).await?;
    count_read("product_list", "postgres");
    Ok(shown)
}

/// The same at a time of the caller's.
pub(crate) fn select_at<'q>(partitions: i32, paging: &Paging, at: DateTime<Utc>) -> Select<'q> {
    sqlx::query(PAGE_AT).bind(partitions).bind(paging.offset()).bind(paging.size()).bind(at)
}

/// One statement, whatever clock it goes by.
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
           array(select coalesce(position, 0)
                 from generate_series(0, $1 - 1) as n
                 left join checkpoints on consumer = 'product_list' and partition = n
                 order by n) as positions,
           page.*
    from (values (1)) as one
    left join (select * from open order by product_id desc offset $2 limit $3) as page on true
    order by page.product_id desc"
        )
    };
}

// The database's clock, as it stood when the statement came. Not clock_timestamp(): that one may change from row to row,
// so that no index can be searched for it, and the finished past would be read every time.
const PAGE: &str = page!("statement_timestamp()");
const PAGE_AT: &str = page!("$4");
