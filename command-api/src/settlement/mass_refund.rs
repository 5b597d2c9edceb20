//! Gives back every invest of a product that was cancelled or missed its target, in batches. It may be interrupted at any point.
//!
//! The end of a product adds a row to `mass_refunds`, the cursor of this work: how far the product's stream is read. A step cancels open
//! reservations and adds what the stream says was settled to `open_invest`, where settlement gives it back like a withdrawn holding. The
//! step and its cursor are one transaction, so each invest is added once, and any process may take the next step. A reservation that is
//! settled after the end, because its payment was faster than its cancellation, is added by the consumer of `open_invest` in that step.

use super::{GivenBack, OpenInvestTask, work_list};
use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use domain::{ProductEvent, ProductId};
use event_log::{Log, LogError, RecordedEvent, RepeatedFault};
use sqlx::FromRow;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a product's next step is taken.
const STEP_INTERVAL: Duration = Duration::from_millis(500);
/// Events of the product's stream that one step reads, so at most 1,000 invests of it are added in half a second: the rest of
/// the machine is for those who invest in other products.
const MAX_STEP_EVENTS: i64 = 1_000;
/// Refunds of one product that wait on the work list: a slow provider is not buried, nor are the payments of others.
const MAX_QUEUED_REFUNDS: i64 = 1_000;
/// Open reservations that one step cancels.
const MAX_STEP_CANCELS: i64 = 1_000;

/// The cursor, as claimed.
#[derive(FromRow)]
struct MassRefund {
    product_id: i64,
    last_sequence: i64,
    read_sequence: i64,
    event_id: Uuid,
    correlation_id: String,
    traceparent: Option<String>,
}

/// Adds the row of a product that has ended.
pub(super) async fn apply(
    transaction: &mut Connection,
    recorded: &RecordedEvent,
) -> sqlx::Result<()> {
    let (ProductEvent::ProductCancelled { .. } | ProductEvent::ProductFailed { .. }) =
        &recorded.event
    else {
        return Ok(());
    };
    sqlx::query(
        "insert into mass_refunds (product_id, last_sequence, began_at, due_at, event_id, correlation_id, traceparent)
         values ($1, $2, $3, $3, $4, $5, $6) on conflict (product_id) do nothing",
    )
    .bind(recorded.product_id.get())
    .bind(recorded.sequence)
    .bind(recorded.recorded_at)
    .bind(recorded.event_id)
    .bind(&recorded.metadata.correlation_id)
    .bind(&recorded.metadata.traceparent)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The tasks to give back what is settled of products that ended before.
pub(super) async fn settled_late(
    transaction: &mut Connection,
    settled: &[&RecordedEvent],
) -> sqlx::Result<Vec<OpenInvestTask>> {
    let products: Vec<_> = settled
        .iter()
        .map(|recorded| recorded.product_id.get())
        .collect();
    let refunds: Vec<MassRefund> = sqlx::query_as(
        "select product_id, last_sequence, read_sequence, event_id, correlation_id, traceparent from mass_refunds
          where product_id = any($1)",
    )
    .bind(products)
    .fetch_all(transaction)
    .await?;
    let task = |recorded: &&RecordedEvent| {
        let of_it = |refund: &&MassRefund| refund.product_id == recorded.product_id.get();
        let refund = refunds
            .iter()
            .find(of_it)
            .filter(|refund| recorded.sequence > refund.last_sequence)?;
        self::task(recorded, refund, recorded.recorded_at)
    };
    Ok(settled.iter().filter_map(task).collect())
}

/// Takes the steps that are due, until `shutdown`.
pub(super) async fn advance(log: &Log, pool: &Pool, shutdown: &CancellationToken) {
    let mut tick = tokio::time::interval(STEP_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fault = RepeatedFault::new("a product's invests are not given back", "");
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        let Some(now) = log.trusted_time() else {
            continue;
        };
        match step(log, pool, now).await {
            // Another product's may be due.
            Ok(true) => {
                fault.recovered();
                tick.reset_immediately();
            }
            Ok(false) => fault.recovered(),
            Err(error) => fault.failed(&error),
        }
    }
}

/// One step of the product that is due longest; false when none is.
async fn step(log: &Log, pool: &Pool, now: DateTime<Utc>) -> Result<bool, LogError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let Some(refund) = claim(&mut transaction, now).await? else {
        return Ok(false);
    };
    let Ok(product_id) = ProductId::try_from(refund.product_id) else {
        return Ok(false);
    };
    // In this order: what is settled meanwhile is open no more, and then it is queued.
    let open = cancel_open(&mut transaction, &refund).await?;
    let queued = queued(&mut transaction, &refund).await?;
    let left = refund.last_sequence - refund.read_sequence;
    let limit = left.min(MAX_STEP_EVENTS).min(MAX_QUEUED_REFUNDS - queued);
    let events = if limit > 0 {
        log.read_stream(product_id, refund.read_sequence, limit)
            .await?
    } else {
        Vec::new()
    };
    let tasks = events
        .iter()
        .filter_map(|recorded| task(recorded, &refund, now));
    work_list::insert(&mut transaction, tasks).await?;
    let is_done = left <= 0 && open + queued == 0;
    match is_done {
        true => delete(&mut transaction, &refund).await?,
        false => move_on(&mut transaction, &refund, events.last(), now).await?,
    }
    transaction.commit().await?;
    if is_done {
        tracing::info!(
            product = refund.product_id,
            "every invest of the product is given back"
        );
    }
    Ok(true)
}

async fn claim(
    transaction: &mut Connection,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<MassRefund>> {
    sqlx::query_as(
        "select product_id, last_sequence, read_sequence, event_id, correlation_id, traceparent from mass_refunds
          where due_at <= $1 order by due_at limit 1 for update skip locked",
    )
    .bind(now)
    .fetch_optional(transaction)
    .await
}

/// Has the payments of open reservations cancelled rather than made. Returns whether any reservation is open still: 1 or 0.
async fn cancel_open(transaction: &mut Connection, refund: &MassRefund) -> sqlx::Result<i64> {
    sqlx::query(
        "update open_invest set cancelling = true
          where invest_id = any (array(select invest_id from open_invest
                                        where product_id = $1 and given_back is null and not cancelling
                                        limit $2 for update skip locked))",
    )
    .bind(refund.product_id)
    .bind(MAX_STEP_CANCELS)
    .execute(&mut *transaction)
    .await?;
    sqlx::query_scalar(
        "select count(*) from (select from open_invest where product_id = $1 and given_back is null limit 1) counted",
    )
    .bind(refund.product_id)
    .fetch_one(transaction)
    .await
}

/// How many refunds of the product wait, counted up to the most.
async fn queued(transaction: &mut Connection, refund: &MassRefund) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from (select from open_invest where product_id = $1 and given_back is not null limit $2) counted",
    )
    .bind(refund.product_id)
    .bind(MAX_QUEUED_REFUNDS)
    .fetch_one(transaction)
    .await
}

/// The task to give back what this event settled. An invest that was withdrawn since is refunded already, or about to be: then the
/// aggregate refuses a second refund, and the row goes.
fn task(
    recorded: &RecordedEvent,
    refund: &MassRefund,
    now: DateTime<Utc>,
) -> Option<OpenInvestTask> {
    let ProductEvent::InvestSettled {
        invest_id,
        user_id,
        amount,
    } = &recorded.event
    else {
        return None;
    };
    Some(OpenInvestTask {
        invest_id: *invest_id,
        product_id: recorded.product_id,
        user_id: user_id.clone(),
        amount: *amount,
        expires_at: now,
        event_id: refund.event_id,
        correlation_id: refund.correlation_id.clone(),
        traceparent: refund.traceparent.clone(),
        claimed_until: now,
        attempts: 0,
        cancelling: false,
        given_back: Some(GivenBack::Settled),
    })
}

async fn move_on(
    transaction: &mut Connection,
    refund: &MassRefund,
    last: Option<&RecordedEvent>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "update mass_refunds
            set read_sequence = $2, due_at = $3 + make_interval(secs => $4)
          where product_id = $1",
    )
    .bind(refund.product_id)
    .bind(last.map_or(refund.read_sequence, |recorded| recorded.sequence))
    .bind(now)
    .bind(STEP_INTERVAL.as_secs_f64())
    .execute(transaction)
    .await?;
    Ok(())
}

async fn delete(transaction: &mut Connection, refund: &MassRefund) -> sqlx::Result<()> {
    sqlx::query("delete from mass_refunds where product_id = $1")
        .bind(refund.product_id)
        .execute(transaction)
        .await?;
    Ok(())
}
