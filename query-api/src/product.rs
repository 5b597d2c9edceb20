//! `GET /api/product/{productId}`: one product, open or not.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use edge::{Problem, ProductIdPath, Times};
use std::sync::Arc;

use crate::consistency::RequiredPosition;
use crate::product_row::{ProductRow, product_columns};
use crate::shared_answer::{self, Answer};
use crate::view_rows::ViewRows;
use crate::{Api, QueryApi};

/// The answer for an unknown id is `NOT_EXIST_PRODUCT`; it has a consistency token too.
pub(crate) async fn one(
    State(api): Api,
    ProductIdPath(product_id): ProductIdPath,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (flights, model, product_id) = (&api.products, &api.product_list, product_id.get());
    let read = |required| read(api.clone(), required, product_id, times);
    shared_answer::respond(
        flights,
        (product_id, times),
        model,
        &headers,
        "product",
        read,
    )
    .await
}

async fn read(
    api: Arc<QueryApi>,
    required: RequiredPosition,
    product_id: i64,
    times: Times,
) -> Result<Answer, Problem> {
    let (found, from) = find(&api, &required, product_id).await?;
    let body = found
        .rows
        .first()
        .map(|row| edge::ok_body(row.whole(times.of(api.time))))
        .transpose()?;
    Ok(Answer::new(body, found.positions, from))
}

async fn find(
    api: &QueryApi,
    required: &RequiredPosition,
    product_id: i64,
) -> Result<(ViewRows<ProductRow>, &'static str), Problem> {
    if let Some(cache) = &api.cache
        && let Some(found) = cache.one(required, product_id).await
    {
        return Ok((found, "redis"));
    }
    let select = || sqlx::query(ONE).bind(api.partitions).bind(product_id);
    Ok((
        api.product_list.query_at_least(required, select).await?,
        "postgres",
    ))
}

const ONE: &str = concat!(
    "
    select product.product_id is not null as present,
           1::bigint as total_count,
           ",
    positions_of!("'product_list'"),
    " as positions,
           ",
    product_columns!(),
    ",
           statement_timestamp() as now
    from (values (1)) as one
    left join (select * from product_list where product_id = $2) as product on true"
);
