//! `GET /api/product/my/invest`: what a user holds (settled invests), latest first; with a cursor by product, newest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{Params, Problem, ServiceTime, Times, UserIdHeader};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::consistency::Select;
use crate::cursor::{RowKey, Slice};
use crate::view_rows::ViewRows;

pub(crate) async fn list(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    times: Times,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(paging) = params.paging() else { return Err(params.refuse()) };
    let (user_id, model) = (user_id.as_str(), &api.holdings);
    let list = model.list_of(user_id, None);
    let Some(slice) = Slice::read(&mut params, paging, list) else { return Err(params.refuse()) };
    let select = || select(api.partitions, user_id, &slice);
    let (found, consistency): (ViewRows<HoldingRow>, _) = model.query(user_id, &headers, select).await?;
    let item = |row| HoldingRow::item(row, user_id, times.of(api.time));
    Ok(consistency.add_to(slice.respond(&found, list, |row| HeldProduct(row.product_id), item)))
}

/// A holding's place among the user's, where they are read with a cursor. Its date would be none: a holding that is settled again moves to
/// the front, so a reader who is past that would never see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldProduct(i64);

impl RowKey for HeldProduct {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(i64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

pub(crate) fn select<'q>(partitions: i32, user_id: &'q str, slice: &Slice<HeldProduct>) -> Select<'q> {
    let of = |sql| sqlx::query(sql).bind(partitions).bind(user_id);
    match slice {
        Slice::Page(paging) => of(PAGE).bind(paging.offset()).bind(paging.size()),
        // One row more than asked for tells whether there are more.
        Slice::After(after, size) => of(AFTER).bind(after.map(|held| held.0)).bind(size + 1),
    }
}

macro_rules! slice {
    ($after:literal, order by $order:literal, $offset:literal) => {
        concat!(
            "
    select page.product_id is not null as present,
           (select coalesce(sum(holdings), 0)::bigint from holdings_count where user_id = $2) as total_count,
           ",
            positions_of!("'holdings'"),
            " as positions,
           page.product_id, page.amount, page.invest_date, product.title, product.total_amount
    from (values (1)) as one
    left join (select product_id, amount, invest_date
               from holdings
               where user_id = $2",
            $after,
            "
               order by ",
            $order,
            $offset,
            " limit $4) as page on true
    left join holdings_product as product using (product_id)
    order by ",
            $order
        )
    };
}

const PAGE: &str = slice!("", order by "invest_date desc, product_id desc", " offset $3");
/// Through the primary key.
const AFTER: &str = slice!(" and product_id < coalesce($3, 9223372036854775807)", order by "product_id desc", "");

#[derive(sqlx::FromRow)]
pub(crate) struct HoldingRow {
    product_id: i64,
    amount: i64,
    invest_date: DateTime<Utc>,
    title: String,
    total_amount: i64,
}

/// What a user holds of a product, as the contract shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldingItem<'a> {
    product_id: i64,
    user_id: &'a str,
    title: &'a str,
    total_investing_amount: i64,
    my_investing_amount: i64,
    invest_date: String,
}

impl HoldingRow {
    pub(crate) fn item<'a>(&'a self, user_id: &'a str, time: ServiceTime) -> HoldingItem<'a> {
        HoldingItem {
            product_id: self.product_id,
            user_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            my_investing_amount: self.amount,
            invest_date: time.format(self.invest_date),
        }
    }
}
