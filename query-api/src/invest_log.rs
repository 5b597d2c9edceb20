//! `GET /api/invest/log`: every invest of a user, in all products or in one, latest first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::{Params, Problem, Times, UserIdHeader, within_bounds};
use uuid::Uuid;

use crate::Api;
use crate::consistency::Select;
use crate::cursor::{RowKey, Slice};
use crate::invest::InvestRow;
use crate::page_batcher::select_pages;

pub(crate) async fn list(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    times: Times,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (paging, product_id) = (params.paging(), params.product_id());
    let (Some(paging), Some(product_id)) = (paging, product_id) else {
        return Err(params.refuse());
    };
    let (user_id, product_id) = (user_id.as_str(), product_id.map(|id| id.get()));
    let list = api.invest_log.list_of(user_id, product_id);
    let Some(slice) = Slice::read(&mut params, paging, list) else {
        return Err(params.refuse());
    };
    let model = &api.invest_log;
    let (found, consistency) = match (&slice, product_id) {
        (Slice::Page(paging), None) => {
            model
                .query_with(&headers, || api.invest_pages.read(user_id, *paging))
                .await?
        }
        _ => {
            model
                .query(user_id, &headers, || {
                    select(api.partitions, user_id, product_id, &slice)
                })
                .await?
        }
    };
    Ok(
        consistency.add_to(slice.respond(&found, list, InvestKey::of, |row| {
            row.item(times.of(api.time))
        })),
    )
}

/// An invest's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvestKey {
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) invest_id: Uuid,
}

impl InvestKey {
    fn of(row: &InvestRow) -> Self {
        Self {
            requested_at: row.requested_at,
            invest_id: row.invest_id,
        }
    }
}

impl RowKey for InvestKey {
    fn to_bytes(&self) -> Vec<u8> {
        [
            self.requested_at
                .timestamp_micros()
                .to_be_bytes()
                .as_slice(),
            self.invest_id.as_bytes(),
        ]
        .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, invest_id) = bytes.split_first_chunk()?;
        let requested_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some(Self {
            requested_at: within_bounds(requested_at).ok()?,
            invest_id: Uuid::from_slice(invest_id).ok()?,
        })
    }
}

/// A statement for each instead of one with an `or`, because each uses its own index.
pub(crate) fn select<'q>(
    partitions: i32,
    user_id: &'q str,
    product_id: Option<i64>,
    slice: &Slice<InvestKey>,
) -> Select<'q> {
    let of = |sql| sqlx::query(sql).bind(partitions).bind(user_id);
    match (slice, product_id) {
        (Slice::Page(paging), None) => select_pages(PAGES, partitions, &[(user_id, *paging)]),
        (Slice::Page(paging), Some(product_id)) => of(PAGE_OF_PRODUCT)
            .bind(paging.offset())
            .bind(paging.size())
            .bind(product_id),
        // One row more than asked for tells whether there are more.
        (Slice::After(after, size), product_id) => {
            let (requested_at, invest_id) =
                after.map(|key| (key.requested_at, key.invest_id)).unzip();
            let of = |sql| of(sql).bind(requested_at).bind(size + 1).bind(invest_id);
            match product_id {
                None => of(AFTER),
                Some(product_id) => of(AFTER_OF_PRODUCT).bind(product_id),
            }
        }
    }
}

/// Pages of several users, as [`select_pages`] takes them.
pub(crate) const PAGES: &str = concat!(
    "
    select asked.n as asked, page.invest_id is not null as present, counted.total_count,
           ",
    positions_of!("'invest_log'"),
    " as positions,
           page.*, product.title
    from unnest($2::text[], $3::bigint[], $4::bigint[]) with ordinality as asked (user_id, skipped, size, n)
    cross join lateral (select coalesce(sum(invests), 0)::bigint as total_count
                        from invest_log_user
                        where user_id = asked.user_id) as counted
    left join lateral (select invest_id, product_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product,
                              requested_at, updated_at
                       from invest_log
                       where user_id = asked.user_id
                       order by requested_at desc, invest_id desc
                       offset asked.skipped limit asked.size) as page on true
    left join invest_log_product as product on product.product_id = page.product_id
    order by asked.n, page.requested_at desc, page.invest_id desc"
);

macro_rules! slice {
    (where $of_product:literal, $after:literal, $offset:literal) => {
        concat!(
            "
    select page.invest_id is not null as present,
           (select coalesce(sum(invests), 0)::bigint from invest_log_user where user_id = $2",
            $of_product,
            ") as total_count, ",
            positions_of!("'invest_log'"),
            " as positions,
           page.*, product.title
    from (values (1)) as one
    left join (select invest_id, product_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product,
                      requested_at, updated_at
               from invest_log
               where user_id = $2",
            $of_product,
            $after,
            "
               order by requested_at desc, invest_id desc",
            $offset,
            " limit $4) as page on true
    left join invest_log_product as product on product.product_id = page.product_id
    order by page.requested_at desc, page.invest_id desc"
        )
    };
}

macro_rules! after {
    (where $of_product:literal) => {
        slice!(
            where $of_product,
            " and (requested_at, invest_id)
                   < (coalesce($3, 'infinity'), coalesce($5, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))",
            ""
        )
    };
}

const PAGE_OF_PRODUCT: &str = slice!(where " and product_id = $5", "", " offset $3");
const AFTER: &str = after!(where "");
const AFTER_OF_PRODUCT: &str = after!(where " and product_id = $6");
