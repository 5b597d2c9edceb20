//! What was delivered and cannot be what the log says: forged, foreign or damaged. It changed nothing, and is kept with
//! its reason until an operator drops it or newer ones push it out.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde::Serialize;
use std::collections::BTreeMap;

/// Parked deliveries that are kept: the newest.
pub const KEPT: i64 = 1_000;
/// Of a body only the beginning is kept, in bytes.
pub const KEPT_BODY: usize = 64 * 1024;
/// Of any other text, such as a header's value, so many characters.
const KEPT_TEXT: usize = 1_000;
/// Headers that are kept.
const KEPT_HEADERS: usize = 64;

/// A delivery that was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// Its number, by which it is shown and dropped; grows with time.
    pub id: i64,
    /// When.
    pub parked_at: DateTime<Utc>,
    /// The queue it came from.
    pub queue: String,
    /// Why, in one sentence.
    pub reason: String,
    /// What it said it was.
    pub content_type: Option<String>,
    /// Its headers, and what AMQP says beside them, as text.
    pub headers: BTreeMap<String, String>,
    /// How long its body was.
    pub bytes: i64,
    /// The beginning of its body, bytes that are no UTF-8 replaced; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

type Columns = (
    i64,
    DateTime<Utc>,
    String,
    String,
    Option<String>,
    sqlx::types::Json<BTreeMap<String, String>>,
    i64,
    Option<Vec<u8>>,
);

fn parked((id, parked_at, queue, reason, content_type, headers, bytes, body): Columns) -> Parked {
    let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
    Parked { id, parked_at, queue, reason, content_type, headers: headers.0, bytes, body }
}

/// How many there are, and `limit` of them after the first `offset`, the newest first, without their bodies.
pub async fn list(pool: &Pool, offset: i64, limit: i64) -> sqlx::Result<(i64, Vec<Parked>)> {
    let count = sqlx::query_scalar("select count(*) from parked_deliveries").fetch_one(pool).await?;
    let rows: Vec<Columns> = sqlx::query_as(
        "select id, parked_at, queue, reason, content_type, headers, bytes, null::bytea
           from parked_deliveries order by id desc offset $1 limit $2",
    )
    .bind(offset.max(0))
    .bind(limit.clamp(0, KEPT))
    .fetch_all(pool)
    .await?;
    Ok((count, rows.into_iter().map(parked).collect()))
}

/// One of them, with its body; `None` when there is none of this number.
pub async fn show(pool: &Pool, id: i64) -> sqlx::Result<Option<Parked>> {
    let row: Option<Columns> = sqlx::query_as(
        "select id, parked_at, queue, reason, content_type, headers, bytes, body from parked_deliveries where id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(parked))
}

/// Drops one of them; says whether it was there.
pub async fn drop_one(pool: &Pool, id: i64) -> sqlx::Result<bool> {
    let dropped = sqlx::query("delete from parked_deliveries where id = $1").bind(id).execute(pool).await?;
    Ok(dropped.rows_affected() == 1)
}

/// Drops them all; says how many there were.
pub async fn drop_all(pool: &Pool) -> sqlx::Result<u64> {
    Ok(sqlx::query("delete from parked_deliveries").execute(pool).await?.rows_affected())
}

/// Puts a delivery aside, and the oldest away when there are more than [`KEPT`].
pub(crate) async fn park(pool: &Pool, queue: &str, reason: &str, delivery: &Delivery) -> sqlx::Result<()> {
    let body = &delivery.data[..delivery.data.len().min(KEPT_BODY)];
    sqlx::query(
        "with one_more as (
             insert into parked_deliveries (queue, reason, content_type, headers, body, bytes)
             values ($1, $2, $3, $4, $5, $6))
         delete from parked_deliveries
          where id <= (select id from parked_deliveries order by id desc offset $7 limit 1)",
    )
    .bind(queue)
    .bind(kept(reason))
    .bind(delivery.properties.content_type().as_ref().map(|kind| kept(kind.as_str())))
    .bind(sqlx::types::Json(headers(delivery)))
    .bind(body)
    .bind(delivery.data.len() as i64)
    // The one more is not seen by the statement that adds it.
    .bind(KEPT - 1)
    .execute(pool)
    .await?;
    Ok(())
}

/// The sender chose these texts: bounded, and without NUL, which PostgreSQL cannot store.
fn kept(text: &str) -> String {
    text.chars().take(KEPT_TEXT).map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn headers(delivery: &Delivery) -> BTreeMap<String, String> {
    let properties = &delivery.properties;
    let named = properties.headers().iter().flatten().take(KEPT_HEADERS);
    let mut headers: BTreeMap<_, _> = named.map(|(name, value)| (kept(name.as_str()), kept(&said(value)))).collect();
    let beside = [
        ("amqp.exchange", Some(&delivery.exchange)),
        ("amqp.routing-key", Some(&delivery.routing_key)),
        ("amqp.message-id", properties.message_id().as_ref()),
        ("amqp.app-id", properties.app_id().as_ref()),
    ];
    for (name, value) in beside {
        headers.extend(value.map(|value| (name.to_owned(), kept(value.as_str()))));
    }
    headers
}

fn said(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}
