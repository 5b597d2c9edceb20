//! `GET /admin/audit/access`: who read the audit, the latest first.

use crate::problem::problem;
use crate::{Audit, time_cursor};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use edge::{MAX_ROWS_PER_PAGE, Params, Problem, ServiceTime};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How many are given when nothing is said; [`MAX_ROWS_PER_PAGE`] at most.
pub(crate) const DEFAULT_ROWS_PER_PAGE: i64 = 20;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/access", get(list))
}

/// What the caller asks for.
struct ListRequest {
    /// From this time on.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    to: Option<DateTime<Utc>>,
    /// Those that came before this one.
    before: Option<Cursor>,
    limit: i64,
}

/// A record's place in the list.
#[derive(Clone, Copy)]
struct Cursor {
    at: DateTime<Utc>,
    id: i64,
}

/// Some records, and where the next begin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AccessPage)]
pub(crate) struct Page {
    list: Vec<Item>,
    /// To be sent as `cursor` for those before; null at the end.
    next_cursor: Option<String>,
}

/// Who read what.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AccessRecord)]
struct Item {
    at: String,
    /// OPERATOR, AUDITOR, or DIRECT: the database itself.
    reader: String,
    /// The name of the token; null where there was none.
    actor: Option<String>,
    /// The database's.
    login: String,
    method: String,
    /// With its query; how, of a direct reading.
    path: String,
    correlation_id: Option<String>,
    /// The address that the request came from.
    peer: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    at: DateTime<Utc>,
    reader: String,
    actor: Option<String>,
    login: String,
    method: String,
    path: String,
    correlation_id: Option<String>,
    peer: Option<String>,
}

async fn list(State(audit): State<Arc<Audit>>, params: Params) -> Result<Response, Problem> {
    let request = ListRequest::of(params, &audit.time)?;
    let mut rows: Vec<Row> = sqlx::query_as(
        "select id, at, reader, actor, login, method, path, correlation_id, peer
           from audit_access
          where ($1::timestamptz is null or at >= $1) and ($2::timestamptz is null or at < $2)
            and ($3::timestamptz is null or (at, id) < ($3, $4::bigint))
          order by at desc, id desc limit $5 + 1",
    )
    .bind(request.from)
    .bind(request.to)
    .bind(request.before.map(|cursor| cursor.at))
    .bind(request.before.map(|cursor| cursor.id))
    .bind(request.limit)
    .fetch_all(&audit.read)
    .await
    .map_err(problem)?;
    let more = rows.len() as i64 > request.limit;
    rows.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    let next_cursor = rows.last().filter(|_| more).map(|row| {
        cursor(Cursor {
            at: row.at,
            id: row.id,
        })
    });
    Ok(edge::ok(Page {
        list: rows.into_iter().map(|row| item(row, &audit.time)).collect(),
        next_cursor,
    }))
}

impl ListRequest {
    fn of(mut params: Params, zone: &ServiceTime) -> Result<Self, Problem> {
        let (from, to) = (
            params.text("from", |text| zone.parse(text)),
            params.text("to", |text| zone.parse(text)),
        );
        let before = params.text("cursor", read_cursor);
        let limit = params.int("limit", |n| {
            if (1..=MAX_ROWS_PER_PAGE).contains(&n) {
                Ok(n)
            } else {
                Err(LIMIT_RANGE)
            }
        });
        match (from, to, before, limit) {
            (Some(from), Some(to), Some(before), Some(limit)) => Ok(Self {
                from,
                to,
                before,
                limit: limit.unwrap_or(DEFAULT_ROWS_PER_PAGE),
            }),
            _ => Err(params.refuse()),
        }
    }
}

const LIMIT_RANGE: &str = "must be a whole number from 1 to 1000";

fn cursor(cursor: Cursor) -> String {
    time_cursor::encode(&[], cursor.at, &cursor.id.to_be_bytes())
}

fn read_cursor(text: &str) -> Result<Cursor, &'static str> {
    let ([], at, id) =
        time_cursor::decode(text).ok_or("must be the nextCursor of an earlier answer")?;
    Ok(Cursor {
        at,
        id: i64::from_be_bytes(id),
    })
}

fn item(row: Row, zone: &ServiceTime) -> Item {
    Item {
        at: zone.format(row.at),
        reader: row.reader,
        actor: row.actor,
        login: row.login,
        method: row.method,
        path: row.path,
        correlation_id: row.correlation_id,
        peer: row.peer,
    }
}
