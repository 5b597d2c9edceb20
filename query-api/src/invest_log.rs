//! `GET /api/invest/log`: every invest of a user, in all products or in one, latest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use edge::{ListData, Paging, Params, Problem, Times, UserIdHeader};

use crate::Api;
use crate::consistency::Select;
use crate::invest::InvestRow;
use crate::view_rows::ViewRows;

pub(crate) async fn list(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    times: Times,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (paging, product_id) = (params.paging(), params.product_id());
    let (Some(paging), Some(product_id)) = (paging, product_id) else { return Err(params.refuse()) };
    let product_id = product_id.map(|id| id.get());
    let select = || select(api.partitions, user_id.as_str(), product_id, &paging);
    let (found, consistency): (ViewRows<InvestRow>, _) = api.invest_log.query(&headers, select).await?;
    let list = found.rows.iter().map(|row| row.item(times.of(api.time))).collect();
    Ok(consistency.add_to(edge::ok(ListData { total_count: found.total_count, list })))
}

/// Two statements instead of one with an `or`, because each uses its own index.
pub(crate) fn select<'q>(partitions: i32, user_id: &'q str, product_id: Option<i64>, paging: &Paging) -> Select<'q> {
    let paged = |sql| sqlx::query(sql).bind(partitions).bind(user_id).bind(paging.offset()).bind(paging.size());
    match product_id {
        Some(product_id) => paged(PAGE_OF_PRODUCT).bind(product_id),
        None => paged(PAGE),
    }
}

macro_rules! page {
    ($and_of_product:literal) => {
        concat!(
            "
    select page.invest_id is not null as present,
           (select coalesce(sum(invests), 0)::bigint from invest_log_user where user_id = $2",
            $and_of_product,
            ") as total_count, ",
            positions_of!("'invest_log'"),
            " as positions,
           page.*, product.title
    from (values (1)) as one
    left join (select invest_id, product_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product,
                      requested_at, updated_at
               from invest_log
               where user_id = $2",
            $and_of_product,
            "
               order by requested_at desc, invest_id desc
               offset $3 limit $4) as page on true
    left join invest_log_product as product on product.product_id = page.product_id
    order by page.requested_at desc, page.invest_id desc"
        )
    };
}

const PAGE: &str = page!("");
const PAGE_OF_PRODUCT: &str = page!(" and product_id = $5");
