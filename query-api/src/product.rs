//! `GET /api/product/{productId}`: one product, open or not.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use edge::{Problem, ProductIdPath};

use crate::consistency::RequiredPosition;
use crate::product_row::ProductRow;
use crate::view_rows::ViewRows;
use crate::{Api, QueryApi, count_read};

/// The answer for an unknown id is `NOT_EXIST_PRODUCT`; it has a consistency token too.
pub(crate) async fn one(
    State(api): Api,
    ProductIdPath(product_id): ProductIdPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let required = api.product_list.required(&headers)?;
    let found = find(&api, &required, product_id.get()).await?;
    let consistency = api.product_list.consistency_headers(&required, &found.positions);
    let answer = match found.rows.first() {
        Some(row) => edge::ok(row.item(api.time)),
        None => Problem::NotExistProduct.into_response(),
    };
    Ok(consistency.add_to(answer))
}

async fn find(api: &QueryApi, required: &RequiredPosition, product_id: i64) -> Result<ViewRows<ProductRow>, Problem> {
    if let Some(cache) = &api.cache
        && let Some(found) = cache.one(required, product_id).await
    {
        count_read("product", "redis");
        return Ok(found);
    }
    let select = || sqlx::query(ONE).bind(api.partitions).bind(product_id);
    let found = api.product_list.query_at_least(required, select).await?;
    count_read("product", "postgres");
    Ok(found)
}

const ONE: &str = concat!(
    "
    select product.product_id is not null as present,
           1::bigint as total_count,
           ",
    positions_of!("'product_list'"),
    " as positions,
           product.product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
           statement_timestamp() as now
    from (values (1)) as one
    left join (select * from product_list where product_id = $2) as product on true"
);
