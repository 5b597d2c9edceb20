//! Dead letters: deliveries that do not match the log, because they were forged, damaged or of another log. A parked
//! delivery changed nothing. It is stored with its reason until an operator drops it, or until newer ones displace it.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// How many parked deliveries are kept: the newest.
pub const MAX_PARKED_DELIVERIES: i64 = 1_000;
/// How often they are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// How much of a body is stored, from its beginning.
pub const MAX_STORED_BODY_BYTES: usize = 64 * 1024;
/// How much of any other text is stored, such as a header's value.
const MAX_TEXT_CHARS: usize = 1_000;
/// How many headers are stored.
const MAX_HEADERS: usize = 64;

/// A parked delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParkedDelivery {
    /// Its id, increasing with time.
    pub id: i64,
    /// When it was parked.
    #[schema(value_type = String, format = DateTime)]
    pub parked_at: DateTime<Utc>,
    /// The queue that delivered it.
    pub queue: String,
    /// Why it does not match the log, in one sentence.
    pub reason: String,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its headers, and its AMQP properties, as text.
    pub headers: BTreeMap<String, String>,
    /// The length of its body.
    pub bytes: i64,
    /// The beginning of its body, with bytes that are not UTF-8 replaced; only from [`show`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

type ParkedRow = (
    i64,
    DateTime<Utc>,
    String,
    String,
    Option<String>,
    sqlx::types::Json<BTreeMap<String, String>>,
    i64,
    Option<Vec<u8>>,
);

fn parked(
    (id, parked_at, queue, reason, content_type, headers, bytes, body): ParkedRow,
) -> ParkedDelivery {
    let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
    ParkedDelivery {
        id,
        parked_at,
        queue,
        reason,
        content_type,
        headers: headers.0,
        bytes,
        body,
    }
}

/// The number of parked deliveries, and `limit` of them after the first `offset`, newest first, without bodies.
pub async fn list(
    pool: &Pool,
    offset: i64,
    limit: i64,
) -> sqlx::Result<(i64, Vec<ParkedDelivery>)> {
    let count = sqlx::query_scalar("select count(*) from parked_deliveries")
        .fetch_one(pool)
        .await?;
    let rows: Vec<ParkedRow> = sqlx::query_as(
        "select id, parked_at, queue, reason, content_type, headers, bytes, null::bytea
           from parked_deliveries order by id desc offset $1 limit $2",
    )
    .bind(offset.max(0))
    .bind(limit.clamp(0, MAX_PARKED_DELIVERIES))
    .fetch_all(pool)
    .await?;
    Ok((count, rows.into_iter().map(parked).collect()))
}

/// One parked delivery with its body; `None` when there is none with this id.
pub async fn show(pool: &Pool, id: i64) -> sqlx::Result<Option<ParkedDelivery>> {
    let row: Option<ParkedRow> = sqlx::query_as(
        "select id, parked_at, queue, reason, content_type, headers, bytes, body from parked_deliveries where id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(parked))
}

/// Drops one; returns whether it existed.
pub async fn drop_one(pool: &Pool, id: i64) -> sqlx::Result<bool> {
    let dropped = sqlx::query("delete from parked_deliveries where id = $1")
        .bind(id)
        .execute(pool)
        .await?;
    Ok(dropped.rows_affected() == 1)
}

/// Drops all; returns how many there were.
pub async fn drop_all(pool: &Pool) -> sqlx::Result<u64> {
    Ok(sqlx::query("delete from parked_deliveries")
        .execute(pool)
        .await?
        .rows_affected())
}

/// Stores a delivery, and deletes the oldest when there are more than [`MAX_PARKED_DELIVERIES`].
pub(crate) async fn park(
    pool: &Pool,
    queue: &str,
    reason: &str,
    delivery: &Delivery,
) -> sqlx::Result<()> {
    let body = &delivery.data[..delivery.data.len().min(MAX_STORED_BODY_BYTES)];
    sqlx::query(
        "with one_more as (
             insert into parked_deliveries (queue, reason, content_type, headers, body, bytes)
             values ($1, $2, $3, $4, $5, $6))
         delete from parked_deliveries
          where id <= (select id from parked_deliveries order by id desc offset $7 limit 1)",
    )
    .bind(queue)
    .bind(truncated(reason))
    .bind(
        delivery
            .properties
            .content_type()
            .as_ref()
            .map(|kind| truncated(kind.as_str())),
    )
    .bind(sqlx::types::Json(headers(delivery)))
    .bind(body)
    .bind(delivery.data.len() as i64)
    // The statement does not see the row that it adds.
    .bind(MAX_PARKED_DELIVERIES - 1)
    .execute(pool)
    .await?;
    Ok(())
}

/// Bounds a text that the sender chose, and replaces NUL, which PostgreSQL cannot store.
fn truncated(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT_CHARS)
        .map(|c| {
            if c == '\0' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

fn headers(delivery: &Delivery) -> BTreeMap<String, String> {
    let properties = &delivery.properties;
    let named = properties.headers().iter().flatten().take(MAX_HEADERS);
    let mut headers: BTreeMap<_, _> = named
        .map(|(name, value)| (truncated(name.as_str()), truncated(&text_of(value))))
        .collect();
    let beside = [
        ("amqp.exchange", Some(&delivery.exchange)),
        ("amqp.routing-key", Some(&delivery.routing_key)),
        ("amqp.message-id", properties.message_id().as_ref()),
        ("amqp.app-id", properties.app_id().as_ref()),
    ];
    for (name, value) in beside {
        headers.extend(value.map(|value| (name.to_owned(), truncated(value.as_str()))));
    }
    headers
}

fn text_of(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

/// Keeps the gauge `moa_parked_deliveries` until `shutdown`.
pub async fn keep_count(pool: Pool, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(COUNT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        let counted = sqlx::query_scalar::<_, i64>("select count(*) from parked_deliveries");
        match counted.fetch_one(&pool).await {
            Ok(parked) => metrics::gauge!("moa_parked_deliveries").set(parked as f64),
            Err(error) => {
                tracing::debug!(%error, "the parked deliveries were not counted; trying again")
            }
        }
    }
}
