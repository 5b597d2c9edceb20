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
use crate::page_batcher::select_pages;

pub(crate) async fn list(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    times: Times,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(paging) = params.paging() else {
        return Err(params.refuse());
    };
    let (user_id, model) = (user_id.as_str(), &api.holdings);
    let list = model.list_of(user_id, None);
    let Some(slice) = Slice::read(&mut params, paging, list) else {
        return Err(params.refuse());
    };
    let (found, consistency) = match &slice {
        Slice::Page(paging) => {
            model
                .query_with(&headers, || api.holding_pages.read(user_id, *paging))
                .await?
        }
        Slice::After(..) => {
            model
                .query(user_id, &headers, || {
                    select(api.partitions, user_id, &slice)
                })
                .await?
        }
    };
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

pub(crate) fn select<'q>(
    partitions: i32,
    user_id: &'q str,
    slice: &Slice<HeldProduct>,
) -> Select<'q> {
    match slice {
        Slice::Page(paging) => select_pages(PAGES, partitions, &[(user_id, *paging)]),
        // One row more than asked for tells whether there are more.
        Slice::After(after, size) => sqlx::query(AFTER)
            .bind(partitions)
            .bind(user_id)
            .bind(after.map(|held| held.0))
            .bind(size + 1),
    }
}

/// Pages of several users, as [`select_pages`] takes them.
pub(crate) const PAGES: &str = concat!(
    "
    select asked.n as asked, page.product_id is not null as present, counted.total_count,
           ",
    positions_of!("'holdings'"),
    " as positions,
           page.product_id, page.amount, page.invest_date, product.title, product.total_amount
    from unnest($2::text[], $3::bigint[], $4::bigint[]) with ordinality as asked (user_id, skipped, size, n)
    cross join lateral (select coalesce(sum(holdings), 0)::bigint as total_count
                        from holdings_count
                        where user_id = asked.user_id) as counted
    left join lateral (select product_id, amount, invest_date
                       from holdings
                       where user_id = asked.user_id
                       order by invest_date desc, product_id desc
                       offset asked.skipped limit asked.size) as page on true
    left join holdings_product as product using (product_id)
    order by asked.n, page.invest_date desc, page.product_id desc"
);

/// Through the primary key.
const AFTER: &str = concat!(
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
               where user_id = $2 and product_id < coalesce($3, 9223372036854775807)
               order by product_id desc limit $4) as page on true
    left join holdings_product as product using (product_id)
    order by product_id desc"
);

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
