//! `GET /admin/audit/act`: what operators did, the latest first.

use crate::problem::problem;
use crate::{Audit, time_cursor};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use edge::{MAX_ROWS_PER_PAGE, Params, Problem, ServiceTime};
use event_log::acts::ACTS;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

/// How many are given when nothing is said; [`MAX_ROWS_PER_PAGE`] at most.
pub(crate) const DEFAULT_ROWS_PER_PAGE: i64 = 20;
/// Characters of an actor that is asked for, at most: a login may be as long.
const MAX_ACTOR_CHARS: usize = 64;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/act", get(list))
}

/// What the caller asks for.
struct ListRequest {
    actor: Option<String>,
    act: Option<String>,
    /// From this time on.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    to: Option<DateTime<Utc>>,
    /// Those that came before the act of this number.
    before: Option<i64>,
    limit: i64,
}

/// Some acts, and where the next begin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ActPage)]
pub(crate) struct Page {
    list: Vec<Item>,
    /// To be sent as `cursor` for those before; null at the end.
    next_cursor: Option<String>,
}

/// Who did what, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Act)]
struct Item {
    /// Its number in the record.
    number: i64,
    /// When it was begun.
    at: String,
    /// The name of the token; of a command in the database itself, the login.
    actor: String,
    /// OPERATOR, or DIRECT: the database itself.
    role: String,
    act: String,
    subject: String,
    #[schema(value_type = Object)]
    parameters: Box<RawValue>,
    correlation_id: Option<String>,
    /// The database's login.
    login: String,
    /// DONE; REFUSED, when nothing happened; FAILED, when it may have taken effect; null while it is under way, or when what came of it
    /// could not be recorded.
    outcome: Option<String>,
    /// What came of it, or the code of why nothing did.
    #[schema(value_type = Option<Object>)]
    result: Option<Box<RawValue>>,
    ended_at: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    number: i64,
    at: DateTime<Utc>,
    actor: String,
    role: String,
    act: String,
    subject: String,
    parameters: String,
    correlation_id: Option<String>,
    login: String,
    outcome: Option<String>,
    result: Option<String>,
    ended_at: Option<DateTime<Utc>>,
}

async fn list(State(audit): State<Arc<Audit>>, params: Params) -> Result<Response, Problem> {
    let request = ListRequest::of(params, &audit.time)?;
    let mut rows: Vec<Row> = sqlx::query_as(
        "select begun.number, begun.at, begun.actor, begun.role, begun.act, begun.subject,
                begun.parameters::text as parameters, begun.correlation_id, begun.login, ended.outcome,
                ended.parameters::text as result, ended.at as ended_at
           from acts as begun left join acts as ended on ended.outcome_of = begun.number
          where begun.outcome_of is null
            and ($1::text is null or begun.actor = $1) and ($2::text is null or begun.act = $2)
            and ($3::timestamptz is null or begun.at >= $3) and ($4::timestamptz is null or begun.at < $4)
            and ($5::bigint is null or begun.number < $5)
          order by begun.number desc limit $6 + 1",
    )
    .bind(&request.actor)
    .bind(&request.act)
    .bind(request.from)
    .bind(request.to)
    .bind(request.before)
    .bind(request.limit)
    .fetch_all(&audit.read)
    .await
    .map_err(problem)?;
    let more = rows.len() as i64 > request.limit;
    rows.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    let next_cursor = rows
        .last()
        .filter(|_| more)
        .map(|row| cursor(row.number, row.at));
    let list = rows
        .into_iter()
        .map(|row| item(row, &audit.time))
        .collect::<Result<_, _>>();
    Ok(edge::ok(Page {
        list: list.map_err(Problem::internal)?,
        next_cursor,
    }))
}

impl ListRequest {
    fn of(mut params: Params, zone: &ServiceTime) -> Result<Self, Problem> {
        let (actor, act) = (
            params.text("actor", parse_actor),
            params.text("act", parse_act),
        );
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
        match (actor, act, from, to, before, limit) {
            (Some(actor), Some(act), Some(from), Some(to), Some(before), Some(limit)) => Ok(Self {
                actor,
                act,
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

fn parse_actor(text: &str) -> Result<String, String> {
    let is_good =
        (1..=MAX_ACTOR_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control);
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_ACTOR_CHARS} characters"))
    }
}

fn parse_act(text: &str) -> Result<String, String> {
    match ACTS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be one of {}", ACTS.join(", "))),
    }
}

fn cursor(number: i64, at: DateTime<Utc>) -> String {
    time_cursor::encode(&[], at, &number.to_be_bytes())
}

fn read_cursor(text: &str) -> Result<i64, &'static str> {
    let ([], _, number) =
        time_cursor::decode(text).ok_or("must be the nextCursor of an earlier answer")?;
    Ok(i64::from_be_bytes(number))
}

fn item(row: Row, zone: &ServiceTime) -> serde_json::Result<Item> {
    Ok(Item {
        number: row.number,
        at: zone.format(row.at),
        actor: row.actor,
        role: row.role,
        act: row.act,
        subject: row.subject,
        parameters: RawValue::from_string(row.parameters)?,
        correlation_id: row.correlation_id,
        login: row.login,
        outcome: row.outcome,
        result: row.result.map(RawValue::from_string).transpose()?,
        ended_at: row.ended_at.map(|at| zone.format(at)),
    })
}
