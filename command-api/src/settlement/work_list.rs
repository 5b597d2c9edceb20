//! Adds work to `open_invest`, claims it, so that several instances never work on the same invest at once, and releases it.

use super::{GivenBack, OpenInvestTask};
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::{Connection, Pool};
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
    given_back: Option<String>,
}

/// A value for each of the two kinds of open invests, which must not hinder each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<T> {
    /// The payment is still to be requested.
    pub new: T,
    /// To be cancelled or refunded: the payment was requested without an answer, the reservation's time is over, or the invest is given
    /// back.
    pub retries: T,
}

/// A list that has been unreadable for so long makes the process not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(5);

/// The fault of an unreadable list.
pub(super) fn fault(log: &Log) -> RepeatedFault {
    RepeatedFault::new("open invests cannot be read", "")
        .failing(log.readiness().clause("settlement"), UNREADY_AFTER)
}

/// Adds the tasks' rows. One that has a row keeps it.
pub(super) async fn insert(
    transaction: &mut Connection,
    tasks: impl Iterator<Item = OpenInvestTask>,
) -> sqlx::Result<()> {
    let (mut invests, mut products, mut users) = (Vec::new(), Vec::new(), Vec::new());
    let (mut amounts, mut expiries, mut causes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut correlations, mut traces, mut due_at, mut given_back) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        invests.push(task.invest_id.0);
        products.push(task.product_id.get());
        users.push(String::from(task.user_id));
        amounts.push(task.amount.won());
        expiries.push(task.expires_at);
        causes.push(task.event_id);
        correlations.push(task.correlation_id);
        traces.push(task.traceparent);
        due_at.push(task.claimed_until);
        given_back.push(task.given_back.map(GivenBack::name));
    }
    sqlx::query(
        "insert into open_invest
             (invest_id, product_id, user_id, amount, expires_at, event_id, correlation_id, traceparent, due_at,
              given_back)
         select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[], $6::uuid[],
                              $7::text[], $8::text[], $9::timestamptz[], $10::text[])
             on conflict (invest_id) do nothing",
    )
    .bind(invests)
    .bind(products)
    .bind(users)
    .bind(amounts)
    .bind(expiries)
    .bind(causes)
    .bind(correlations)
    .bind(traces)
    .bind(due_at)
    .bind(given_back)
    .execute(transaction)
    .await?;
    Ok(())
}

/// As [`claim`], by the trusted time of `log`: a clock that jumps makes no reservation expire. `None` when
/// there is no time yet, or the list cannot be read now.
pub(super) async fn claim_due(
    log: &Log,
    pool: &Pool,
    limits: Wanted<usize>,
    visibility_timeout: TimeDelta,
    fault: &mut RepeatedFault,
) -> Option<(DatabaseClock, Vec<OpenInvestTask>)> {
    let clock = log.trusted_clock()?;
    match claim(pool, clock.now(), limits, visibility_timeout).await {
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

/// Claims up to so many of each kind that are due at `now`, the longest due first.
async fn claim(
    pool: &Pool,
    now: DateTime<Utc>,
    limits: Wanted<usize>,
    visibility_timeout: TimeDelta,
) -> sqlx::Result<Vec<OpenInvestTask>> {
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
                due_at, attempts, cancelling, given_back",
    )
    .bind(now)
    .bind(visibility_timeout.as_seconds_f64())
    .bind(limits.new as i64)
    .bind(limits.retries as i64)
    .fetch_all(pool)
    .await?;
    // Ids begin with their time.
    rows.sort_unstable_by_key(|row| row.invest_id);
    Ok(rows.into_iter().filter_map(due).collect())
}

/// Releases a claim: the invest is due `after` that time. Once `cancelling`, it stays so.
pub(super) async fn release(
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

/// Deletes the row of an invest that is refunded already. The consumer deletes it too, unless it was added after that.
pub(super) async fn forget_refunded(pool: &Pool, invest_id: InvestId) -> sqlx::Result<()> {
    sqlx::query("delete from open_invest where invest_id = $1 and given_back is not null")
        .bind(invest_id.0)
        .execute(pool)
        .await?;
    Ok(())
}

/// How many invests are open, counted up to `most`, and the oldest one: ids begin with their time. And how many refunds are owed, counted
/// likewise.
pub(super) async fn outstanding(pool: &Pool, most: i64) -> sqlx::Result<(i64, Option<Uuid>, i64)> {
    sqlx::query_as(
        "select (select count(*) from (select from open_invest where given_back is null limit $1) counted),
                (select invest_id from open_invest where given_back is null order by invest_id limit 1),
                (select count(*) from (select from open_invest where given_back is not null limit $1) counted)",
    )
    .bind(most)
    .fetch_one(pool)
    .await
}

fn due(row: Row) -> Option<OpenInvestTask> {
    Some(OpenInvestTask {
        invest_id: InvestId(row.invest_id),
        product_id: ProductId::try_from(row.product_id).ok()?,
        user_id: UserId::try_from(row.user_id).ok()?,
        amount: Amount::try_from(row.amount).ok()?,
        expires_at: row.expires_at,
        event_id: row.event_id,
        correlation_id: row.correlation_id,
        traceparent: row.traceparent,
        claimed_until: row.due_at,
        attempts: row.attempts,
        cancelling: row.cancelling,
        given_back: row.given_back.as_deref().and_then(GivenBack::from_stored),
    })
}
