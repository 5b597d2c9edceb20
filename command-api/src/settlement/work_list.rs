//! Taking work from `open_invest`, so that several instances never take the same at once, and putting it back.

use super::Due;
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductId, UserId};
use event_log::{DatabaseClock, Log, RepeatedFault};
use sqlx::FromRow;
use std::time::Duration;
use uuid::Uuid;

#[derive(FromRow)]
struct Row {
    invest_id: Uuid,
    product_id: i64,
    user_id: String,
    amount: i64,
    expires_at: DateTime<Utc>,
    event_id: Uuid,
    correlation_id: String,
    traceparent: Option<String>,
    due_at: DateTime<Utc>,
    attempts: i32,
    cancelling: bool,
}

/// Something about each of the two kinds of open invests, which must not be in each other's way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<T> {
    /// Payment is still to be asked for.
    pub new: T,
    /// Only to be cancelled: payment was asked for without an answer, or the reservation's time is over.
    pub retries: T,
}

/// How long the list may be unreadable until the process is not ready.
const FAILURE_BOUND: Duration = Duration::from_secs(5);

/// The fault that the list cannot be read.
pub(super) fn fault(log: &Log) -> RepeatedFault {
    RepeatedFault::new("open invests cannot be read", "").failing(log.readiness().clause("settlement"), FAILURE_BOUND)
}

/// As [`take`], by the time of `log` as far as it can be believed: no clock that jumps makes a reservation expire. `None` when
/// there is no time yet, or the list cannot be read now.
pub(super) async fn taken(
    log: &Log,
    pool: &Pool,
    limits: Wanted<usize>,
    taken_for: TimeDelta,
    fault: &mut RepeatedFault,
) -> Option<(DatabaseClock, Vec<Due>)> {
    let clock = log.trusted_clock()?;
    match take(pool, clock.now(), limits, taken_for).await {
        Ok(rows) => {
            fault.recovered();
            Some((clock, rows))
        }
        Err(error) => {
            fault.failed(&error);
            None
        }
    }
}

/// Takes up to so many of each kind that are due at `now`, the longest due first.
async fn take(pool: &Pool, now: DateTime<Utc>, limits: Wanted<usize>, taken_for: TimeDelta) -> sqlx::Result<Vec<Due>> {
    if limits.new + limits.retries == 0 {
        return Ok(Vec::new());
    }
    let mut rows: Vec<Row> = sqlx::query_as(
        "update open_invest
            set due_at = $1 + make_interval(secs => $2), attempts = attempts + 1
          where invest_id = any (array(select invest_id from open_invest
                                        where due_at <= $1 and not cancelling and expires_at > $1
                                        order by due_at limit $3 for update skip locked)
                              || array(select invest_id from open_invest
                                        where due_at <= $1 and (cancelling or expires_at <= $1)
                                        order by due_at limit $4 for update skip locked))
      returning invest_id, product_id, user_id, amount, expires_at, event_id, correlation_id, traceparent,
                due_at, attempts, cancelling",
    )
    .bind(now)
    .bind(taken_for.as_seconds_f64())
    .bind(limits.new as i64)
    .bind(limits.retries as i64)
    .fetch_all(pool)
    .await?;
    // Ids begin with the time they were made.
    rows.sort_unstable_by_key(|row| row.invest_id);
    Ok(rows.into_iter().filter_map(due).collect())
}

/// Makes an invest due again `after` that time; `cancelling` for good once it was so.
pub(super) async fn put_back(
    log: &Log,
    pool: &Pool,
    invest_id: InvestId,
    after: Duration,
    cancelling: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "update open_invest
            set due_at = coalesce($4, clock_timestamp()) + make_interval(secs => $2), cancelling = cancelling or $3
          where invest_id = $1",
    )
    .bind(invest_id.0)
    .bind(after.as_secs_f64())
    .bind(cancelling)
    .bind(log.trusted_time())
    .execute(pool)
    .await?;
    Ok(())
}

/// How many are open, counted up to `most`, and which is the oldest: their ids begin with the time they were made.
pub(super) async fn outstanding(pool: &Pool, most: i64) -> sqlx::Result<(i64, Option<Uuid>)> {
    sqlx::query_as(
        "select (select count(*) from (select from open_invest limit $1) counted),
                (select invest_id from open_invest order by invest_id limit 1)",
    )
    .bind(most)
    .fetch_one(pool)
    .await
}

fn due(row: Row) -> Option<Due> {
    Some(Due {
        invest_id: InvestId(row.invest_id),
        product_id: ProductId::try_from(row.product_id).ok()?,
        user_id: UserId::try_from(row.user_id).ok()?,
        amount: Amount::try_from(row.amount).ok()?,
        expires_at: row.expires_at,
        event_id: row.event_id,
        correlation_id: row.correlation_id,
        traceparent: row.traceparent,
        taken_until: row.due_at,
        attempts: row.attempts,
        cancelling: row.cancelling,
    })
}
