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
    let (user_id, product_id) = (user_id.as_str(), product_id.map(|id| id.get()));
    let list = api.invest_log.list_of(user_id, product_id);
    let Some(slice) = Slice::read(&mut params, paging, list) else { return Err(params.refuse()) };
    let select = || select(api.partitions, user_id, product_id, &slice);
    let (found, consistency): (ViewRows<InvestRow>, _) = api.invest_log.query(user_id, &headers, select).await?;
    Ok(consistency.add_to(slice.respond(&found, list, InvestKey::of, |row| row.item(times.of(api.time)))))
}

/// An invest's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvestKey {
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) invest_id: Uuid,
}

impl InvestKey {
    fn of(row: &InvestRow) -> Self {
        Self { requested_at: row.requested_at, invest_id: row.invest_id }
    }
}

impl RowKey for InvestKey {
    fn to_bytes(&self) -> Vec<u8> {
        [self.requested_at.timestamp_micros().to_be_bytes().as_slice(), self.invest_id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, invest_id) = bytes.split_first_chunk()?;
        let requested_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some(Self { requested_at: within_bounds(requested_at).ok()?, invest_id: Uuid::from_slice(invest_id).ok()? })
    }
}

/// A statement for each instead of one with an `or`, because each uses its own index.
pub(crate) fn select<'q>(
    partitions: i32,
    user_id: &'q str,
    product_id: Option<i64>,
    slice: &Slice<InvestKey>,
) -> Select<'q> {
    let (all, of_product) = match slice {
        Slice::Page(_) => (PAGE, PAGE_OF_PRODUCT),
        Slice::After(..) => (AFTER, AFTER_OF_PRODUCT),
    };
    let select = sqlx::query(if product_id.is_some() { of_product } else { all }).bind(partitions).bind(user_id);
    let select = match slice {
        Slice::Page(paging) => select.bind(paging.offset()).bind(paging.size()),
        // One row more than asked for tells whether there are more.
        Slice::After(after, size) => {
            let (requested_at, invest_id) = after.map(|key| (key.requested_at, key.invest_id)).unzip();
            select.bind(requested_at).bind(size + 1).bind(invest_id)
        }
    };
    match product_id {
        Some(product_id) => select.bind(product_id),
        None => select,
    }
}

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

const PAGE: &str = slice!(where "", "", " offset $3");
const PAGE_OF_PRODUCT: &str = slice!(where " and product_id = $5", "", " offset $3");
const AFTER: &str = after!(where "");
const AFTER_OF_PRODUCT: &str = after!(where " and product_id = $6");
