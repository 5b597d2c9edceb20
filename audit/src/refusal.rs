//! `GET /admin/audit/refusal`: the recorded refusals, and how many were dropped.

mod cursor;

use crate::Audit;
use crate::problem::problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use cursor::{Cursor, Order};
use domain::{ProductId, UserId};
use edge::{Params, Problem, ServiceTime};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// How many days the recorder keeps refusals.
pub const RETENTION_DAYS: i32 = 30;
/// The most refusals of one page.
pub(crate) const MAX_ROWS_PER_PAGE: i64 = 1_000;
pub(crate) const DEFAULT_ROWS_PER_PAGE: i64 = 100;
/// The codes a refusal can have, as they are answered.
pub(crate) const CODES: [&str; 8] = [
    "SOLD_OUT",
    "NOT_STARTED",
    "FINISHED",
    "CLOSED",
    "NOT_EXIST_PRODUCT",
    "BELOW_MINIMUM",
    "NOT_A_MULTIPLE",
    "LIMIT_EXCEEDED",
];
/// The SQLSTATE of a statement that exceeded its time-out.
const QUERY_CANCELED: &str = "57014";

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/refusal", get(list))
}

/// Which refusals.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    product_id: Option<ProductId>,
    user_id: Option<UserId>,
    code: Option<&'static str>,
    /// From then on.
    from: Option<DateTime<Utc>>,
    /// Up to, not at, then.
    to: Option<DateTime<Utc>>,
}

/// Which page of them.
struct ListRequest {
    filter: Filter,
    order: Order,
    after: Option<Cursor>,
    limit: i64,
}

/// Some refusals, and where the next begin.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusalPage)]
pub(crate) struct Page {
    list: Vec<Item>,
    /// To be sent as `cursor` for those after; null when there is nothing more.
    next_cursor: Option<String>,
    /// How many were not written down.
    dropped: Vec<Dropped>,
    /// For how many days they are kept.
    kept_days: i32,
}

/// A refused invest.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Refusal)]
struct Item {
    refused_at: String,
    #[serde(flatten)]
    row: Row,
}

/// Of the request time, whatever else was request for: nobody knows whose they were.
#[derive(Serialize, ToSchema)]
#[schema(as = DroppedRefusals)]
struct Dropped {
    reason: String,
    count: i64,
    from: String,
    to: String,
}

#[derive(sqlx::FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusalRow)]
struct Row {
    #[serde(skip)]
    refused_at: DateTime<Utc>,
    invest_id: Uuid,
    user_id: String,
    product_id: i64,
    amount: i64,
    code: String,
    /// Won that were left, where the code says that too little was.
    remaining: Option<i64>,
    partition: i32,
    /// It was decided after this position of the partition, and before the next one.
    head: i64,
    /// From 0, among what was decided together; null when the answer to the commit was lost.
    place: Option<i32>,
    correlation_id: String,
}

async fn list(State(audit): State<Arc<Audit>>, params: Params) -> Result<Response, Problem> {
    let request = parse(params, audit.time)?;
    let mut rows = page(&audit.read, &request).await.map_err(query_problem)?;
    let more = rows.len() as i64 > request.limit;
    rows.truncate(request.limit as usize);
    let last = rows.last().filter(|_| more).map(|row| Cursor {
        refused_at: row.refused_at,
        invest_id: row.invest_id,
    });
    let dropped = dropped(&audit, &request.filter)
        .await
        .map_err(query_problem)?;
    Ok(edge::ok(Page {
        next_cursor: last.map(|last| last.written(&request.filter, request.order)),
        list: rows
            .into_iter()
            .map(|row| Item {
                refused_at: audit.time.format(row.refused_at),
                row,
            })
            .collect(),
        dropped,
        kept_days: RETENTION_DAYS,
    }))
}

fn parse(mut params: Params, time: ServiceTime) -> Result<ListRequest, Problem> {
    let product_id = params.product_id();
    let user_id = params.text("userId", |text| UserId::try_from(text.to_owned()));
    let code = params.text("code", code);
    let from = params.text("from", |text| time.parse(text));
    let to = params.text("to", |text| time.parse(text));
    let order = params.text("order", Order::read);
    let limit = params.int("limit", limit);
    let filter = || {
        let (product_id, user_id, code) = (product_id?, user_id?, code?);
        Some(Filter {
            product_id,
            user_id,
            code,
            from: from?,
            to: to?,
        })
    };
    let (filter, order, limit) = (filter(), order.map(Option::unwrap_or_default), limit);
    // A cursor can only be read with what it was made for.
    let read = filter
        .as_ref()
        .zip(order)
        .map(|(filter, order)| params.text("cursor", |text| Cursor::read(text, filter, order)));
    let (Some(filter), Some(order), Some(limit), Some(Some(after))) = (filter, order, limit, read)
    else {
        return Err(params.refuse());
    };
    Ok(ListRequest {
        filter,
        order,
        after,
        limit: limit.unwrap_or(DEFAULT_ROWS_PER_PAGE),
    })
}

fn code(text: &str) -> Result<&'static str, String> {
    let known = CODES.iter().find(|code| **code == text).copied();
    known.ok_or_else(|| format!("must be one of {}", CODES.join(", ")))
}

fn limit(limit: i64) -> Result<i64, String> {
    let fits = (1..=MAX_ROWS_PER_PAGE).contains(&limit);
    if fits {
        Ok(limit)
    } else {
        Err(format!(
            "must be a whole number from 1 to {MAX_ROWS_PER_PAGE}"
        ))
    }
}

/// One more than request for, which tells whether there are more.
async fn page(pool: &Pool, request: &ListRequest) -> sqlx::Result<Vec<Row>> {
    let ListRequest {
        filter,
        order,
        after,
        limit,
    } = request;
    let mut query = sqlx::QueryBuilder::new(
        "select refused_at, invest_id, user_id, product_id, amount, code, remaining, partition, head, place,
                correlation_id
           from refusals where true",
    );
    // Only what is request for is in the statement: so each has the plan that fits it.
    if let Some(product_id) = filter.product_id {
        query.push(" and product_id = ").push_bind(product_id.get());
    }
    if let Some(user_id) = &filter.user_id {
        query.push(" and user_id = ").push_bind(user_id.as_str());
    }
    if let Some(code) = filter.code {
        query.push(" and code = ").push_bind(code);
    }
    if let Some(from) = filter.from {
        query.push(" and refused_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" and refused_at < ").push_bind(to);
    }
    if let Some(Cursor {
        refused_at,
        invest_id,
    }) = after
    {
        query.push(format_args!(
            " and (refused_at, invest_id) {} (",
            order.after()
        ));
        query
            .push_bind(refused_at)
            .push(", ")
            .push_bind(invest_id)
            .push(")");
    }
    query
        .push(format_args!(
            " order by refused_at {0}, invest_id {0} limit ",
            order.name()
        ))
        .push_bind(limit + 1);
    query.build_query_as().fetch_all(pool).await
}

async fn dropped(audit: &Audit, filter: &Filter) -> sqlx::Result<Vec<Dropped>> {
    let rows: Vec<(String, i64, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "select reason, sum(number)::bigint, min(from_time), max(to_time) from recorder_drops
          where what = 'REFUSAL' and to_time >= coalesce($1, '-infinity') and from_time < coalesce($2, 'infinity')
          group by reason order by reason",
    )
    .bind(filter.from)
    .bind(filter.to)
    .fetch_all(&audit.read)
    .await?;
    let time = audit.time;
    let to_dropped = |(reason, count, from, to)| Dropped {
        reason,
        count,
        from: time.format(from),
        to: time.format(to),
    };
    Ok(rows.into_iter().map(to_dropped).collect())
}

/// A search that takes too long is refused: the caller can narrow it.
fn query_problem(error: sqlx::Error) -> Problem {
    let canceled = error
        .as_database_error()
        .and_then(|refused| refused.code())
        .is_some_and(|code| code == QUERY_CANCELED);
    if canceled {
        return Problem::Conflict(
            "it takes too long to look for that: give from and to, nearer to each other".into(),
        );
    }
    problem(error)
}
